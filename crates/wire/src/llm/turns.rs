//! What is said where a dialect wants a turn of the user's and the conversation has none.

/// At the beginning, when the model is the first to speak.
pub(super) const PLACEHOLDER: &str = ".";
/// At the end, when the model was cut off and the dialect does not let it go on by itself.
pub(super) const CONTINUE: &str = "Continue exactly where you stopped. Do not repeat anything.";
/// Among the system's words, where a dialect has no other way to ask for JSON of any form.
pub(super) const ONE_JSON_OBJECT: &str = "Answer with one JSON object and nothing else.";
