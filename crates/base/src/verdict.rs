//! What went wrong with one attempt at a model provider: named once, and every later decision follows from the name.

use serde::{Deserialize, Serialize};

/// Why an attempt was not the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Dns,
    Connect,
    ConnectTimeout,
    Tls,
    /// The connection was closed before the head of an answer.
    Closed,
    FirstByteTimeout,
    /// A head came, and no content in time.
    FirstTokenTimeout,
    /// Content came, and then nothing for too long.
    Stall,
    /// The attempt's whole time was over.
    TotalTimeout,
    /// A stream broke off.
    Cut,
    /// 429: too fast for the provider. The key rests, for as long as the provider says.
    RateLimited,
    /// The account or its quota is used up: no wait of seconds helps.
    QuotaExhausted,
    /// 503, 529: the provider has no room.
    Overloaded,
    /// Any other 5xx.
    ServerError,
    /// 401, 403: the provider refuses our key.
    BadKey,
    /// The provider does not know the model (404), or this key may not use it.
    ModelMissing,
    /// 400, 422 and their kind: the caller's request is wrong, and would be anywhere.
    CallerError,
    /// The request has more tokens than the model's context.
    ContextOverflow,
    /// The provider's filter refused the prompt or the answer.
    ContentFilter,
    /// 200 with an error in it.
    ErrorInside,
    /// An answer without content.
    Empty,
    /// JSON that ends too early.
    TruncatedJson,
    /// A page for humans, or anything else that is not the dialect's answer.
    NotAnAnswer,
    /// Another attempt was faster; this one was cancelled and booked.
    HedgeLost,
    /// The caller left while it was under way.
    CallerGone,
    /// The request could not be put into the provider's dialect.
    NotConvertible,
}

/// Whose doing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    Caller,
    /// One credential of ours at the provider.
    Key,
    Provider,
    /// The way to the provider.
    Network,
    /// Nobody's: the attempt was not needed any more.
    Nobody,
}

impl Class {
    pub const ALL: [Class; 26] = [
        Class::Dns,
        Class::Connect,
        Class::ConnectTimeout,
        Class::Tls,
        Class::Closed,
        Class::FirstByteTimeout,
        Class::FirstTokenTimeout,
        Class::Stall,
        Class::TotalTimeout,
        Class::Cut,
        Class::RateLimited,
        Class::QuotaExhausted,
        Class::Overloaded,
        Class::ServerError,
        Class::BadKey,
        Class::ModelMissing,
        Class::CallerError,
        Class::ContextOverflow,
        Class::ContentFilter,
        Class::ErrorInside,
        Class::Empty,
        Class::TruncatedJson,
        Class::NotAnAnswer,
        Class::HedgeLost,
        Class::CallerGone,
        Class::NotConvertible,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Class::Dns => "dns",
            Class::Connect => "connect",
            Class::ConnectTimeout => "connect_timeout",
            Class::Tls => "tls",
            Class::Closed => "closed",
            Class::FirstByteTimeout => "first_byte_timeout",
            Class::FirstTokenTimeout => "first_token_timeout",
            Class::Stall => "stall",
            Class::TotalTimeout => "total_timeout",
            Class::Cut => "cut",
            Class::RateLimited => "rate_limited",
            Class::QuotaExhausted => "quota_exhausted",
            Class::Overloaded => "overloaded",
            Class::ServerError => "server_error",
            Class::BadKey => "bad_key",
            Class::ModelMissing => "model_missing",
            Class::CallerError => "caller_error",
            Class::ContextOverflow => "context_overflow",
            Class::ContentFilter => "content_filter",
            Class::ErrorInside => "error_inside",
            Class::Empty => "empty",
            Class::TruncatedJson => "truncated_json",
            Class::NotAnAnswer => "not_an_answer",
            Class::HedgeLost => "hedge_lost",
            Class::CallerGone => "caller_gone",
            Class::NotConvertible => "not_convertible",
        }
    }

    pub fn parse(text: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.as_str() == text)
    }

    pub fn fault(self) -> Fault {
        match self {
            Class::CallerError | Class::ContextOverflow | Class::ContentFilter | Class::NotConvertible => {
                Fault::Caller
            }
            Class::BadKey | Class::QuotaExhausted | Class::RateLimited => Fault::Key,
            Class::Dns | Class::Connect | Class::ConnectTimeout | Class::Tls => Fault::Network,
            Class::Closed
            | Class::FirstByteTimeout
            | Class::FirstTokenTimeout
            | Class::Stall
            | Class::TotalTimeout
            | Class::Cut
            | Class::Overloaded
            | Class::ServerError
            | Class::ModelMissing
            | Class::ErrorInside
            | Class::Empty
            | Class::TruncatedJson
            | Class::NotAnAnswer => Fault::Provider,
            Class::HedgeLost | Class::CallerGone => Fault::Nobody,
        }
    }

    /// Whether the target's breaker counts it as a failure. A refused key says nothing about the target.
    pub fn counts_against_target(self) -> bool {
        matches!(self.fault(), Fault::Provider | Fault::Network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_spelled_once_and_read_back() {
        for class in Class::ALL {
            assert_eq!(Class::parse(class.as_str()), Some(class));
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
        let spellings: std::collections::BTreeSet<_> = Class::ALL.map(Class::as_str).into_iter().collect();
        assert_eq!(spellings.len(), Class::ALL.len());
    }
}
