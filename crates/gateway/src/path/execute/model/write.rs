//! A call as a target's provider wants it: its URL, its words, its credentials, and what the route changes for it.
//!
//! In the caller's own dialect only what must change is changed, byte for byte; in another the call goes through the
//! inner form.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{CONNECTION, CONTENT_TYPE, HOST},
};
use mainstay_base::{
    Class,
    snapshot::{CacheSystem, Dialect, ModelTarget, Provider, ProviderSecret},
};
use mainstay_net::Body;
use mainstay_wire::llm::{
    self, Facts, Outgoing, anthropic, azure, bedrock, embeddings, gemini, openai, rerank, responses,
};

use super::order::Order;
use crate::path::{
    execute::join,
    headers::{TRACEPARENT, TRACESTATE, X_REQUEST_ID},
    normalize::Endpoint,
    stream::Said,
};

mod body;

use body::{same, shortened, too_long, without_refused};

/// The request cannot be made for this target.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub(super) class: Class,
    pub(super) why: String,
}

impl Unwritten {
    fn new(class: Class, why: impl ToString) -> Unwritten {
        Unwritten { class, why: why.to_string() }
    }
}

/// Where and what, before host and credentials.
struct Draft {
    path: String,
    query: Option<String>,
    body: Bytes,
    /// Headers of the dialect; the caller's own go along only in its own dialect.
    headers: Option<Vec<(&'static str, String)>>,
}

/// The request for the target at `index` of the chain, with the provider's key at `key`. `said`: an answer to go on from.
pub(super) fn request(
    order: &Order,
    index: usize,
    key: Option<usize>,
    said: Option<&Said>,
) -> Result<Request<Body>, Unwritten> {
    let target = order.target(index);
    let Draft { path, query, body, headers } = draft(order, target, said)?;
    let url = join(&target.provider.base_url, &path, query.as_deref());
    let uri = Uri::try_from(url).map_err(|error| Unwritten::new(Class::NotConvertible, error))?;
    let mut map = match headers {
        None => passed_on(&order.head.headers),
        Some(own) => of_dialect(own),
    };
    stamp(order, &uri, &mut map).map_err(|error| Unwritten::new(Class::NotConvertible, error))?;
    authorize(order, index, key, &uri, &body, &mut map)?;
    let mut request = Request::new(mainstay_net::full(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.headers_mut() = map;
    Ok(request)
}

fn draft(order: &Order, target: &ModelTarget, said: Option<&Said>) -> Result<Draft, Unwritten> {
    let endpoint = order.asked.endpoint;
    let below = endpoint.path().strip_prefix("/v1").unwrap_or(endpoint.path());
    if order.passes(target, said.is_some()) {
        // No endpoint of models has a query, and some relays take one before the body: `?model=…` would be a way
        // around what a key may ask for.
        let (path, query) = place(target, below.to_owned())?;
        let body = same(order, target, said.map(|said| &*said.text))?;
        return Ok(Draft { path, query, body, headers: None });
    }
    let Outgoing { path, query, headers, body } = converted(order, target, endpoint, said)?;
    let body = without_refused(target, body);
    match &target.provider.dialect {
        Dialect::Azure { .. } => {
            let (path, query) = place(target, path)?;
            Ok(Draft { path, query, body, headers: Some(headers) })
        }
        _ => Ok(Draft { path, query, body, headers: Some(headers) }),
    }
}

/// Where a path of OpenAI's is below the provider's base URL.
fn place(target: &ModelTarget, below: String) -> Result<(String, Option<String>), Unwritten> {
    let Dialect::Azure { api_version } = &target.provider.dialect else { return Ok((below, None)) };
    let base = &target.provider.base_url;
    let place = azure::path(base, &target.model, below.trim_start_matches('/'), api_version);
    let azure::Place { path, query } = place.map_err(|error| Unwritten::new(Class::NotConvertible, error))?;
    Ok((path, query))
}

fn converted(
    order: &Order,
    target: &ModelTarget,
    endpoint: Endpoint,
    said: Option<&Said>,
) -> Result<Outgoing, Unwritten> {
    // What cannot be read here may be what only the caller's dialect has: who speaks it judges for himself.
    let unreadable = |error: llm::Unreadable| Unwritten::new(Class::NotConvertible, error);
    let unwritable = |error| Unwritten::new(Class::NotConvertible, error);
    let dialect = &target.provider.dialect;
    match endpoint {
        Endpoint::Embeddings => {
            let mut request =
                embeddings::read_request(&shortened(order, target, None)?).map_err(unreadable)?;
            request.model.clone_from(&target.model);
            embeddings::write_request(dialect, &request).map_err(unwritable)
        }
        Endpoint::Rerank => {
            let mut request = rerank::read_request(&shortened(order, target, None)?).map_err(unreadable)?;
            request.model.clone_from(&target.model);
            rerank::write_request(dialect, &request).map_err(unwritable)
        }
        Endpoint::Chat => {
            let body = shortened(order, target, said.map(|said| &*said.text))?;
            chat(order, target, openai::read_request(&body).map_err(unreadable)?)
        }
        Endpoint::Completions => {
            let body = shortened(order, target, None)?;
            chat(order, target, openai::read_completion_request(&body).map_err(unreadable)?)
        }
        Endpoint::Responses => chat(order, target, of_responses(order, target, said)?),
        _ => Err(no_words(target, endpoint)),
    }
}

fn of_responses(order: &Order, target: &ModelTarget, said: Option<&Said>) -> Result<llm::Request, Unwritten> {
    let read = match target.adapt.drop_fields.is_empty() {
        true => order.inner().clone(),
        false => responses::read_request(&shortened(order, target, None)?),
    };
    let mut request = read.map_err(|error| Unwritten::new(Class::NotConvertible, error))?;
    if let Some(said) = said {
        let parts = vec![llm::Part::Text(said.text.clone())];
        request.messages.push(llm::Message { role: llm::Role::Assistant, parts, name: None });
    }
    Ok(request)
}

/// A chat, in whatever words it was asked for, in the target's.
fn chat(order: &Order, target: &ModelTarget, mut request: llm::Request) -> Result<Outgoing, Unwritten> {
    request.model.clone_from(&target.model);
    request.max_tokens = too_long(order, target).or(request.max_tokens);
    request.cache_system = target.adapt.cache_system == CacheSystem::On;
    request.stream = order.asked.streams;
    // Of a stream it is always asked for; elsewhere the word is refused.
    request.include_usage = order.asked.streams;
    let facts = Facts {
        max_output_tokens: target.offer.max_output_tokens,
        max_tokens_field: target.adapt.max_tokens_field.as_deref(),
        is_maximum_firm: order.bounds.max_cost.is_some(),
    };
    let written = match &target.provider.dialect {
        Dialect::Anthropic => anthropic::write_request(&request, &facts),
        Dialect::Gemini => gemini::write_request(&request, &facts),
        Dialect::Bedrock { .. } => bedrock::write_request(&request, &facts),
        Dialect::OpenAi | Dialect::Azure { .. } => openai::write_request(&request, &facts),
        Dialect::Cohere => return Err(no_words(target, order.asked.endpoint)),
    };
    written.map_err(|error| Unwritten::new(Class::NotConvertible, error))
}

fn no_words(target: &ModelTarget, endpoint: Endpoint) -> Unwritten {
    let why = format!("{} has no words for {}", target.provider.dialect.as_str(), endpoint.path());
    Unwritten::new(Class::NotConvertible, why)
}

/// Of the caller's headers, those that go on: one look at each, one map.
fn passed_on(caller: &HeaderMap) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(12);
    for (name, value) in caller {
        if goes_on(name) {
            map.append(name.clone(), value.clone());
        }
    }
    // What it names is of this hop.
    for named in caller.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok()) {
        for name in named.split(',') {
            map.remove(name.trim());
        }
    }
    map
}

/// What describes the body and the caller's program, and what providers of this dialect document for a call. Everything
/// else stays here: credentials and cookies, a caller's network (`X-Forwarded-For`), words meant for gateways and relays
/// that would change whom or what they ask (`X-Portkey-Config`, `CF-AIG-*`), and whose account pays
/// (`OpenAI-Organization`, `OpenAI-Project`): that goes by the provider's key.
fn goes_on(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "accept"
            | "accept-language"
            | "content-type"
            | "http-referer"
            | "idempotency-key"
            | "openai-beta"
            | "tracestate"
            | "user-agent"
            | "x-client-request-id"
            | "x-title"
    )
}

fn of_dialect(own: Vec<(&'static str, String)>) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(own.len() + 6);
    map.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in own {
        if let Ok(value) = HeaderValue::try_from(value) {
            map.insert(HeaderName::from_static(name), value);
        }
    }
    map
}

fn stamp(order: &Order, uri: &Uri, map: &mut HeaderMap) -> Result<(), http::Error> {
    if let Some(authority) = uri.authority() {
        map.insert(HOST, HeaderValue::from_str(authority.as_str())?);
    }
    map.insert(X_REQUEST_ID, HeaderValue::from_str(&order.request_id)?);
    map.insert(TRACEPARENT, HeaderValue::try_from(order.trace.to_string())?);
    if !order.continues_trace {
        map.remove(TRACESTATE);
    }
    Ok(())
}

fn authorize(
    order: &Order,
    index: usize,
    key: Option<usize>,
    uri: &Uri,
    body: &[u8],
    map: &mut HeaderMap,
) -> Result<(), Unwritten> {
    let Some(key) = key else { return Ok(()) };
    let provider = &order.target(index).provider;
    if let Some((name, value)) = &order.chain.places[index].keys[key].header {
        map.insert(name.clone(), value.clone());
        return Ok(());
    }
    sign(order, provider, key, uri, body, map)
}

/// The time of the signature is the time of sending: a call that waited must not go out with an old one.
fn sign(
    order: &Order,
    provider: &Provider,
    key: usize,
    uri: &Uri,
    body: &[u8],
    map: &mut HeaderMap,
) -> Result<(), Unwritten> {
    let known = provider.keys.get(key).map(|key| &key.secret);
    let (
        Some(ProviderSecret::Aws { access_key_id, secret_access_key, session_token }),
        Dialect::Bedrock { region },
    ) = (known, &provider.dialect)
    else {
        return Err(Unwritten::new(Class::BadKey, "the key cannot stand in a header"));
    };
    let credentials = bedrock::sign::Credentials {
        access_key_id,
        secret_access_key: secret_access_key.expose(),
        session_token: session_token.as_ref().map(|token| token.expose()),
    };
    let unsigned = bedrock::sign::Unsigned {
        method: "POST",
        host: uri.authority().map_or("", |authority| authority.as_str()),
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        headers: &[("content-type", "application/json")],
        body,
        region,
        service: bedrock::SERVICE,
    };
    let now = order.gateway.ports().clock.now().unix_seconds();
    for (name, value) in bedrock::sign::sign(&unsigned, &credentials, now) {
        let mut value = HeaderValue::try_from(value).map_err(|error| Unwritten::new(Class::BadKey, error))?;
        value.set_sensitive(true);
        map.insert(HeaderName::from_static(name), value);
    }
    Ok(())
}
