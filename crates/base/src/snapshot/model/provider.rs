//! Who answers: a provider, the language it speaks, and its keys.

use std::time::Duration;

use crate::{Secret, snapshot::Timeouts};

#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    pub name: String,
    pub dialect: Dialect,
    /// With its version part where the dialect has one (`https://api.openai.com/v1`), without a trailing slash.
    pub base_url: String,
    /// Several are used in turn; one that is refused or limited rests alone. Empty: no credentials are sent.
    pub keys: Vec<ProviderKey>,
    pub timeouts: Timeouts,
    /// From the request sent to the first content of a stream.
    pub first_token: Duration,
    /// Calls of `/v1/responses` go there as they came. To others of its dialect, and to every other dialect, they go
    /// converted; no other dialect than OpenAI's and Azure's has them.
    pub speaks_responses: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderKey {
    /// How records and alerts call it: never the key itself.
    pub name: String,
    pub secret: ProviderSecret,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderSecret {
    Token(Secret),
    /// For SigV4. `session_token` belongs to temporary credentials.
    Aws {
        access_key_id: String,
        secret_access_key: Secret,
        session_token: Option<Secret>,
    },
}

impl ProviderKey {
    pub fn token(name: impl Into<String>, token: Secret) -> ProviderKey {
        ProviderKey { name: name.into(), secret: ProviderSecret::Token(token) }
    }
}

/// The language a provider speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's, and of all who speak it.
    #[default]
    OpenAi,
    /// OpenAI's bodies under Azure's URLs: `{base}/openai/deployments/{model}/…?api-version=…`, key in `api-key`.
    Azure { api_version: String },
    /// Anthropic Messages.
    Anthropic,
    /// Google Gemini (`generateContent`).
    Gemini,
    /// AWS Bedrock Converse; requests are signed (SigV4).
    Bedrock { region: String },
    /// Cohere's rerank (and embed).
    Cohere,
}

impl Dialect {
    pub fn as_str(&self) -> &'static str {
        match self {
            Dialect::OpenAi => "openai",
            Dialect::Azure { .. } => "azure",
            Dialect::Anthropic => "anthropic",
            Dialect::Gemini => "gemini",
            Dialect::Bedrock { .. } => "bedrock",
            Dialect::Cohere => "cohere",
        }
    }
}
