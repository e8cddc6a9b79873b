//! What a caller reads of the last provider that was asked.

use mainstay_base::Class;

use super::{INVALID, LIMITED, QUOTA, SERVER, Words, say};
use crate::path::failure::FromProvider;

/// What the last provider did: its class decides, its words are added where they are the caller's business.
pub(super) fn words(failed: &FromProvider) -> Words<'_> {
    let status = status_of(failed.class);
    let told = failed.message.as_deref();
    match failed.class {
        Class::CallerError | Class::NotConvertible => {
            // The provider's own status, as far as it blames the caller.
            let status = failed.status.filter(|status| matches!(status, 400..=499)).unwrap_or(status);
            Words {
                param: failed.param.as_deref(),
                code: failed.code.as_deref(),
                ..say(status, INVALID, None, told.unwrap_or("The provider refused this request."))
            }
        }
        Class::ContextOverflow => Words {
            param: Some("messages"),
            ..say(
                status,
                INVALID,
                Some("context_length_exceeded"),
                told.unwrap_or("This model's maximum context length is exceeded. Please shorten the input."),
            )
        },
        Class::ContentFilter => say(
            status,
            INVALID,
            Some("content_filter"),
            told.unwrap_or("The provider's content filter refused this request."),
        ),
        class => {
            let (kind, code, message) = ours(class);
            say(status, kind, Some(code), message)
        }
    }
}

/// The status of a class, where the provider's own is not passed on.
pub(in crate::path::compose) fn status_of(class: Class) -> u16 {
    match class {
        Class::CallerError | Class::ContextOverflow | Class::ContentFilter | Class::NotConvertible => 400,
        Class::RateLimited | Class::QuotaExhausted => 429,
        Class::FirstByteTimeout
        | Class::FirstTokenTimeout
        | Class::Stall
        | Class::TotalTimeout
        | Class::ConnectTimeout => 504,
        Class::Overloaded | Class::Dns | Class::Connect | Class::Tls => 503,
        Class::ServerError
        | Class::BadKey
        | Class::ModelMissing
        | Class::Closed
        | Class::Cut
        | Class::ErrorInside
        | Class::Empty
        | Class::TruncatedJson
        | Class::NotAnAnswer
        | Class::HedgeLost
        | Class::CallerGone => 502,
    }
}

/// Words of ours for what is no business of the caller's beyond that it happened.
fn ours(class: Class) -> (&'static str, &'static str, &'static str) {
    match class {
        Class::RateLimited => {
            (LIMITED, "rate_limit_exceeded", "The provider's rate limit is reached. Please try again later.")
        }
        Class::QuotaExhausted => {
            (QUOTA, "provider_quota_exhausted", "The account at the provider has no quota left.")
        }
        Class::Overloaded => {
            (SERVER, "provider_overloaded", "The provider is overloaded. Please try again later.")
        }
        Class::BadKey => (
            SERVER,
            "provider_key_refused",
            "The provider refused the gateway's key. Your own key is fine; the operator has been told.",
        ),
        Class::ModelMissing => {
            (SERVER, "provider_model_missing", "The provider does not know the model that is configured.")
        }
        Class::Dns | Class::Connect | Class::Tls => (
            SERVER,
            "provider_unreachable",
            "No provider of this model can be reached. Please try again later.",
        ),
        Class::ConnectTimeout
        | Class::FirstByteTimeout
        | Class::FirstTokenTimeout
        | Class::Stall
        | Class::TotalTimeout => (SERVER, "provider_timeout", "The provider did not answer in time."),
        Class::Closed | Class::Cut => {
            (SERVER, "provider_broke_off", "The provider broke off before it answered.")
        }
        Class::ErrorInside | Class::Empty | Class::TruncatedJson | Class::NotAnAnswer => {
            (SERVER, "provider_bad_answer", "The provider's answer could not be used.")
        }
        _ => (SERVER, "provider_error", "The provider had an error while processing your request."),
    }
}
