//! A durable run on the embedded engine.

use mainstay_base::{Kind, Micros, TraceParent};
use mainstay_engine::{RunStatus, Sink};
use mainstay_store::model::{Conversation, Finish, Job};
use mainstay_wire::dify::{ApiError, ResponseMode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::{
    Standby,
    prepare::{Prepared, PreparedChat},
    result,
};

/// What a worker needs of a checked request. Ids of run, task and message are the job's.
#[derive(Serialize, Deserialize)]
struct Payload {
    version_id: String,
    session_id: String,
    end_user_id: String,
    inputs: Map<String, Value>,
    files: Vec<Value>,
    chat: Option<Chat>,
    request_id: String,
    /// As in the header: JSON has no 128-bit numbers.
    traceparent: String,
    created_at: Micros,
}

#[derive(Serialize, Deserialize)]
struct Chat {
    conversation: Conversation,
    query: String,
}

pub(super) fn payload(prepared: &Prepared) -> Result<Value, ApiError> {
    let chat = prepared.chat.as_ref();
    let payload = Payload {
        version_id: prepared.version.id.clone(),
        session_id: prepared.session_id.clone(),
        end_user_id: prepared.end_user_id.clone(),
        inputs: prepared.inputs.clone(),
        files: prepared.files.clone(),
        chat: chat.map(|chat| Chat { conversation: chat.conversation.clone(), query: chat.query.clone() }),
        request_id: prepared.request_id.clone(),
        traceparent: prepared.trace.to_string(),
        created_at: prepared.created_at,
    };
    serde_json::to_value(payload).map_err(|_| ApiError::internal())
}

impl Standby {
    pub(super) async fn execute_embedded(&self, job: &Job, stop: CancellationToken) -> Finish {
        let prepared = match self.restore(job).await {
            Ok(prepared) => prepared,
            Err(error) if error.status == 503 => {
                return self.again(job, Kind::Unavailable, error.message.into_owned(), None);
            }
            Err(error) => return dead(error),
        };
        let mut input = prepared.run_input();
        input.started_at = self.inner.clock.now();
        let plan = &prepared.version.plan;
        let outcome = Box::pin(self.inner.engine.run(plan, input, Sink::Nobody, stop.clone())).await;
        let result = result::of(&prepared, &outcome);
        match outcome.status {
            RunStatus::Stopped if stop.is_cancelled() => Finish::Cancelled(Some(result)),
            RunStatus::Succeeded | RunStatus::PartialSucceeded | RunStatus::Stopped => Finish::Done(result),
            RunStatus::Failed => match outcome.error_kind {
                Some(kind) if kind.may_retry() => {
                    self.again(job, kind, outcome.error.unwrap_or_default(), Some(result))
                }
                // The same inputs would fail the same way: that is this run's result.
                _ => Finish::Done(result),
            },
        }
    }

    async fn restore(&self, job: &Job) -> Result<Prepared, ApiError> {
        let payload: Payload = serde_json::from_value(job.payload.clone()).map_err(|_| {
            ApiError::new(500, "payload", "the job was queued by another version of mainstay")
        })?;
        let app = self.inner.catalog.app(&job.app_id).await?;
        let version = self.inner.catalog.published(&payload.version_id).await?;
        let version =
            version.ok_or_else(|| ApiError::not_found("the version this run was queued for is gone"))?;
        let chat = match payload.chat {
            None => None,
            Some(chat) => Some(self.restore_chat(job, chat).await?),
        };
        Ok(Prepared {
            app,
            version,
            run_id: job.run_id.clone(),
            task_id: job.run_id.clone(),
            session_id: payload.session_id,
            end_user_id: payload.end_user_id,
            inputs: payload.inputs,
            files: payload.files,
            mode: ResponseMode::Blocking,
            chat,
            request_id: payload.request_id,
            trace: TraceParent::parse(&payload.traceparent).unwrap_or_else(TraceParent::new_root),
            created_at: payload.created_at,
        })
    }

    /// The conversation may have gone on since the message was queued; what it holds now counts.
    async fn restore_chat(&self, job: &Job, chat: Chat) -> Result<PreparedChat, ApiError> {
        let Chat { mut conversation, query } = chat;
        let stored = self.inner.store.chats().conversation(&conversation.id).await;
        let stored = stored.map_err(|error| crate::reply::of_store("reading a conversation", error))?;
        if let Some(stored) = stored {
            conversation = crate::chat::continued(stored, self.inner.clock.now());
        }
        let history = self.history(&conversation.id).await?;
        Ok(PreparedChat { conversation, message_id: job.run_id.clone(), query, history })
    }
}

fn dead(error: ApiError) -> Finish {
    let message = error.message.into_owned();
    Finish::Dead { class: error.code.into_owned(), message, kind: Kind::Bug, result: None }
}
