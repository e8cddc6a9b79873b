//! AWS Bedrock's Converse and ConverseStream, as a provider's dialect.
//!
//! Promises: a stream's frames are checked (both CRCs) before a byte of them is believed, and bounded in size; what is
//! signed is exactly what goes out. Refuses to know where credentials come from, and models by anything but their
//! names.

mod answer;
pub mod frames;
mod media;
mod request;
pub mod sign;
mod stream;
mod thinking;
mod tools;

pub use answer::read_answer;
pub use request::write_request;
pub use stream::StreamReader;

/// How errors name this dialect.
pub(super) const NAME: &str = "bedrock";

/// The service's name in a signature.
pub const SERVICE: &str = "bedrock";
