//! Anthropic's stream, event by event.

use std::collections::HashMap;

use mainstay_base::{Class, snapshot::Dialect};
use serde_json::Value;

use super::{
    ANSWER_TOOL,
    answer::{Counts, finish},
};
use crate::{
    llm::{
        Delta,
        failure::{self, Told},
        signature,
    },
    openai::is_filler,
};

/// Reads `data` of one event after the other; its `type` says what `event` says.
#[derive(Debug, Default)]
pub struct StreamReader {
    counts: Counts,
    blocks: HashMap<u64, Block>,
    calls: u64,
}

#[derive(Clone, Copy, Debug)]
enum Block {
    Words,
    /// The tool in whose arguments an answer comes.
    Answer,
    Call {
        index: u64,
        has_arguments: bool,
    },
}

impl StreamReader {
    pub fn read(&mut self, _event: Option<&str>, data: &[u8]) -> Vec<Delta> {
        // What relays add that speak another dialect to others.
        if is_filler(data) {
            return Vec::new();
        }
        let Ok(event) = serde_json::from_slice::<Value>(data) else {
            return vec![Delta::Error(Told::plain(Class::NotAnAnswer, "an event of the stream is not JSON"))];
        };
        let mut out = Vec::new();
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => self.start(&event["message"], &mut out),
            "content_block_start" => self.open(block(&event), &event["content_block"], &mut out),
            "content_block_delta" => self.delta(block(&event), &event["delta"], &mut out),
            "content_block_stop" => self.close(block(&event), &mut out),
            "message_delta" => self.message_delta(&event, &mut out),
            "message_stop" => out.push(Delta::End),
            "ping" => {}
            // Events that are yet to come are no errors, unless they say so.
            _ => out.extend(failure::inside(&Dialect::Anthropic, data).map(Delta::Error)),
        }
        out
    }

    fn start(&mut self, message: &Value, out: &mut Vec<Delta>) {
        self.counts = self.counts.with(&message["usage"]);
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        out.push(Delta::Start { id: text("id"), model: text("model") });
        if message["usage"].is_object() {
            out.push(Delta::Usage(self.counts.usage()));
        }
    }

    fn open(&mut self, at: u64, content: &Value, out: &mut Vec<Delta>) {
        let text = |name: &str| content[name].as_str().unwrap_or_default().to_owned();
        let opened = match content["type"].as_str() {
            Some("tool_use") if content["name"] == ANSWER_TOOL => Block::Answer,
            Some("tool_use") => {
                let index = self.calls;
                self.calls += 1;
                out.push(Delta::ToolCallStart { choice: 0, index, id: text("id"), name: text("name") });
                Block::Call { index, has_arguments: false }
            }
            Some("redacted_thinking") => {
                let signature = signature::mark_redacted(&text("data"));
                out.push(Delta::ReasoningSignature { choice: 0, signature });
                Block::Words
            }
            _ => Block::Words,
        };
        self.blocks.insert(at, opened);
        push_text(out, text("text"));
    }

    fn delta(&mut self, at: u64, delta: &Value, out: &mut Vec<Delta>) {
        let text = |name: &str| delta[name].as_str().unwrap_or_default().to_owned();
        match delta["type"].as_str() {
            Some("text_delta") => push_text(out, text("text")),
            Some("thinking_delta") if !text("thinking").is_empty() => {
                out.push(Delta::Reasoning { choice: 0, text: text("thinking") });
            }
            Some("signature_delta") => {
                out.push(Delta::ReasoningSignature { choice: 0, signature: text("signature") });
            }
            Some("input_json_delta") => self.arguments(at, text("partial_json"), out),
            _ => {}
        }
    }

    fn arguments(&mut self, at: u64, text: String, out: &mut Vec<Delta>) {
        match self.blocks.get_mut(&at) {
            _ if text.is_empty() => {}
            Some(Block::Answer) => push_text(out, text),
            Some(Block::Call { index, has_arguments }) => {
                *has_arguments = true;
                out.push(Delta::ToolCallArguments { choice: 0, index: *index, text });
            }
            Some(Block::Words) | None => {}
        }
    }

    /// A call without arguments is one with an empty object: callers parse what they get.
    fn close(&mut self, at: u64, out: &mut Vec<Delta>) {
        if let Some(Block::Call { index, has_arguments: false }) = self.blocks.remove(&at) {
            out.push(Delta::ToolCallArguments { choice: 0, index, text: "{}".to_owned() });
        }
    }

    fn message_delta(&mut self, event: &Value, out: &mut Vec<Delta>) {
        if let Some(reason) = event["delta"]["stop_reason"].as_str() {
            out.push(Delta::Finish { choice: 0, finish: finish(reason, self.calls > 0) });
        }
        if event["usage"].is_object() {
            self.counts = self.counts.with(&event["usage"]);
            out.push(Delta::Usage(self.counts.usage()));
        }
    }
}

fn block(event: &Value) -> u64 {
    event["index"].as_u64().unwrap_or(0)
}

fn push_text(out: &mut Vec<Delta>, text: String) {
    if !text.is_empty() {
        out.push(Delta::Text { choice: 0, text });
    }
}
