//! The model path: the model's targets in order, drained providers last, each with its own key and its own name for
//! the model.

use std::{borrow::Cow, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST},
};
use mainstay_base::{
    Snapshot,
    record::Path,
    snapshot::{Provider, ProviderKey, ProviderSecret},
};
use mainstay_net::{AddressRule, Body, Class};
use mainstay_wire::openai;
use serde_json::json;

use super::{Answer, join};
use crate::path::{
    bootstrap::Context,
    failure::{Failure, Reason},
    headers::{self, TRACEPARENT, TRACESTATE, X_REQUEST_ID},
    normalize::{Ask, CallBody, CallHead, ModelCall},
    policy::Permit,
    telemetry::Open,
};

/// Who answers about the models there are, in records.
const GATEWAY: &str = "gateway";

pub(super) async fn dispatch(
    context: &Context,
    call: ModelCall,
    permit: &Permit,
    record: &mut Open,
) -> Result<Answer, Failure> {
    let ModelCall { head, body, ask } = call;
    match (ask, body) {
        (Ask::Model(asked), CallBody::Whole { bytes, .. }) => {
            ask_in_order(context, &head, &bytes, &asked.name, permit, record).await
        }
        (Ask::Model(_), CallBody::Passing(_)) => {
            Err(Failure::new(Reason::ModelMissing, "a call of a model has a body that was read whole"))
        }
        (Ask::List, _) => Ok(Answer::new(context, Path::Model, GATEWAY, list(&context.snapshot))),
        (Ask::Describe { name }, _) if context.snapshot.model.models.contains_key(&name) => {
            Ok(Answer::new(context, Path::Model, GATEWAY, answer(&description(&name))))
        }
        (Ask::Describe { name }, _) => Err(unknown(name)),
    }
}

/// One provider and the name under which it knows the model.
struct Candidate<'a> {
    provider: &'a Arc<Provider>,
    model: &'a str,
}

async fn ask_in_order(
    context: &Context,
    head: &CallHead,
    body: &Bytes,
    name: &str,
    _permit: &Permit,
    record: &mut Open,
) -> Result<Answer, Failure> {
    let candidates = candidates(&context.snapshot, name);
    if candidates.is_empty() {
        return Err(unknown(name.to_owned()));
    }
    let mut left = candidates.len();
    let mut last_failure = None;
    for Candidate { provider, model } in candidates {
        left -= 1;
        let begun = Instant::now();
        match ask(context, provider, head, body, name, model).await {
            Ok(response) if left > 0 && is_worth_another(response.status()) => {
                let why = format!("{}: another provider is asked", response.status());
                record.attempt(&provider.name, begun, Some(response.status().as_u16()), Some(why));
            }
            Ok(response) => {
                record.attempt(&provider.name, begun, Some(response.status().as_u16()), None);
                return Ok(Answer::new(context, Path::Model, provider.name.clone(), response));
            }
            Err(failure) => {
                record.attempt(&provider.name, begun, None, Some(failure.internal.clone().into_owned()));
                last_failure = Some(failure);
            }
        }
    }
    Err(last_failure.unwrap_or_else(|| Failure::new(Reason::NoCandidate, "no provider is left")))
}

/// Drained providers stay in the list, last: a drained answer is better than none.
fn candidates<'a>(snapshot: &'a Snapshot, name: &'a str) -> Vec<Candidate<'a>> {
    let routes = &snapshot.model;
    let mut candidates: Vec<Candidate<'a>> = match routes.models.get(name) {
        Some(model) => model
            .targets
            .iter()
            .map(|target| Candidate { provider: &target.provider, model: &target.model })
            .collect(),
        None => routes.other_models_to.iter().map(|provider| Candidate { provider, model: name }).collect(),
    };
    candidates.sort_by_key(|candidate| routes.drained.contains(&candidate.provider.name));
    candidates
}

async fn ask(
    context: &Context,
    provider: &Provider,
    head: &CallHead,
    body: &Bytes,
    asked_model: &str,
    model: &str,
) -> Result<Response<Body>, Failure> {
    let body = match model == asked_model {
        true => body.clone(),
        false => openai::with_model(body, model).map_or_else(|| body.clone(), Bytes::from),
    };
    let request = request(context, provider, head, body).map_err(|error| {
        Failure::new(Reason::Unreachable, format!("{}: no valid request: {error}", provider.name))
    })?;
    let client = &context.gateway.ports().client;
    client.send(request, &provider.timeouts, AddressRule::Any).await.map_err(|error| match error.class() {
        Class::RequestBody => Failure::new(Reason::BrokenOff, format!("{}: {error}", provider.name)),
        _ => Failure::send(&provider.name, &error),
    })
}

fn request(
    context: &Context,
    provider: &Provider,
    head: &CallHead,
    body: Bytes,
) -> Result<Request<Body>, http::Error> {
    let below_version = head.path.strip_prefix("/v1").unwrap_or(&head.path);
    let uri = Uri::try_from(join(&provider.base_url, below_version, head.query.as_deref()))?;
    let mut headers = head.headers.clone();
    headers::strip_hop_by_hop(&mut headers);
    headers::strip_own(&mut headers);
    headers::strip_keys(&mut headers);
    // The caller's cookies are nobody's; usage is read from answers that are not compressed.
    for name in [COOKIE, ACCEPT_ENCODING, CONTENT_LENGTH] {
        headers.remove(name);
    }
    if let Some(ProviderKey { secret: ProviderSecret::Token(key), .. }) = provider.keys.first() {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    if let Some(authority) = uri.authority() {
        headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
    }
    headers.insert(X_REQUEST_ID, HeaderValue::from_str(&context.request_id)?);
    headers.insert(TRACEPARENT, HeaderValue::from_str(&context.trace.to_string())?);
    if !context.continues_trace {
        headers.remove(TRACESTATE);
    }
    let mut request = Request::new(mainstay_net::full(body));
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// 401 and 403 are about our key at that provider: the caller's own was found good before.
fn is_worth_another(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn unknown(model: String) -> Failure {
    let internal = format!("no route has the model {model}");
    Failure::new(Reason::ModelUnknown { model }, Cow::Owned(internal))
}

fn list(snapshot: &Snapshot) -> Response<Body> {
    let mut names: Vec<&String> = snapshot.model.models.keys().collect();
    names.sort_unstable();
    let models: Vec<_> = names.into_iter().map(|name| description(name)).collect();
    answer(&json!({ "object": "list", "data": models }))
}

fn description(name: &str) -> serde_json::Value {
    json!({ "id": name, "object": "model", "created": 0, "owned_by": "mainstay" })
}

fn answer(body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(mainstay_net::full(body.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
