//! What the demo's model answers: always the same to the same question, so that runs can be compared.

use serde_json::{Value, json};

/// Longest question that is repeated in an answer.
const MAX_QUOTE_CHARS: usize = 200;

/// A finished answer with its token counts (words, near enough for a demo).
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) usage: Value,
}

pub(super) fn answer(request: &Value) -> Answer {
    let messages = request["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let question = last_of(messages, "user");
    let instruction = last_of(messages, "system");
    let text = match choices(&instruction) {
        Some(choices) => choose(&choices, &question),
        None => reply(&question, messages),
    };
    let prompt: usize = messages.iter().map(|message| words(&content(message))).sum();
    let completion = words(&text);
    let usage = json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    });
    Answer { text, usage }
}

/// The options of an instruction such as "Answer with one of: billing, bug, other."
fn choices(instruction: &str) -> Option<Vec<String>> {
    let (_, list) = instruction.split_once("one of:")?;
    let list = list.split(['.', '\n']).next()?;
    Some(list.split(',').map(|choice| choice.trim().to_owned()).filter(|choice| !choice.is_empty()).collect())
}

/// The first option that the question mentions, else the last one.
fn choose(choices: &[String], question: &str) -> String {
    let question = question.to_lowercase();
    let mentioned = choices.iter().find(|choice| question.contains(&choice.to_lowercase()));
    mentioned.or(choices.last()).cloned().unwrap_or_default()
}

fn reply(question: &str, messages: &[Value]) -> String {
    let quote: String = question.chars().take(MAX_QUOTE_CHARS).collect();
    let earlier = messages.iter().filter(|message| message["role"] == "user").count().saturating_sub(1);
    match earlier {
        0 => format!("Thank you for your message. You wrote: {quote}"),
        1 => format!("Thank you for coming back. You wrote one message before this one, and now: {quote}"),
        _ => format!(
            "Thank you for coming back. You wrote {earlier} messages before this one, and now: {quote}"
        ),
    }
}

fn last_of(messages: &[Value], role: &str) -> String {
    messages.iter().rev().find(|message| message["role"] == role).map(content).unwrap_or_default()
}

/// A message's text, also when it is given in parts.
fn content(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(system: &str, user: &str, expected: &str) {
        let messages = json!([{"role": "system", "content": system}, {"role": "user", "content": user}]);
        assert_eq!(answer(&json!({"messages": messages})).text, expected);
    }

    #[test]
    fn an_instruction_with_options_gets_one_of_them() {
        let system = "Classify. Answer with one of: billing, bug, other.";
        check(system, "There is a BUG in the export", "bug");
        check(system, "Hello", "other");
    }

    #[test]
    fn other_questions_are_repeated() {
        check("Be kind.", "Hello", "Thank you for your message. You wrote: Hello");
    }

    #[test]
    fn rubbish_is_answered_too() {
        for request in [json!(null), json!({"messages": 5}), json!({"messages": [1, {"content": [{}]}]})] {
            assert!(!answer(&request).text.is_empty());
        }
    }
}
