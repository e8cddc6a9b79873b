//! One inner form for what is asked of a language model and what it answers, and the dialects that are read into it
//! and written from it: N dialects cost N readers and writers, not N × N.
//!
//! Promises: what has a meaning in a dialect survives the way through the inner form; what has none is named in
//! [`Unwritable`] when leaving it out would change the answer, and left out otherwise. Refuses to know HTTP clients,
//! keys and policies. Traffic between equal dialects does not come here: it passes byte for byte.

pub mod anthropic;
pub mod azure;
pub mod bedrock;
mod calls;
pub mod embeddings;
pub mod failure;
mod fields;
pub mod gemini;
pub mod limits;
pub mod openai;
mod parts;
pub mod percent;
pub mod rerank;
pub mod responses;
mod signature;
mod turns;

use serde_json::{Map, Value};

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    pub model: String,
    pub messages: Vec<Message>,
    pub tools: Vec<Tool>,
    pub tool_choice: Option<ToolChoice>,
    pub parallel_tool_calls: Option<bool>,
    pub response_format: Option<ResponseFormat>,
    pub max_tokens: Option<u64>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<u64>,
    pub frequency_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub seed: Option<i64>,
    pub stop: Vec<String>,
    /// Answers wanted; 1 when not said.
    pub choices: Option<u64>,
    pub logprobs: Option<bool>,
    pub top_logprobs: Option<u64>,
    pub reasoning: Option<Reasoning>,
    pub stream: bool,
    /// Whether the caller asked for usage in the stream.
    pub include_usage: bool,
    pub user: Option<String>,
    /// The system prompt is worth caching (a policy's wish, not the caller's).
    pub cache_system: bool,
    /// Fields without a meaning here, as they came.
    pub extra: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub role: Role,
    pub parts: Vec<Part>,
    pub name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// OpenAI's `system` and `developer`.
    System,
    User,
    Assistant,
    /// Results of tools; its parts are [`Part::ToolResult`].
    Tool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Text(String),
    Image {
        media: Media,
        /// `low`, `high`, `auto`: how closely it is looked at.
        detail: Option<String>,
    },
    Audio(Media),
    /// A document; the name is what the caller called it.
    File {
        media: Media,
        name: Option<String>,
    },
    /// What the model thought; `signature` lets the provider that made it take it back.
    Reasoning {
        text: String,
        signature: Option<String>,
    },
    ToolCall(ToolCall),
    ToolResult {
        id: String,
        parts: Vec<Part>,
        is_error: bool,
    },
    Refusal(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    Url(String),
    /// `base64` as it came.
    Data {
        media_type: String,
        base64: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// JSON, as the model wrote it; may be empty.
    pub arguments: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    pub name: String,
    pub description: Option<String>,
    /// JSON Schema; `None`: takes nothing.
    pub parameters: Option<Value>,
    pub strict: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    Auto,
    None,
    Required,
    Tool(String),
}

#[derive(Clone, Debug, PartialEq)]
pub enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema { name: String, description: Option<String>, schema: Value, strict: Option<bool> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reasoning {
    /// `none`, `minimal`, `low`, `medium`, `high`, … as the caller said.
    Effort(String),
    BudgetTokens(u64),
}

/// What is answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub id: String,
    pub model: String,
    /// Unix seconds.
    pub created: Option<i64>,
    pub choices: Vec<Choice>,
    pub usage: Option<Usage>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub index: u64,
    pub parts: Vec<Part>,
    pub finish: Finish,
    pub logprobs: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
    /// A reason that only its provider knows.
    Other(String),
}

/// Tokens. `input` includes what came from a cache and what was written to one, as OpenAI counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    pub cached_input: Option<u64>,
    pub cache_write: Option<u64>,
    /// Part of `output`.
    pub reasoning: Option<u64>,
    /// Counted by us, because the provider did not tell.
    pub is_estimated: bool,
}

impl Usage {
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// One step of a streamed answer, in the order in which it happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    Start {
        id: String,
        model: String,
    },
    Text {
        choice: u64,
        text: String,
    },
    Reasoning {
        choice: u64,
        text: String,
    },
    ReasoningSignature {
        choice: u64,
        signature: String,
    },
    Refusal {
        choice: u64,
        text: String,
    },
    /// `index` counts the tool calls of a choice from 0.
    ToolCallStart {
        choice: u64,
        index: u64,
        id: String,
        name: String,
    },
    ToolCallArguments {
        choice: u64,
        index: u64,
        text: String,
    },
    /// Of the text just before it, in OpenAI's shape.
    Logprobs {
        choice: u64,
        logprobs: Value,
    },
    Finish {
        choice: u64,
        finish: Finish,
    },
    Usage(Usage),
    Error(failure::Told),
    /// The provider said that there is no more.
    End,
}

/// A request that a dialect has no words for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{dialect} has no words for {what}")]
pub struct Unwritable {
    pub dialect: &'static str,
    pub what: String,
}

/// Bytes that are not what the dialect says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Unreadable {
    pub what: String,
}

/// What a writer of requests must know of the target beside the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The most that the model can write. A dialect that demands a maximum takes it when the caller named none.
    pub max_output_tokens: Option<u64>,
    /// What this provider calls the maximum; `max_tokens` when not said.
    pub max_tokens_field: Option<&'a str>,
    /// What an answer may cost is bounded by its maximum: thoughts come out of it, never on top.
    pub is_maximum_firm: bool,
}

impl Facts<'_> {
    /// What the caller wants of the length, as far as the model goes: more is refused.
    fn bounded(&self, wanted: Option<u64>) -> Option<u64> {
        wanted.map(|wanted| self.max_output_tokens.map_or(wanted, |most| wanted.min(most)))
    }
}

/// A request as it goes out: everything but host and credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Appended to the provider's base URL; starts with `/`.
    pub path: String,
    pub query: Option<String>,
    /// Beyond content type and credentials, as `anthropic-version`.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}
