//! AWS Bedrock Converse, its binary event stream included.

use serde_json::{Value, json};

use super::{Ask, Event, Part, Told, Trouble, list, text, unquote};
use crate::mind::{Question, Said};

pub(super) fn read(path: &str, body: &Value) -> Option<Ask> {
    let (model, method) = path.strip_prefix("/model/")?.rsplit_once('/')?;
    let streams = match method {
        "converse" => false,
        "converse-stream" => true,
        _ => return None,
    };
    let messages = list(&body["messages"]);
    let results = messages
        .iter()
        .flat_map(|message| list(&message["content"]))
        .filter_map(|part| part.get("toolResult"))
        .map(|result| result["content"].to_string());
    let last = messages.last().filter(|message| message["role"] == "assistant");
    Some(Ask::Chat(Question {
        model: unquote(model),
        system: blocks(&body["system"]),
        user: messages
            .iter()
            .filter(|message| message["role"] == "user")
            .map(|message| blocks(&message["content"]))
            .collect(),
        tools: list(&body["toolConfig"]["tools"])
            .iter()
            .map(|tool| text(&tool["toolSpec"]["name"]))
            .collect(),
        forced_tool: body["toolConfig"]["toolChoice"]["tool"]["name"].as_str().map(str::to_owned),
        tool_results: results.collect(),
        wants_json: !body["outputConfig"].is_null(),
        streams,
        wants_usage: true,
        prefix: last.map(|message| blocks(&message["content"])).unwrap_or_default(),
    }))
}

fn blocks(value: &Value) -> String {
    list(value).iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join(" ")
}

fn stop_reason(said: &Said, filtered: bool) -> &'static str {
    match (filtered, &said.tool) {
        (true, _) => "guardrail_intervened",
        (false, Some(_)) => "tool_use",
        (false, None) => "end_turn",
    }
}

fn usage(said: &Said) -> Value {
    json!({
        "inputTokens": said.input_tokens,
        "outputTokens": said.output_tokens,
        "totalTokens": said.input_tokens + said.output_tokens,
    })
}

pub(super) fn whole(said: &Said, filtered: bool) -> Value {
    let mut content = Vec::new();
    if !said.text.is_empty() {
        content.push(json!({"text": said.text}));
    }
    if let Some(tool) = &said.tool {
        let input: Value = serde_json::from_str(&tool.arguments).unwrap_or_default();
        content
            .push(json!({"toolUse": {"toolUseId": "tooluse_faulty_0", "name": tool.name, "input": input}}));
    }
    json!({
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop_reason(said, filtered),
        "usage": usage(said),
        "metrics": {"latencyMs": 1},
    })
}

pub(super) fn events(said: &Said, filtered: bool) -> Vec<Event> {
    let event = |part, name: &str, value: Value| Event { bytes: frame("event", name, &value), part };
    let mut events = vec![event(Part::Opening, "messageStart", json!({"role": "assistant"}))];
    if let Some(tool) = &said.tool {
        let start = json!({"toolUse": {"toolUseId": "tooluse_faulty_0", "name": tool.name}});
        let start = json!({"contentBlockIndex": 0, "start": start});
        events.push(event(Part::Opening, "contentBlockStart", start));
        let delta = json!({"contentBlockIndex": 0, "delta": {"toolUse": {"input": tool.arguments}}});
        events.push(event(Part::Content, "contentBlockDelta", delta));
    }
    for word in super::words(said) {
        let delta = json!({"contentBlockIndex": 0, "delta": {"text": word}});
        events.push(event(Part::Content, "contentBlockDelta", delta));
    }
    events.push(event(Part::Closing, "contentBlockStop", json!({"contentBlockIndex": 0})));
    events.push(event(Part::Closing, "messageStop", json!({"stopReason": stop_reason(said, filtered)})));
    events.push(event(Part::Usage, "metadata", json!({"usage": usage(said), "metrics": {"latencyMs": 1}})));
    events
}

pub(super) fn exception(name: &str, body: &Value) -> Vec<u8> {
    frame("exception", name, body)
}

/// One message of `application/vnd.amazon.eventstream`: lengths, their CRC, headers, payload, the CRC of all.
fn frame(kind: &str, name: &str, payload: &Value) -> Vec<u8> {
    let name_header = if kind == "event" { ":event-type" } else { ":exception-type" };
    let mut headers = Vec::new();
    for (header, value) in
        [(":message-type", kind), (name_header, name), (":content-type", "application/json")]
    {
        headers.push(header.len() as u8);
        headers.extend_from_slice(header.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&(value.len() as u16).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let payload = payload.to_string();
    let total = (12 + headers.len() + payload.len() + 4) as u32;
    let mut bytes = Vec::with_capacity(total as usize);
    bytes.extend_from_slice(&total.to_be_bytes());
    bytes.extend_from_slice(&(headers.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&crc32(&bytes).to_be_bytes());
    bytes.extend_from_slice(&headers);
    bytes.extend_from_slice(payload.as_bytes());
    bytes.extend_from_slice(&crc32(&bytes).to_be_bytes());
    bytes
}

/// CRC-32 as in IEEE 802.3, a bit at a time: these frames are small.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

pub(super) fn trouble(trouble: &Trouble) -> Told {
    let told = |status: u16, message: String| (status, json!({ "message": message }));
    match trouble {
        Trouble::Status(status) => told(*status, "a fault on request".to_owned()),
        Trouble::RateLimited => told(429, "Too many requests, please wait before trying again.".to_owned()),
        Trouble::QuotaExhausted => {
            told(429, "Too many tokens per day, please wait before trying again.".to_owned())
        }
        Trouble::Overloaded => told(503, "Bedrock is unable to process your request.".to_owned()),
        Trouble::BadKey(_) => told(403, "The security token included in the request is invalid.".to_owned()),
        Trouble::ModelMissing(model) => {
            told(404, format!("Could not resolve the foundation model from the model identifier {model}"))
        }
        Trouble::ContextOverflow => told(400, "Input is too long for requested model.".to_owned()),
        Trouble::FilteredPrompt => {
            told(400, "The request was blocked by content filtering policy.".to_owned())
        }
        Trouble::BadRequest => told(
            400,
            "1 validation error detected: Value at 'messages' failed to satisfy constraint".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_crc_is_that_of_the_standard() {
        assert_eq!(super::crc32(b"123456789"), 0xCBF4_3926);
    }
}
