//! Ids of calls as providers want them: each call of a conversation has one of its own.
//!
//! Callers of the old `functions` have no ids at all, some servers give none, and others number the calls of every turn
//! from 0. Claude refuses such a conversation, and elsewhere a result would stand for the wrong call.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet, VecDeque},
};

use super::{Message, Part};

/// The messages, with an id for every call that no earlier one has. A result belongs to the oldest call of its id
/// that has none yet.
pub(super) fn distinct(messages: &[Message]) -> Cow<'_, [Message]> {
    let calls = || messages.iter().flat_map(|message| &message.parts).filter_map(Part::tool_call);
    let given: HashSet<&str> = calls().map(|call| call.id.as_str()).collect();
    if given.len() == calls().count() && !given.contains("") {
        return Cow::Borrowed(messages);
    }
    let mut names = Names { taken: given.into_iter().map(str::to_owned).collect(), ..Names::default() };
    let mut messages = messages.to_vec();
    for part in messages.iter_mut().flat_map(|message| &mut message.parts) {
        match part {
            Part::ToolCall(call) => call.id = names.of_call(&call.id),
            Part::ToolResult { id, .. } => *id = names.of_result(id),
            _ => {}
        }
    }
    Cow::Owned(messages)
}

#[derive(Default)]
struct Names {
    /// Every id that is in use, or will be.
    taken: HashSet<String>,
    /// The given ids that a call has kept.
    kept: HashSet<String>,
    /// By the given id, the calls that wait for a result.
    waiting: HashMap<String, VecDeque<String>>,
    made: usize,
}

impl Names {
    fn of_call(&mut self, given: &str) -> String {
        let name = match !given.is_empty() && self.kept.insert(given.to_owned()) {
            true => given.to_owned(),
            false => self.made_up(given),
        };
        self.waiting.entry(given.to_owned()).or_default().push_back(name.clone());
        name
    }

    fn of_result(&mut self, given: &str) -> String {
        let waiting = self.waiting.get_mut(given).and_then(VecDeque::pop_front);
        waiting.unwrap_or_else(|| given.to_owned())
    }

    fn made_up(&mut self, given: &str) -> String {
        let base = if given.is_empty() { "call" } else { given };
        loop {
            self.made += 1;
            let name = format!("{base}_{}", self.made);
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::{Role, ToolCall};

    fn call(id: &str) -> Part {
        Part::ToolCall(ToolCall { id: id.to_owned(), name: "f".to_owned(), arguments: String::new() })
    }

    fn result(id: &str) -> Part {
        Part::ToolResult { id: id.to_owned(), parts: Vec::new(), is_error: false }
    }

    fn check(parts: &[Part], expected: &[&str]) {
        let messages: Vec<Message> = parts
            .iter()
            .map(|part| Message { role: Role::Assistant, parts: vec![part.clone()], name: None })
            .collect();
        let distinct = distinct(&messages);
        let ids = distinct.iter().flat_map(|message| &message.parts).map(|part| match part {
            Part::ToolCall(call) => call.id.as_str(),
            Part::ToolResult { id, .. } => id,
            _ => "",
        });
        assert_eq!(ids.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_call_gets_an_id_of_its_own_and_results_follow() {
        check(&[call("a"), result("a"), call("b"), result("b")], &["a", "a", "b", "b"]);
        check(&[call("f"), result("f"), call("f"), result("f")], &["f", "f", "f_1", "f_1"]);
        check(&[call("f"), call("f"), result("f"), result("f")], &["f", "f_1", "f", "f_1"]);
        check(&[call(""), result(""), call(""), result("")], &["call_1", "call_1", "call_2", "call_2"]);
        check(&[call("f"), call("f"), call("f_1")], &["f", "f_2", "f_1"]);
        check(&[call("f"), call("f"), result("f"), result("f"), result("f")], &["f", "f_1", "f", "f_1", "f"]);
    }
}
