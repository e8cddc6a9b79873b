//! Embeddings in the dialects of providers.

use mainstay_base::snapshot::Dialect;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    super::{Outgoing, Unreadable, Unwritable, Usage, gemini, percent},
    Answer, Encoding, Input, Request, from_base64,
};

/// Cohere's default use of a vector; a caller says another with the field `input_type`.
const INPUT_TYPE: &str = "search_document";

/// The request in a provider's dialect. Azure's path is told by [`azure::path`](super::super::azure::path).
pub fn write_request(dialect: &Dialect, request: &Request) -> Result<Outgoing, Unwritable> {
    let refused = |what: &str| Unwritable { dialect: dialect.as_str(), what: what.to_owned() };
    let texts = || texts(request).ok_or_else(|| refused("embeddings of tokens; send texts"));
    let (path, body) = match dialect {
        Dialect::OpenAi | Dialect::Azure { .. } => ("/embeddings".to_owned(), openai(request)),
        Dialect::Gemini => {
            let model = gemini::resource(&request.model);
            (format!("/{model}:batchEmbedContents"), batch_embed_contents(request, &texts()?))
        }
        Dialect::Cohere => {
            let mut body = cohere(request, &texts()?);
            body["model"] = request.model.as_str().into();
            ("/embed".to_owned(), body)
        }
        Dialect::Bedrock { .. } => {
            let body = match (is_cohere(&request.model), texts()?.as_slice()) {
                (true, texts) => cohere(request, texts),
                (false, _) if !is_titan(&request.model) => {
                    return Err(refused("embeddings by models other than Titan's and Cohere's"));
                }
                (false, [text]) => titan(request, text),
                (false, _) => return Err(refused("several texts for Titan; send one in each call")),
            };
            (format!("/model/{}/invoke", percent::segment(&request.model)), body)
        }
        Dialect::Anthropic => return Err(refused("embeddings")),
    };
    Ok(Outgoing { path, query: None, headers: Vec::new(), body: body.to_string().into_bytes() })
}

fn texts(request: &Request) -> Option<Vec<&str>> {
    let texts = request.inputs.iter().map(|input| match input {
        Input::Text(text) => Some(text.as_str()),
        Input::Tokens(_) => None,
    });
    texts.collect()
}

fn openai(request: &Request) -> Value {
    let Request { model, inputs, dimensions, encoding, user, extra } = request;
    let inputs: Vec<Value> = inputs
        .iter()
        .map(|input| match input {
            Input::Text(text) => json!(text),
            Input::Tokens(tokens) => json!(tokens),
        })
        .collect();
    let mut body = Map::from_iter([("model".to_owned(), json!(model)), ("input".to_owned(), json!(inputs))]);
    body.extend(dimensions.map(|dimensions| ("dimensions".to_owned(), dimensions.into())));
    let encoding = match encoding {
        Encoding::Float => "float",
        Encoding::Base64 => "base64",
    };
    body.insert("encoding_format".to_owned(), encoding.into());
    body.extend(user.as_ref().map(|user| ("user".to_owned(), json!(user))));
    body.extend(extra.clone());
    Value::Object(body)
}

fn batch_embed_contents(request: &Request, texts: &[&str]) -> Value {
    let requests: Vec<Value> = texts
        .iter()
        .map(|text| {
            let content = json!({"parts": [{"text": text}]});
            let mut one = json!({"model": gemini::resource(&request.model), "content": content});
            if let Some(dimensions) = request.dimensions {
                one["outputDimensionality"] = dimensions.into();
            }
            one
        })
        .collect();
    json!({"requests": requests})
}

fn cohere(request: &Request, texts: &[&str]) -> Value {
    let input_type = request.extra.get("input_type").and_then(Value::as_str).unwrap_or(INPUT_TYPE);
    let mut body = json!({"texts": texts, "input_type": input_type, "embedding_types": ["float"]});
    if let Some(dimensions) = request.dimensions {
        body["output_dimension"] = dimensions.into();
    }
    if let Some(truncate) = request.extra.get("truncate") {
        body["truncate"] = truncate.clone();
    }
    body
}

fn titan(request: &Request, text: &str) -> Value {
    let mut body = json!({"inputText": text});
    if let Some(dimensions) = request.dimensions {
        body["dimensions"] = dimensions.into();
    }
    body
}

fn is_cohere(model: &str) -> bool {
    model.contains("cohere.embed")
}

fn is_titan(model: &str) -> bool {
    model.contains("amazon.titan-embed")
}

/// The provider's answer to `request`.
pub fn read_answer(dialect: &Dialect, request: &Request, body: &[u8]) -> Result<Answer, Unreadable> {
    let (vectors, tokens) = match dialect {
        Dialect::OpenAi | Dialect::Azure { .. } => {
            let list: List = parsed(body)?;
            let tokens = list.usage.and_then(|usage| usage.prompt_tokens.or(usage.total_tokens));
            (list_vectors(list.data)?, tokens)
        }
        Dialect::Gemini => {
            let batch: Batch = parsed(body)?;
            let tokens = batch.usage_metadata.and_then(|usage| usage.prompt_token_count);
            (batch.embeddings.into_iter().map(|embedding| embedding.values).collect(), tokens)
        }
        Dialect::Cohere => by_type(body)?,
        Dialect::Bedrock { .. } if is_cohere(&request.model) => by_type(body)?,
        Dialect::Bedrock { .. } => {
            let one: Titan = parsed(body)?;
            (vec![one.embedding], one.input_text_token_count)
        }
        Dialect::Anthropic => return Err(unreadable("this provider has no embeddings")),
    };
    let (wanted, came) = (request.inputs.len(), vectors.len());
    if wanted != came {
        return Err(unreadable(&format!("{wanted} inputs were sent, and {came} embeddings came back")));
    }
    if vectors.iter().any(Vec::is_empty) {
        return Err(unreadable("an embedding has no numbers"));
    }
    let usage = tokens.map(|input| Usage { input, ..Usage::default() });
    Ok(Answer { model: request.model.clone(), vectors, usage })
}

fn parsed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(body)
        .map_err(|error| unreadable(&format!("the body is no answer with embeddings: {error}")))
}

fn unreadable(what: &str) -> Unreadable {
    Unreadable { what: what.to_owned() }
}

/// In the order of their index: a provider may answer in another.
fn list_vectors(mut data: Vec<Item>) -> Result<Vec<Vec<f32>>, Unreadable> {
    if data.iter().all(|item| item.index.is_some()) {
        data.sort_by_key(|item| item.index);
    }
    let vectors = data.into_iter().map(|item| match item.embedding {
        Embedding::Float(vector) => Some(vector),
        Embedding::Base64(text) => from_base64(&text),
    });
    vectors.collect::<Option<_>>().ok_or_else(|| unreadable("an embedding is not base64 of floats"))
}

fn by_type(body: &[u8]) -> Result<(Vec<Vec<f32>>, Option<u64>), Unreadable> {
    let answer: ByType = parsed(body)?;
    let vectors = match answer.embeddings {
        CohereVectors::ByType { float } => float,
        CohereVectors::Plain(vectors) => vectors,
    };
    let billed = answer.meta.and_then(|meta| meta.billed_units?.input_tokens);
    Ok((vectors, billed.filter(|tokens| *tokens >= 0.0).map(|tokens| tokens as u64)))
}

#[derive(Deserialize)]
struct List {
    data: Vec<Item>,
    usage: Option<ListUsage>,
}

#[derive(Deserialize)]
struct Item {
    index: Option<u64>,
    embedding: Embedding,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Embedding {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Deserialize)]
struct ListUsage {
    prompt_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    embeddings: Vec<Values>,
    usage_metadata: Option<BatchUsage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchUsage {
    prompt_token_count: Option<u64>,
}

#[derive(Deserialize)]
struct Values {
    values: Vec<f32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Titan {
    embedding: Vec<f32>,
    input_text_token_count: Option<u64>,
}

#[derive(Deserialize)]
struct ByType {
    embeddings: CohereVectors,
    meta: Option<Meta>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum CohereVectors {
    ByType { float: Vec<Vec<f32>> },
    Plain(Vec<Vec<f32>>),
}

#[derive(Deserialize)]
struct Meta {
    billed_units: Option<BilledUnits>,
}

/// Cohere writes its counts as floats.
#[derive(Deserialize)]
struct BilledUnits {
    input_tokens: Option<f64>,
}
