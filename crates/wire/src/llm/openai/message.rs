//! Messages of requests, read and written; answers use the same words.

use serde_json::{Map, Value, json};

use crate::llm::{Media, Message, Part, Role, ToolCall, Unreadable, fields::Fields, signature};

pub(super) fn read_all(items: Vec<Value>) -> Result<Vec<Message>, Unreadable> {
    let mut messages = Vec::with_capacity(items.len());
    for (at, item) in items.into_iter().enumerate() {
        messages.push(read(Fields::of(item, &format!("messages[{at}]"))?)?);
    }
    Ok(messages)
}

fn read(mut fields: Fields) -> Result<Message, Unreadable> {
    let role = fields.required("role")?;
    let name = fields.string("name")?;
    match role.as_str() {
        "system" | "developer" => Ok(Message { role: Role::System, parts: content(&mut fields)?, name }),
        "user" => Ok(Message { role: Role::User, parts: content(&mut fields)?, name }),
        "assistant" => Ok(Message { role: Role::Assistant, parts: said(&mut fields)?, name }),
        "tool" => {
            let id = fields.required("tool_call_id")?;
            Ok(result(id, content(&mut fields)?, name))
        }
        // The old way: the function's name is all that tells which call was meant.
        "function" => {
            let id = name.clone().ok_or_else(|| fields.wrong("name", "given"))?;
            Ok(result(id, content(&mut fields)?, name))
        }
        _ => Err(fields.wrong("role", "system, developer, user, assistant or tool")),
    }
}

fn result(id: String, parts: Vec<Part>, name: Option<String>) -> Message {
    Message { role: Role::Tool, parts: vec![Part::ToolResult { id, parts, is_error: false }], name }
}

/// What an assistant said, in a request's history or in an answer.
pub(super) fn said(fields: &mut Fields) -> Result<Vec<Part>, Unreadable> {
    let mut parts = reasoning(fields)?;
    parts.extend(content(fields)?);
    if let Some(text) = fields.string("refusal")?.filter(|text| !text.is_empty()) {
        parts.push(Part::Refusal(text));
    }
    for (at, item) in fields.array("tool_calls")?.into_iter().enumerate() {
        let mut call = Fields::of(item, &fields.place(&format!("tool_calls[{at}]")))?;
        let id = call.string("id")?;
        let function = call.object("function")?.ok_or_else(|| call.wrong("function", "given"))?;
        parts.push(tool_call(function, id.unwrap_or_else(|| format!("call_{at}")))?);
    }
    if let Some(mut function) = fields.object("function_call")? {
        let name = function.required("name")?;
        let arguments = arguments(&mut function)?;
        parts.push(Part::ToolCall(ToolCall { id: name.clone(), name, arguments }));
    }
    Ok(parts)
}

fn tool_call(mut function: Fields, id: String) -> Result<Part, Unreadable> {
    let name = function.required("name")?;
    Ok(Part::ToolCall(ToolCall { id, name, arguments: arguments(&mut function)? }))
}

/// Text by the standard; some servers send the object itself.
fn arguments(function: &mut Fields) -> Result<String, Unreadable> {
    match function.take("arguments") {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(object @ Value::Object(_)) => Ok(object.to_string()),
        Some(_) => Err(function.wrong("arguments", "a string")),
    }
}

/// `thinking_blocks` carry signatures (LiteLLM's form); `reasoning_content` (DeepSeek, vLLM) and `reasoning`
/// (OpenRouter) are text only.
fn reasoning(fields: &mut Fields) -> Result<Vec<Part>, Unreadable> {
    let text = fields.take("reasoning_content");
    let text = text.or_else(|| fields.take("reasoning"));
    let blocks = fields.array("thinking_blocks")?;
    let mut parts = Vec::new();
    for (at, block) in blocks.into_iter().enumerate() {
        let mut block = Fields::of(block, &fields.place(&format!("thinking_blocks[{at}]")))?;
        let text = block.string("thinking")?.unwrap_or_default();
        parts.push(Part::Reasoning { text, signature: block.string("signature")? });
    }
    let Some(Value::String(text)) = text.filter(|text| text.as_str().is_some_and(|text| !text.is_empty()))
    else {
        return Ok(parts);
    };
    match parts.as_mut_slice() {
        [] => parts.push(Part::Reasoning { text, signature: None }),
        // A caller that put a stream together may have the words here and the signature there.
        [Part::Reasoning { text: thought, signature: Some(signature) }]
            if thought.is_empty() && signature::is_claudes(signature) =>
        {
            *thought = text;
        }
        _ => {}
    }
    Ok(parts)
}

pub(super) fn content(fields: &mut Fields) -> Result<Vec<Part>, Unreadable> {
    match fields.take("content") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::Text(text)]),
        Some(Value::Array(items)) => {
            let mut parts = Vec::with_capacity(items.len());
            for (at, item) in items.into_iter().enumerate() {
                parts.push(part(Fields::of(item, &fields.place(&format!("content[{at}]")))?)?);
            }
            Ok(parts)
        }
        Some(_) => Err(fields.wrong("content", "text or a list of parts")),
    }
}

fn part(mut fields: Fields) -> Result<Part, Unreadable> {
    match fields.required("type")?.as_str() {
        "text" | "input_text" | "output_text" => Ok(Part::Text(fields.required("text")?)),
        "refusal" => Ok(Part::Refusal(fields.required("refusal")?)),
        "thinking" => {
            Ok(Part::Reasoning { text: thought(&mut fields), signature: fields.string("signature")? })
        }
        "image_url" => image(fields),
        "input_audio" => {
            let mut audio =
                fields.object("input_audio")?.ok_or_else(|| fields.wrong("input_audio", "given"))?;
            let base64 = audio.required("data")?;
            let media_type = format!("audio/{}", audio.string("format")?.unwrap_or_else(|| "wav".to_owned()));
            Ok(Part::Audio(Media::Data { media_type, base64 }))
        }
        "file" => file(fields),
        other => {
            let what =
                format!("`{}`: parts of type {other:?} have no counterpart elsewhere", fields.place("type"));
            Err(Unreadable { what })
        }
    }
}

/// Mistral's thoughts are lists of texts.
fn thought(fields: &mut Fields) -> String {
    match fields.take("thinking") {
        Some(Value::String(text)) => text,
        Some(Value::Array(items)) => items.iter().filter_map(|item| item.get("text")?.as_str()).collect(),
        _ => String::new(),
    }
}

fn image(mut fields: Fields) -> Result<Part, Unreadable> {
    match fields.take("image_url") {
        // Not by the standard, and sent all the same.
        Some(Value::String(url)) => Ok(Part::Image { media: Media::of_url(&url), detail: None }),
        Some(value) => {
            let mut image = Fields::of(value, &fields.place("image_url"))?;
            let media = Media::of_url(&image.required("url")?);
            Ok(Part::Image { media, detail: image.string("detail")? })
        }
        None => Err(fields.wrong("image_url", "given")),
    }
}

fn file(mut fields: Fields) -> Result<Part, Unreadable> {
    let mut file = fields.object("file")?.ok_or_else(|| fields.wrong("file", "given"))?;
    let name = file.string("filename")?;
    match file.string("file_data")? {
        Some(data) => Ok(Part::File { media: Media::of_url(&data), name }),
        None => {
            let what =
                format!("`{}`: a file known by its id is known to one provider only", file.place("file_id"));
            Err(Unreadable { what })
        }
    }
}

/// Messages as OpenAI's dialect has them.
pub(super) fn write(message: &Message) -> Vec<Value> {
    match message.role {
        Role::System => vec![plain("system", message)],
        Role::User => vec![plain("user", message)],
        Role::Assistant => vec![assistant(message)],
        Role::Tool => message.parts.iter().filter_map(tool_result).collect(),
    }
}

fn plain(role: &str, message: &Message) -> Value {
    let mut out = Map::new();
    out.insert("role".to_owned(), role.into());
    out.insert("content".to_owned(), write_content(&message.parts));
    named(out, message)
}

fn named(mut out: Map<String, Value>, message: &Message) -> Value {
    if let Some(name) = &message.name {
        out.insert("name".to_owned(), name.clone().into());
    }
    Value::Object(out)
}

fn assistant(message: &Message) -> Value {
    let mut out = Map::new();
    out.insert("role".to_owned(), "assistant".into());
    write_said(&message.parts, &mut out);
    named(out, message)
}

/// The fields of an assistant's message, content first.
pub(super) fn write_said(parts: &[Part], out: &mut Map<String, Value>) {
    let visible: Vec<Part> = parts.iter().filter(|part| is_content(part)).cloned().collect();
    let content = if visible.is_empty() { Value::Null } else { write_content(&visible) };
    out.insert("content".to_owned(), content);
    write_reasoning(parts, out);
    let refusal: String = parts.iter().filter_map(Part::refusal).collect();
    if !refusal.is_empty() {
        out.insert("refusal".to_owned(), refusal.into());
    }
    let calls: Vec<Value> = parts.iter().filter_map(Part::tool_call).map(write_tool_call).collect();
    if !calls.is_empty() {
        out.insert("tool_calls".to_owned(), calls.into());
    }
}

fn is_content(part: &Part) -> bool {
    !matches!(part, Part::Reasoning { .. } | Part::ToolCall(_) | Part::ToolResult { .. } | Part::Refusal(_))
}

fn write_reasoning(parts: &[Part], out: &mut Map<String, Value>) {
    let mut text = String::new();
    let mut blocks = Vec::new();
    let mut is_signed = false;
    for part in parts {
        let Part::Reasoning { text: thought, signature } = part else { continue };
        text.push_str(thought);
        is_signed |= signature.is_some();
        let mut block = json!({"type": "thinking", "thinking": thought});
        if let Some(signature) = signature {
            block["signature"] = signature.clone().into();
        }
        blocks.push(block);
    }
    if !text.is_empty() {
        out.insert("reasoning_content".to_owned(), text.into());
    }
    // Several thoughts cannot be told apart in one text, nor can a signature be kept there.
    if is_signed || blocks.len() > 1 {
        out.insert("thinking_blocks".to_owned(), blocks.into());
    }
}

fn write_tool_call(call: &ToolCall) -> Value {
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
}

fn tool_result(part: &Part) -> Option<Value> {
    let Part::ToolResult { id, parts, is_error: _ } = part else { return None };
    Some(json!({"role": "tool", "tool_call_id": id, "content": write_content(parts)}))
}

/// One text is text; anything else is a list of parts.
fn write_content(parts: &[Part]) -> Value {
    match parts {
        [] => "".into(),
        [Part::Text(text)] if !text.is_empty() => text.clone().into(),
        _ => parts.iter().filter_map(write_part).collect(),
    }
}

fn write_part(part: &Part) -> Option<Value> {
    match part {
        Part::Text(text) => Some(json!({"type": "text", "text": text})),
        Part::Image { media, detail } => {
            let mut image = json!({"url": media.url()});
            if let Some(detail) = detail {
                image["detail"] = detail.clone().into();
            }
            Some(json!({"type": "image_url", "image_url": image}))
        }
        Part::Audio(Media::Data { media_type, base64 }) => {
            let format = media_type.strip_prefix("audio/").unwrap_or(media_type);
            Some(json!({"type": "input_audio", "input_audio": {"data": base64, "format": format}}))
        }
        Part::Audio(Media::Url(url)) => Some(json!({"type": "text", "text": url})),
        Part::File { media, name } => {
            let mut file = json!({"file_data": media.url()});
            if let Some(name) = name {
                file["filename"] = name.clone().into();
            }
            Some(json!({"type": "file", "file": file}))
        }
        Part::Refusal(text) => Some(json!({"type": "refusal", "refusal": text})),
        Part::Reasoning { .. } | Part::ToolCall(_) | Part::ToolResult { .. } => None,
    }
}
