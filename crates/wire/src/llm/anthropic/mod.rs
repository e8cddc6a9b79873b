//! Anthropic's Messages, as a provider's dialect.
//!
//! What this dialect has no place for and what changes no answer (seeds, penalties) is left out; what would change it
//! (several choices, log probabilities, audio) is refused. A temperature beyond 1, where the scale ends here, counts as
//! 1; thoughts yield to a call that must be made and to a history without them; a conversation is made to fit (blank
//! texts go, ids become distinct, roles alternate) rather than refused. What a generation of Claude refuses is in
//! [`model`].

mod answer;
mod blocks;
pub(super) mod model;
mod reader;
mod request;
pub(super) mod schema;
pub(super) mod thinking;

pub use answer::read_answer;
pub use reader::StreamReader;
pub use request::write_request;

const DIALECT: &str = "Anthropic's Messages";

/// A model that cannot be held to a schema is made to call this tool, whose arguments are then the answer.
pub(super) const ANSWER_TOOL: &str = "answer_in_this_form";
