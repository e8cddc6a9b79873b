//! Runs that outlive their request: submission, what a worker does, and what a callback says.

mod embedded;
mod events;
mod submit;
mod upstream;

use http::Response;
use mainstay_base::Kind;
use mainstay_net::Body;
use mainstay_store::{
    StoreError,
    model::{Finish, Job, JobKind, Message, Run, RunResult},
};
use mainstay_wire::dify::answer::{ChatAnswer, Metadata, QueuedChat, RunData};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{Standby, reply, service::runs::detail};

pub use submit::{Endpoint, MAX_IDEMPOTENCY_KEY, Submission, Target};

/// The first pause between two attempts; it doubles with each.
const FIRST_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
const LONGEST_PAUSE: std::time::Duration = std::time::Duration::from_secs(60);

impl Standby {
    /// What a worker does with a job it holds. Cancelling `stop` stops the run; dropping the future leaves it as it
    /// is, for whoever holds the job next.
    pub async fn execute(&self, job: &Job, stop: CancellationToken) -> Finish {
        match job.kind {
            JobKind::Embedded => Box::pin(self.execute_embedded(job, stop)).await,
            JobKind::Upstream => Box::pin(self.execute_upstream(job, stop)).await,
        }
    }

    /// `GET /v1/workflows/run/{id}` for a durable run of an app that may live elsewhere. `None`: not ours to answer.
    pub async fn find(&self, app_id: &str, run_id: &str) -> Option<Response<Body>> {
        match self.stored_run(app_id, run_id).await {
            Ok(None) => None,
            Ok(Some(run)) => Some(self.stamped(reply::ok(&detail(run)))),
            Err(error) => Some(self.stamped(reply::refusal(&error))),
        }
    }

    /// The body of a run's callback, in the form of Standard Webhooks. `None` when there is no such run.
    pub async fn callback(&self, run_id: &str) -> Result<Option<Value>, StoreError> {
        let Some(run) = self.inner.store.runs().get(run_id).await? else { return Ok(None) };
        let message = match run.summary.conversation_id {
            Some(_) => self.inner.store.chats().message_of_run(run_id).await?,
            None => None,
        };
        let ended = run.summary.finished_at.unwrap_or(run.summary.created_at);
        let time = jiff::Timestamp::from_microsecond(ended.0).unwrap_or_default();
        let data = match &message {
            Some(_) => json!(chat_answer(&run, message.as_ref())),
            None => json!(run_data(&run)),
        };
        Ok(Some(json!({"type": "workflow.run.finished", "timestamp": time.to_string(), "data": data})))
    }
}

/// A stored run as Dify's blocking answer has it.
fn run_data(run: &Run) -> RunData {
    let summary = &run.summary;
    RunData {
        id: summary.id.clone(),
        workflow_id: summary.version_id.clone(),
        status: summary.status.as_str().to_owned(),
        outputs: run.outputs.as_ref().and_then(Value::as_object).cloned().unwrap_or_default(),
        error: summary.error.clone(),
        elapsed_time: crate::service::runs::seconds(summary.elapsed_us),
        total_tokens: crate::service::runs::unsigned(summary.total_tokens),
        total_steps: crate::service::runs::unsigned(summary.total_steps),
        created_at: summary.created_at.unix_seconds(),
        finished_at: summary.finished_at.map(mainstay_base::Micros::unix_seconds),
    }
}

/// A stored chat run, as far as it has come. A durable chat's message has the run's id.
fn chat_answer(run: &Run, message: Option<&Message>) -> QueuedChat {
    let summary = &run.summary;
    let message_id = message.map_or(summary.id.clone(), |message| message.id.clone());
    let metadata =
        message.and_then(|message| serde_json::from_value::<Metadata>(message.metadata.clone()).ok());
    QueuedChat {
        answer: ChatAnswer {
            event: "message".to_owned(),
            task_id: summary.task_id.clone().unwrap_or_default(),
            id: message_id.clone(),
            message_id,
            conversation_id: summary.conversation_id.clone().unwrap_or_default(),
            mode: summary.mode.as_str().to_owned(),
            answer: message.map(|message| message.answer.clone()).unwrap_or_default(),
            metadata: metadata.unwrap_or_default(),
            created_at: summary.created_at.unix_seconds(),
        },
        workflow_run_id: summary.id.clone(),
        status: summary.status.as_str().to_owned(),
    }
}

impl Standby {
    /// How an attempt that failed goes on: again after a pause, or (its class used up) as a dead letter that keeps
    /// what the last attempt left.
    fn again(&self, job: &Job, kind: Kind, message: String, result: Option<RunResult>) -> Finish {
        let limits = self.inner.options.retries;
        let (class, limit) = match kind {
            Kind::Upstream => ("upstream", limits.upstream),
            Kind::Unavailable => ("unavailable", limits.unavailable),
            Kind::OverBudget => ("over_budget", limits.over_budget),
            Kind::Caller | Kind::Denied | Kind::Bug => {
                return Finish::Dead { class: kind.as_str().to_owned(), message, kind, result };
            }
        };
        let before = job.failures.get(class).copied().unwrap_or(0);
        if before + 1 >= limit {
            return Finish::Dead { class: class.to_owned(), message, kind, result };
        }
        let random = uuid::Uuid::new_v4().as_u64_pair().0;
        Finish::Retry { class: class.to_owned(), message, after: pause(before, random), limit }
    }
}

/// Between half the doubled pause and all of it, so that jobs that failed together do not come back together.
fn pause(failures_before: i64, random: u64) -> std::time::Duration {
    let doublings = u32::try_from(failures_before.clamp(0, 16)).unwrap_or(0);
    let longest = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    let half_us = u64::try_from(longest.as_micros() / 2).unwrap_or(u64::MAX);
    longest - std::time::Duration::from_micros(random % half_us.max(1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::pause;

    #[test]
    fn pauses_double_up_to_a_minute() {
        for (failures, longest) in [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (100, 60)] {
            let longest = Duration::from_secs(longest);
            assert_eq!(pause(failures, 0), longest);
            let random = pause(failures, u64::MAX / 3);
            assert!(random > longest / 2 && random <= longest, "{random:?} of {longest:?}");
        }
    }
}
