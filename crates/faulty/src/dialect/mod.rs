//! The languages a provider speaks: which call it is, what was asked, how it is answered, how a failure is told.

use http::Method;
use serde_json::Value;

use crate::mind::{Question, Said};

mod anthropic;
mod bedrock;
mod cohere;
mod gemini;
mod openai;
mod responses;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
    Bedrock,
    Cohere,
}

/// What is called.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    Chat(Question),
    /// OpenAI's older completions.
    Completion(Question),
    /// OpenAI's Responses.
    Response(Question),
    Embeddings {
        model: String,
        inputs: Vec<String>,
    },
    Rerank {
        model: String,
        query: String,
        documents: Vec<String>,
        top_n: usize,
    },
    Models,
    /// Answered with bytes that stand for what was made: speech, images.
    Other {
        model: String,
    },
}

impl Ask {
    pub(crate) fn model(&self) -> &str {
        match self {
            Ask::Chat(question) | Ask::Completion(question) | Ask::Response(question) => &question.model,
            Ask::Embeddings { model, .. } | Ask::Rerank { model, .. } | Ask::Other { model } => model,
            Ask::Models => "",
        }
    }

    pub(crate) fn streams(&self) -> bool {
        matches!(self, Ask::Chat(question) | Ask::Completion(question) | Ask::Response(question) if question.streams)
    }
}

/// One event of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) bytes: Vec<u8>,
    pub(crate) part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Before any content.
    Opening,
    Content,
    /// Why it ended.
    Closing,
    Usage,
    /// The last word.
    Done,
}

/// How a failure is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Status(u16),
    RateLimited,
    QuotaExhausted,
    Overloaded,
    /// With the credential that was refused.
    BadKey(String),
    ModelMissing(String),
    ContextOverflow,
    FilteredPrompt,
    BadRequest,
}

/// What a body says in a dialect's words: its status and JSON.
pub(crate) type Told = (u16, Value);

/// Finds out what is called. `None`: no such path.
pub(crate) fn read(method: &Method, path: &str, body: &[u8]) -> Option<(Dialect, Ask)> {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    if method == Method::GET {
        return match path {
            "/v1beta/models" => Some((Dialect::Gemini, Ask::Models)),
            _ if path.ends_with("models") => Some((Dialect::OpenAi, Ask::Models)),
            _ => None,
        };
    }
    match path {
        "/v1/messages" => Some((Dialect::Anthropic, anthropic::read(&json))),
        "/v2/rerank" | "/v2/embed" => Some((Dialect::Cohere, cohere::read(path, &json))),
        _ if path.starts_with("/v1beta/models/") => Some((Dialect::Gemini, gemini::read(path, &json)?)),
        _ if path.starts_with("/model/") => Some((Dialect::Bedrock, bedrock::read(path, &json)?)),
        _ => Some((Dialect::OpenAi, openai::read(path, &json, body)?)),
    }
}

impl Dialect {
    /// The whole answer to a chat.
    pub(crate) fn whole(self, question: &Question, said: &Said, filtered: bool) -> Value {
        match self {
            Dialect::Anthropic => anthropic::whole(question, said, filtered),
            Dialect::Gemini => gemini::whole(question, said, filtered),
            Dialect::Bedrock => bedrock::whole(said, filtered),
            Dialect::OpenAi | Dialect::Cohere => openai::whole(question, said, filtered),
        }
    }

    pub(crate) fn events(self, question: &Question, said: &Said, filtered: bool) -> Vec<Event> {
        match self {
            Dialect::Anthropic => anthropic::events(question, said, filtered),
            Dialect::Gemini => gemini::events(question, said, filtered),
            Dialect::Bedrock => bedrock::events(said, filtered),
            Dialect::OpenAi | Dialect::Cohere => openai::events(question, said, filtered),
        }
    }

    pub(crate) fn stream_type(self) -> &'static str {
        match self {
            Dialect::Bedrock => "application/vnd.amazon.eventstream",
            _ => "text/event-stream; charset=utf-8",
        }
    }

    pub(crate) fn trouble(self, trouble: &Trouble) -> Told {
        match self {
            Dialect::OpenAi => openai::trouble(trouble),
            Dialect::Anthropic => anthropic::trouble(trouble),
            Dialect::Gemini => gemini::trouble(trouble),
            Dialect::Bedrock => bedrock::trouble(trouble),
            Dialect::Cohere => cohere::trouble(trouble),
        }
    }

    /// An error inside a stream.
    pub(crate) fn error_event(self, ask: &Ask) -> Vec<u8> {
        let (_, told) = self.trouble(&Trouble::Overloaded);
        match self {
            _ if matches!(ask, Ask::Response(_)) => responses::error_event(&told),
            Dialect::Anthropic => named("error", &told),
            Dialect::Bedrock => bedrock::exception("serviceUnavailableException", &told),
            _ => data(&told),
        }
    }

    /// 200 without any content.
    pub(crate) fn empty(self, question: &Question) -> Value {
        match self {
            Dialect::OpenAi => serde_json::json!({
                "id": "chatcmpl-faulty", "object": "chat.completion", "created": 0, "model": question.model, "choices": []
            }),
            _ => self.whole(question, &Said::default(), false),
        }
    }
}

/// The model's name in a path as `/model/NAME/converse`, with percent signs undone.
fn unquote(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex =
            (first == b'%').then(|| after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok())).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn data(value: &Value) -> Vec<u8> {
    format!("data: {value}\n\n").into_bytes()
}

fn named(event: &str, value: &Value) -> Vec<u8> {
    format!("event: {event}\ndata: {value}\n\n").into_bytes()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A text, or the texts of a list of parts.
fn texts(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[][..], Vec::as_slice)
}

/// Words with the space that follows them.
fn words(said: &Said) -> impl Iterator<Item = &str> {
    said.text.split_inclusive(' ')
}

pub(crate) use cohere::{embeddings as cohere_embeddings, rerank};
pub(crate) use openai::{completion, completion_events, embeddings};
pub(crate) use responses::{events as response_events, whole as response};
