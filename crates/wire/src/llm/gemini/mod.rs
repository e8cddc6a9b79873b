//! Google Gemini's `generateContent` and `streamGenerateContent`, as a provider's dialect.
//!
//! Promises: calls of functions have ids, made up from the answer's own id where Gemini gives none; a thought
//! signature comes back with the part that it came with. Refuses to know safety settings: the account's hold. A
//! picture that a model draws is in a whole answer, and left out of a streamed one.

mod answer;
mod request;
mod schema;
mod stream;
mod thinking;

pub use answer::read_answer;
pub(super) use request::resource;
pub use request::write_request;
pub use stream::StreamReader;

/// How errors name this dialect.
pub(super) const NAME: &str = "gemini";

/// The header that carries the key.
pub const KEY_HEADER: &str = "x-goog-api-key";
