//! ConverseStream's events as steps of an answer.

use std::collections::BTreeMap;

use mainstay_base::{Class, snapshot::Dialect};
use serde::Deserialize;

use super::{
    super::{
        Delta,
        anthropic::ANSWER_TOOL,
        failure::{self, Told},
        signature,
    },
    answer::{TokenUsage, finish},
};

/// Reads the frames that [`Decoder`](super::frames::Decoder) gives, as `read(Some(frame.event()), frame.payload())`.
#[derive(Debug, Default)]
pub struct StreamReader {
    started: bool,
    /// By the number of their block.
    calls: BTreeMap<u64, Call>,
    /// Of the caller's tools.
    count: u64,
}

#[derive(Debug)]
enum Call {
    /// Of the tool in whose arguments an answer comes.
    Answer,
    Tool {
        index: u64,
        has_arguments: bool,
    },
}

impl StreamReader {
    pub fn read(&mut self, event: Option<&str>, data: &[u8]) -> Vec<Delta> {
        let event = event.unwrap_or_default();
        if is_failure(event) {
            return vec![Delta::Error(failed(event, data))];
        }
        match serde_json::from_slice::<Event>(data) {
            Ok(read) => self.deltas(event, read),
            Err(error) => {
                let class = if error.is_eof() { Class::TruncatedJson } else { Class::NotAnAnswer };
                let message = format!("the event `{event}` of the stream is not Converse's: {error}");
                vec![Delta::Error(Told::plain(class, message))]
            }
        }
    }

    fn deltas(&mut self, event: &str, read: Event) -> Vec<Delta> {
        let mut deltas = Vec::new();
        if !self.started {
            self.started = true;
            deltas.push(Delta::Start { id: String::new(), model: String::new() });
        }
        match event {
            "contentBlockStart" => deltas.extend(self.block_start(read)),
            "contentBlockDelta" => deltas.extend(self.block_delta(read)),
            "contentBlockStop" => deltas.extend(self.block_stop(&read)),
            "messageStop" => {
                let finish = finish(read.stop_reason.as_deref().unwrap_or("end_turn"), self.count > 0);
                deltas.push(Delta::Finish { choice: 0, finish });
            }
            "metadata" => {
                deltas.extend(read.usage.map(|usage| Delta::Usage(usage.counted())));
                deltas.push(Delta::End);
            }
            // `messageStart`, and events of later days.
            _ => {}
        }
        deltas
    }

    fn block_start(&mut self, read: Event) -> Option<Delta> {
        let block = read.content_block_index.unwrap_or_default();
        let call = read.start?.tool_use?;
        if call.name == ANSWER_TOOL {
            self.calls.insert(block, Call::Answer);
            return None;
        }
        let index = self.count;
        self.count += 1;
        self.calls.insert(block, Call::Tool { index, has_arguments: false });
        Some(Delta::ToolCallStart { choice: 0, index, id: call.tool_use_id, name: call.name })
    }

    fn block_delta(&mut self, read: Event) -> Option<Delta> {
        let (block, delta) = (read.content_block_index.unwrap_or_default(), read.delta?);
        let choice = 0;
        if let Some(text) = delta.text {
            return (!text.is_empty()).then_some(Delta::Text { choice, text });
        }
        if let Some(given) = delta.tool_use {
            let text = given.input;
            return match self.calls.get_mut(&block).filter(|_| !text.is_empty())? {
                Call::Answer => Some(Delta::Text { choice, text }),
                Call::Tool { index, has_arguments } => {
                    *has_arguments = true;
                    Some(Delta::ToolCallArguments { choice, index: *index, text })
                }
            };
        }
        let reasoning = delta.reasoning_content?;
        if let Some(text) = reasoning.text.filter(|text| !text.is_empty()) {
            return Some(Delta::Reasoning { choice, text });
        }
        let redacted = reasoning.redacted_content.as_deref().map(signature::mark_redacted);
        let signature = reasoning.signature.or(redacted)?;
        Some(Delta::ReasoningSignature { choice, signature })
    }
}

impl StreamReader {
    /// A call without arguments is one with an empty object: callers parse what they get.
    fn block_stop(&mut self, read: &Event) -> Option<Delta> {
        let call = self.calls.remove(&read.content_block_index.unwrap_or_default())?;
        let Call::Tool { index, has_arguments: false } = call else { return None };
        Some(Delta::ToolCallArguments { choice: 0, index, text: "{}".to_owned() })
    }
}

/// Exceptions are named so, as `throttlingException`; unmodelled errors come as `error`.
fn is_failure(event: &str) -> bool {
    event.ends_with("Exception") || event == "error"
}

/// As the same exception would be told by the status and the headers of a whole answer.
fn failed(event: &str, data: &[u8]) -> Told {
    let status = match event {
        "throttlingException" => 429,
        "serviceUnavailableException" => 503,
        "validationException" => 400,
        "modelStreamErrorException" => 424,
        _ => 500,
    };
    let header = |name: &str| (name == "x-amzn-errortype").then_some(event);
    failure::told(&Dialect::Bedrock { region: String::new() }, status, header, data, 0)
}

/// All kinds of events in one: which fields there are follows from the kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    content_block_index: Option<u64>,
    start: Option<BlockStart>,
    delta: Option<BlockDelta>,
    stop_reason: Option<String>,
    usage: Option<TokenUsage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStart {
    tool_use: Option<CallStart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallStart {
    tool_use_id: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockDelta {
    text: Option<String>,
    tool_use: Option<CallDelta>,
    reasoning_content: Option<ReasoningDelta>,
}

#[derive(Deserialize)]
struct CallDelta {
    #[serde(default)]
    input: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReasoningDelta {
    text: Option<String>,
    signature: Option<String>,
    redacted_content: Option<String>,
}
