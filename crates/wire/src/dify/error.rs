//! Error bodies: `{"code", "message", "status"}`, compact, ASCII, with a line feed at the end.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::python_json;

/// A refusal as Dify words it. `message` is public.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    pub status: u16,
    pub code: Cow<'static, str>,
    pub message: Cow<'static, str>,
}

impl ApiError {
    pub fn new(
        status: u16,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> ApiError {
        ApiError { status, code: code.into(), message: message.into() }
    }

    /// What Dify makes of every `ValueError`: wrong parameters.
    pub fn invalid_param(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(400, "invalid_param", message)
    }

    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(400, "bad_request", message)
    }

    /// A body that is no JSON (malformed, empty, not UTF-8, nested too deeply).
    pub fn malformed_json() -> ApiError {
        ApiError::bad_request("The browser (or proxy) sent a request that this server could not understand.")
    }

    pub fn not_json_type() -> ApiError {
        ApiError::new(
            415,
            "unsupported_media_type",
            "Did not attempt to load JSON data because the request Content-Type was not 'application/json'.",
        )
    }

    pub fn user_missing() -> ApiError {
        ApiError::invalid_param("Arg user must be provided.")
    }

    pub fn unauthorized(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(401, "unauthorized", message)
    }

    pub fn not_found(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(404, "not_found", message)
    }

    pub fn unknown_path() -> ApiError {
        ApiError::not_found(
            "The requested URL was not found on the server. If you entered the URL manually please check your \
             spelling and try again.",
        )
    }

    pub fn method_not_allowed() -> ApiError {
        ApiError::new(405, "method_not_allowed", "The method is not allowed for the requested URL.")
    }

    pub fn too_large() -> ApiError {
        ApiError::new(
            413,
            "request_entity_too_large",
            "The data value transmitted exceeds the capacity limit.",
        )
    }

    pub fn not_chat_app() -> ApiError {
        ApiError::new(400, "not_chat_app", WRONG_MODE)
    }

    pub fn not_workflow_app() -> ApiError {
        ApiError::new(400, "not_workflow_app", WRONG_MODE)
    }

    pub fn app_unavailable() -> ApiError {
        ApiError::new(400, "app_unavailable", "App unavailable, please check your app configurations.")
    }

    pub fn too_many_requests(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(429, "too_many_requests", message)
    }

    /// Something of ours failed; says nothing about what.
    pub fn internal() -> ApiError {
        ApiError::new(
            500,
            "internal_server_error",
            "The server encountered an internal error and was unable to complete your request. Either the server \
             is overloaded or there is an error in the application.",
        )
    }

    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(503, "service_unavailable", message)
    }

    /// The body, in the bytes of Dify.
    pub fn body(&self) -> String {
        let mut body = Map::with_capacity(3);
        body.insert("code".into(), Value::from(self.code.as_ref()));
        body.insert("message".into(), Value::from(self.message.as_ref()));
        body.insert("status".into(), Value::from(self.status));
        python_json::compact(&body) + "\n"
    }
}

const WRONG_MODE: &str = "Please check if your app mode matches the right API route.";

#[cfg(test)]
mod tests {
    use super::ApiError;

    #[test]
    fn bodies_are_those_that_a_dify_was_seen_to_send() {
        for (error, expected) in [
            (
                ApiError::user_missing(),
                r#"{"code":"invalid_param","message":"Arg user must be provided.","status":400}"#,
            ),
            (
                ApiError::unauthorized("Access token is invalid"),
                r#"{"code":"unauthorized","message":"Access token is invalid","status":401}"#,
            ),
            (
                ApiError::not_chat_app(),
                r#"{"code":"not_chat_app","message":"Please check if your app mode matches the right API route.","status":400}"#,
            ),
            (
                ApiError::invalid_param("name is required in input form"),
                r#"{"code":"invalid_param","message":"name is required in input form","status":400}"#,
            ),
        ] {
            assert_eq!(error.body(), format!("{expected}\n"));
        }
    }
}
