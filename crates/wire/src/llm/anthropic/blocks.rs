//! Messages as turns of content blocks: two roles that alternate, results of tools in the user's turns.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{DIALECT, model::Generation};
use crate::llm::{
    Media, Message, Part, Role, ToolCall, Unwritable, calls, signature,
    turns::{CONTINUE, PLACEHOLDER},
};

/// The images that are looked at.
const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// The system's blocks and the turns.
pub(super) fn write(
    messages: &[Message],
    generation: Generation,
    thinks: bool,
) -> Result<(Vec<Value>, Vec<Value>), Unwritable> {
    let mut system = Vec::new();
    let mut turns: Vec<(&'static str, Vec<Value>)> = Vec::new();
    for message in calls::distinct(messages).iter() {
        let role = match message.role {
            Role::System => {
                system.extend(blocks(&message.parts)?);
                continue;
            }
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let blocks = blocks(&message.parts)?;
        match turns.last_mut() {
            Some((last, turn)) if *last == role => turn.extend(blocks),
            _ if blocks.is_empty() => {}
            _ => turns.push((role, blocks)),
        }
    }
    // With a budget to think, a turn to be continued would have to begin with a thought.
    complete(&mut system, &mut turns, thinks || generation.refuses_prefill());
    let turns = turns.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
    Ok((system, turns))
}

/// The first turn is the user's, and there is one.
fn complete(system: &mut Vec<Value>, turns: &mut Vec<(&'static str, Vec<Value>)>, refuses_prefill: bool) {
    if turns.is_empty() {
        turns.push(("user", std::mem::take(system)));
    } else if turns.first().is_some_and(|(role, _)| *role == "assistant") {
        turns.insert(0, ("user", vec![text(PLACEHOLDER)]));
    }
    let Some(("assistant", last)) = turns.last_mut() else { return };
    if last.last().is_some_and(|block| block["type"] == "tool_use") {
        return;
    }
    match refuses_prefill {
        true => turns.push(("user", vec![text(CONTINUE)])),
        false => trim_end(last),
    }
}

/// White space at the end of a turn that is to be continued is refused.
fn trim_end(turn: &mut Vec<Value>) {
    let Some(Value::String(text)) = turn.last_mut().and_then(|block| block.get_mut("text")) else { return };
    text.truncate(text.trim_end().len());
    if text.is_empty() {
        turn.pop();
    }
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn blocks(parts: &[Part]) -> Result<Vec<Value>, Unwritable> {
    let mut out = Vec::with_capacity(parts.len());
    for part in parts {
        if let Some(block) = block(part)? {
            out.push(block);
        }
    }
    Ok(out)
}

fn block(part: &Part) -> Result<Option<Value>, Unwritable> {
    let block = match part {
        // Empty texts are refused, and so is a message of white space only.
        Part::Text(said) | Part::Refusal(said) if said.trim().is_empty() => return Ok(None),
        Part::Text(said) | Part::Refusal(said) => text(said),
        Part::Image { media: Media::Data { media_type, .. }, .. }
            if !IMAGES.contains(&media_type.as_str()) =>
        {
            return Err(unwritable(format!("an image of type {media_type}")));
        }
        Part::Image { media, detail: _ } => json!({"type": "image", "source": source(media)}),
        Part::Audio(_) => return Err(unwritable("audio")),
        Part::File { media, name } => document(media, name.as_deref())?,
        // Only the provider's own, signed thoughts are taken back.
        Part::Reasoning { text, signature: Some(signature) } if signature::is_claudes(signature) => {
            json!({"type": "thinking", "thinking": text, "signature": signature})
        }
        Part::Reasoning { signature: Some(signature), .. } => {
            let Some(thought) = signature::redacted(signature) else { return Ok(None) };
            json!({"type": "redacted_thinking", "data": thought})
        }
        Part::Reasoning { signature: None, .. } => return Ok(None),
        Part::ToolCall(call) => {
            json!({"type": "tool_use", "id": id(&call.id), "name": call.name, "input": input(call)?})
        }
        Part::ToolResult { id: of, parts, is_error } => {
            let mut result = json!({"type": "tool_result", "tool_use_id": id(of), "content": blocks(parts)?});
            if *is_error {
                result["is_error"] = true.into();
            }
            result
        }
    };
    Ok(Some(block))
}

fn unwritable(what: impl Into<String>) -> Unwritable {
    Unwritable { dialect: DIALECT, what: what.into() }
}

fn source(media: &Media) -> Value {
    match media {
        Media::Url(url) => json!({"type": "url", "url": url}),
        Media::Data { media_type, base64 } => {
            json!({"type": "base64", "media_type": media_type, "data": base64})
        }
    }
}

/// PDFs as they are, texts as texts.
fn document(media: &Media, name: Option<&str>) -> Result<Value, Unwritable> {
    let source = match media {
        Media::Data { media_type, base64 } if media_type.starts_with("text/") => {
            let bytes =
                BASE64_STANDARD.decode(base64).map_err(|_| unwritable("a file that is not base64"))?;
            json!({"type": "text", "media_type": "text/plain", "data": String::from_utf8_lossy(&bytes)})
        }
        Media::Data { media_type, .. } if media_type != "application/pdf" => {
            return Err(unwritable(format!("a file of type {media_type}")));
        }
        media => source(media),
    };
    let mut document = json!({"type": "document", "source": source});
    if let Some(name) = name {
        document["title"] = name.into();
    }
    Ok(document)
}

/// Ids of other providers have signs that this dialect refuses; a call and its result get the same one.
fn id(given: &str) -> String {
    let allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    given.chars().map(|char| if allowed(char) { char } else { '_' }).collect()
}

fn input(call: &ToolCall) -> Result<Value, Unwritable> {
    if call.arguments.trim().is_empty() {
        return Ok(json!({}));
    }
    match serde_json::from_str(&call.arguments) {
        Ok(input @ Value::Object(_)) => Ok(input),
        _ => Err(unwritable(format!("the arguments of the call {}, which are no JSON object", call.id))),
    }
}
