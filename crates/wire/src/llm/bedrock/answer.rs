//! A whole answer of Converse as an inner answer.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::{
    Answer, Choice, Finish, Media, Part, ToolCall, Unreadable, Usage, anthropic::ANSWER_TOOL, signature,
};

/// Converse names neither the answer nor the model; both stay empty.
pub fn read_answer(body: &[u8]) -> Result<Answer, Unreadable> {
    let response: Response = serde_json::from_slice(body)
        .map_err(|error| Unreadable { what: format!("the body is no answer of Converse: {error}") })?;
    let message = response.output.message.unwrap_or_default();
    let parts: Vec<Part> = message.content.into_iter().filter_map(read_block).collect();
    let calls_tools = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let finish = finish(&response.stop_reason, calls_tools);
    let choice = Choice { index: 0, parts, finish, logprobs: None };
    Ok(Answer {
        choices: vec![choice],
        usage: response.usage.map(|usage| usage.counted()),
        ..Answer::default()
    })
}

fn read_block(block: Block) -> Option<Part> {
    if let Some(text) = block.text {
        return Some(Part::Text(text));
    }
    if let Some(call) = block.tool_use {
        let arguments = Value::Object(call.input.unwrap_or_default()).to_string();
        if call.name == ANSWER_TOOL {
            return Some(Part::Text(arguments));
        }
        return Some(Part::ToolCall(ToolCall { id: call.tool_use_id, name: call.name, arguments }));
    }
    if let Some(reasoning) = block.reasoning_content {
        return Some(match (reasoning.reasoning_text, reasoning.redacted_content) {
            (Some(text), _) => Part::Reasoning { text: text.text, signature: text.signature },
            (None, redacted) => {
                let signature = Some(signature::mark_redacted(&redacted?));
                Part::Reasoning { text: String::new(), signature }
            }
        });
    }
    let image = block.image?;
    let media = Media::Data { media_type: format!("image/{}", image.format), base64: image.source.bytes? };
    Some(Part::Image { media, detail: None })
}

/// `calls_tools`: of the caller's. The tool in whose arguments an answer comes is none of them.
pub(super) fn finish(reason: &str, calls_tools: bool) -> Finish {
    match reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        "tool_use" if calls_tools => Finish::ToolCalls,
        "tool_use" => Finish::Stop,
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "guardrail_intervened" | "content_filtered" => Finish::ContentFilter,
        other => Finish::Other(other.to_owned()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    output: Output,
    stop_reason: String,
    usage: Option<TokenUsage>,
}

#[derive(Deserialize)]
struct Output {
    message: Option<ResponseMessage>,
}

#[derive(Default, Deserialize)]
struct ResponseMessage {
    #[serde(default)]
    content: Vec<Block>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    text: Option<String>,
    tool_use: Option<ToolUse>,
    reasoning_content: Option<ReasoningContent>,
    image: Option<Image>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUse {
    tool_use_id: String,
    name: String,
    input: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReasoningContent {
    reasoning_text: Option<ReasoningText>,
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
struct ReasoningText {
    text: String,
    signature: Option<String>,
}

#[derive(Deserialize)]
struct Image {
    format: String,
    source: Source,
}

#[derive(Deserialize)]
struct Source {
    bytes: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenUsage {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    cache_read_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
}

impl TokenUsage {
    /// Bedrock counts what came from a cache, and what went into one, beside the input.
    pub(super) fn counted(&self) -> Usage {
        let cached = self.cache_read_input_tokens.unwrap_or_default();
        let written = self.cache_write_input_tokens.unwrap_or_default();
        Usage {
            input: self.input_tokens.saturating_add(cached).saturating_add(written),
            output: self.output_tokens,
            cached_input: self.cache_read_input_tokens,
            cache_write: self.cache_write_input_tokens,
            reasoning: None,
            is_estimated: false,
        }
    }
}
