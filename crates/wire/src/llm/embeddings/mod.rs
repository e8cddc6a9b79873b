//! Embeddings: one inner form, OpenAI's on the caller's side, and what providers take and give.

use mainstay_base::snapshot::Dialect;
use serde_json::{Map, Value};

use super::{Outgoing, Unreadable, Unwritable, Usage};

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

pub fn read_request(_body: &[u8]) -> Result<Request, Unreadable> {
    Err(Unreadable { what: "the body".to_owned() })
}

pub fn write_answer(_answer: &Answer, _encoding: Encoding) -> Vec<u8> {
    Vec::new()
}

/// The request in a provider's dialect.
pub fn write_request(_dialect: &Dialect, _request: &Request) -> Result<Outgoing, Unwritable> {
    Err(Unwritable { dialect: "embeddings", what: "the request".to_owned() })
}

/// The provider's answer to `request`.
pub fn read_answer(_dialect: &Dialect, _request: &Request, _body: &[u8]) -> Result<Answer, Unreadable> {
    Err(Unreadable { what: "the body".to_owned() })
}
