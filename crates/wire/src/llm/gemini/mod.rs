//! Google Gemini's `generateContent`, as a provider's dialect.
//!
//! Promises: calls of functions have ids, made up from the answer's own id where Gemini gives none; thought
//! signatures come back to the part that they belong to. Refuses to know safety settings: Google's defaults hold.

use super::{Answer, Delta, Facts, Outgoing, Request, Unreadable, Unwritable};

/// The header that carries the key.
pub const KEY_HEADER: &str = "x-goog-api-key";

pub fn write_request(_request: &Request, _facts: &Facts<'_>) -> Result<Outgoing, Unwritable> {
    Err(Unwritable { dialect: "gemini", what: "the request".to_owned() })
}

pub fn read_answer(_body: &[u8]) -> Result<Answer, Unreadable> {
    Err(Unreadable { what: "the body".to_owned() })
}

#[derive(Debug, Default)]
pub struct StreamReader {}

impl StreamReader {
    pub fn read(&mut self, _event: Option<&str>, _data: &[u8]) -> Vec<Delta> {
        Vec::new()
    }
}
