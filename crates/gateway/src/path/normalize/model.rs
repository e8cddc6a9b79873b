//! The model path's calls: a body that names a model, kept byte for byte, or a question about the models there are.
//! What the later stages must know of a body is found in one pass; what they need not know is not looked at.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{
    Method,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use mainstay_base::{Record, Usd};
use mainstay_net::Body;
use mainstay_wire::llm::percent;

use super::{CallBody, CallHead, read};
use crate::path::{
    bootstrap::{Context, Terms},
    failure::{Failure, Reason},
    headers,
    telemetry::Told,
};

mod endpoint;
pub(crate) mod form;
pub(crate) mod scan;
mod splice;
pub(crate) mod tokens;

pub(crate) use endpoint::Endpoint;
use scan::{Scanned, Spots, Unreadable};

pub(crate) const MAX_MODEL_NAME_BYTES: usize = 256;
/// serde_json goes no deeper; a test holds it to that.
#[cfg(test)]
pub(crate) const MAX_NESTING: usize = 127;
const SHOWN_OF_A_LONG_NAME: usize = 64;
/// What is kept of an end user's name.
const MAX_USER_BYTES: usize = 256;

pub(crate) struct ModelCall {
    pub(crate) head: CallHead,
    pub(crate) body: CallBody,
    pub(crate) ask: Ask,
}

pub(crate) enum Ask {
    /// A call of a model.
    Model(Box<Asked>),
    /// `GET /v1/models`, answered from the snapshot.
    List,
    /// `GET /v1/models/{name}`.
    Describe { name: String },
}

/// What is asked of a model, and under which terms.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    /// The model, as the caller calls it.
    pub(crate) name: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) streams: bool,
    /// The caller wants a stream's usage.
    pub(crate) include_usage: bool,
    /// The same request has the same answer: temperature 0, embeddings, rerank, moderations.
    pub(crate) is_deterministic: bool,
    /// Estimated, see [`tokens`].
    pub(crate) input_tokens: u64,
    /// For each answer, as the caller said.
    pub(crate) max_output_tokens: Option<u64>,
    /// Answers wanted (`n`); at least 1.
    pub(crate) choices: u64,
    pub(crate) tools: bool,
    pub(crate) vision: bool,
    pub(crate) structured_output: bool,
    /// The caller named texts at which the answer ends, so nothing at all may be the answer.
    pub(crate) stops: bool,
    pub(crate) region: Option<String>,
    pub(crate) data_class: Option<String>,
    pub(crate) end_user: Option<String>,
    /// Whose calls of this name are, when nothing else says it.
    pub(crate) app: Option<String>,
    /// What the caller allows, if it is less than the route does.
    pub(crate) deadline: Option<Duration>,
    pub(crate) max_cost: Option<Usd>,
    spots: Spots,
}

impl Asked {
    /// The body for a target that speaks the dialect in which it came and calls the model `model`: every other byte
    /// unchanged. `with_usage` adds `stream_options.include_usage` to a stream whose caller did not ask for it.
    pub(crate) fn body_for(&self, bytes: &Bytes, model: &str, with_usage: bool) -> Bytes {
        splice::body(self, bytes, model, with_usage)
    }

    fn of(endpoint: Endpoint, name: String, scanned: Scanned, terms: &Terms) -> Asked {
        let Scanned {
            model: _,
            spots,
            streams,
            include_usage,
            temperature,
            choices,
            max_output_tokens,
            tools,
            structured_output,
            stops,
            user,
            prompt,
        } = scanned;
        Asked {
            name,
            endpoint,
            streams: streams && endpoint.may_stream(),
            include_usage,
            is_deterministic: endpoint.is_deterministic() || temperature == Some(0.0),
            input_tokens: prompt.tokens(),
            max_output_tokens: max_output_tokens.filter(|_| endpoint.writes_text()),
            choices: choices.unwrap_or(1).max(1),
            tools,
            vision: prompt.images > 0 && endpoint.is_json(),
            structured_output,
            stops,
            region: terms.region.clone(),
            data_class: terms.data_class.clone(),
            end_user: user.map(|mut user| {
                user.truncate(user.floor_char_boundary(MAX_USER_BYTES));
                user
            }),
            app: None,
            deadline: terms.deadline,
            max_cost: terms.max_cost,
            spots,
        }
    }
}

pub(super) async fn call(context: &Context, mut head: CallHead, body: Body) -> Result<ModelCall, Failure> {
    if let Some((_, below)) = below_app(&head.path) {
        head.path = below.to_owned();
    }
    let endpoint = match head.method {
        Method::POST => Some(endpoint_of(&head)?),
        _ => None,
    };
    let limits = &context.gateway.ports().limits;
    let body = read(context, &head, body, limits.max_model_body_bytes).await?;
    let ask = match (&head.method, endpoint, &body) {
        (&Method::GET | &Method::HEAD, ..) => question(&head)?,
        (_, Some(endpoint), CallBody::Whole { bytes, .. }) => asked(context, &head, endpoint, bytes)?,
        _ => return Err(Failure::new(Reason::WrongMethod, "the model path serves GET and POST")),
    };
    Ok(ModelCall { head, body, ask })
}

/// `/apps/{app}/v1/…`: the app, and the rest. A base URL is all that some callers let one set for an app.
pub(crate) fn below_app(path: &str) -> Option<(&str, &str)> {
    let (app, _) = path.strip_prefix("/apps/")?.split_once('/')?;
    let below = path.get("/apps/".len() + app.len()..)?;
    (!app.is_empty() && (below == "/v1" || below.starts_with("/v1/"))).then_some((app, below))
}

fn endpoint_of(head: &CallHead) -> Result<Endpoint, Failure> {
    Endpoint::of(&head.path)
        .ok_or_else(|| Failure::new(Reason::NoSuchPath, "the path is no endpoint of models"))
}

fn question(head: &CallHead) -> Result<Ask, Failure> {
    match head.path.strip_prefix("/v1/models") {
        Some("" | "/") => Ok(Ask::List),
        Some(rest) if rest.len() > 1 && rest.starts_with('/') => {
            // Clients write `meta/llama` as `meta%2Fllama`.
            let name = percent::decoded(&rest[1..]).unwrap_or_else(|| rest[1..].to_owned());
            Ok(Ask::Describe { name })
        }
        _ => Err(Failure::new(Reason::NoSuchPath, "GET is served for /v1/models only")),
    }
}

fn asked(context: &Context, head: &CallHead, endpoint: Endpoint, bytes: &[u8]) -> Result<Ask, Failure> {
    let mut scanned = scanned(head, endpoint, bytes)?;
    let name = scanned.model.take().or_else(|| endpoint.default_model().map(str::to_owned));
    match name {
        // No model is called so, and nobody wants to read it back.
        Some(name) if name.len() > MAX_MODEL_NAME_BYTES => {
            let model = name.chars().take(SHOWN_OF_A_LONG_NAME).chain(['…']).collect();
            Err(Failure::new(Reason::ModelUnknown { model }, "the model's name is too long to be one"))
        }
        Some(name) if !name.is_empty() => {
            let app = context.snapshot.model.models.get(&name).and_then(|model| model.app.clone());
            Ok(Ask::Model(Box::new(Asked { app, ..Asked::of(endpoint, name, scanned, &context.terms) })))
        }
        _ => Err(Failure::new(Reason::ModelMissing, "the body names no model")),
    }
}

fn scanned(head: &CallHead, endpoint: Endpoint, bytes: &[u8]) -> Result<Scanned, Failure> {
    once(head, CONTENT_TYPE)?;
    once(head, CONTENT_ENCODING)?;
    if headers::text(&head.headers, &CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        let why = "is not served for requests; send the body as it is";
        return Err(Failure::new(Reason::BadHeader { name: "Content-Encoding", why }, "the body is encoded"));
    }
    let content_type = headers::text(&head.headers, &CONTENT_TYPE);
    let read = if endpoint.is_json() {
        let content_type = content_type.unwrap_or("application/json");
        if !is_json(content_type) {
            return Err(Failure::new(Reason::NotJson, "the body's content type is not application/json"));
        }
        scan::scan(bytes)
    } else {
        let boundary = content_type.and_then(form::boundary);
        let boundary = boundary.ok_or_else(|| {
            Failure::new(Reason::NotForm, "the content type is not multipart/form-data with one boundary")
        })?;
        form::scan(bytes, boundary)
    };
    read.map_err(unreadable)
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// Of two headers one reader takes the first and another the last.
fn once(head: &CallHead, name: http::HeaderName) -> Result<(), Failure> {
    if head.headers.get_all(&name).iter().count() <= 1 {
        return Ok(());
    }
    let name = if name == CONTENT_TYPE { "Content-Type" } else { "Content-Encoding" };
    Err(Failure::new(Reason::BadHeader { name, why: "is there twice" }, format!("{name} is there twice")))
}

fn unreadable(why: Unreadable) -> Failure {
    match why {
        Unreadable::Json(error) => {
            Failure::new(Reason::MalformedJson, format!("the body cannot be read: {error}"))
        }
        Unreadable::Form(why) => {
            Failure::new(Reason::MalformedForm { why }, format!("the form cannot be read: {why}"))
        }
        Unreadable::Field { name, why } => {
            Failure::new(Reason::BadField { name, why }, format!("the body's {name} {why}"))
        }
    }
}

impl Told for ModelCall {
    fn told(&self, record: &mut Record) -> Cow<'static, str> {
        record.bytes_in = self.body.known_bytes();
        match &self.ask {
            Ask::Model(asked) => {
                record.model = Some(asked.name.clone());
                record.end_user.clone_from(&asked.end_user);
                if record.app_id.is_none() {
                    record.app_id.clone_from(&asked.app);
                }
                Cow::Borrowed(if asked.streams { "a streamed call of a model" } else { "a call of a model" })
            }
            Ask::List => Cow::Borrowed("the list of models"),
            Ask::Describe { .. } => Cow::Borrowed("the description of a model"),
        }
    }
}
