//! Reranking in the dialects of providers.

use mainstay_base::snapshot::Dialect;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    super::{Outgoing, Unreadable, Unwritable, percent},
    Answer, Document, Ranked, Request, Used,
};

/// The request in a provider's dialect. Of Cohere's two versions the base URL says which is spoken; both take this.
pub fn write_request(dialect: &Dialect, request: &Request) -> Result<Outgoing, Unwritable> {
    let (path, body) = match dialect {
        Dialect::OpenAi => ("/rerank".to_owned(), as_given(request)),
        Dialect::Cohere => ("/rerank".to_owned(), cohere(request)),
        Dialect::Bedrock { .. } => {
            (format!("/model/{}/invoke", percent::segment(&request.model)), bedrock(request))
        }
        Dialect::Azure { .. } | Dialect::Anthropic | Dialect::Gemini => {
            return Err(Unwritable { dialect: dialect.as_str(), what: "reranking".to_owned() });
        }
    };
    Ok(Outgoing { path, query: None, headers: Vec::new(), body: body.to_string().into_bytes() })
}

/// Jina, vLLM and their kind take what Dify sends.
fn as_given(request: &Request) -> Value {
    let Request { model, query, documents, top_n, return_documents, extra } = request;
    let documents: Vec<Value> = documents.iter().map(Document::given).collect();
    let mut body = json!({"model": model, "query": query, "documents": documents});
    if let Some(top_n) = top_n {
        body["top_n"] = (*top_n).into();
    }
    if let Some(return_documents) = return_documents {
        body["return_documents"] = (*return_documents).into();
    }
    if let Value::Object(body) = &mut body {
        body.extend(extra.clone());
    }
    body
}

fn cohere(request: &Request) -> Value {
    let mut body = texts_only(request);
    body.insert("model".to_owned(), json!(request.model));
    if let Some(most) = request.extra.get("max_tokens_per_doc") {
        body.insert("max_tokens_per_doc".to_owned(), most.clone());
    }
    Value::Object(body)
}

fn bedrock(request: &Request) -> Value {
    let mut body = texts_only(request);
    if request.model.contains("cohere.") {
        body.insert("api_version".to_owned(), json!(2));
    }
    Value::Object(body)
}

/// More than there are is as good as all.
fn texts_only(request: &Request) -> Map<String, Value> {
    let documents: Vec<String> = request.documents.iter().map(Document::text).collect();
    let most = documents.len() as u64;
    let mut body = Map::new();
    body.insert("query".to_owned(), json!(request.query));
    body.insert("documents".to_owned(), json!(documents));
    if let Some(top_n) = request.top_n {
        body.insert("top_n".to_owned(), top_n.min(most).into());
    }
    body
}

/// The provider's answer to `request`. All of them answer alike.
pub fn read_answer(dialect: &Dialect, request: &Request, body: &[u8]) -> Result<Answer, Unreadable> {
    let answer: Response = serde_json::from_slice(body).map_err(|error| Unreadable {
        what: format!("the body is no ranking of {}: {error}", dialect.as_str()),
    })?;
    let mut results = Vec::with_capacity(answer.results.len());
    for result in answer.results {
        let Some(document) = usize::try_from(result.index).ok().and_then(|at| request.documents.get(at))
        else {
            return Err(Unreadable {
                what: format!("the ranking names document {}, and there is none", result.index),
            });
        };
        let document = match request.return_documents {
            Some(false) => None,
            Some(true) => Some(result.document.map_or_else(|| document.shown(), object)),
            None => result.document.map(object),
        };
        results.push(Ranked { index: result.index, relevance_score: result.relevance_score, document });
    }
    results.sort_by(|one, other| other.relevance_score.total_cmp(&one.relevance_score));
    let used = Used {
        search_units: answer.meta.as_ref().and_then(Meta::search_units),
        tokens: answer.usage.and_then(|usage| usage.total_tokens.or(usage.prompt_tokens)),
    };
    Ok(Answer { id: answer.id.unwrap_or_default(), model: request.model.clone(), results, used })
}

/// Some providers give the text alone.
fn object(document: Value) -> Value {
    match document {
        Value::String(text) => json!({"text": text}),
        document => document,
    }
}

#[derive(Deserialize)]
struct Response {
    id: Option<String>,
    results: Vec<Item>,
    meta: Option<Meta>,
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct Item {
    index: u64,
    #[serde(alias = "score")]
    relevance_score: f64,
    document: Option<Value>,
}

#[derive(Deserialize)]
struct Tokens {
    total_tokens: Option<u64>,
    prompt_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Meta {
    billed_units: Option<BilledUnits>,
}

impl Meta {
    /// Cohere writes its counts as floats.
    fn search_units(&self) -> Option<u64> {
        let units = self.billed_units.as_ref()?.search_units?;
        (units >= 0.0).then_some(units as u64)
    }
}

#[derive(Deserialize)]
struct BilledUnits {
    search_units: Option<f64>,
}
