//! Anthropic's Messages, as a provider's dialect.

use super::{Answer, Delta, Facts, Outgoing, Request, Unreadable, Unwritable};

pub fn write_request(_request: &Request, _facts: &Facts<'_>) -> Result<Outgoing, Unwritable> {
    Err(Unwritable { dialect: "anthropic", what: "the request".to_owned() })
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
