//! Cohere's rerank and embed, second version.

use serde_json::{Value, json};

use super::{Ask, Told, Trouble, list, openai, text};

pub(super) fn read(path: &str, body: &Value) -> Ask {
    let model = text(&body["model"]);
    match path {
        "/v2/embed" => {
            let inputs = list(&body["texts"]).iter().map(text).collect();
            Ask::Embeddings { model, inputs }
        }
        _ => openai::rerank(body, model),
    }
}

/// By how many words of the query a document has.
pub(crate) fn rerank(query: &str, documents: &[String], top_n: usize) -> Value {
    let wanted: Vec<&str> = query.split_whitespace().collect();
    let mut scores: Vec<(usize, f64)> = documents
        .iter()
        .enumerate()
        .map(|(index, document)| {
            let found = wanted.iter().filter(|word| document.contains(**word)).count();
            (index, found as f64 / wanted.len().max(1) as f64)
        })
        .collect();
    scores.sort_by(|left, right| right.1.total_cmp(&left.1));
    scores.truncate(top_n);
    let results: Vec<Value> =
        scores.iter().map(|(index, score)| json!({"index": index, "relevance_score": score})).collect();
    json!({
        "id": "rerank-faulty",
        "results": results,
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    })
}

pub(crate) fn embeddings(model: &str, inputs: &[String]) -> Value {
    let openai = openai::embeddings(model, inputs);
    let vectors: Vec<&Value> = list(&openai["data"]).iter().map(|item| &item["embedding"]).collect();
    json!({
        "id": "embed-faulty",
        "embeddings": {"float": vectors},
        "texts": inputs,
        "meta": {"billed_units": {"input_tokens": openai["usage"]["prompt_tokens"]}},
    })
}

pub(super) fn trouble(trouble: &Trouble) -> Told {
    let (status, told) = openai::trouble(trouble);
    (status, json!({"id": "faulty", "message": told["error"]["message"]}))
}
