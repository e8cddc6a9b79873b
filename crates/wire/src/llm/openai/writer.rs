//! A stream for a caller, in OpenAI's frames: `data: …`, LF LF, and `[DONE]` only after the provider's proper end.

use std::collections::{HashMap, HashSet};

use mainstay_base::verdict::{Class, Fault};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Shape, made_up_id, usage};
use crate::llm::{Delta, Usage, failure::Told, signature};

/// Of a longer thought only its signature goes on: the text is there to be handed back, not to fill memory.
const MAX_THOUGHT_BYTES: usize = 256 * 1024;

/// Writes one step after the other. After an end or an error it writes nothing more.
#[derive(Debug)]
pub struct StreamWriter {
    shape: Shape,
    include_usage: bool,
    model: String,
    created: i64,
    /// For a provider without ids.
    id: String,
    /// What every frame begins with; made when the stream has its id.
    head: Vec<u8>,
    begun: HashSet<u64>,
    /// By choice, the thought that is not signed yet.
    thoughts: HashMap<u64, Thought>,
    usage: Option<Usage>,
    is_over: bool,
}

/// A thought as far as it came. A signature is taken back only together with what it signs.
#[derive(Debug, Default)]
struct Thought {
    text: String,
    is_too_long: bool,
}

impl StreamWriter {
    /// `created` in Unix seconds. `model` is the name that the caller asked for.
    pub fn new(shape: Shape, include_usage: bool, model: &str, created: i64) -> StreamWriter {
        let begun = HashSet::new();
        let model = model.to_owned();
        StreamWriter {
            shape,
            include_usage,
            model,
            created,
            id: made_up_id(created),
            head: Vec::new(),
            begun,
            thoughts: HashMap::new(),
            usage: None,
            is_over: false,
        }
    }

    /// The stream's id when the provider gives it none.
    pub fn or_named(mut self, id: &str) -> StreamWriter {
        id.clone_into(&mut self.id);
        self
    }

    /// Appends the frames of one step to `out`.
    pub fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        match delta {
            Delta::Start { id, model: _ } => self.set_head(id),
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Error(told) => self.fail(told, out),
            Delta::End => self.end(out),
            Delta::Finish { choice, finish } => {
                self.begin(*choice, out);
                self.frame(*choice, &json!({}), None, Some(finish.as_openai()), out);
            }
            Delta::Logprobs { choice, logprobs } => {
                self.begin(*choice, out);
                self.frame(*choice, &json!({}), Some(logprobs), None, out);
            }
            Delta::Text { choice, text } => self.text(*choice, "content", text, out),
            Delta::Reasoning { choice, text } => {
                self.thoughts.entry(*choice).or_default().push(text);
                self.text(*choice, "reasoning_content", text, out);
            }
            Delta::Refusal { choice, text } => self.text(*choice, "refusal", text, out),
            Delta::ReasoningSignature { choice, signature } => {
                let thought = match signature::is_claudes(signature) {
                    true => self.thoughts.remove(choice).unwrap_or_default().text,
                    false => String::new(),
                };
                let block = json!({"type": "thinking", "thinking": thought, "signature": signature});
                self.chat_only(*choice, &json!({"thinking_blocks": [block]}), out);
            }
            Delta::ToolCallStart { choice, index, id, name } => {
                let function = json!({"name": name, "arguments": ""});
                let call = json!({"index": index, "id": id, "type": "function", "function": function});
                self.chat_only(*choice, &json!({"tool_calls": [call]}), out);
            }
            Delta::ToolCallArguments { choice, index, text } => {
                let call = json!({"index": index, "function": {"arguments": text}});
                self.chat_only(*choice, &json!({"tool_calls": [call]}), out);
            }
        }
    }

    /// A chunk without choices and with usage, as the last before the end.
    pub fn write_usage(&mut self, usage: &Usage, out: &mut Vec<u8>) {
        self.open(out);
        out.extend_from_slice(b"\"choices\":[],\"usage\":");
        write_json(&usage::write(usage), out);
        out.extend_from_slice(b"}\n\n");
    }

    fn text(&mut self, choice: u64, name: &str, text: &str, out: &mut Vec<u8>) {
        if self.shape == Shape::Completion && name != "content" {
            return;
        }
        self.begin(choice, out);
        self.open(out);
        let (open, close): (&str, &str) = match self.shape {
            Shape::Chat => (",\"delta\":{\"", "}"),
            Shape::Completion => (",\"", ""),
        };
        out.extend_from_slice(b"\"choices\":[{\"index\":");
        out.extend_from_slice(choice.to_string().as_bytes());
        out.extend_from_slice(open.as_bytes());
        out.extend_from_slice(if self.shape == Shape::Completion { "text" } else { name }.as_bytes());
        out.extend_from_slice(b"\":");
        write_json(text, out);
        out.extend_from_slice(close.as_bytes());
        out.extend_from_slice(b",\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    }

    fn chat_only(&mut self, choice: u64, delta: &Value, out: &mut Vec<u8>) {
        if self.shape == Shape::Chat {
            self.begin(choice, out);
            self.frame(choice, delta, None, None, out);
        }
    }

    /// The first frame of a choice says whose words follow.
    fn begin(&mut self, choice: u64, out: &mut Vec<u8>) {
        if self.begun.insert(choice) && self.shape == Shape::Chat {
            self.frame(choice, &json!({"role": "assistant", "content": ""}), None, None, out);
        }
    }

    fn frame(
        &mut self,
        choice: u64,
        delta: &Value,
        logprobs: Option<&Value>,
        finish: Option<&str>,
        out: &mut Vec<u8>,
    ) {
        let mut item = match self.shape {
            Shape::Chat => json!({"index": choice, "delta": delta}),
            Shape::Completion => json!({"index": choice, "text": ""}),
        };
        item["logprobs"] = logprobs.cloned().unwrap_or_default();
        item["finish_reason"] = finish.into();
        self.open(out);
        out.extend_from_slice(b"\"choices\":[");
        write_json(&item, out);
        out.extend_from_slice(b"]}\n\n");
    }

    fn open(&mut self, out: &mut Vec<u8>) {
        if self.head.is_empty() {
            self.set_head("");
        }
        out.extend_from_slice(&self.head);
    }

    fn set_head(&mut self, given: &str) {
        let id = if given.is_empty() { self.id.as_str() } else { given };
        let head = json!({
            "id": id,
            "object": self.shape.chunk_object(),
            "created": self.created,
            "model": self.model,
        });
        self.head = format!("data: {head}").into_bytes();
        // The object stays open: each frame adds its own fields.
        self.head.pop();
        self.head.push(b',');
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.is_over = true;
        self.usage_if_asked(out);
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn fail(&mut self, told: &Told, out: &mut Vec<u8>) {
        self.is_over = true;
        let error = json!({"error": {
            "message": shown(told),
            "type": kind(told.class),
            "param": null,
            "code": told.class.as_str(),
        }});
        out.extend_from_slice(b"data: ");
        write_json(&error, out);
        out.extend_from_slice(b"\n\n");
        self.usage_if_asked(out);
    }

    fn usage_if_asked(&mut self, out: &mut Vec<u8>) {
        if let Some(usage) = self.usage.filter(|_| self.include_usage) {
            self.write_usage(&usage, out);
        }
    }
}

impl Thought {
    fn push(&mut self, text: &str) {
        self.is_too_long |= self.text.len() + text.len() > MAX_THOUGHT_BYTES;
        match self.is_too_long {
            true => self.text = String::new(),
            false => self.text.push_str(text),
        }
    }
}

/// What a provider says of our keys and our bill is nothing for a caller.
fn shown(told: &Told) -> &str {
    match told.class.fault() {
        Fault::Key => "the model provider does not accept calls at the moment",
        _ => &told.message,
    }
}

fn kind(class: Class) -> &'static str {
    match class.fault() {
        Fault::Caller => "invalid_request_error",
        _ => "server_error",
    }
}

fn write_json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        // Text and trees always serialize; were it otherwise, the frame would still be JSON.
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}
