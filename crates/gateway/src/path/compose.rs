//! Stage 6: the only place where a failure becomes a status and a body, in the words of the path's dialect. The
//! internal message stays in the record.

use std::time::Duration;

use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    response::Parts,
};
use mainstay_base::{
    Class,
    record::{Path, StageName},
};
use mainstay_net::Body;
use mainstay_wire::dify::ApiError;

use super::{
    deliver::{self, Delivery, Source},
    execute::Answer,
    failure::{Failure, Reason},
    headers::X_REQUEST_ID,
    policy::{Checked, Permit},
    stream::Streaming,
    telemetry::Open,
    watch::kind_of_status,
};

mod openai;

/// A full gateway is told to be asked again soon; a missing upstream, a little later.
const RETRY_SATURATED: Duration = Duration::from_secs(1);
const RETRY_UNREACHABLE: Duration = Duration::from_secs(5);

pub(crate) fn reply(outcome: Result<Checked, Failure>, record: Open) -> Response<Body> {
    match outcome {
        Ok(Checked { answer, permit }) => deliver(answer, permit, record),
        Err(failure) => refuse(&failure, record),
    }
}

fn deliver(answer: Answer, permit: Permit, mut record: Open) -> Response<Body> {
    let Answer { response, path, is_event_stream, limits, streaming, account, .. } = answer;
    let (mut head, body) = response.into_parts();
    // On the model path what streams comes as such; sound in events, say, passes as bytes.
    let relays_events = is_event_stream && path == Path::App;
    let is_event_stream = is_event_stream || streaming.is_some();
    let status = head.status.as_u16();
    let mut is_head = false;
    if let Some(record) = record.known() {
        record.status = status;
        record.streamed = is_event_stream;
        record.kind = kind_of_status(path, status);
        is_head = record.method == "HEAD";
    }
    if let Some(account) = account {
        account.write(&mut head.headers);
    }
    if let Some(streaming) = streaming {
        return stream(head, *streaming, permit, record);
    }
    let never_read = is_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let source = if relays_events {
        // The length is not known any more: an error event may be added.
        head.headers.remove(CONTENT_LENGTH);
        Source::events(body, limits.max_event_bytes)
    } else {
        let announced =
            head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let is_readable = path == Path::App && is_json(&head) && !head.headers.contains_key(CONTENT_ENCODING);
        let max_seen = if is_readable { limits.max_watched_answer_bytes } else { 0 };
        Source::plain(body, max_seen, announced)
    };
    stamp(&mut head.headers, &record);
    note(
        &mut record,
        if relays_events { "the answer is relayed event by event" } else { "the answer is passed on" },
    );
    Response::from_parts(head, Delivery::start(source, Some(permit), record, never_read))
}

/// A model's stream. A converted one has the head of another kind of body.
fn stream(mut head: Parts, streaming: Streaming, permit: Permit, mut record: Open) -> Response<Body> {
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    stamp(&mut head.headers, &record);
    note(&mut record, "the model's stream is relayed piece by piece");
    Response::from_parts(head, deliver::model::deliver(streaming, permit, record))
}

fn refuse(failure: &Failure, mut record: Open) -> Response<Body> {
    let path = record.known().map_or(Path::App, |record| record.path);
    let (status, body) = match path {
        Path::App => dify(&failure.reason),
        Path::Model => openai::words(&failure.reason),
    };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match &failure.reason {
        Reason::NoCredentials | Reason::WrongScheme | Reason::UnknownKey => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"api\""));
        }
        Reason::WrongMethod => {
            let allowed = match path {
                Path::App => "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS",
                Path::Model => "GET, HEAD, POST",
            };
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        reason => {
            if let Some(wait) = retry_after(reason) {
                headers.insert(RETRY_AFTER, whole_seconds(wait).into());
            }
        }
    }
    if let Some(account) = &failure.account {
        account.write(headers);
    }
    let mut is_head = false;
    if let Some(record) = record.known() {
        record.status = status;
        is_head = record.method == "HEAD";
    }
    stamp(headers, &record);
    note(&mut record, "the failure is told in the words of the path's dialect");
    let source = Source::plain(mainstay_net::full(body), 0, None);
    response.map(|()| Delivery::start(source, None, record, is_head))
}

/// When it is worth asking again.
fn retry_after(reason: &Reason) -> Option<Duration> {
    match reason {
        Reason::Saturated => Some(RETRY_SATURATED),
        Reason::Unreachable | Reason::NoCandidate | Reason::BudgetUnreachable => Some(RETRY_UNREACHABLE),
        Reason::KeyLimited { retry_after, .. } | Reason::BudgetSpent { retry_after } => Some(*retry_after),
        Reason::Provider(failed) => match failed.class {
            Class::RateLimited => Some(failed.retry_after.unwrap_or(RETRY_UNREACHABLE)),
            class if openai::status_of(class) == 503 => Some(failed.retry_after.unwrap_or(RETRY_UNREACHABLE)),
            _ => failed.retry_after,
        },
        _ => None,
    }
}

/// The header has no smaller unit; rounding down would ask for a refusal.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).try_into().map_or(u64::MAX, |seconds: u64| seconds.max(1))
}

fn stamp(headers: &mut http::HeaderMap, record: &Open) {
    if let Ok(id) = HeaderValue::from_str(record.request_id()) {
        headers.insert(X_REQUEST_ID, id);
    }
}

fn note(record: &mut Open, condition: &'static str) {
    record.passed(StageName::Compose, condition);
}

fn is_json(head: &Parts) -> bool {
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|text| text.starts_with("application/json"))
}

/// Dify's shape: `{"code", "message", "status"}`.
fn dify(reason: &Reason) -> (u16, String) {
    let error = match reason {
        Reason::NoCredentials => {
            ApiError::unauthorized("Authorization header must be provided and start with 'Bearer'")
        }
        Reason::WrongScheme => ApiError::unauthorized("Authorization scheme must be 'Bearer'"),
        Reason::UnknownKey => ApiError::unauthorized("Access token is invalid"),
        Reason::NoSuchPath => ApiError::unknown_path(),
        Reason::WrongMethod => ApiError::method_not_allowed(),
        Reason::BadPath => ApiError::bad_request("The path of the URL is not acceptable."),
        Reason::BadHeader { name, why } => ApiError::invalid_param(format!("{name} {why}.")),
        Reason::BodyTooLarge { .. } => ApiError::too_large(),
        Reason::BodyTooSlow => {
            ApiError::new(408, "request_timeout", "The body of the request came too slowly.")
        }
        Reason::BodyBroken => ApiError::bad_request("The body of the request did not come to its end."),
        Reason::MalformedJson => ApiError::malformed_json(),
        Reason::NotJson | Reason::NotForm => ApiError::not_json_type(),
        Reason::BadField { name, why } => ApiError::invalid_param(format!("{name} {why}.")),
        Reason::MalformedForm { .. } => ApiError::bad_request("The form cannot be read."),
        // These are the model path's, which has words of its own.
        Reason::ModelMissing
        | Reason::ModelUnknown { .. }
        | Reason::ModelNotAllowed { .. }
        | Reason::NoTargetFits { .. }
        | Reason::CostCeiling => ApiError::invalid_param("The model is not known."),
        Reason::KeyLimited { .. } | Reason::BudgetSpent { .. } => {
            ApiError::new(429, "too_many_requests", "The key's limit is reached. Please try again later.")
        }
        Reason::Saturated => ApiError::unavailable("The gateway is busy. Please try again in a moment."),
        Reason::NoCandidate | Reason::Unreachable | Reason::BudgetUnreachable => {
            ApiError::unavailable("The answering service cannot be reached. Please try again later.")
        }
        Reason::NoAnswerInTime | Reason::DeadlineOver => {
            ApiError::new(504, "gateway_timeout", "The answering service did not answer in time.")
        }
        Reason::BrokenOff | Reason::Provider(_) => {
            ApiError::new(502, "bad_gateway", "The answering service broke off before it answered.")
        }
        Reason::Panicked => ApiError::internal(),
    };
    (error.status, error.body())
}
