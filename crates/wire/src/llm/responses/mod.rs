//! OpenAI's Responses, as a caller's dialect: its requests read, its answers and streams written.
//!
//! Promises: every event that the official clients build an answer from comes, in their order, and the last one holds
//! the whole answer. What lies at one provider only (earlier responses, stored files, tools of the provider's own) is
//! refused in words that a caller may read. Refuses to know where the answer comes from.

mod items;
mod request;
mod response;
mod writer;

pub use request::read_request;
pub use response::{Echo, write_answer};
pub use writer::StreamWriter;

/// Before a thought's signature in `encrypted_content`, so that what another provider encrypted is not taken for one.
const SIGNATURE: &str = "mainstay:";
