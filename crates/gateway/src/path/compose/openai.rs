//! Failures in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.
//!
//! Dify's plugin tells callers' mistakes, limits and outages apart by the status, and shows the message: a status that
//! blames the wrong side sends an operator to the wrong place.

use std::borrow::Cow;

use mainstay_wire::openai::{ErrorBody, ErrorDetail};
use serde_json::Value;

use crate::path::failure::Reason;

mod provider;
#[cfg(test)]
mod tests;

pub(super) use provider::status_of;

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
        Reason::Provider(failed) => provider::words(failed),
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
