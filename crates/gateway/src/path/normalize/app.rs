//! The app path's calls: which endpoint, which of its bodies is read whole, and whether it becomes a durable run.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::Method;
use http_body::Body as _;
use mainstay_base::{
    Record, Secret,
    snapshot::{AppRoute, Target},
};
use mainstay_net::Body;
use url::Url;

use super::{CallBody, CallHead, Passing, read, refuse_announced};
use crate::{
    path::{
        bootstrap::{Caller, Context},
        failure::{Failure, Reason},
        headers::{self, CALLBACK_URL, IDEMPOTENCY_KEY},
        telemetry::Told,
    },
    ports::{Endpoint, Submission},
};

const MAX_IDEMPOTENCY_KEY: usize = 255;
const MAX_CALLBACK_URL: usize = 2048;

pub(crate) struct AppCall {
    pub(crate) head: CallHead,
    pub(crate) body: CallBody,
    pub(crate) task: Task,
}

/// What the call asks for, as far as the path must know.
pub(crate) enum Task {
    /// A run, answered when it ends or as it goes.
    Run,
    /// A run to be stored now and executed later.
    Submit(Box<Submission>),
    /// The state of a run that may be one of the stored ones.
    Find { route: Arc<AppRoute>, run_id: String },
    /// Everything else of the Service API.
    Other,
}

pub(super) async fn call(context: &Context, head: CallHead, body: Body) -> Result<AppCall, Failure> {
    let Some(endpoint) = run_endpoint(&head) else { return other(context, head, body).await };
    let limits = &context.gateway.ports().limits;
    let body = read(context, &head, body, limits.max_run_body_bytes).await?;
    let CallBody::Whole { bytes, .. } = &body else {
        return Ok(AppCall { head, body, task: Task::Run });
    };
    if let Some((endpoint, route, key)) = durable(context, &head, endpoint) {
        let submission = submission(context, &head, bytes, endpoint, route, key)?;
        return Ok(AppCall { head, body, task: Task::Submit(Box::new(submission)) });
    }
    // Whoever answers has words of its own for a body it cannot read, so nothing is judged here.
    Ok(AppCall { head, body, task: Task::Run })
}

/// Calls that are not runs pass through, unless the embedded engine comes first: it takes whole bodies.
async fn other(context: &Context, head: CallHead, body: Body) -> Result<AppCall, Failure> {
    let task = find_task(context, &head).unwrap_or(Task::Other);
    let limits = &context.gateway.ports().limits;
    let first = context.caller.candidates().first();
    let embedded_first = first.is_some_and(|first| first.target == Target::Embedded);
    let body = if embedded_first || body.is_end_stream() {
        read(context, &head, body, limits.max_embedded_body_bytes).await?
    } else {
        refuse_announced(&head, limits.max_passing_body_bytes)?;
        CallBody::Passing(Passing::new(body, limits.max_passing_body_bytes, limits.body_read))
    };
    Ok(AppCall { head, body, task })
}

/// `Some(None)` is a run endpoint that has no durable form.
fn run_endpoint(head: &CallHead) -> Option<Option<Endpoint>> {
    if head.method != Method::POST {
        return None;
    }
    match head.path.strip_prefix("/v1/")? {
        "workflows/run" => Some(Some(Endpoint::RunWorkflow)),
        "chat-messages" => Some(Some(Endpoint::ChatMessages)),
        "completion-messages" => Some(None),
        path => {
            let workflow_id = path.strip_prefix("workflows/")?.strip_suffix("/run")?;
            let workflow_id = Some(workflow_id).filter(|id| !id.is_empty() && !id.contains('/'))?.to_owned();
            Some(Some(Endpoint::RunWorkflowVersion { workflow_id }))
        }
    }
}

/// The parts of a submission, when the caller prefers one and the app allows it. RFC 7240 lets a server ignore a
/// preference; the missing `Preference-Applied` tells.
fn durable(
    context: &Context,
    head: &CallHead,
    endpoint: Option<Endpoint>,
) -> Option<(Endpoint, Arc<AppRoute>, Secret)> {
    let Caller::App { route, key } = &context.caller else { return None };
    let served = route.durable && context.gateway.ports().durable.is_some();
    (served && headers::prefers_async(&head.headers))
        .then_some(endpoint?)
        .map(|endpoint| (endpoint, route.clone(), key.clone()))
}

fn submission(
    context: &Context,
    head: &CallHead,
    bytes: &Bytes,
    endpoint: Endpoint,
    route: Arc<AppRoute>,
    key: Secret,
) -> Result<Submission, Failure> {
    let body = serde_json::from_slice(bytes)
        .map_err(|error| Failure::new(Reason::MalformedJson, format!("the body is not JSON: {error}")))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(head.path.as_bytes()).update(b"\n").update(bytes);
    Ok(Submission {
        route,
        endpoint,
        body,
        body_hash: hasher.finalize().to_hex().to_string(),
        idempotency_key: idempotency_key(head)?,
        callback_url: callback_url(head)?,
        key,
        request_id: context.request_id.as_ref().to_owned(),
        trace: context.trace,
    })
}

fn idempotency_key(head: &CallHead) -> Result<Option<String>, Failure> {
    let Some(value) = head.headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => {
            let reason = Reason::BadHeader {
                name: "Idempotency-Key",
                why: "must be 1 to 255 visible ASCII characters",
            };
            Err(Failure::new(reason, "Idempotency-Key is empty, too long or not visible ASCII"))
        }
    }
}

fn callback_url(head: &CallHead) -> Result<Option<String>, Failure> {
    let Some(value) = head.headers.get(CALLBACK_URL) else { return Ok(None) };
    match value
        .to_str()
        .ok()
        .filter(|text| text.len() <= MAX_CALLBACK_URL)
        .and_then(|text| Url::parse(text).ok())
    {
        Some(url) if is_callable(&url) => Ok(Some(url.into())),
        _ => {
            let why = "must be an absolute http or https URL without user name, password and fragment";
            let reason = Reason::BadHeader { name: "Mainstay-Callback-Url", why };
            Err(Failure::new(reason, "Mainstay-Callback-Url is not a URL that can be called back"))
        }
    }
}

fn is_callable(url: &Url) -> bool {
    let is_http =
        matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty());
    is_http && url.username().is_empty() && url.password().is_none() && url.fragment().is_none()
}

fn find_task(context: &Context, head: &CallHead) -> Option<Task> {
    let Caller::App { route, .. } = &context.caller else { return None };
    let served = route.durable && context.gateway.ports().durable.is_some();
    if !served || head.method != Method::GET {
        return None;
    }
    let run_id = head.path.strip_prefix("/v1/workflows/run/")?;
    let is_id = !run_id.is_empty() && !run_id.contains('/');
    is_id.then(|| Task::Find { route: route.clone(), run_id: run_id.to_owned() })
}

impl Told for AppCall {
    fn told(&self, record: &mut Record) -> Cow<'static, str> {
        record.bytes_in = self.body.known_bytes();
        Cow::Borrowed(match (&self.task, &self.body) {
            (Task::Run, _) => "a run, its body read whole",
            (Task::Submit(_), _) => "respond-async is preferred and this app is durable",
            (Task::Find { .. }, _) => "the state of a run, which may be a stored one",
            (Task::Other, CallBody::Whole { .. }) => "not a run; its body was read whole",
            (Task::Other, CallBody::Passing(_)) => "not a run; its body passes through",
        })
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn head(method: Method, path: &str) -> CallHead {
        CallHead { method, path: path.to_owned(), query: None, headers: HeaderMap::new() }
    }

    #[test]
    fn the_run_endpoints_are_told_apart() {
        let version = Endpoint::RunWorkflowVersion { workflow_id: "abc".to_owned() };
        for (method, path, expected) in [
            (Method::POST, "/v1/workflows/run", Some(Some(Endpoint::RunWorkflow))),
            (Method::POST, "/v1/workflows/abc/run", Some(Some(version))),
            (Method::POST, "/v1/chat-messages", Some(Some(Endpoint::ChatMessages))),
            (Method::POST, "/v1/completion-messages", Some(None)),
            (Method::POST, "/v1/workflows//run", None),
            (Method::POST, "/v1/workflows/a/b/run", None),
            (Method::POST, "/v1/workflows/tasks/t/stop", None),
            (Method::POST, "/v1/files/upload", None),
            (Method::GET, "/v1/workflows/run", None),
        ] {
            assert_eq!(run_endpoint(&head(method, path)), expected, "{path}");
        }
    }

    #[test]
    fn a_callback_must_be_a_url_that_can_be_called() {
        let read = |value: &'static str| {
            let mut head = head(Method::POST, "/v1/workflows/run");
            head.headers.insert(CALLBACK_URL, HeaderValue::from_static(value));
            callback_url(&head).map_err(|_| ())
        };
        assert_eq!(read("https://example.com/hook?x=1"), Ok(Some("https://example.com/hook?x=1".to_owned())));
        for bad in ["", "/hook", "ftp://example.com", "https://", "https://u:p@example.com", "https://a/#b"] {
            assert_eq!(read(bad), Err(()), "{bad}");
        }
    }
}
