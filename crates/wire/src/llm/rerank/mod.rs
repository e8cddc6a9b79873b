//! Reranking: one inner form, the shape of Cohere, Jina and Dify on the caller's side, and what providers take and
//! give.

use mainstay_base::snapshot::Dialect;
use serde_json::{Map, Value};

use super::{Outgoing, Unreadable, Unwritable};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    pub model: String,
    pub query: String,
    pub documents: Vec<Document>,
    pub top_n: Option<u64>,
    pub return_documents: Option<bool>,
    /// Fields without a meaning here, as they came.
    pub extra: Map<String, Value>,
}

/// What is ranked.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    Text(String),
    /// With its text in `text`, and fields of the caller's own.
    Object(Map<String, Value>),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub id: String,
    pub model: String,
    /// Best first.
    pub results: Vec<Ranked>,
    pub used: Used,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// Which of the request's documents.
    pub index: u64,
    pub relevance_score: f64,
    /// As the provider, or the caller, gave it.
    pub document: Option<Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    pub search_units: Option<u64>,
    pub tokens: Option<u64>,
}

pub fn read_request(_body: &[u8]) -> Result<Request, Unreadable> {
    Err(Unreadable { what: "the body".to_owned() })
}

pub fn write_answer(_answer: &Answer) -> Vec<u8> {
    Vec::new()
}

/// The request in a provider's dialect.
pub fn write_request(_dialect: &Dialect, _request: &Request) -> Result<Outgoing, Unwritable> {
    Err(Unwritable { dialect: "rerank", what: "the request".to_owned() })
}

/// The provider's answer to `request`.
pub fn read_answer(_dialect: &Dialect, _request: &Request, _body: &[u8]) -> Result<Answer, Unreadable> {
    Err(Unreadable { what: "the body".to_owned() })
}
