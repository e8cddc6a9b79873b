//! OpenAI's chat and completions, on both sides: read from a caller and answered to it, written to a provider and
//! read back.
//!
//! Promises: what is written is read back as the same inner form. A field that this module does not know stays in
//! [`Request::extra`](super::Request) and goes out again. Refuses to know anything of one provider of this dialect
//! that the others would not bear.

use super::{Answer, Delta, Facts, Outgoing, Request, Unreadable, Unwritable};

/// Which of the two endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `/chat/completions`
    Chat,
    /// `/completions`, the old one.
    Completion,
}

pub fn read_request(_body: &[u8]) -> Result<Request, Unreadable> {
    Err(Unreadable { what: "the body".to_owned() })
}

pub fn read_completion_request(body: &[u8]) -> Result<Request, Unreadable> {
    read_request(body)
}

pub fn write_request(_request: &Request, _facts: &Facts<'_>) -> Result<Outgoing, Unwritable> {
    Err(Unwritable { dialect: "openai", what: "the request".to_owned() })
}

pub fn read_answer(_body: &[u8]) -> Result<Answer, Unreadable> {
    Err(Unreadable { what: "the body".to_owned() })
}

pub fn write_answer(_answer: &Answer, _shape: Shape) -> Vec<u8> {
    Vec::new()
}

#[derive(Debug, Default)]
pub struct StreamReader {}

impl StreamReader {
    pub fn read(&mut self, _event: Option<&str>, _data: &[u8]) -> Vec<Delta> {
        Vec::new()
    }
}

#[derive(Debug)]
pub struct StreamWriter {}

impl StreamWriter {
    /// `created` in Unix seconds. `model` is the name that the caller asked for.
    pub fn new(_shape: Shape, _include_usage: bool, _model: &str, _created: i64) -> StreamWriter {
        StreamWriter {}
    }

    /// Appends the frames of one step to `out`.
    pub fn write(&mut self, _delta: &Delta, _out: &mut Vec<u8>) {}
}
