//! OpenAI's chat and completions, on both sides: read from a caller and answered to it, written to a provider and
//! read back.
//!
//! Promises: what is written is read back as the same inner form. A field that this module does not know stays in
//! [`Request::extra`](super::Request) and goes out again. Refuses to know anything of one provider of this dialect
//! that the others would not bear.

mod answer;
mod message;
mod outgoing;
mod reader;
mod request;
mod usage;
mod writer;

pub use answer::{read_answer, write_answer};
pub use outgoing::write_request;
pub use reader::StreamReader;
pub use request::{read_completion_request, read_request};
pub use writer::StreamWriter;

/// Which of the two endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `/chat/completions`
    Chat,
    /// `/completions`, the old one.
    Completion,
}

/// The id of an answer to which neither its provider nor its writer's caller gave one: some callers refuse an empty one.
fn made_up_id(created: i64) -> String {
    format!("chatcmpl-{created:x}")
}

impl Shape {
    fn object(self) -> &'static str {
        match self {
            Shape::Chat => "chat.completion",
            Shape::Completion => "text_completion",
        }
    }

    fn chunk_object(self) -> &'static str {
        match self {
            Shape::Chat => "chat.completion.chunk",
            Shape::Completion => "text_completion",
        }
    }
}
