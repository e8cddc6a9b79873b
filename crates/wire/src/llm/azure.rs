//! Azure OpenAI: OpenAI's bodies under Azure's URLs.

use super::Unwritable;

/// The header that carries the key.
pub const KEY_HEADER: &str = "api-key";

/// Where a request goes, after the provider's base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub path: String,
    pub query: Option<String>,
}

/// `endpoint` as OpenAI calls it, as `chat/completions`. `base` is the provider's base URL, with or without `/openai`
/// or `/openai/v1` at its end.
pub fn path(
    _base: &str,
    _deployment: &str,
    _endpoint: &str,
    _api_version: &str,
) -> Result<Place, Unwritable> {
    Err(Unwritable { dialect: "azure", what: "the endpoint".to_owned() })
}
