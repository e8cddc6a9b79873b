//! A stream for a caller, event by event: an item is added, grows, is done; the last event holds the whole response.

use std::collections::BTreeMap;

use mainstay_base::verdict::{Class, Fault};
use serde_json::{Value, json};

use super::{
    items::{Content, Item, summary},
    response::{Echo, Status, item_status, response},
};
use crate::llm::{Delta, Finish, Usage, failure::Told};

/// The last event repeats all of the answer, so all of it is held.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// Writes one step after the other. After an end or an error it writes nothing more.
#[derive(Clone, Debug)]
pub struct StreamWriter {
    echo: Echo,
    base: String,
    created: i64,
    sequence: u64,
    items: Vec<Item>,
    /// The message or the thought at the end of `items` is not done.
    is_open: bool,
    /// Calls that are not done, by their number: they may grow in turns.
    calls: BTreeMap<u64, usize>,
    bytes: usize,
    usage: Option<Usage>,
    status: Status,
    has_started: bool,
    is_over: bool,
    /// Who goes on with the answer; told with the next step.
    continued_on: Option<String>,
}

impl StreamWriter {
    /// `id` names the response, when its provider gives it no name. `created` in Unix seconds.
    pub fn new(echo: Echo, id: &str, created: i64) -> StreamWriter {
        StreamWriter {
            echo,
            base: id.to_owned(),
            created,
            sequence: 0,
            items: Vec::new(),
            is_open: false,
            calls: BTreeMap::new(),
            bytes: 0,
            usage: None,
            status: Status::Completed,
            has_started: false,
            is_over: false,
            continued_on: None,
        }
    }

    /// Another target (`provider/model`) goes on with the answer: its first step comes after a mark that names it.
    pub fn continue_on(&mut self, target: &str) {
        self.continued_on = Some(target.to_owned());
    }

    /// Whether the last event was written.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Appends the events of one step to `out`.
    pub fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        if let Delta::Start { id, model: _ } = delta
            && !self.has_started
            && !id.is_empty()
        {
            self.base.clone_from(id);
        }
        self.start(out);
        self.mark(out);
        match delta {
            Delta::Text { choice: 0, text } => self.say(Content::Text(String::new()), text, out),
            Delta::Refusal { choice: 0, text } => self.say(Content::Refusal(String::new()), text, out),
            Delta::Reasoning { choice: 0, text } => self.think(text, out),
            Delta::ReasoningSignature { choice: 0, signature } => self.sign(signature, out),
            Delta::ToolCallStart { choice: 0, index, id, name } => {
                self.close_open(out);
                let item = Item::Call { id: id.clone(), name: name.clone(), arguments: String::new() };
                let place = self.add(item, out);
                if let Some(earlier) = self.calls.insert(*index, place) {
                    self.close_call(earlier, out);
                }
            }
            Delta::ToolCallArguments { choice: 0, index, text } => self.argue(*index, text, out),
            Delta::Finish { choice: 0, finish } => self.finish(finish, out),
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Error(told) => self.fail(told, out),
            Delta::End => self.end(out),
            // This dialect knows no second choice.
            _ => {}
        }
        if self.bytes > MAX_ANSWER_BYTES && !self.is_over {
            let what = format!("the answer is larger than {MAX_ANSWER_BYTES} bytes");
            self.fail(&Told::plain(Class::NotAnAnswer, what), out);
        }
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if !self.has_started {
            self.has_started = true;
            for kind in ["response.created", "response.in_progress"] {
                self.event(kind, json!({"response": self.response(&Status::InProgress)}), out);
            }
        }
    }

    /// An event that clients know and build nothing from.
    fn mark(&mut self, out: &mut Vec<u8>) {
        if let Some(target) = self.continued_on.take() {
            let response = self.response(&Status::InProgress);
            let mark = json!({"response": response, "mainstay": {"continued_on": target}});
            self.event("response.in_progress", mark, out);
        }
    }

    fn say(&mut self, kind: Content, text: &str, out: &mut Vec<u8>) {
        let is_message = self.is_open && matches!(self.items.last(), Some(Item::Message(_)));
        if !is_message {
            self.close_open(out);
            self.close_calls(out);
            self.add(Item::Message(Vec::new()), out);
            self.is_open = true;
        }
        let (place, name) =
            (self.place(), if matches!(kind, Content::Text(_)) { "output_text" } else { "refusal" });
        if self
            .last_content()
            .is_none_or(|last| std::mem::discriminant(last) != std::mem::discriminant(&kind))
        {
            self.close_content(out);
            let part = kind.json();
            if let Some(Item::Message(content)) = self.items.last_mut() {
                content.push(kind);
            }
            let at = self.content_index();
            self.of_item(
                "response.content_part.added",
                place,
                json!({"content_index": at, "part": part}),
                out,
            );
        }
        if let Some(Item::Message(content)) = self.items.last_mut()
            && let Some(last) = content.last_mut()
        {
            last.push(text);
        }
        self.bytes += text.len();
        let mut event = json!({"content_index": self.content_index(), "delta": text});
        if name == "output_text" {
            event["logprobs"] = json!([]);
        }
        self.of_item(&format!("response.{name}.delta"), place, event, out);
    }

    fn think(&mut self, text: &str, out: &mut Vec<u8>) {
        let is_thought = self.is_open && matches!(self.items.last(), Some(Item::Reasoning { .. }));
        if !is_thought {
            self.close_open(out);
            self.close_calls(out);
            let place = self.add(Item::Reasoning { text: String::new(), signature: None }, out);
            self.is_open = true;
            let part = json!({"summary_index": 0, "part": summary("")});
            self.of_item("response.reasoning_summary_part.added", place, part, out);
        }
        if let Some(Item::Reasoning { text: thought, .. }) = self.items.last_mut() {
            thought.push_str(text);
        }
        self.bytes += text.len();
        let event = json!({"summary_index": 0, "delta": text});
        self.of_item("response.reasoning_summary_text.delta", self.place(), event, out);
    }

    /// A signature ends its thought; one without a thought is an item of its own.
    fn sign(&mut self, given: &str, out: &mut Vec<u8>) {
        if !(self.is_open && matches!(self.items.last(), Some(Item::Reasoning { .. }))) {
            self.close_open(out);
            self.add(Item::Reasoning { text: String::new(), signature: None }, out);
            self.is_open = true;
        }
        if let Some(Item::Reasoning { signature, .. }) = self.items.last_mut() {
            *signature = Some(given.to_owned());
        }
        self.close_open(out);
    }

    fn argue(&mut self, index: u64, text: &str, out: &mut Vec<u8>) {
        let Some(place) = self.calls.get(&index).copied() else { return };
        if let Some(Item::Call { arguments, .. }) = self.items.get_mut(place) {
            arguments.push_str(text);
        }
        self.bytes += text.len();
        self.of_item("response.function_call_arguments.delta", place, json!({"delta": text}), out);
    }

    fn finish(&mut self, finish: &Finish, out: &mut Vec<u8>) {
        self.status = Status::of(finish);
        self.close_open(out);
        self.close_calls(out);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let status = self.status.clone();
        self.close(&status, out);
    }

    fn fail(&mut self, told: &Told, out: &mut Vec<u8>) {
        let code = match told.class {
            Class::RateLimited | Class::QuotaExhausted => "rate_limit_exceeded",
            class if class.fault() == Fault::Caller => "invalid_prompt",
            _ => "server_error",
        };
        // What a provider says of our keys and our bill is nothing for a caller.
        let message = match told.class.fault() {
            Fault::Key => "the model provider does not accept calls at the moment".to_owned(),
            _ => told.message.clone(),
        };
        self.close(&Status::Failed { code, message }, out);
    }

    fn close(&mut self, status: &Status, out: &mut Vec<u8>) {
        self.status = status.clone();
        self.close_open(out);
        self.close_calls(out);
        self.is_over = true;
        let kind = format!("response.{}", status.word());
        self.event(&kind, json!({"response": self.response(status)}), out);
    }

    /// Adds an item at the end and says so; its place.
    fn add(&mut self, item: Item, out: &mut Vec<u8>) -> usize {
        let place = self.items.len();
        let shown = item.json(&item.id(&self.base, place), "in_progress");
        self.items.push(item);
        self.event("response.output_item.added", json!({"output_index": place, "item": shown}), out);
        place
    }

    fn close_open(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.is_open, false) {
            return;
        }
        let place = self.place();
        self.close_content(out);
        if let Some(Item::Reasoning { text, .. }) = self.items.last()
            && !text.is_empty()
        {
            let (text, part) = (json!({"summary_index": 0, "text": text}), summary(text));
            self.of_item("response.reasoning_summary_text.done", place, text, out);
            let part = json!({"summary_index": 0, "part": part});
            self.of_item("response.reasoning_summary_part.done", place, part, out);
        }
        self.done(place, out);
    }

    fn close_content(&mut self, out: &mut Vec<u8>) {
        let Some(last) = self.last_content() else { return };
        let at = self.content_index();
        let (kind, mut text) = match last {
            Content::Text(text) => ("response.output_text.done", json!({"text": text, "logprobs": []})),
            Content::Refusal(text) => ("response.refusal.done", json!({"refusal": text})),
        };
        let part = json!({"content_index": at, "part": last.json()});
        text["content_index"] = at.into();
        let place = self.place();
        self.of_item(kind, place, text, out);
        self.of_item("response.content_part.done", place, part, out);
    }

    fn close_calls(&mut self, out: &mut Vec<u8>) {
        for place in std::mem::take(&mut self.calls).into_values() {
            self.close_call(place, out);
        }
    }

    fn close_call(&mut self, place: usize, out: &mut Vec<u8>) {
        if let Some(Item::Call { name, arguments, .. }) = self.items.get(place) {
            let event = json!({"name": name, "arguments": arguments});
            self.of_item("response.function_call_arguments.done", place, event, out);
        }
        self.done(place, out);
    }

    fn done(&mut self, place: usize, out: &mut Vec<u8>) {
        let Some(item) = self.items.get(place) else { return };
        let status = item_status(&self.status, place == self.place());
        let item = item.json(&item.id(&self.base, place), status);
        self.event("response.output_item.done", json!({"output_index": place, "item": item}), out);
    }

    fn last_content(&self) -> Option<&Content> {
        match self.items.last() {
            Some(Item::Message(content)) => content.last(),
            _ => None,
        }
    }

    /// Of the last item.
    fn place(&self) -> usize {
        self.items.len().saturating_sub(1)
    }

    fn content_index(&self) -> usize {
        match self.items.last() {
            Some(Item::Message(content)) => content.len().saturating_sub(1),
            _ => 0,
        }
    }

    fn response(&self, status: &Status) -> Value {
        let shown = |(place, item): (usize, &Item)| {
            item.json(&item.id(&self.base, place), item_status(status, place == self.place()))
        };
        let output = self.items.iter().enumerate().map(shown);
        response(&self.echo, &self.base, self.created, status, output.collect(), self.usage.as_ref())
    }

    fn of_item(&mut self, kind: &str, place: usize, mut event: Value, out: &mut Vec<u8>) {
        let Some(item) = self.items.get(place) else { return };
        event["item_id"] = item.id(&self.base, place).into();
        event["output_index"] = place.into();
        self.event(kind, event, out);
    }

    fn event(&mut self, kind: &str, mut event: Value, out: &mut Vec<u8>) {
        event["type"] = kind.into();
        event["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        out.extend_from_slice(format!("event: {kind}\ndata: {event}\n\n").as_bytes());
    }
}
