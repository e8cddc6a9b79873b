//! The app path: a durable port first where the call is for it, then the app's candidates.

use std::{sync::Arc, time::Instant};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header::HOST};
use mainstay_base::{
    record::Path,
    snapshot::{Target, Upstream},
};
use mainstay_net::{AddressRule, Body, Class};

use super::{Answer, join};
use crate::{
    path::{
        bootstrap::{Caller, Context},
        failure::{Failure, Reason},
        headers::{self, PREFERENCE_APPLIED, TRACEPARENT, TRACESTATE, X_REQUEST_ID},
        normalize::{AppCall, CallBody, CallHead, Task, read},
        policy::Permit,
        telemetry::Open,
    },
    ports::{BoxFuture, EmbeddedCall},
};

/// Who answers for stored runs, in records.
const DURABLE: &str = "durable runs";

/// One candidate gave no answer.
struct Missed {
    failure: Failure,
    /// Another may be asked without doing anything twice.
    may_ask_another: bool,
}

pub(super) async fn dispatch(
    context: &Context,
    call: AppCall,
    permit: &Permit,
    record: &mut Open,
) -> Result<Answer, Failure> {
    let AppCall { head, body, task } = call;
    let durable = context.gateway.ports().durable.as_ref();
    match (task, durable) {
        (Task::Submit(submission), Some(durable)) => {
            let mut response = in_time(context, durable.submit(*submission)).await?;
            if response.status() == StatusCode::ACCEPTED {
                let applied = HeaderValue::from_static("respond-async");
                response.headers_mut().entry(PREFERENCE_APPLIED).or_insert(applied);
            }
            return Ok(Answer::new(context, Path::App, DURABLE, response));
        }
        (Task::Find { route, run_id }, Some(durable)) => {
            if let Some(response) = in_time(context, durable.find(route, run_id)).await? {
                return Ok(Answer::new(context, Path::App, DURABLE, response));
            }
        }
        _ => {}
    }
    ask_in_order(context, head, &body, permit, record).await
}

/// The store behind stored runs may hang, and must not hang its callers with it.
async fn in_time<T>(context: &Context, answer: BoxFuture<'_, T>) -> Result<T, Failure> {
    let wait = context.gateway.ports().limits.durable_wait;
    tokio::time::timeout(wait, answer).await.map_err(|_| {
        let text = format!("{DURABLE}: no answer within {} ms (durable_wait)", wait.as_millis());
        Failure::new(Reason::NoAnswerInTime, text)
    })
}

async fn ask_in_order(
    context: &Context,
    mut head: CallHead,
    body: &CallBody,
    _permit: &Permit,
    record: &mut Open,
) -> Result<Answer, Failure> {
    let candidates = context.caller.candidates();
    let mut left = candidates.len();
    for upstream in candidates {
        left -= 1;
        let begun = Instant::now();
        // The last candidate gets the headers themselves.
        let headers = if left == 0 { std::mem::take(&mut head.headers) } else { head.headers.clone() };
        let asked = ask(context, upstream, &head, headers, body).await;
        if let (CallBody::Passing(passing), Some(record)) = (body, record.known()) {
            record.bytes_in = passing.passed_bytes();
        }
        match asked {
            Ok(response)
                if left > 0
                    && is_idempotent(&head.method)
                    && body.is_there()
                    && is_gateway_error(response.status()) =>
            {
                let why = "a gateway's error on a call that may be repeated".to_owned();
                record.attempt(&upstream.name, begun, Some(response.status().as_u16()), Some(why));
            }
            Ok(response) => {
                record.attempt(&upstream.name, begun, Some(response.status().as_u16()), None);
                return Ok(Answer::new(context, Path::App, upstream.name.clone(), response));
            }
            Err(Missed { failure, may_ask_another }) => {
                record.attempt(&upstream.name, begun, None, Some(failure.internal.clone().into_owned()));
                if left == 0 || !may_ask_another {
                    return Err(failure);
                }
            }
        }
    }
    Err(Failure::new(Reason::NoCandidate, "no upstream is configured for this app"))
}

async fn ask(
    context: &Context,
    upstream: &Arc<Upstream>,
    head: &CallHead,
    headers: HeaderMap,
    body: &CallBody,
) -> Result<Response<Body>, Missed> {
    match &upstream.target {
        Target::Embedded => ask_embedded(context, upstream, head, headers, body).await,
        Target::Http { base_url } => ask_http(context, upstream, base_url, head, headers, body).await,
    }
}

async fn ask_embedded(
    context: &Context,
    upstream: &Upstream,
    head: &CallHead,
    headers: HeaderMap,
    body: &CallBody,
) -> Result<Response<Body>, Missed> {
    let missed = |failure, may_ask_another| Missed { failure, may_ask_another };
    let Caller::App { route, .. } = &context.caller else {
        let failure = Failure::new(Reason::UnknownKey, "the embedded engine knows no app of this key");
        return Err(missed(failure, true));
    };
    let Some(embedded) = &context.gateway.ports().embedded else {
        return Err(missed(Failure::new(Reason::NoCandidate, "this gateway has no embedded engine"), true));
    };
    // A body that was passing to candidates that could not be reached is read now; `_read` keeps its memory counted.
    let limit_bytes = context.gateway.ports().limits.max_embedded_body_bytes;
    let (bytes, _read) = match body {
        CallBody::Whole { bytes, .. } => (bytes.clone(), None),
        CallBody::Passing(passing) => {
            let read = read(context, head, passing.attempt(), limit_bytes).await;
            let read = read.map_err(|failure| missed(failure, false))?;
            (read.bytes(), Some(read))
        }
    };
    let call = EmbeddedCall {
        route: route.clone(),
        method: head.method.clone(),
        path: head.path.clone(),
        query: head.query.clone(),
        headers,
        body: bytes,
        request_id: context.request_id.as_ref().to_owned(),
        trace: context.trace,
    };
    let started = tokio::time::Instant::now();
    let wait = upstream.timeouts.first_byte;
    let answered = tokio::time::timeout(wait, embedded.call(call)).await;
    answered.map(|answer| answer.map(|body| mainstay_net::timed(body, &upstream.timeouts, started))).map_err(
        |_| {
            let text =
                format!("{}: no answer within {} ms (first byte timeout)", upstream.name, wait.as_millis());
            missed(Failure::new(Reason::NoAnswerInTime, text), is_idempotent(&head.method))
        },
    )
}

async fn ask_http(
    context: &Context,
    upstream: &Upstream,
    base_url: &str,
    head: &CallHead,
    headers: HeaderMap,
    body: &CallBody,
) -> Result<Response<Body>, Missed> {
    let request = request(context, base_url, head, headers, body).map_err(|error| Missed {
        failure: Failure::new(Reason::Unreachable, format!("{}: no valid URL: {error}", upstream.name)),
        may_ask_another: true,
    })?;
    let sent = context.gateway.ports().client.send(request, &upstream.timeouts, AddressRule::Any).await;
    sent.map_err(|error| {
        if let (Class::RequestBody | Class::Closed, CallBody::Passing(passing)) = (error.class(), body)
            && let Some(failure) = passing.failure()
        {
            return Missed { failure, may_ask_another: false };
        }
        let is_harmless = error.is_before_send() || is_idempotent(&head.method);
        Missed {
            failure: Failure::send(&upstream.name, &error),
            may_ask_another: is_harmless && body.is_there(),
        }
    })
}

/// The caller's request with the headers of this hop.
fn request(
    context: &Context,
    base_url: &str,
    head: &CallHead,
    mut headers: HeaderMap,
    body: &CallBody,
) -> Result<Request<Body>, http::Error> {
    let uri = Uri::try_from(join(base_url, &head.path, head.query.as_deref()))?;
    headers::strip_hop_by_hop(&mut headers);
    headers::strip_own(&mut headers);
    headers::add_forwarded(&mut headers, context.peer);
    if let Some(authority) = uri.authority() {
        headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
    }
    headers.insert(X_REQUEST_ID, HeaderValue::from_str(&context.request_id)?);
    headers.insert(TRACEPARENT, HeaderValue::from_str(&context.trace.to_string())?);
    if !context.continues_trace {
        headers.remove(TRACESTATE);
    }
    let body = match body {
        CallBody::Whole { bytes, .. } if bytes.is_empty() => mainstay_net::empty(),
        CallBody::Whole { bytes, .. } => mainstay_net::full(bytes.clone()),
        CallBody::Passing(passing) => passing.attempt(),
    };
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Said by a proxy whose Dify is not there.
fn is_gateway_error(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}
