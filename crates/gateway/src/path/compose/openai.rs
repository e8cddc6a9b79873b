//! Failures in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.
//!
//! Dify's plugin tells callers' mistakes, limits and outages apart by the status, and shows the message: a status that
//! blames the wrong side sends an operator to the wrong place.

use std::borrow::Cow;

use mainstay_base::Class;
use mainstay_wire::openai::{ErrorBody, ErrorDetail};
use serde_json::Value;

use crate::path::failure::{FromProvider, Reason};

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";
const LIMITED: &str = "rate_limit_error";
const QUOTA: &str = "insufficient_quota";

struct Words<'a> {
    status: u16,
    kind: &'static str,
    code: Option<&'a str>,
    param: Option<&'a str>,
    message: Cow<'a, str>,
}

/// A reason's status and body.
pub(super) fn words(reason: &Reason) -> (u16, String) {
    let Words { status, kind, code, param, message } = of(reason);
    let text = |text: &str| Value::String(text.to_owned());
    let error = ErrorDetail {
        message: message.into_owned(),
        kind: Some(kind.to_owned()),
        param: param.map(text),
        code: code.map(text),
    };
    (status, serde_json::to_string(&ErrorBody { error }).unwrap_or_default())
}

fn say<'a>(
    status: u16,
    kind: &'static str,
    code: Option<&'a str>,
    message: impl Into<Cow<'a, str>>,
) -> Words<'a> {
    Words { status, kind, code, param: None, message: message.into() }
}

fn of(reason: &Reason) -> Words<'_> {
    match reason {
        Reason::NoCredentials | Reason::WrongScheme => say(
            401,
            INVALID,
            None,
            "You didn't provide an API key. Send it as Authorization: Bearer YOUR_KEY.",
        ),
        Reason::UnknownKey => say(401, INVALID, Some("invalid_api_key"), "Incorrect API key provided."),
        Reason::Saturated => {
            say(503, SERVER, Some("overloaded"), "The gateway is busy. Please try again in a moment.")
        }
        Reason::NoCandidate | Reason::Unreachable => say(
            503,
            SERVER,
            Some("provider_unreachable"),
            "No provider of this model can be reached. Please try again later.",
        ),
        Reason::NoAnswerInTime => {
            say(504, SERVER, Some("provider_timeout"), "The provider did not answer in time.")
        }
        Reason::BrokenOff => {
            say(502, SERVER, Some("provider_broke_off"), "The provider broke off before it answered.")
        }
        Reason::Panicked => {
            say(500, SERVER, None, "The server had an error while processing your request. Sorry about that!")
        }
        Reason::Provider(failed) => of_provider(failed),
        Reason::ModelNotAllowed { .. }
        | Reason::KeyLimited { .. }
        | Reason::BudgetSpent { .. }
        | Reason::BudgetUnreachable
        | Reason::NoTargetFits { .. }
        | Reason::CostCeiling
        | Reason::DeadlineOver => of_policy(reason),
        _ => of_request(reason),
    }
}

/// What is wrong with the request itself.
fn of_request(reason: &Reason) -> Words<'_> {
    match reason {
        Reason::NoSuchPath | Reason::BadPath => say(404, INVALID, Some("unknown_url"), "Invalid URL."),
        Reason::WrongMethod => {
            say(405, INVALID, Some("method_not_supported"), "Not allowed to use this method here.")
        }
        Reason::BadHeader { name, why } => {
            Words { param: Some(name), ..say(400, INVALID, None, format!("{name} {why}.")) }
        }
        Reason::BadField { name, why } => Words {
            param: Some(name),
            ..say(400, INVALID, Some("invalid_type"), format!("Invalid value for '{name}': it {why}."))
        },
        Reason::BodyTooLarge { .. } => {
            say(413, INVALID, Some("request_too_large"), "The request's body is too large.")
        }
        Reason::BodyTooSlow => {
            say(408, INVALID, Some("request_timeout"), "The request's body came too slowly.")
        }
        Reason::BodyBroken => say(400, INVALID, None, "The request's body did not come to its end."),
        Reason::NotJson => {
            say(415, INVALID, None, "Only bodies of Content-Type application/json are served here.")
        }
        Reason::NotForm => say(
            415,
            INVALID,
            None,
            "Only bodies of Content-Type multipart/form-data with one boundary are served here.",
        ),
        Reason::MalformedForm { why } => {
            say(400, INVALID, None, format!("We could not read the form of your request: {why}."))
        }
        Reason::ModelMissing => {
            Words { param: Some("model"), ..say(400, INVALID, None, "you must provide a model parameter") }
        }
        Reason::ModelUnknown { model } => Words {
            param: Some("model"),
            ..say(
                404,
                INVALID,
                Some("model_not_found"),
                format!("The model `{model}` does not exist or you do not have access to it."),
            )
        },
        _ => say(400, INVALID, None, "We could not parse the JSON body of your request."),
    }
}

/// What the gateway's own rules refuse.
fn of_policy(reason: &Reason) -> Words<'_> {
    match reason {
        Reason::ModelNotAllowed { model } => Words {
            param: Some("model"),
            ..say(
                403,
                INVALID,
                Some("model_not_allowed"),
                format!("This API key does not have access to model `{model}`."),
            )
        },
        Reason::KeyLimited { limit, .. } => say(
            429,
            LIMITED,
            Some("rate_limit_exceeded"),
            format!("Rate limit reached for this API key ({limit}). Please try again later."),
        ),
        Reason::BudgetSpent { .. } => say(
            429,
            QUOTA,
            Some("insufficient_quota"),
            "You exceeded your current quota: the budget of this API key has not enough left for this call. Lower \
             max_tokens, or try again when the budget's next window begins.",
        ),
        Reason::BudgetUnreachable => say(
            503,
            SERVER,
            Some("budget_unreachable"),
            "The budget of this API key cannot be checked now. Please try again later.",
        ),
        Reason::NoTargetFits { why } => say(
            400,
            INVALID,
            Some("no_target_fits"),
            format!("No target of this model serves this call: {why}."),
        ),
        Reason::CostCeiling => say(
            400,
            INVALID,
            Some("max_cost_exceeded"),
            "This call may cost more than its ceiling. Lower max_tokens, shorten the input or raise the ceiling.",
        ),
        _ => say(504, SERVER, Some("deadline_exceeded"), "The call's deadline passed before an answer came."),
    }
}

/// What the last provider did: its class decides, its words are added where they are the caller's business.
fn of_provider(failed: &FromProvider) -> Words<'_> {
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
pub(super) fn status_of(class: Class) -> u16 {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn told(class: Class, status: Option<u16>) -> (u16, Value) {
        let message = Some("the provider's own words".to_owned());
        let failed = FromProvider { status, message, ..FromProvider::wordless(class, None) };
        let (status, body) = words(&Reason::Provider(Box::new(failed)));
        (status, serde_json::from_str(&body).unwrap())
    }

    #[test]
    fn every_class_has_the_status_that_blames_the_right_side() {
        for (class, status, code) in [
            (Class::RateLimited, 429, Some("rate_limit_exceeded")),
            (Class::QuotaExhausted, 429, Some("provider_quota_exhausted")),
            (Class::Overloaded, 503, Some("provider_overloaded")),
            (Class::ServerError, 502, Some("provider_error")),
            (Class::BadKey, 502, Some("provider_key_refused")),
            (Class::ModelMissing, 502, Some("provider_model_missing")),
            (Class::CallerError, 400, None),
            (Class::NotConvertible, 400, None),
            (Class::ContextOverflow, 400, Some("context_length_exceeded")),
            (Class::ContentFilter, 400, Some("content_filter")),
            (Class::Dns, 503, Some("provider_unreachable")),
            (Class::Connect, 503, Some("provider_unreachable")),
            (Class::Tls, 503, Some("provider_unreachable")),
            (Class::ConnectTimeout, 504, Some("provider_timeout")),
            (Class::FirstByteTimeout, 504, Some("provider_timeout")),
            (Class::FirstTokenTimeout, 504, Some("provider_timeout")),
            (Class::Stall, 504, Some("provider_timeout")),
            (Class::TotalTimeout, 504, Some("provider_timeout")),
            (Class::Closed, 502, Some("provider_broke_off")),
            (Class::Cut, 502, Some("provider_broke_off")),
            (Class::ErrorInside, 502, Some("provider_bad_answer")),
            (Class::Empty, 502, Some("provider_bad_answer")),
            (Class::TruncatedJson, 502, Some("provider_bad_answer")),
            (Class::NotAnAnswer, 502, Some("provider_bad_answer")),
            (Class::HedgeLost, 502, Some("provider_error")),
            (Class::CallerGone, 502, Some("provider_error")),
        ] {
            let (found, body) = told(class, Some(401));
            let expected =
                if class == Class::CallerError || class == Class::NotConvertible { 401 } else { status };
            assert_eq!((found, body["error"]["code"].as_str()), (expected, code), "{class:?}");
            assert_eq!(status_of(class), status, "{class:?}");
        }
    }

    #[test]
    fn a_providers_words_are_shown_only_where_they_are_the_callers_business() {
        for class in Class::ALL {
            let shown = told(class, None).1["error"]["message"] == "the provider's own words";
            assert_eq!(shown, class.fault() == mainstay_base::verdict::Fault::Caller, "{class:?}");
        }
    }

    #[test]
    fn a_callers_mistake_keeps_its_param_and_code_and_no_other_failure_does() {
        for class in Class::ALL {
            let mut failed = FromProvider::wordless(class, None);
            (failed.param, failed.code) = (Some("messages[1].role".into()), Some("invalid_value".into()));
            let body: Value = serde_json::from_str(&words(&Reason::Provider(Box::new(failed))).1).unwrap();
            let is_kept = (&body["error"]["param"], &body["error"]["code"])
                == (&Value::from("messages[1].role"), &Value::from("invalid_value"));
            assert_eq!(is_kept, matches!(class, Class::CallerError | Class::NotConvertible), "{class:?}");
        }
    }

    #[test]
    fn a_callers_mistake_keeps_the_status_that_the_provider_gave_it() {
        for (given, expected) in
            [(Some(422), 422), (Some(404), 404), (Some(200), 400), (Some(500), 400), (None, 400)]
        {
            assert_eq!(told(Class::CallerError, given).0, expected, "{given:?}");
        }
    }

    #[test]
    fn what_our_own_rules_refuse_is_told_in_openais_words() {
        let wait = Duration::from_secs(3);
        for (reason, status, kind, code) in [
            (Reason::ModelNotAllowed { model: "m".into() }, 403, INVALID, "model_not_allowed"),
            (Reason::ModelUnknown { model: "m".into() }, 404, INVALID, "model_not_found"),
            (
                Reason::KeyLimited { limit: "calls at once", retry_after: wait },
                429,
                LIMITED,
                "rate_limit_exceeded",
            ),
            (Reason::BudgetSpent { retry_after: wait }, 429, QUOTA, "insufficient_quota"),
            (Reason::BudgetUnreachable, 503, SERVER, "budget_unreachable"),
            (Reason::NoTargetFits { why: "region eu".into() }, 400, INVALID, "no_target_fits"),
            (Reason::CostCeiling, 400, INVALID, "max_cost_exceeded"),
            (Reason::DeadlineOver, 504, SERVER, "deadline_exceeded"),
            (Reason::Saturated, 503, SERVER, "overloaded"),
            (Reason::BadField { name: "n", why: "is odd" }, 400, INVALID, "invalid_type"),
        ] {
            let (found, body) = words(&reason);
            let body: Value = serde_json::from_str(&body).unwrap();
            let error = &body["error"];
            assert_eq!(
                (found, error["type"].as_str(), error["code"].as_str()),
                (status, Some(kind), Some(code)),
                "{reason:?}"
            );
        }
    }
}
