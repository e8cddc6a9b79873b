//! The model path's calls: a JSON body with a `model`, kept byte for byte, or a question about the models there are.

use std::borrow::Cow;

use http::{Method, header::CONTENT_TYPE};
use mainstay_base::Record;
use mainstay_net::Body;
use mainstay_wire::openai::RequestHead;

use super::{CallBody, CallHead, read};
use crate::path::{
    bootstrap::Context,
    failure::{Failure, Reason},
    headers,
    telemetry::Told,
};

const MAX_MODEL_NAME_BYTES: usize = 256;
const SHOWN_OF_A_LONG_NAME: usize = 64;

/// What a virtual key may ask a provider for. The provider's key opens more (files, fine-tuning, an organisation's
/// settings), and is not lent for that.
const ENDPOINTS: [&str; 6] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/moderations",
    "/v1/audio/speech",
];

pub(crate) struct ModelCall {
    pub(crate) head: CallHead,
    pub(crate) body: CallBody,
    pub(crate) ask: Ask,
}

pub(crate) enum Ask {
    /// A call of this model.
    Model { name: String, streams: bool },
    /// `GET /v1/models`, answered from the snapshot.
    List,
    /// `GET /v1/models/{name}`.
    Describe { name: String },
}

pub(super) async fn call(context: &Context, head: CallHead, body: Body) -> Result<ModelCall, Failure> {
    if head.method == Method::POST && !ENDPOINTS.contains(&head.path.as_str()) {
        return Err(Failure::new(Reason::NoSuchPath, "the path is no endpoint of models"));
    }
    let limits = &context.gateway.ports().limits;
    let body = read(context, &head, body, limits.max_model_body_bytes).await?;
    let ask = match (&head.method, &body) {
        (&Method::GET | &Method::HEAD, _) => question(&head)?,
        (&Method::POST, CallBody::Whole { bytes, .. }) => model_of(&head, bytes)?,
        _ => return Err(Failure::new(Reason::WrongMethod, "the model path serves GET and POST")),
    };
    Ok(ModelCall { head, body, ask })
}

fn question(head: &CallHead) -> Result<Ask, Failure> {
    match head.path.strip_prefix("/v1/models") {
        Some("" | "/") => Ok(Ask::List),
        Some(rest) if rest.len() > 1 && rest.starts_with('/') => {
            Ok(Ask::Describe { name: rest[1..].to_owned() })
        }
        _ => Err(Failure::new(Reason::NoSuchPath, "GET is served for /v1/models only")),
    }
}

fn model_of(head: &CallHead, bytes: &[u8]) -> Result<Ask, Failure> {
    let content_type = headers::text(&head.headers, &CONTENT_TYPE).unwrap_or("application/json");
    if !content_type.trim_start().to_ascii_lowercase().starts_with("application/json") {
        return Err(Failure::new(Reason::NotJson, "the body's content type is not application/json"));
    }
    let parsed = RequestHead::parse(bytes)
        .map_err(|error| Failure::new(Reason::MalformedJson, format!("the body cannot be read: {error}")))?;
    let streams = parsed.streams();
    match parsed.model {
        // No model is called so, and nobody wants to read it back.
        Some(name) if name.len() > MAX_MODEL_NAME_BYTES => {
            let model = name.chars().take(SHOWN_OF_A_LONG_NAME).chain(['…']).collect();
            Err(Failure::new(Reason::ModelUnknown { model }, "the model's name is too long to be one"))
        }
        Some(name) if !name.is_empty() => Ok(Ask::Model { name: name.into_owned(), streams }),
        _ => Err(Failure::new(Reason::ModelMissing, "the body names no model")),
    }
}

impl Told for ModelCall {
    fn told(&self, record: &mut Record) -> Cow<'static, str> {
        record.bytes_in = self.body.known_bytes();
        match &self.ask {
            Ask::Model { name, streams } => {
                record.model = Some(name.clone());
                Cow::Borrowed(if *streams { "a streamed call of a model" } else { "a call of a model" })
            }
            Ask::List => Cow::Borrowed("the list of models"),
            Ask::Describe { .. } => Cow::Borrowed("the description of a model"),
        }
    }
}
