//! Request bodies with Dify's checks, in Dify's order: content type, JSON, user, then (after the caller compared the
//! app's mode) the fields, every wrong one named at once.

use serde_json::{Map, Value};

use super::{ApiError, validation::Report};

/// Dify's column for it is this wide.
pub const USER_MAX_CHARACTERS: usize = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseMode {
    Blocking,
    Streaming,
}

/// `POST /v1/workflows/run`.
#[derive(Clone, Debug, PartialEq)]
pub struct RunBody {
    pub inputs: Map<String, Value>,
    pub files: Vec<Value>,
    pub response_mode: ResponseMode,
}

/// `POST /v1/chat-messages`.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatBody {
    pub inputs: Map<String, Value>,
    pub query: String,
    pub files: Vec<Value>,
    pub response_mode: ResponseMode,
    pub conversation_id: Option<String>,
    pub auto_generate_name: bool,
    pub workflow_id: Option<String>,
}

/// `POST /v1/messages/{id}/feedbacks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedbackBody {
    pub rating: Option<String>,
    pub content: Option<String>,
}

/// `POST /v1/conversations/{id}/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenameBody {
    pub name: Option<String>,
    pub auto_generate: bool,
}

/// Reads a JSON object out of a body.
pub fn object(content_type: Option<&str>, body: &[u8]) -> Result<Value, ApiError> {
    if !content_type.is_some_and(is_json_type) {
        return Err(ApiError::not_json_type());
    }
    // Nesting deeper than 128 is refused here, before anything recurses over it.
    let value: Value = serde_json::from_slice(body).map_err(|_| ApiError::malformed_json())?;
    if !value.is_object() {
        return Err(ApiError::bad_request("The request body must be a JSON object."));
    }
    Ok(value)
}

/// The caller's name for its own user.
pub fn user(body: &Value) -> Result<String, ApiError> {
    optional_user(body)?.ok_or_else(ApiError::user_missing)
}

/// As [`user`], where Dify does not insist on one.
pub fn optional_user(body: &Value) -> Result<Option<String>, ApiError> {
    let user = match body.get("user") {
        None | Some(Value::Null | Value::Bool(false)) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(true) | Value::Array(_) | Value::Object(_)) => {
            return Err(ApiError::invalid_param("Arg user must be a string."));
        }
    };
    checked_user(user)
}

/// The rules for a user's name, wherever it came from. An empty one is none.
pub fn checked_user(user: String) -> Result<Option<String>, ApiError> {
    if user.contains('\0') {
        return Err(ApiError::invalid_param("A string literal cannot contain NUL (0x00) characters."));
    }
    if user.chars().count() > USER_MAX_CHARACTERS {
        return Err(ApiError::invalid_param("Arg user must have at most 255 characters."));
    }
    Ok(Some(user).filter(|user| !user.is_empty()))
}

impl RunBody {
    pub fn read(body: &Value) -> Result<RunBody, ApiError> {
        let mut report = Report::of("WorkflowRunPayload");
        let inputs = inputs(body, &mut report);
        let files = files(body, &mut report);
        let response_mode = response_mode(body, &mut report);
        report.finish()?;
        Ok(RunBody { inputs, files, response_mode })
    }
}

impl ChatBody {
    pub fn read(body: &Value) -> Result<ChatBody, ApiError> {
        let mut report = Report::of("ChatRequestPayload");
        let inputs = inputs(body, &mut report);
        let query = match body.get("query") {
            None => {
                report.missing("query", body);
                String::new()
            }
            Some(Value::String(text)) => text.replace('\0', ""),
            Some(other) => {
                report.add("query", "Input should be a valid string", "string_type", other);
                String::new()
            }
        };
        let files = files(body, &mut report);
        let response_mode = response_mode(body, &mut report);
        let conversation_id = conversation_id(body, &mut report);
        let auto_generate_name = boolean(body, "auto_generate_name", true, &mut report);
        let workflow_id = optional_text(body, "workflow_id", &mut report);
        report.finish()?;
        if query.is_empty() {
            return Err(ApiError::invalid_param("query is required"));
        }
        Ok(ChatBody { inputs, query, files, response_mode, conversation_id, auto_generate_name, workflow_id })
    }
}

impl FeedbackBody {
    pub fn read(body: &Value) -> Result<FeedbackBody, ApiError> {
        let mut report = Report::of("MessageFeedbackPayload");
        let rating = match body.get("rating") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text == "like" || text == "dislike" => Some(text.clone()),
            Some(other) => {
                report.add("rating", "Input should be 'like' or 'dislike'", "literal_error", other);
                None
            }
        };
        let content = optional_text(body, "content", &mut report);
        report.finish()?;
        Ok(FeedbackBody { rating, content })
    }
}

impl RenameBody {
    pub fn read(body: &Value) -> Result<RenameBody, ApiError> {
        let mut report = Report::of("ConversationRenamePayload");
        let name = optional_text(body, "name", &mut report);
        let auto_generate = boolean(body, "auto_generate", false, &mut report);
        report.finish()?;
        if !auto_generate && name.as_deref().is_none_or(|name| name.trim().is_empty()) {
            let mut report = Report::of("ConversationRenamePayload");
            report.add("", "Value error, name is required when auto_generate is false", "value_error", body);
            report.finish()?;
        }
        Ok(RenameBody { name, auto_generate })
    }
}

fn is_json_type(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn inputs(body: &Value, report: &mut Report) -> Map<String, Value> {
    match body.get("inputs") {
        Some(Value::Object(inputs)) => return inputs.clone(),
        Some(other) => report.add("inputs", "Input should be a valid dictionary", "dict_type", other),
        None => report.missing("inputs", body),
    }
    Map::new()
}

fn files(body: &Value, report: &mut Report) -> Vec<Value> {
    match body.get("files") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(files)) => {
            for (index, file) in files.iter().enumerate().filter(|(_, file)| !file.is_object()) {
                report.add(
                    &format!("files.{index}"),
                    "Input should be a valid dictionary",
                    "dict_type",
                    file,
                );
            }
            files.clone()
        }
        Some(other) => {
            report.add("files", "Input should be a valid list", "list_type", other);
            Vec::new()
        }
    }
}

/// Absent means blocking.
fn response_mode(body: &Value, report: &mut Report) -> ResponseMode {
    match body.get("response_mode") {
        None | Some(Value::Null) => ResponseMode::Blocking,
        Some(Value::String(text)) if text == "blocking" => ResponseMode::Blocking,
        Some(Value::String(text)) if text == "streaming" => ResponseMode::Streaming,
        Some(other) => {
            report.add("response_mode", "Input should be 'blocking' or 'streaming'", "literal_error", other);
            ResponseMode::Blocking
        }
    }
}

fn conversation_id(body: &Value, report: &mut Report) -> Option<String> {
    let value = body.get("conversation_id")?;
    let text = match value {
        Value::Null | Value::Bool(false) => return None,
        Value::String(text) => text.trim(),
        _ => "not a text",
    };
    if text.is_empty() {
        return None;
    }
    if let Ok(id) = uuid::Uuid::try_parse(text) {
        return Some(id.to_string());
    }
    report.add("conversation_id", "Value error, conversation_id must be a valid UUID", "value_error", value);
    None
}

fn optional_text(body: &Value, field: &str, report: &mut Report) -> Option<String> {
    match body.get(field)? {
        Value::Null => None,
        Value::String(text) => Some(text.replace('\0', "")),
        other => {
            report.add(field, "Input should be a valid string", "string_type", other);
            None
        }
    }
}

fn boolean(body: &Value, field: &str, default: bool, report: &mut Report) -> bool {
    let value = match body.get(field) {
        None => return default,
        Some(value) => value,
    };
    let read = match value {
        Value::Bool(value) => Some(*value),
        Value::Number(number) => match number.as_f64() {
            Some(0.0) => Some(false),
            Some(1.0) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
            "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
            _ => None,
        },
        Value::Null | Value::Array(_) | Value::Object(_) => {
            report.add(field, "Input should be a valid boolean", "bool_type", value);
            return default;
        }
    };
    read.unwrap_or_else(|| {
        let message = "Input should be a valid boolean, unable to interpret input";
        report.add(field, message, "bool_parsing", value);
        default
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const JSON: Option<&str> = Some("application/json; charset=utf-8");

    #[test]
    fn what_is_no_json_object_is_refused_before_anything_else() {
        let deep = "[".repeat(100_000);
        for (content_type, body, status) in [
            (JSON, "{".as_bytes(), 400),
            (JSON, b"", 400),
            (JSON, b"\xff{}", 400),
            (JSON, b"{\"user\": \"\xff\"}", 400),
            (JSON, b"[1]", 400),
            (JSON, b"null", 400),
            (JSON, deep.as_bytes(), 400),
            (None, b"{}", 415),
            (Some("text/plain"), b"{}", 415),
        ] {
            let error = object(content_type, body).unwrap_err();
            assert_eq!(error.status, status, "{error}");
        }
        assert!(object(Some("application/vnd.x+json"), b"{}").is_ok());
    }

    #[test]
    fn a_user_is_a_text_that_can_be_stored() {
        assert_eq!(user(&json!({"user": 5})).unwrap(), "5");
        for (body, expected) in [
            (json!({}), "Arg user must be provided."),
            (json!({"user": ""}), "Arg user must be provided."),
            (json!({"user": null}), "Arg user must be provided."),
            (json!({"user": ["x"]}), "Arg user must be a string."),
            (json!({"user": "a\u{0}b"}), "A string literal cannot contain NUL (0x00) characters."),
            (json!({"user": "x".repeat(256)}), "Arg user must have at most 255 characters."),
        ] {
            assert_eq!(user(&body).unwrap_err().message, expected);
        }
    }

    #[test]
    fn every_wrong_field_is_named_at_once_in_the_words_of_pydantic() {
        let error = RunBody::read(&json!({"inputs": [1], "files": 5, "response_mode": "blah"})).unwrap_err();
        assert_eq!(error.code, "invalid_param");
        assert_eq!(
            error.message,
            "3 validation errors for WorkflowRunPayload\n\
             inputs\n  Input should be a valid dictionary [type=dict_type, input_value=[1], input_type=list]\n    \
             For further information visit https://errors.pydantic.dev/2.11/v/dict_type\n\
             files\n  Input should be a valid list [type=list_type, input_value=5, input_type=int]\n    \
             For further information visit https://errors.pydantic.dev/2.11/v/list_type\n\
             response_mode\n  Input should be 'blocking' or 'streaming' [type=literal_error, input_value='blah', \
             input_type=str]\n    For further information visit https://errors.pydantic.dev/2.11/v/literal_error"
        );
        let error = RunBody::read(&json!({"user": "x", "response_mode": "blocking"})).unwrap_err();
        assert_eq!(
            error.message,
            "1 validation error for WorkflowRunPayload\n\
             inputs\n  Field required [type=missing, input_value={'user': 'x', 'response_mode': 'blocking'}, \
             input_type=dict]\n    For further information visit https://errors.pydantic.dev/2.11/v/missing"
        );
    }

    #[test]
    fn a_blank_conversation_id_means_a_new_conversation() {
        let body = |id: Value| json!({"inputs": {}, "query": "hi", "conversation_id": id});
        assert_eq!(ChatBody::read(&body(json!(" "))).unwrap().conversation_id, None);
        assert_eq!(ChatBody::read(&body(json!(null))).unwrap().conversation_id, None);
        assert!(
            ChatBody::read(&body(json!("nonsense"))).unwrap_err().message.contains("must be a valid UUID")
        );
        assert!(ChatBody::read(&body(json!(7))).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = object(JSON, &bytes) {
                let _ = (user(&value), RunBody::read(&value), ChatBody::read(&value), FeedbackBody::read(&value));
            }
        }
    }
}
