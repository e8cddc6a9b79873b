//! Anthropic Messages.

use serde_json::{Value, json};

use super::{Ask, Event, Part, Told, Trouble, list, named, text, texts};
use crate::mind::{Question, Said};

pub(super) fn read(body: &Value) -> Ask {
    let messages = list(&body["messages"]);
    let results = messages
        .iter()
        .flat_map(|message| list(&message["content"]))
        .filter(|part| part["type"] == "tool_result")
        .map(|part| texts(&part["content"]));
    let last = messages.last().filter(|message| message["role"] == "assistant");
    Ask::Chat(Question {
        model: text(&body["model"]),
        system: texts(&body["system"]),
        user: messages
            .iter()
            .filter(|message| message["role"] == "user")
            .map(|message| texts(&message["content"]))
            .collect(),
        tools: list(&body["tools"]).iter().map(|tool| text(&tool["name"])).collect(),
        forced_tool: body["tool_choice"]["name"].as_str().map(str::to_owned),
        tool_results: results.collect(),
        wants_json: !body["output_config"].is_null() || !body["output_format"].is_null(),
        streams: body["stream"] == true,
        wants_usage: true,
        prefix: last.map(|message| texts(&message["content"])).unwrap_or_default(),
    })
}

fn stop_reason(said: &Said, filtered: bool) -> &'static str {
    match (filtered, &said.tool) {
        (true, _) => "refusal",
        (false, Some(_)) => "tool_use",
        (false, None) => "end_turn",
    }
}

fn tool(said: &Said) -> Option<Value> {
    let tool = said.tool.as_ref()?;
    let input: Value = serde_json::from_str(&tool.arguments).unwrap_or_default();
    Some(json!({"type": "tool_use", "id": "toolu_faulty_0", "name": tool.name, "input": input}))
}

pub(super) fn whole(question: &Question, said: &Said, filtered: bool) -> Value {
    let mut content = Vec::new();
    if !said.text.is_empty() {
        content.push(json!({"type": "text", "text": said.text}));
    }
    content.extend(tool(said));
    json!({
        "id": "msg_faulty", "type": "message", "role": "assistant", "model": question.model, "content": content,
        "stop_reason": stop_reason(said, filtered), "stop_sequence": null,
        "usage": {"input_tokens": said.input_tokens, "output_tokens": said.output_tokens},
    })
}

pub(super) fn events(question: &Question, said: &Said, filtered: bool) -> Vec<Event> {
    let event = |part, name: &str, value: Value| Event { bytes: named(name, &value), part };
    let start = json!({"type": "message_start", "message": {
        "id": "msg_faulty", "type": "message", "role": "assistant", "model": question.model, "content": [],
        "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": said.input_tokens, "output_tokens": 1},
    }});
    let mut events = vec![
        event(Part::Opening, "message_start", start),
        event(Part::Opening, "ping", json!({"type": "ping"})),
    ];
    let block = match tool(said) {
        Some(mut tool) => {
            tool["input"] = json!({});
            tool
        }
        None => json!({"type": "text", "text": ""}),
    };
    events.push(event(
        Part::Opening,
        "content_block_start",
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
    ));
    let delta = |delta: Value| {
        let value = json!({"type": "content_block_delta", "index": 0, "delta": delta});
        event(Part::Content, "content_block_delta", value)
    };
    match &said.tool {
        Some(tool) => {
            let (first, rest) = tool.arguments.split_at(tool.arguments.len().min(1));
            events.push(delta(json!({"type": "input_json_delta", "partial_json": first})));
            events.push(delta(json!({"type": "input_json_delta", "partial_json": rest})));
        }
        None => {
            events.extend(super::words(said).map(|word| delta(json!({"type": "text_delta", "text": word}))))
        }
    }
    let stop = json!({"type": "content_block_stop", "index": 0});
    events.push(event(Part::Closing, "content_block_stop", stop));
    let reason = json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason(said, filtered), "stop_sequence": null},
        "usage": {"output_tokens": said.output_tokens},
    });
    events.push(event(Part::Closing, "message_delta", reason));
    events.push(event(Part::Done, "message_stop", json!({"type": "message_stop"})));
    events
}

pub(super) fn trouble(trouble: &Trouble) -> Told {
    let told = |status: u16, kind: &str, message: String| {
        (
            status,
            json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_faulty"}),
        )
    };
    match trouble {
        Trouble::Status(status) => told(*status, "api_error", "a fault on request".to_owned()),
        Trouble::RateLimited => {
            told(429, "rate_limit_error", "This request would exceed your rate limit.".to_owned())
        }
        Trouble::QuotaExhausted => told(
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API.".to_owned(),
        ),
        Trouble::Overloaded => told(529, "overloaded_error", "Overloaded".to_owned()),
        Trouble::BadKey(key) => told(401, "authentication_error", format!("invalid x-api-key {key}")),
        Trouble::ModelMissing(model) => told(404, "not_found_error", format!("model: {model}")),
        Trouble::ContextOverflow => told(
            400,
            "invalid_request_error",
            "prompt is too long: 200001 tokens > 200000 maximum".to_owned(),
        ),
        Trouble::FilteredPrompt => {
            told(400, "invalid_request_error", "Output blocked by content filtering policy".to_owned())
        }
        Trouble::BadRequest => {
            told(400, "invalid_request_error", "messages: at least one is required".to_owned())
        }
    }
}
