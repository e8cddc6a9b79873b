//! What one look saw: plain values, for `control::queue` and every surface.

use std::collections::BTreeSet;

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};

use super::about::About;

/// One look at the broker. Times of ours are [`Micros`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    pub at: Micros,
    /// Every known queue, by name; empty ones too.
    pub queues: Vec<Queue>,
    pub unacked: Unacked,
    /// Workers that were heard or answered since the observer began, by name.
    pub workers: Vec<Worker>,
    /// Workers that hold a connection for questions, answering or not, when they were asked last.
    pub listeners: Option<u64>,
    /// When workers were asked last; `None`: not yet.
    pub asked_at: Option<Micros>,
    /// Since when heartbeats are listened for; `None`: they are not.
    pub listening_since: Option<Micros>,
    /// Workspaces' own lists of waiting documents, in the app's Redis.
    pub tenants: Vec<TenantList>,
    /// Queues that somebody declared once; that does not mean that somebody consumes them.
    pub bound: BTreeSet<String>,
    pub missed: Vec<Missed>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    pub name: String,
    /// Messages by priority step, in the order of [`super::PRIORITY_STEPS`]; Dify uses the first only.
    pub waiting: [u64; 4],
    /// Some of the oldest, the oldest first.
    pub oldest: Vec<Peek>,
    /// Some of the newest, the newest first.
    pub newest: Vec<Peek>,
}

impl Queue {
    pub fn length(&self) -> u64 {
        self.waiting.iter().sum()
    }

    /// The message that is taken next.
    pub fn tail(&self) -> Option<&Peek> {
        self.oldest.first()
    }
}

/// One message of a queue, as far as it can be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peek {
    Task {
        id: String,
        task: String,
        about: About,
        redelivered: bool,
        bytes: u64,
    },
    /// No message of Celery's, or one with a body that cannot be read.
    Broken {
        why: String,
        bytes: u64,
    },
    /// Not fetched.
    TooLarge {
        bytes: u64,
    },
}

impl Peek {
    pub fn id(&self) -> Option<&str> {
        match self {
            Peek::Task { id, .. } => Some(id),
            Peek::Broken { .. } | Peek::TooLarge { .. } => None,
        }
    }

    pub fn task(&self) -> Option<&str> {
        match self {
            Peek::Task { task, .. } => Some(task),
            Peek::Broken { .. } | Peek::TooLarge { .. } => None,
        }
    }
}

/// Messages that were given to workers and not yet acknowledged: reserved ahead, or waiting for their time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unacked {
    pub count: u64,
    /// The oldest, the oldest first.
    pub oldest: Vec<UnackedMessage>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnackedMessage {
    /// The field in `unacked`.
    pub tag: String,
    /// By the clock of the worker that took it.
    pub delivered_at: Micros,
    pub queue: Option<String>,
    /// It waits for its time, so that it is right that it lies there.
    pub eta: Option<String>,
    pub message: Peek,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// `celery@host`.
    pub name: String,
    /// Its last heartbeat.
    pub heard: Option<Heard>,
    /// What it said last when it was asked.
    pub answer: Option<Answer>,
    /// Rounds since its last answer in which it said nothing.
    pub silent_rounds: u32,
    /// Since when it has said nothing to questions; `None`: it answered the last one.
    pub silent_since: Option<Micros>,
    /// It said that it ends.
    pub said_goodbye: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    /// By our clock.
    pub at: Micros,
    pub every_s: f64,
    pub active: u64,
    /// Tasks since its start.
    pub processed: u64,
    pub load: Option<[f64; 3]>,
    pub pid: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub at: Micros,
    /// `gevent`, `threads`, `prefork`, …
    pub pool: Option<String>,
    pub concurrency: Option<u64>,
    pub prefetch: Option<u64>,
    /// What it consumes, the only truth about it; `None`: it did not say.
    pub queues: Option<Vec<String>>,
    pub active: Vec<Running>,
    pub reserved: Vec<Running>,
    /// Tasks since its start, by name.
    pub done: Vec<(String, u64)>,
    pub uptime_s: Option<u64>,
    /// The most and the fewest places, for a worker that sizes its pool by itself.
    pub autoscale: Option<(u64, u64)>,
}

/// A task that a worker has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Running {
    pub id: String,
    pub task: String,
    pub queue: Option<String>,
    /// By the worker's clock; `None` for one that is reserved only.
    pub started_at: Option<Micros>,
    pub about: About,
}

/// Dify's own line of a workspace's documents before they reach the broker (`TenantIsolatedTaskQueue`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantList {
    /// `document_indexing`, `duplicate_document_indexing`, `pipeline`.
    pub kind: String,
    pub tenant: String,
    pub waiting: u64,
    /// The flag that says that a task of this workspace runs.
    pub flag: bool,
    pub flag_ttl_s: Option<i64>,
}

/// What could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    pub what: String,
    pub why: String,
    pub remedy: String,
}
