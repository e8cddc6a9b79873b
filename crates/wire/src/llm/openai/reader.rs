//! A provider's stream of OpenAI's dialect, event by event.

use std::collections::HashMap;

use mainstay_base::{Class, snapshot::Dialect};
use serde_json::Value;

use super::usage;
use crate::{
    llm::{
        Delta, Finish,
        failure::{self, Told},
        fields::whole,
    },
    openai::DONE,
};

/// Reads `data` of one event after the other.
///
/// Tool calls get indexes of our own: servers are known that number all calls 0, or none at all.
#[derive(Debug, Default)]
pub struct StreamReader {
    has_started: bool,
    choices: HashMap<u64, Choice>,
}

#[derive(Debug, Default)]
struct Choice {
    is_finished: bool,
    /// By the provider's index, the call that is being written there.
    open: HashMap<u64, Call>,
    calls: u64,
}

#[derive(Debug)]
struct Call {
    index: u64,
    id: String,
    has_arguments: bool,
}

impl StreamReader {
    pub fn read(&mut self, _event: Option<&str>, data: &[u8]) -> Vec<Delta> {
        if data.trim_ascii() == DONE {
            return vec![Delta::End];
        }
        let Ok(chunk) = serde_json::from_slice::<Value>(data) else {
            return vec![Delta::Error(Told::plain(Class::NotAnAnswer, "an event of the stream is not JSON"))];
        };
        let mut out = Vec::new();
        self.start(&chunk, &mut out);
        for choice in items(&chunk, "choices") {
            self.choice(choice, &mut out);
        }
        // Groq's own place for it is used when nobody asked for usage.
        let counts = chunk.get("usage").filter(|value| value.is_object());
        let counts = counts.or_else(|| chunk.get("x_groq")?.get("usage"));
        if let Some(told) = counts.and_then(usage::read) {
            out.push(Delta::Usage(told));
        }
        if let Some(told) = failure::inside(&Dialect::OpenAi, data) {
            out.push(Delta::Error(told));
        }
        out
    }

    fn start(&mut self, chunk: &Value, out: &mut Vec<Delta>) {
        if self.has_started || chunk.get("choices").is_none() {
            return;
        }
        self.has_started = true;
        let text = |name: &str| string(chunk, name).unwrap_or_default().to_owned();
        out.push(Delta::Start { id: text("id"), model: text("model") });
    }

    fn choice(&mut self, value: &Value, out: &mut Vec<Delta>) {
        let index = value.get("index").and_then(whole).unwrap_or(0);
        let choice = self.choices.entry(index).or_default();
        if let Some(delta) = value.get("delta").or_else(|| value.get("message")) {
            choice.delta(index, delta, out);
        }
        if let Some(text) = string(value, "text") {
            out.push(Delta::Text { choice: index, text: text.to_owned() });
        }
        if let Some(logprobs) = value.get("logprobs").filter(|value| !value.is_null()) {
            out.push(Delta::Logprobs { choice: index, logprobs: logprobs.clone() });
        }
        if let Some(reason) = string(value, "finish_reason")
            && !choice.is_finished
        {
            choice.is_finished = true;
            out.push(Delta::Finish { choice: index, finish: Finish::of_openai(reason) });
        }
    }
}

impl Choice {
    fn delta(&mut self, choice: u64, delta: &Value, out: &mut Vec<Delta>) {
        let reasoning = string(delta, "reasoning_content").or_else(|| string(delta, "reasoning"));
        if let Some(text) = reasoning {
            out.push(Delta::Reasoning { choice, text: text.to_owned() });
        }
        for block in items(delta, "thinking_blocks") {
            if let Some(signature) = string(block, "signature") {
                out.push(Delta::ReasoningSignature { choice, signature: signature.to_owned() });
            }
        }
        content(choice, delta.get("content"), out);
        if let Some(text) = string(delta, "refusal") {
            out.push(Delta::Refusal { choice, text: text.to_owned() });
        }
        for call in items(delta, "tool_calls") {
            let given = call.get("index").and_then(whole).unwrap_or(0);
            let id = string(call, "id").unwrap_or_default();
            self.call(choice, given, id, call.get("function").unwrap_or(&Value::Null), out);
        }
        if let Some(function) = delta.get("function_call").filter(|value| value.is_object()) {
            self.call(choice, 0, "", function, out);
        }
    }

    fn call(&mut self, choice: u64, given: u64, id: &str, function: &Value, out: &mut Vec<Delta>) {
        let name = string(function, "name").unwrap_or_default();
        let text = match function.get("arguments") {
            Some(Value::String(text)) => text.clone(),
            Some(object @ Value::Object(_)) => object.to_string(),
            _ => String::new(),
        };
        let is_new = self.open.get(&given).is_none_or(|open| begins_another(open, id, name, &text));
        if is_new {
            let index = self.calls;
            self.calls += 1;
            let id = if id.is_empty() { format!("call_{index}") } else { id.to_owned() };
            out.push(Delta::ToolCallStart { choice, index, id: id.clone(), name: name.to_owned() });
            self.open.insert(given, Call { index, id, has_arguments: false });
        }
        if text.is_empty() {
            return;
        }
        if let Some(open) = self.open.get_mut(&given) {
            open.has_arguments = true;
            out.push(Delta::ToolCallArguments { choice, index: open.index, text });
        }
    }
}

/// Whether an entry at the index of an open call is a call of its own: by its id and a name, or, where no ids are given,
/// because a name and the beginning of an object come after arguments. A new id alone says nothing: older vLLM makes one
/// up for every piece of a call.
fn begins_another(open: &Call, id: &str, name: &str, arguments: &str) -> bool {
    match id.is_empty() {
        false => open.id != id && !name.is_empty(),
        true => !name.is_empty() && open.has_arguments && arguments.starts_with('{'),
    }
}

/// Text, or parts as Mistral streams them.
fn content(choice: u64, value: Option<&Value>, out: &mut Vec<Delta>) {
    match value {
        Some(Value::String(text)) if !text.is_empty() => {
            out.push(Delta::Text { choice, text: text.clone() });
        }
        Some(Value::Array(parts)) => {
            for part in parts {
                if let Some(text) = string(part, "text") {
                    out.push(Delta::Text { choice, text: text.to_owned() });
                }
                for thought in items(part, "thinking").filter_map(|thought| string(thought, "text")) {
                    out.push(Delta::Reasoning { choice, text: thought.to_owned() });
                }
            }
        }
        _ => {}
    }
}

/// A text with something in it.
fn string<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name)?.as_str().filter(|text| !text.is_empty())
}

fn items<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}
