//! OpenAI's Responses: another API of its dialect.

use serde_json::{Value, json};

use super::{Ask, Event, Part, list, named, text, texts, words};
use crate::mind::{Question, Said};

const ID: &str = "resp_faulty";

pub(super) fn read(body: &Value, model: String) -> Ask {
    let items = list(&body["input"]);
    let of = |role: &'static str| {
        let said = items.iter().filter(move |item| item["role"] == role);
        said.map(|item| texts(&item["content"]))
    };
    let user = match &body["input"] {
        Value::String(text) => vec![text.clone()],
        _ => of("user").collect(),
    };
    let results = items.iter().filter(|item| item["type"] == "function_call_output");
    Ask::Response(Question {
        model,
        system: of("system").next_back().unwrap_or_else(|| text(&body["instructions"])),
        user,
        tools: list(&body["tools"]).iter().map(|tool| text(&tool["name"])).collect(),
        forced_tool: body["tool_choice"]["name"].as_str().map(str::to_owned),
        tool_results: results.map(|item| texts(&item["output"])).collect(),
        wants_json: matches!(body["text"]["format"]["type"].as_str(), Some("json_object" | "json_schema")),
        streams: body["stream"] == true,
        wants_usage: true,
        prefix: String::new(),
    })
}

fn item(said: &Said) -> Value {
    match &said.tool {
        Some(tool) => json!({
            "id": "fc_faulty", "type": "function_call", "status": "completed", "call_id": "call_faulty_0",
            "name": tool.name, "arguments": tool.arguments,
        }),
        None => json!({
            "id": "msg_faulty", "type": "message", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": said.text, "annotations": []}],
        }),
    }
}

fn response(question: &Question, status: &str, output: &[Value]) -> Value {
    json!({
        "id": ID, "object": "response", "created_at": 0, "status": status, "error": null, "incomplete_details": null,
        "model": question.model, "output": output, "parallel_tool_calls": true, "tool_choice": "auto", "tools": [],
    })
}

pub(crate) fn whole(question: &Question, said: &Said, filtered: bool) -> Value {
    let mut whole = response(question, if filtered { "incomplete" } else { "completed" }, &[item(said)]);
    if filtered {
        whole["incomplete_details"] = json!({"reason": "content_filter"});
    }
    whole["usage"] = json!({
        "input_tokens": said.input_tokens, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": said.output_tokens, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": said.input_tokens + said.output_tokens,
    });
    whole
}

pub(crate) fn events(question: &Question, said: &Said, filtered: bool) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut event = |part, kind: &str, mut value: Value| {
        value["type"] = kind.into();
        value["sequence_number"] = events.len().into();
        events.push(Event { bytes: named(kind, &value), part });
    };
    let begun = json!({"response": response(question, "in_progress", &[])});
    event(Part::Opening, "response.created", begun.clone());
    event(Part::Opening, "response.in_progress", begun);
    let item = item(said);
    let mut opened = item.clone();
    opened["status"] = "in_progress".into();
    let place = json!({"output_index": 0, "item_id": item["id"]});
    let delta = |delta: &str| {
        let mut value = place.clone();
        value["delta"] = delta.into();
        value
    };
    match &said.tool {
        Some(tool) => {
            opened["arguments"] = "".into();
            event(Part::Opening, "response.output_item.added", json!({"output_index": 0, "item": opened}));
            event(Part::Content, "response.function_call_arguments.delta", delta(&tool.arguments));
            let mut done = place.clone();
            done["arguments"] = tool.arguments.clone().into();
            event(Part::Closing, "response.function_call_arguments.done", done);
        }
        None => {
            opened["content"] = json!([]);
            event(Part::Opening, "response.output_item.added", json!({"output_index": 0, "item": opened}));
            let mut part = place.clone();
            part["content_index"] = 0.into();
            part["part"] = json!({"type": "output_text", "text": "", "annotations": []});
            event(Part::Opening, "response.content_part.added", part.clone());
            for word in words(said) {
                let mut value = delta(word);
                value["content_index"] = 0.into();
                event(Part::Content, "response.output_text.delta", value);
            }
            let mut done = place.clone();
            (done["content_index"], done["text"]) = (0.into(), said.text.clone().into());
            event(Part::Closing, "response.output_text.done", done);
            part["part"]["text"] = said.text.clone().into();
            event(Part::Closing, "response.content_part.done", part);
        }
    }
    event(Part::Closing, "response.output_item.done", json!({"output_index": 0, "item": item}));
    let mut last = whole(question, said, filtered);
    if !question.wants_usage {
        last["usage"] = Value::Null;
    }
    let kind = if filtered { "response.incomplete" } else { "response.completed" };
    event(Part::Done, kind, json!({"response": last}));
    events
}

/// An error inside a stream, as this API sends it.
pub(crate) fn error_event(told: &Value) -> Vec<u8> {
    let error = &told["error"];
    let value = json!({"type": "error", "code": error["code"], "message": error["message"], "param": null, "sequence_number": 9});
    named("error", &value)
}
