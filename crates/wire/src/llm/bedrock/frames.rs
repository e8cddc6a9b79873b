//! AWS's binary event stream (`application/vnd.amazon.eventstream`).

use bytes::Bytes;

/// One message of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    event: String,
    payload: Bytes,
}

impl Frame {
    /// The kind of event, as `contentBlockDelta`; of an exception its name, as `throttlingException`.
    pub fn event(&self) -> &str {
        &self.event
    }

    pub fn payload(&self) -> &Bytes {
        &self.payload
    }
}

/// Bytes that are no event stream. Nothing after them can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    #[error("the event stream is corrupt")]
    Unread,
}

/// Takes bytes as they come and gives whole frames.
#[derive(Debug)]
pub struct Decoder {}

impl Decoder {
    pub fn new(_max_frame_bytes: usize) -> Decoder {
        Decoder {}
    }

    pub fn push(&mut self, _bytes: &[u8]) {}

    pub fn next_frame(&mut self) -> Result<Option<Frame>, Corrupt> {
        Ok(None)
    }

    /// Bytes of a frame that has not ended.
    pub fn held_bytes(&self) -> usize {
        0
    }
}
