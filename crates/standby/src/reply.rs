//! Responses with Dify's headers.

use http::{
    HeaderValue, Response, StatusCode,
    header::{self, HeaderName},
};
use mainstay_net::{Body, full};
use mainstay_store::StoreError;
use mainstay_wire::dify::{
    ApiError, DIFY_VERSION,
    answer::{flask_body, run_body},
};
use serde::Serialize;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Dify's own runs answer with a charset, its other answers without.
const RUN_JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

/// An answer that is no run's.
pub(crate) fn json(status: StatusCode, answer: &impl Serialize) -> Response<Body> {
    with_type(status, JSON, flask_body(answer))
}

pub(crate) fn ok(answer: &impl Serialize) -> Response<Body> {
    json(StatusCode::OK, answer)
}

pub(crate) fn text(body: &'static str) -> Response<Body> {
    with_type(StatusCode::OK, JSON, body)
}

/// A blocking run's answer, or that a run was accepted.
pub(crate) fn run(status: StatusCode, answer: &impl Serialize) -> Response<Body> {
    with_type(status, RUN_JSON, run_body(answer))
}

pub(crate) fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, EVENT_STREAM);
    response
}

pub(crate) fn refusal(error: &ApiError) -> Response<Body> {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = with_type(status, JSON, error.body());
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer realm=\"api\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Logged here, where the failure stops; the caller learns no more than it can use.
pub(crate) fn of_store(doing: &'static str, error: StoreError) -> ApiError {
    match error {
        StoreError::TooLarge { .. } | StoreError::TooMuch(_) => ApiError::too_large(),
        StoreError::Unavailable(_) => {
            tracing::warn!(%error, "{doing}: the store is away");
            ApiError::unavailable("The service cannot reach its database. Please try again later.")
        }
        StoreError::Bug(_) => {
            tracing::error!(%error, "{doing}: the store failed");
            ApiError::internal()
        }
    }
}

/// Adds what every answer of a Dify carries.
pub(crate) fn stamped(mut response: Response<Body>, environment: &str) -> Response<Body> {
    let environment = HeaderValue::from_str(environment).unwrap_or(HeaderValue::from_static("PRODUCTION"));
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let exposed = HeaderValue::from_static("X-Env, X-Trace-Id, X-Version");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    headers.insert(HeaderName::from_static("x-version"), HeaderValue::from_static(DIFY_VERSION));
    headers.insert(HeaderName::from_static("x-env"), environment);
    response
}

fn with_type(status: StatusCode, kind: HeaderValue, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
