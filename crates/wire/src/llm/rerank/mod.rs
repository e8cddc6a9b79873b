//! Reranking: one inner form, the shape that Cohere, Jina and Dify share on the caller's side, and what providers take
//! and give.
//!
//! Promises: results name documents of the request, best first; documents come back when they were asked for, also from
//! providers that do not return them.

mod providers;

pub use providers::{read_answer, write_request};
use serde_json::{Map, Value, json};

use super::{Unreadable, fields::Fields};

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

impl Document {
    /// What a provider that knows only texts gets: of an object without a text all of it, as JSON.
    pub fn text(&self) -> String {
        match self {
            Document::Text(text) => text.clone(),
            Document::Object(object) => match object.get("text").and_then(Value::as_str) {
                Some(text) => text.to_owned(),
                None => Value::Object(object.clone()).to_string(),
            },
        }
    }

    /// As it stands in an answer.
    fn shown(&self) -> Value {
        match self {
            Document::Text(text) => json!({"text": text}),
            Document::Object(object) => Value::Object(object.clone()),
        }
    }

    fn given(&self) -> Value {
        match self {
            Document::Text(text) => json!(text),
            Document::Object(object) => Value::Object(object.clone()),
        }
    }
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

/// What providers bill: searches (Cohere, Bedrock) or tokens (Jina, vLLM).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    pub search_units: Option<u64>,
    pub tokens: Option<u64>,
}

/// A caller's `/rerank`.
pub fn read_request(body: &[u8]) -> Result<Request, Unreadable> {
    let mut fields = Fields::parse(body)?;
    let documents = fields
        .array("documents")?
        .into_iter()
        .map(|document| match document {
            Value::String(text) => Some(Document::Text(text)),
            Value::Object(object) => Some(Document::Object(object)),
            _ => None,
        })
        .collect::<Option<Vec<Document>>>()
        .filter(|documents| !documents.is_empty())
        .ok_or_else(|| fields.wrong("documents", "a list of texts or objects, with one at least"))?;
    Ok(Request {
        model: fields.required("model")?,
        query: fields.required("query")?,
        documents,
        top_n: fields.count("top_n")?,
        return_documents: fields.bool("return_documents")?,
        extra: fields.rest(),
    })
}

/// What the caller gets: Cohere's `meta` and Jina's `usage`, each where it was told.
pub fn write_answer(answer: &Answer) -> Vec<u8> {
    let results: Vec<Value> = answer
        .results
        .iter()
        .map(|ranked| {
            let mut result = json!({"index": ranked.index, "relevance_score": ranked.relevance_score});
            if let Some(document) = &ranked.document {
                result["document"] = document.clone();
            }
            result
        })
        .collect();
    let mut body = json!({"id": answer.id, "model": answer.model, "results": results});
    if let Some(units) = answer.used.search_units {
        body["meta"] = json!({"billed_units": {"search_units": units}});
    }
    if let Some(tokens) = answer.used.tokens {
        body["usage"] = json!({"total_tokens": tokens});
    }
    body.to_string().into_bytes()
}
