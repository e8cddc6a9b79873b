//! Embeddings: one inner form, OpenAI's on the caller's side, and what providers take and give.
//!
//! Promises: an answer has exactly one vector for each input, in their order; anything else is [`Unreadable`], because
//! vectors that belong to other texts would be kept for good. Refuses to change a model: that is never a conversion.

mod providers;

use base64::prelude::{BASE64_STANDARD as BASE64, Engine};
pub use providers::{read_answer, write_request};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Unreadable, Usage,
    fields::{Fields, whole},
};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    pub model: String,
    pub inputs: Vec<Input>,
    pub dimensions: Option<u64>,
    pub encoding: Encoding,
    pub user: Option<String>,
    /// Fields without a meaning here, as they came.
    pub extra: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Text(String),
    Tokens(Vec<u64>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    #[default]
    Float,
    /// Little-endian 32-bit floats.
    Base64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub model: String,
    /// One for each input, in their order.
    pub vectors: Vec<Vec<f32>>,
    pub usage: Option<Usage>,
}

/// A caller's `/embeddings`.
pub fn read_request(body: &[u8]) -> Result<Request, Unreadable> {
    let mut fields = Fields::parse(body)?;
    let input = fields.take("input").ok_or_else(|| fields.wrong("input", "given"))?;
    let inputs = inputs(input).ok_or_else(|| {
        fields.wrong("input", "a text, a list of texts, a list of tokens, or a list of such lists")
    })?;
    let encoding = match fields.string("encoding_format")?.as_deref() {
        None | Some("float") => Encoding::Float,
        Some("base64") => Encoding::Base64,
        Some(_) => return Err(fields.wrong("encoding_format", "`float` or `base64`")),
    };
    Ok(Request {
        model: fields.required("model")?,
        inputs,
        dimensions: fields.count("dimensions")?,
        encoding,
        user: fields.string("user")?,
        extra: fields.rest(),
    })
}

fn inputs(input: Value) -> Option<Vec<Input>> {
    let tokens = |items: &[Value]| items.iter().map(whole).collect::<Option<Vec<u64>>>();
    match input {
        Value::String(text) => Some(vec![Input::Text(text)]),
        Value::Array(items) if items.first()?.is_number() => Some(vec![Input::Tokens(tokens(&items)?)]),
        Value::Array(items) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Some(Input::Text(text)),
                Value::Array(items) => tokens(&items).map(Input::Tokens),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

/// What the caller gets. An answer without usage says zero: the caller's client wants the field.
pub fn write_answer(answer: &Answer, encoding: Encoding) -> Vec<u8> {
    let usage = answer.usage.unwrap_or_default();
    let data = answer.vectors.iter().enumerate().map(|(index, vector)| Item {
        object: "embedding",
        index,
        embedding: match encoding {
            Encoding::Float => Embedding::Float(vector),
            Encoding::Base64 => Embedding::Base64(to_base64(vector)),
        },
    });
    let list = List {
        object: "list",
        data: data.collect(),
        model: &answer.model,
        usage: UsageOut {
            prompt_tokens: usage.input,
            total_tokens: usage.total(),
            mainstay_estimated: usage.is_estimated,
        },
    };
    // Writing to memory fails only for keys that are no strings, and there are none.
    serde_json::to_vec(&list).unwrap_or_default()
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Item<'a>>,
    model: &'a str,
    usage: UsageOut,
}

#[derive(Serialize)]
struct Item<'a> {
    object: &'static str,
    index: usize,
    embedding: Embedding<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Embedding<'a> {
    Float(&'a [f32]),
    Base64(String),
}

#[derive(Serialize)]
struct UsageOut {
    prompt_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    mainstay_estimated: bool,
}

fn to_base64(vector: &[f32]) -> String {
    BASE64.encode(vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())
}

fn from_base64(text: &str) -> Option<Vec<f32>> {
    let bytes = BASE64.decode(text).ok()?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn vectors_survive_base64(vector in prop::collection::vec(any::<u32>(), 0..50)) {
            let vector: Vec<f32> = vector.into_iter().map(f32::from_bits).collect();
            let back = from_base64(&to_base64(&vector)).unwrap();
            let bits = |vector: &[f32]| vector.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&back), bits(&vector));
        }

        #[test]
        fn any_text_is_base64_or_not(text in "\\PC{0,40}") {
            let _ = from_base64(&text);
        }
    }
}
