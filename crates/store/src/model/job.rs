//! Jobs: the durable queue as its users see it.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::{Kind, Micros};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{NewRun, Run, RunResult};

/// Who executes a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// The embedded engine.
    Embedded,
    /// A real Dify.
    Upstream,
}

impl JobKind {
    pub fn as_str(self) -> &'static str {
        match self {
            JobKind::Embedded => "embedded",
            JobKind::Upstream => "upstream",
        }
    }

    pub fn parse(text: &str) -> Option<JobKind> {
        [JobKind::Embedded, JobKind::Upstream].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A job that is done is no longer a row; its run tells the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Queued,
    Leased,
    Dead,
}

impl JobState {
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Leased => "leased",
            JobState::Dead => "dead",
        }
    }

    pub fn parse(text: &str) -> Option<JobState> {
        [JobState::Queued, JobState::Leased, JobState::Dead].into_iter().find(|state| state.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewJob {
    /// The job has the run's id.
    pub run: NewRun,
    /// Whatever the worker needs; the store does not look into it.
    pub payload: Value,
    /// Whether the run may be executed again after it was started (embedded, or declared idempotent).
    pub repeatable: bool,
    pub idempotency: Option<Idempotency>,
    /// Who is told when the run has ended.
    pub callback_url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// Within what a key is unique: the app.
    pub scope: String,
    pub key: String,
    pub body_hash: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Submitted {
    /// Stored and queued.
    New,
    /// The key was used before with the same body; here is its run.
    Same(Box<Run>),
    /// The key was used before with another body. Nothing was stored.
    Conflict,
}

/// A job in the hands of a worker until `lease_until`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub id: String,
    /// The same as `id`.
    pub run_id: String,
    pub app_id: String,
    pub kind: JobKind,
    pub upstream: Option<String>,
    pub payload: Value,
    pub repeatable: bool,
    /// Grows with each claim. What finishes under an older one is refused.
    pub epoch: i64,
    /// 1 for the first.
    pub attempt: i64,
    /// How often each class of error has ended an attempt so far.
    pub failures: BTreeMap<String, i64>,
    pub submitted_at: Micros,
    pub lease_until: Micros,
}

/// What a renewal says of one job that is still held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub job_id: String,
    pub lease_until: Micros,
    /// Somebody asked for the run to be stopped: stop it and finish with [`Finish::Cancelled`].
    pub cancel_requested: bool,
}

/// How a worker ends its hold on a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Finish {
    /// The run has ended, well or badly; the result is final.
    Done(RunResult),
    /// The attempt failed in a way that may pass. Becomes a dead letter when the class has used up `limit`
    /// attempts, or when the run was started upstream and is not repeatable.
    Retry { class: String, message: String, after: Duration, limit: i64 },
    /// The attempt failed in a way that will not pass. The run fails; the job can be replayed.
    Dead { class: String, message: String, kind: Kind, result: Option<RunResult> },
    /// The run was stopped because `Held::cancel_requested` said so.
    Cancelled(Option<RunResult>),
    /// Not begun: back into the queue at once, without counting as a failure.
    Release,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// The run has its final result.
    Stored,
    /// The job waits for its next attempt.
    Requeued,
    /// The job is a dead letter and the run has failed.
    Dead,
    /// Somebody else holds the job by now, or it has ended: nothing was stored.
    Fenced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancelled {
    /// It was queued and is stopped now.
    Stopped,
    /// A worker holds it and will be told with its next heartbeat.
    Requested,
    /// It had ended before.
    AlreadyEnded,
    /// There is no such run, or it is not in the queue.
    NotFound,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replayed {
    Queued,
    /// Only dead letters can be replayed.
    NotDead,
    NotFound,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadJob {
    pub id: String,
    pub app_id: String,
    pub kind: JobKind,
    pub attempt: i64,
    pub failures: BTreeMap<String, i64>,
    pub class: String,
    pub error: String,
    pub submitted_at: Micros,
    pub died_at: Micros,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStats {
    /// Waiting and due.
    pub queued: i64,
    /// Waiting for a later time (a retry's pause).
    pub delayed: i64,
    pub leased: i64,
    /// Leased, but the lease has run out and nobody has taken the job yet.
    pub expired: i64,
    pub dead: i64,
    /// How long the longest waiting due job has been waiting; 0 when none is.
    pub oldest_queued_us: i64,
    /// Runs that ended within the last minute, durable or not.
    pub done_last_minute: i64,
    pub failed_last_minute: i64,
}
