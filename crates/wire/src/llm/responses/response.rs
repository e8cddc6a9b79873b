//! The response object: what an answer is in whole, and what the events of a stream show of it.

use serde_json::{Map, Value, json};

use super::items::Item;
use crate::llm::{Answer, Finish, Unreadable, Usage, fields::Fields};

/// What a response repeats of its request, and what stands there when the request says nothing.
const REPEATED: [&str; 15] = [
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "user",
];

/// The fields of a request that its responses repeat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Echo {
    model: String,
    fields: Map<String, Value>,
}

impl Echo {
    pub fn of(body: &[u8]) -> Result<Echo, Unreadable> {
        let mut request = Fields::parse(body)?;
        let model = request.required("model")?;
        let fields = REPEATED
            .iter()
            .map(|name| ((*name).to_owned(), request.take(name).unwrap_or_else(|| unsaid(name))))
            .collect();
        Ok(Echo { model, fields })
    }
}

fn unsaid(name: &str) -> Value {
    match name {
        "tools" => json!([]),
        "tool_choice" => json!("auto"),
        "parallel_tool_calls" => json!(true),
        "metadata" => json!({}),
        "text" => json!({"format": {"type": "text"}}),
        _ => Value::Null,
    }
}

/// How far a response is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Status {
    InProgress,
    Completed,
    Incomplete(&'static str),
    Failed { code: &'static str, message: String },
}

impl Status {
    pub(super) fn of(finish: &Finish) -> Status {
        match finish {
            Finish::Length => Status::Incomplete("max_output_tokens"),
            Finish::ContentFilter => Status::Incomplete("content_filter"),
            Finish::Stop | Finish::ToolCalls | Finish::Other(_) => Status::Completed,
        }
    }

    pub(super) fn word(&self) -> &'static str {
        match self {
            Status::InProgress => "in_progress",
            Status::Completed => "completed",
            Status::Incomplete(_) => "incomplete",
            Status::Failed { .. } => "failed",
        }
    }
}

/// A whole answer. `id` names it, when its provider gave it no name.
pub fn write_answer(answer: &Answer, echo: &Echo, id: &str, created: i64) -> Vec<u8> {
    let base = if answer.id.is_empty() { id } else { answer.id.as_str() };
    // This dialect knows no second choice.
    let choice = answer.choices.first();
    let status = choice.map_or(Status::Completed, |choice| Status::of(&choice.finish));
    let items = choice.map(|choice| Item::of_parts(&choice.parts)).unwrap_or_default();
    let output: Vec<Value> = items
        .iter()
        .enumerate()
        .map(|(place, item)| item.json(&item.id(base, place), item_status(&status, place + 1 == items.len())))
        .collect();
    let created = answer.created.unwrap_or(created);
    response(echo, base, created, &status, output, answer.usage.as_ref()).to_string().into_bytes()
}

/// Of an item of a response of this status: only the last one is cut off.
pub(super) fn item_status(status: &Status, is_last: bool) -> &'static str {
    match status {
        Status::InProgress => "in_progress",
        Status::Incomplete(_) | Status::Failed { .. } if is_last => "incomplete",
        Status::Completed | Status::Incomplete(_) | Status::Failed { .. } => "completed",
    }
}

pub(super) fn response(
    echo: &Echo,
    base: &str,
    created: i64,
    status: &Status,
    output: Vec<Value>,
    usage: Option<&Usage>,
) -> Value {
    let (error, incomplete) = match status {
        Status::Incomplete(reason) => (Value::Null, json!({"reason": reason})),
        Status::Failed { code, message } => (json!({"code": code, "message": message}), Value::Null),
        Status::InProgress | Status::Completed => (Value::Null, Value::Null),
    };
    let mut out = json!({
        "id": format!("resp_{base}"),
        "object": "response",
        "created_at": created,
        "status": status.word(),
        "error": error,
        "incomplete_details": incomplete,
        "model": echo.model,
        "output": output,
        "usage": usage.map(counts),
        // Nothing is kept here, whatever the request says.
        "store": false,
    });
    for (name, value) in &echo.fields {
        out[name] = value.clone();
    }
    out
}

fn counts(usage: &Usage) -> Value {
    let Usage { input, output, cached_input, cache_write, reasoning, is_estimated } = *usage;
    let mut out = json!({
        "input_tokens": input,
        "input_tokens_details": {
            "cached_tokens": cached_input.unwrap_or(0), "cache_write_tokens": cache_write.unwrap_or(0),
        },
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": reasoning.unwrap_or(0)},
        "total_tokens": usage.total(),
    });
    if is_estimated {
        out["mainstay_estimated"] = true.into();
    }
    out
}
