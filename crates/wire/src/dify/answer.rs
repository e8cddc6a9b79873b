//! Answers, field by field in Dify's order. Those of runs are written by `python_json::dumps`, all others by
//! `python_json::compact` with a line feed at the end.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Usage;
use crate::python_json::{compact, dumps};

/// The state of a run as a blocking answer, a 202 and a callback carry it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunData {
    pub id: String,
    pub workflow_id: String,
    pub status: String,
    pub outputs: Map<String, Value>,
    pub error: Option<String>,
    /// Seconds.
    pub elapsed_time: f64,
    pub total_tokens: u64,
    pub total_steps: u64,
    pub created_at: i64,
    pub finished_at: Option<i64>,
}

/// `POST /v1/workflows/run`, blocking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blocking {
    pub task_id: String,
    pub workflow_run_id: String,
    pub data: RunData,
}

/// `POST /v1/chat-messages`, blocking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatAnswer {
    pub event: String,
    pub task_id: String,
    pub id: String,
    pub message_id: String,
    pub conversation_id: String,
    pub mode: String,
    pub answer: String,
    pub metadata: Metadata,
    pub created_at: i64,
}

/// What a chat's 202 says: Dify's answer with what is known so far, and the run it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueuedChat {
    #[serde(flatten)]
    pub answer: ChatAnswer,
    pub workflow_run_id: String,
    pub status: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    pub annotation_reply: Option<Value>,
    pub retriever_resources: Vec<Value>,
    pub usage: Usage,
}

/// `GET /v1/workflows/run/{id}`. Inputs and outputs are JSON inside a string.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunDetail {
    pub id: String,
    pub workflow_id: String,
    pub status: String,
    pub inputs: String,
    pub outputs: Option<String>,
    pub error: Option<String>,
    pub total_steps: u64,
    pub total_tokens: u64,
    pub created_at: i64,
    pub finished_at: Option<i64>,
    pub elapsed_time: f64,
}

/// `GET /v1/workflows/logs`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Logs {
    pub page: u32,
    pub limit: u32,
    pub total: u64,
    pub has_more: bool,
    pub data: Vec<Log>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Log {
    pub id: String,
    pub workflow_run: LogRun,
    pub details: Option<Value>,
    pub created_from: &'static str,
    pub created_by_role: &'static str,
    pub created_by_account: Option<Value>,
    pub created_by_end_user: Option<LogUser>,
    pub created_at: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogRun {
    pub id: String,
    pub version: String,
    pub status: String,
    pub triggered_from: &'static str,
    pub error: Option<String>,
    pub elapsed_time: f64,
    pub total_tokens: u64,
    pub total_steps: u64,
    pub created_at: i64,
    pub finished_at: Option<i64>,
    pub exceptions_count: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogUser {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub is_anonymous: bool,
    pub session_id: String,
}

/// A list that scrolls.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scrolled<T> {
    pub limit: u32,
    pub has_more: bool,
    pub data: Vec<T>,
}

/// One of `GET /v1/messages`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Message {
    pub id: String,
    pub conversation_id: String,
    pub parent_message_id: String,
    pub inputs: Value,
    pub query: String,
    pub answer: String,
    pub feedback: Option<Feedback>,
    pub retriever_resources: Vec<Value>,
    pub created_at: i64,
    pub agent_thoughts: Vec<Value>,
    pub message_files: Vec<Value>,
    pub status: String,
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Feedback {
    pub rating: String,
}

/// The parent of a message sent through the Service API: none, spelled as the nil UUID.
pub const NO_PARENT: &str = "00000000-0000-0000-0000-000000000000";

/// One of `GET /v1/conversations`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Conversation {
    pub id: String,
    pub name: String,
    pub inputs: Value,
    pub status: String,
    pub introduction: String,
    pub created_at: i64,
    pub updated_at: i64,
}

/// One of `GET /v1/conversations/{id}/variables`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConversationVariable {
    pub id: String,
    pub name: String,
    pub value_type: String,
    pub value: Value,
    pub description: String,
    pub created_at: i64,
    pub updated_at: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Info<'a> {
    pub name: &'a str,
    pub description: &'a str,
    pub tags: &'a [String],
    pub mode: &'a str,
    pub author_name: &'a str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Site<'a> {
    pub title: &'a str,
    pub chat_color_theme: Option<&'a str>,
    pub chat_color_theme_inverted: bool,
    pub icon_type: &'a str,
    pub icon: &'a str,
    pub icon_background: &'a str,
    pub description: Option<&'a str>,
    pub copyright: Option<&'a str>,
    pub privacy_policy: Option<&'a str>,
    pub custom_disclaimer: &'a str,
    pub default_language: &'a str,
    pub show_workflow_steps: bool,
    pub use_icon_as_answer_icon: bool,
    pub icon_url: Option<&'a str>,
}

/// `GET /v1/parameters`. What the DSL says about a feature is shown as it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parameters {
    pub opening_statement: Value,
    pub suggested_questions: Value,
    pub suggested_questions_after_answer: Value,
    pub speech_to_text: Value,
    pub text_to_speech: Value,
    pub retriever_resource: Value,
    pub annotation_reply: Value,
    pub more_like_this: Value,
    pub user_input_form: Value,
    pub sensitive_word_avoidance: Value,
    pub file_upload: Value,
    pub system_parameters: SystemParameters,
}

/// Megabytes, and a number of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SystemParameters {
    pub image_file_size_limit: u64,
    pub video_file_size_limit: u64,
    pub audio_file_size_limit: u64,
    pub file_size_limit: u64,
    pub workflow_file_upload_limit: u64,
}

impl Parameters {
    pub fn of(features: &Value, user_input_form: Value, system_parameters: SystemParameters) -> Parameters {
        let or = |name: &str, default: Value| {
            features.get(name).filter(|value| !value.is_null()).cloned().unwrap_or(default)
        };
        let off = || serde_json::json!({"enabled": false});
        Parameters {
            opening_statement: features.get("opening_statement").cloned().unwrap_or(Value::Null),
            suggested_questions: or("suggested_questions", Value::Array(Vec::new())),
            suggested_questions_after_answer: or("suggested_questions_after_answer", off()),
            speech_to_text: or("speech_to_text", off()),
            text_to_speech: with_voice(or("text_to_speech", off())),
            retriever_resource: or("retriever_resource", off()),
            annotation_reply: or("annotation_reply", off()),
            more_like_this: or("more_like_this", off()),
            user_input_form,
            sensitive_word_avoidance: or("sensitive_word_avoidance", off()),
            file_upload: or("file_upload", off()),
            system_parameters,
        }
    }
}

/// Dify fills these two in when it publishes.
fn with_voice(mut feature: Value) -> Value {
    if let Some(fields) = feature.as_object_mut() {
        for name in ["voice", "language"] {
            fields.entry(name).or_insert_with(|| Value::from(""));
        }
    }
    feature
}

/// `POST /v1/files/upload`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct File {
    pub id: String,
    pub name: String,
    pub size: u64,
    pub extension: String,
    pub mime_type: String,
    pub created_by: String,
    pub created_at: i64,
    pub preview_url: Option<String>,
    pub source_url: Option<String>,
    pub original_url: Option<String>,
    pub user_id: Option<String>,
    pub tenant_id: Option<String>,
    pub conversation_id: Option<String>,
    pub file_key: Option<String>,
}

/// `{"result":"success"}`.
pub const SUCCESS: &str = "{\"result\":\"success\"}\n";

/// An answer of a run.
pub fn run_body(answer: &impl Serialize) -> String {
    dumps(answer)
}

/// Any other answer.
pub fn flask_body(answer: &impl Serialize) -> String {
    compact(answer) + "\n"
}
