//! Whose signature of a thought it is. A signature is opaque, goes to the caller and comes back with the conversation;
//! another provider than the one that made it refuses the whole request. So those that are not Claude's carry a mark.

/// Before a signature of Gemini's.
const GEMINI: &str = "gemini:";
/// Before a thought of Claude's that Bedrock gives only encrypted.
const REDACTED: &str = "redacted:";

pub(super) fn mark_gemini(signature: &str) -> String {
    format!("{GEMINI}{signature}")
}

pub(super) fn of_gemini(signature: &str) -> Option<&str> {
    signature.strip_prefix(GEMINI)
}

pub(super) fn mark_redacted(thought: &str) -> String {
    format!("{REDACTED}{thought}")
}

pub(super) fn redacted(signature: &str) -> Option<&str> {
    signature.strip_prefix(REDACTED)
}

/// Whether Claude may have made it, on whatever platform.
pub(super) fn is_claudes(signature: &str) -> bool {
    of_gemini(signature).is_none() && redacted(signature).is_none()
}
