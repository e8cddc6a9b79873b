//! Whole answers of Anthropic.

use serde_json::Value;

use super::ANSWER_TOOL;
use crate::llm::{Answer, Choice, Finish, Part, ToolCall, Unreadable, Usage, fields::Fields, signature};

pub fn read_answer(body: &[u8]) -> Result<Answer, Unreadable> {
    let mut fields = Fields::parse(body)?;
    if !matches!(fields.string("type")?.as_deref(), Some("message") | None) {
        return Err(fields.wrong("type", "message"));
    }
    let mut parts = Vec::new();
    for (at, item) in fields.required_array("content")?.into_iter().enumerate() {
        parts.extend(part(Fields::of(item, &format!("content[{at}]"))?)?);
    }
    let reason = fields.string("stop_reason")?;
    let calls_tools = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let finish = reason.map_or(Finish::Stop, |reason| finish(&reason, calls_tools));
    let usage = fields.take("usage").map(|usage| Counts::default().with(&usage).usage());
    Ok(Answer {
        id: fields.string("id")?.unwrap_or_default(),
        model: fields.string("model")?.unwrap_or_default(),
        created: None,
        choices: vec![Choice { index: 0, parts, finish, logprobs: None }],
        usage,
    })
}

fn part(mut block: Fields) -> Result<Option<Part>, Unreadable> {
    match block.required("type")?.as_str() {
        "text" => Ok(Some(Part::Text(block.string("text")?.unwrap_or_default()))),
        "thinking" => {
            let text = block.string("thinking")?.unwrap_or_default();
            Ok(Some(Part::Reasoning { text, signature: block.string("signature")? }))
        }
        "tool_use" => {
            let name = block.required("name")?;
            let arguments = block.take("input").map_or_else(|| "{}".to_owned(), |input| input.to_string());
            if name == ANSWER_TOOL {
                return Ok(Some(Part::Text(arguments)));
            }
            Ok(Some(Part::ToolCall(ToolCall { id: block.required("id")?, name, arguments })))
        }
        // Nobody can read it, and without it the conversation cannot be continued.
        "redacted_thinking" => {
            let thought = block.string("data")?.unwrap_or_default();
            let signature = Some(signature::mark_redacted(&thought));
            Ok(Some(Part::Reasoning { text: String::new(), signature }))
        }
        // What the provider's own tools did, and what is yet to come.
        _ => Ok(None),
    }
}

/// `calls_tools`: of the caller's. The tool in whose arguments an answer comes is none of them.
pub(super) fn finish(reason: &str, calls_tools: bool) -> Finish {
    match reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "tool_use" if calls_tools => Finish::ToolCalls,
        "tool_use" => Finish::Stop,
        "refusal" => Finish::ContentFilter,
        other => Finish::Other(other.to_owned()),
    }
}

/// Tokens as the dialect counts them: what was read from a cache and written to one stands beside the input. Counts of
/// a stream only grow: some that speak the dialect know the input only at the end, others say 0 there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    input: u64,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    output: u64,
    thinking: Option<u64>,
}

impl Counts {
    pub(super) fn with(self, told: &Value) -> Counts {
        let count = |name: &str| told.get(name).and_then(Value::as_u64);
        let details = told.get("output_tokens_details");
        Counts {
            input: count("input_tokens").unwrap_or(0).max(self.input),
            cache_read: count("cache_read_input_tokens").max(self.cache_read),
            cache_write: count("cache_creation_input_tokens").max(self.cache_write),
            output: count("output_tokens").unwrap_or(0).max(self.output),
            thinking: details.and_then(|details| details.get("thinking_tokens")?.as_u64()).max(self.thinking),
        }
    }

    pub(super) fn usage(self) -> Usage {
        let Counts { input, cache_read, cache_write, output, thinking } = self;
        let cached = cache_read.unwrap_or(0).saturating_add(cache_write.unwrap_or(0));
        Usage {
            input: input.saturating_add(cached),
            output,
            cached_input: cache_read,
            cache_write,
            reasoning: thinking,
            is_estimated: false,
        }
    }
}
