//! AWS Bedrock's Converse and ConverseStream, as a provider's dialect.

pub mod frames;
pub mod sign;

use super::{Answer, Delta, Facts, Outgoing, Request, Unreadable, Unwritable};

/// The service's name in a signature.
pub const SERVICE: &str = "bedrock";

pub fn write_request(_request: &Request, _facts: &Facts<'_>) -> Result<Outgoing, Unwritable> {
    Err(Unwritable { dialect: "bedrock", what: "the request".to_owned() })
}

pub fn read_answer(_body: &[u8]) -> Result<Answer, Unreadable> {
    Err(Unreadable { what: "the body".to_owned() })
}

/// Reads the frames that [`frames::Decoder`] gives: `read(Some(frame.event()), frame.payload())`.
#[derive(Debug, Default)]
pub struct StreamReader {}

impl StreamReader {
    pub fn read(&mut self, _event: Option<&str>, _data: &[u8]) -> Vec<Delta> {
        Vec::new()
    }
}
