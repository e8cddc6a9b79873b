//! `Prefer: respond-async`: a run is checked, stored and queued, and its caller told where to look for it.

use http::{
    HeaderValue, Response, StatusCode,
    header::{self, HeaderName},
};
use mainstay_base::{AppMode, TraceParent, id};
use mainstay_net::Body;
use mainstay_store::model::{Idempotency, JobKind, NewJob, NewRun, Run, RunStatus, Submitted};
use mainstay_wire::dify::{
    ApiError, ChatBody, RunBody,
    answer::{Blocking, ChatAnswer, Metadata, QueuedChat, RunData},
    request,
};
use serde_json::{Map, Value, json};

use super::{chat_answer, embedded, run_data, upstream};
use crate::{
    Standby,
    prepare::{Asked, Prepared},
    reply,
};

/// As long as a UUID needs, with room for a caller's own scheme.
pub const MAX_IDEMPOTENCY_KEY: usize = 255;
const MAX_CALLBACK_URL: usize = 2048;

/// A run to be executed later.
#[derive(Clone, Debug)]
pub struct Submission {
    pub app_id: String,
    pub target: Target,
    pub endpoint: Endpoint,
    /// The caller's JSON object. `response_mode` in it does not matter.
    pub body: Value,
    /// What makes two bodies the same under one idempotency key.
    pub body_hash: String,
    pub idempotency_key: Option<String>,
    pub callback_url: Option<String>,
    pub request_id: String,
    pub trace: TraceParent,
}

/// Who will execute it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Embedded,
    /// A real Dify, by its name in the configuration.
    Upstream {
        name: String,
        app_name: String,
        mode: AppMode,
        /// Whether the operator says that running twice does no harm.
        idempotent: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Workflow,
    /// `/v1/workflows/{id}/run`.
    Version(String),
    Chat,
}

impl Endpoint {
    pub(super) fn path(&self) -> String {
        match self {
            Endpoint::Workflow => "/v1/workflows/run".to_owned(),
            Endpoint::Version(id) => format!("/v1/workflows/{id}/run"),
            Endpoint::Chat => "/v1/chat-messages".to_owned(),
        }
    }
}

/// A job, and the answer for the case that it is new.
struct Ready {
    job: NewJob,
    accepted: Value,
}

impl Standby {
    /// Checks as a run that answers at once would be checked, then stores and queues. 202, or a refusal.
    pub async fn submit(&self, submission: Submission) -> Response<Body> {
        let answer = Box::pin(self.accept(submission)).await;
        self.stamped(answer.unwrap_or_else(|error| reply::refusal(&error)))
    }

    async fn accept(&self, submission: Submission) -> Result<Response<Body>, ApiError> {
        let callback_url = submission.callback_url.as_deref().map(checked_callback).transpose()?;
        let idempotency = match &submission.idempotency_key {
            Some(key) => Some(idempotency(&submission, key)?),
            None => None,
        };
        let mut ready = match &submission.target {
            Target::Embedded => self.embedded_job(&submission).await?,
            Target::Upstream { .. } => self.upstream_job(&submission)?,
        };
        ready.job.idempotency = idempotency;
        ready.job.callback_url = callback_url;
        let run_id = ready.job.run.id.clone();
        let submitted = self.inner.store.jobs().submit(ready.job).await;
        match submitted.map_err(|error| reply::of_store("queueing a run", error))? {
            Submitted::New => Ok(accepted(&run_id, &ready.accepted, false)),
            Submitted::Same(run) => {
                let state = self.state(&run).await?;
                Ok(accepted(&run.summary.id, &state, true))
            }
            Submitted::Conflict => Err(ApiError::new(
                422,
                "idempotency_key_reused",
                "This Idempotency-Key was used before with a different request. Use a new key for a new request.",
            )),
        }
    }

    async fn embedded_job(&self, submission: &Submission) -> Result<Ready, ApiError> {
        let asked =
            Asked { app_id: &submission.app_id, request_id: &submission.request_id, trace: submission.trace };
        let body = &submission.body;
        let mut prepared = match &submission.endpoint {
            Endpoint::Workflow => self.prepare_workflow(asked, body, None).await?,
            Endpoint::Version(id) => self.prepare_workflow(asked, body, Some(id)).await?,
            Endpoint::Chat => self.prepare_chat(asked, body).await?,
        };
        // One id for run, task and message: any process finds the run by what the caller knows.
        prepared.task_id.clone_from(&prepared.run_id);
        if let Some(chat) = &mut prepared.chat {
            chat.message_id.clone_from(&prepared.run_id);
        }
        let job = NewJob {
            run: prepared.new_run(),
            payload: embedded::payload(&prepared)?,
            repeatable: true,
            idempotency: None,
            callback_url: None,
        };
        Ok(Ready { job, accepted: queued(&prepared) })
    }

    /// The Dify that will run it judges the inputs; what every Dify would refuse is refused here.
    fn upstream_job(&self, submission: &Submission) -> Result<Ready, ApiError> {
        let Target::Upstream { name, app_name, mode, idempotent } = &submission.target else {
            return Err(ApiError::internal());
        };
        let session_id = request::user(&submission.body)?;
        let inputs = match (&submission.endpoint, mode.is_chat()) {
            (Endpoint::Chat, true) => ChatBody::read(&submission.body)?.inputs,
            (Endpoint::Chat, false) => return Err(ApiError::not_chat_app()),
            (_, true) => return Err(ApiError::not_workflow_app()),
            (_, false) => RunBody::read(&submission.body)?.inputs,
        };
        let upstreams = self.upstreams();
        if !upstreams.by_name.contains_key(name) || !upstreams.keys.contains_key(&submission.app_id) {
            tracing::error!(
                upstream = name,
                app = submission.app_id,
                "no address or key is configured for a durable run"
            );
            return Err(ApiError::unavailable("Durable runs are not configured for this app."));
        }
        let run_id = id::new();
        let version_id = match &submission.endpoint {
            Endpoint::Version(id) => id.clone(),
            Endpoint::Workflow | Endpoint::Chat => String::new(),
        };
        let run = NewRun {
            id: run_id.clone(),
            app_id: submission.app_id.clone(),
            app_name: app_name.clone(),
            mode: *mode,
            kind: JobKind::Upstream,
            upstream: Some(name.clone()),
            version_id,
            version: String::new(),
            end_user_id: None,
            session_id,
            task_id: Some(run_id),
            conversation_id: None,
            request_id: Some(submission.request_id.clone()),
            trace_id: Some(format!("{:032x}", submission.trace.trace_id)),
            inputs: Value::Object(inputs),
            created_at: self.inner.clock.now(),
        };
        let accepted = json!(queued_run(&run));
        let payload = upstream::payload(&submission.endpoint, &submission.body, submission.trace)?;
        let job = NewJob { run, payload, repeatable: *idempotent, idempotency: None, callback_url: None };
        Ok(Ready { job, accepted })
    }

    /// The current state of a run that was submitted before.
    async fn state(&self, run: &Run) -> Result<Value, ApiError> {
        let summary = &run.summary;
        if summary.conversation_id.is_some() && summary.kind == JobKind::Embedded {
            let message = self.inner.store.chats().message_of_run(&summary.id).await;
            let message = message.map_err(|error| reply::of_store("reading a message", error))?;
            return Ok(json!(chat_answer(run, message.as_ref())));
        }
        let task_id = summary.task_id.clone().unwrap_or_default();
        Ok(json!(Blocking { task_id, workflow_run_id: summary.id.clone(), data: run_data(run) }))
    }
}

fn accepted(run_id: &str, state: &Value, is_replay: bool) -> Response<Body> {
    let mut response = reply::run(StatusCode::ACCEPTED, state);
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/workflows/run/{run_id}")) {
        headers.insert(header::LOCATION, location);
    }
    headers.insert(HeaderName::from_static("preference-applied"), HeaderValue::from_static("respond-async"));
    if is_replay {
        headers.insert(HeaderName::from_static("idempotency-replayed"), HeaderValue::from_static("true"));
    }
    response
}

fn queued(prepared: &Prepared) -> Value {
    let run = prepared.new_run();
    let Some(chat) = &prepared.chat else { return json!(queued_run(&run)) };
    json!(QueuedChat {
        answer: ChatAnswer {
            event: "message".to_owned(),
            task_id: prepared.task_id.clone(),
            id: chat.message_id.clone(),
            message_id: chat.message_id.clone(),
            conversation_id: chat.conversation.id.clone(),
            mode: prepared.app.mode.as_str().to_owned(),
            answer: String::new(),
            metadata: Metadata::default(),
            created_at: prepared.created_at.unix_seconds(),
        },
        workflow_run_id: prepared.run_id.clone(),
        status: RunStatus::Queued.as_str().to_owned(),
    })
}

fn queued_run(run: &NewRun) -> Blocking {
    Blocking {
        task_id: run.task_id.clone().unwrap_or_default(),
        workflow_run_id: run.id.clone(),
        data: RunData {
            id: run.id.clone(),
            workflow_id: run.version_id.clone(),
            status: RunStatus::Queued.as_str().to_owned(),
            outputs: Map::new(),
            error: None,
            elapsed_time: 0.0,
            total_tokens: 0,
            total_steps: 0,
            created_at: run.created_at.unix_seconds(),
            finished_at: None,
        },
    }
}

fn idempotency(submission: &Submission, key: &str) -> Result<Idempotency, ApiError> {
    let is_visible = key.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY || !is_visible {
        return Err(ApiError::invalid_param(
            "Idempotency-Key must have between 1 and 255 visible ASCII characters.",
        ));
    }
    Ok(Idempotency {
        scope: submission.app_id.clone(),
        key: key.to_owned(),
        body_hash: format!("{} {}", submission.endpoint.path(), submission.body_hash),
    })
}

fn checked_callback(url: &str) -> Result<String, ApiError> {
    let parsed = url::Url::parse(url).ok().filter(|_| url.len() <= MAX_CALLBACK_URL);
    let usable = parsed.filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
    });
    match usable {
        Some(url) => Ok(url.to_string()),
        None => Err(ApiError::invalid_param(
            "Mainstay-Callback-Url must be an absolute http or https URL of at most 2048 bytes, without a user name \
             or password.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callbacks_go_to_plain_web_addresses_only() {
        assert!(checked_callback("https://example.org/hook?x=1").is_ok());
        let long = format!("https://example.org/{}", "x".repeat(MAX_CALLBACK_URL));
        for bad in
            ["", "example.org", "ftp://example.org/", "https://user:secret@example.org/", long.as_str()]
        {
            assert_eq!(checked_callback(bad).unwrap_err().status, 400, "{bad}");
        }
    }
}
