//! AWS's binary event stream (`application/vnd.amazon.eventstream`): bytes in, checked frames out.
//!
//! A frame is a prelude (length of all, length of the headers, CRC of these eight bytes), headers, a payload and a CRC
//! of everything before it. Promises: a frame is given away only when both CRCs hold; a frame that says it is longer
//! than the limit is refused before it is stored; where the bytes are cut into pieces makes no difference. After
//! [`Corrupt`] nothing is read any more: there is no way to find the next frame.

use bytes::{Buf, Bytes, BytesMut};

const PRELUDE_BYTES: usize = 12;
const CRC_BYTES: usize = 4;
/// What AWS allows for a payload and for the headers together, and no frame of Bedrock comes near.
pub const MAX_FRAME_BYTES: usize = 24 * 1024 * 1024;

/// One message of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    event: String,
    payload: Bytes,
}

impl Frame {
    /// The kind of event, as `contentBlockDelta`; of an exception its name, as `throttlingException`; `error` when AWS
    /// has no name for what went wrong.
    pub fn event(&self) -> &str {
        &self.event
    }

    /// JSON, for all that Bedrock sends.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }
}

/// Bytes that are no event stream. Nothing after them can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    #[error(
        "the event stream's prelude does not fit its checksum; was it changed on its way, or is it a text?"
    )]
    Prelude,
    #[error("a frame of the event stream does not fit its checksum; it was changed on its way")]
    Frame,
    #[error("a frame of {bytes} bytes is over the limit of {limit}")]
    TooLong { bytes: usize, limit: usize },
    #[error("a frame of the event stream is too short for its own headers")]
    Length,
    #[error("the headers of a frame of the event stream cannot be read")]
    Headers,
}

/// Takes bytes as they come and gives whole frames.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    max_frame_bytes: usize,
    corrupt: Option<Corrupt>,
}

impl Decoder {
    /// `max_frame_bytes` is cut down to [`MAX_FRAME_BYTES`].
    pub fn new(max_frame_bytes: usize) -> Decoder {
        let max_frame_bytes = max_frame_bytes.min(MAX_FRAME_BYTES);
        Decoder { buffer: BytesMut::new(), max_frame_bytes, corrupt: None }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if self.corrupt.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next frame, when all of it is here.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Corrupt> {
        if let Some(corrupt) = self.corrupt {
            return Err(corrupt);
        }
        let read = self.read();
        if let Err(corrupt) = read {
            self.corrupt = Some(corrupt);
            self.buffer.clear();
        }
        read
    }

    /// Bytes of a frame that has not ended. More than none at the stream's end: it was cut.
    pub fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    fn read(&mut self) -> Result<Option<Frame>, Corrupt> {
        let Some(prelude) = self.buffer.first_chunk::<PRELUDE_BYTES>() else { return Ok(None) };
        let mut fields = &prelude[..];
        let (length, headers) = (fields.get_u32() as usize, fields.get_u32() as usize);
        if crc32fast::hash(&prelude[..8]) != fields.get_u32() {
            return Err(Corrupt::Prelude);
        }
        if length > self.max_frame_bytes {
            return Err(Corrupt::TooLong { bytes: length, limit: self.max_frame_bytes });
        }
        if length < PRELUDE_BYTES + CRC_BYTES || headers > length - PRELUDE_BYTES - CRC_BYTES {
            return Err(Corrupt::Length);
        }
        if self.buffer.len() < length {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(length).freeze();
        let mut crc = frame.split_off(length - CRC_BYTES);
        if crc32fast::hash(&frame) != crc.get_u32() {
            return Err(Corrupt::Frame);
        }
        frame.advance(PRELUDE_BYTES);
        let payload = frame.split_off(headers);
        Headers::read(frame).map(|headers| Some(headers.frame(payload))).ok_or(Corrupt::Headers)
    }
}

/// Those that say what a frame is.
#[derive(Default)]
struct Headers {
    message_type: String,
    event_type: String,
    exception_type: String,
    error_code: String,
    error_message: String,
}

impl Headers {
    fn read(mut bytes: Bytes) -> Option<Headers> {
        let mut headers = Headers::default();
        while bytes.has_remaining() {
            let length = usize::from(bytes.try_get_u8().ok()?);
            let name = taken(&mut bytes, length)?;
            let Some(value) = text_value(&mut bytes)? else { continue };
            let known = match &name[..] {
                b":message-type" => &mut headers.message_type,
                b":event-type" => &mut headers.event_type,
                b":exception-type" => &mut headers.exception_type,
                b":error-code" => &mut headers.error_code,
                b":error-message" => &mut headers.error_message,
                _ => continue,
            };
            *known = value;
        }
        Some(headers)
    }

    fn frame(self, payload: Bytes) -> Frame {
        match self.message_type.as_str() {
            "exception" => Frame { event: self.exception_type, payload },
            "error" => {
                // Said in headers alone; as JSON it is read like every other failure.
                let words = serde_json::json!({"message": self.error_message, "code": self.error_code});
                Frame { event: "error".to_owned(), payload: words.to_string().into() }
            }
            _ => Frame { event: self.event_type, payload },
        }
    }
}

/// A header's value if it is text, `Some(None)` for one of another type; those have a length by their type.
#[expect(clippy::option_option, reason = "unreadable, readable and skipped, readable and text")]
fn text_value(bytes: &mut Bytes) -> Option<Option<String>> {
    let length = match bytes.try_get_u8().ok()? {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        9 => 16,
        6 => usize::from(bytes.try_get_u16().ok()?),
        7 => {
            let length = usize::from(bytes.try_get_u16().ok()?);
            return Some(Some(String::from_utf8(taken(bytes, length)?.into()).ok()?));
        }
        _ => return None,
    };
    taken(bytes, length).map(|_| None)
}

fn taken(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (bytes.len() >= length).then(|| bytes.split_to(length))
}

/// A frame as Bedrock sends it: for providers that play Bedrock, as the fault provider does.
pub fn encode(event: &str, payload: &[u8]) -> Vec<u8> {
    let (kind, name) = match event.ends_with("Exception") {
        true => ("exception", ":exception-type"),
        false => ("event", ":event-type"),
    };
    let mut headers = Vec::new();
    for (name, value) in [(name, event), (":content-type", "application/json"), (":message-type", kind)] {
        headers.push(name.len() as u8);
        headers.extend_from_slice(name.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&(value.len() as u16).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let length = PRELUDE_BYTES + headers.len() + payload.len() + CRC_BYTES;
    let mut frame = Vec::with_capacity(length);
    frame.extend_from_slice(&(length as u32).to_be_bytes());
    frame.extend_from_slice(&(headers.len() as u32).to_be_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(&headers);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame
}
