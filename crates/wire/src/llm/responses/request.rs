//! Requests as callers send them: a text or a list of items, which become the messages of a conversation.

use serde_json::Value;

use super::SIGNATURE;
use crate::llm::{
    Media, Message, Part, Reasoning, Request, ResponseFormat, Role, Tool, ToolCall, ToolChoice, Unreadable,
    fields::Fields,
};

/// What lies at one provider and cannot be had elsewhere.
const ELSEWHERE: [&str; 3] = ["previous_response_id", "conversation", "prompt"];

/// What this API says of keeping, billing and sending that has no meaning elsewhere, or another one, and changes no
/// answer. `include` is looked at before.
const WITHOUT_COUNTERPART: [&str; 12] = [
    "context_management",
    "include",
    "max_tool_calls",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "stream_options",
    "top_logprobs",
    "truncation",
];

pub fn read_request(body: &[u8]) -> Result<Request, Unreadable> {
    let mut fields = Fields::parse(body)?;
    refuse_what_lies_elsewhere(&mut fields)?;
    let mut request = Request { model: fields.required("model")?, ..Request::default() };
    if let Some(text) = fields.string("instructions")? {
        request.messages.push(said(Role::System, vec![Part::Text(text)]));
    }
    read_input(&mut fields, &mut request.messages)?;
    for (at, item) in fields.array("tools")?.into_iter().enumerate() {
        request.tools.push(tool(Fields::of(item, &format!("tools[{at}]"))?)?);
    }
    request.tool_choice = tool_choice(&mut fields)?;
    request.parallel_tool_calls = fields.bool("parallel_tool_calls")?;
    request.max_tokens = fields.count("max_output_tokens")?;
    request.temperature = fields.number("temperature")?;
    request.top_p = fields.number("top_p")?;
    request.user = fields.string("user")?;
    request.stream = fields.bool("stream")?.unwrap_or(false);
    request.include_usage = true;
    if let Some(mut reasoning) = fields.object("reasoning")? {
        request.reasoning = reasoning.string("effort")?.map(Reasoning::Effort);
    }
    if let Some(mut text) = fields.object("text")? {
        request.response_format = text.object("format")?.map(format).transpose()?;
    }
    request.extra = fields.rest();
    request.extra.retain(|name, value| !value.is_null() && !WITHOUT_COUNTERPART.contains(&name.as_str()));
    Ok(request)
}

fn refuse_what_lies_elsewhere(fields: &mut Fields) -> Result<(), Unreadable> {
    for name in ELSEWHERE {
        if fields.take(name).is_some() {
            return Err(Unreadable {
                what: format!("`{name}` is known to one provider only; send the input"),
            });
        }
    }
    if fields.bool("background")? == Some(true) {
        return Err(Unreadable { what: "`background` has no counterpart elsewhere".to_owned() });
    }
    let wants_logprobs = |wanted: &Value| wanted == "message.output_text.logprobs";
    if fields.array("include")?.iter().any(wants_logprobs) {
        return Err(Unreadable {
            what: "`include`: log probabilities have no counterpart elsewhere".to_owned(),
        });
    }
    Ok(())
}

fn said(role: Role, parts: Vec<Part>) -> Message {
    Message { role, parts, name: None }
}

fn read_input(fields: &mut Fields, messages: &mut Vec<Message>) -> Result<(), Unreadable> {
    match fields.take("input") {
        Some(Value::String(text)) => messages.push(said(Role::User, vec![Part::Text(text)])),
        Some(Value::Array(items)) => {
            for (at, item) in items.into_iter().enumerate() {
                let message = read_item(Fields::of(item, &format!("input[{at}]"))?)?;
                match messages.last_mut() {
                    // What a model thought, said and called in one turn is one message.
                    Some(last) if last.role == Role::Assistant && message.role == Role::Assistant => {
                        last.parts.extend(message.parts);
                    }
                    _ => messages.push(message),
                }
            }
        }
        _ => return Err(fields.wrong("input", "a text or a list of items")),
    }
    match messages.is_empty() {
        true => Err(fields.wrong("input", "a list with at least one item")),
        false => Ok(()),
    }
}

fn read_item(mut item: Fields) -> Result<Message, Unreadable> {
    match item.string("type")?.as_deref() {
        None | Some("message") => message(item),
        Some("function_call") => {
            let (id, name) = (item.required("call_id")?, item.required("name")?);
            let arguments = item.string("arguments")?.unwrap_or_default();
            Ok(said(Role::Assistant, vec![Part::ToolCall(ToolCall { id, name, arguments })]))
        }
        Some("function_call_output") => {
            let id = item.required("call_id")?;
            let parts = content(&mut item, "output")?;
            Ok(said(Role::Tool, vec![Part::ToolResult { id, parts, is_error: false }]))
        }
        Some("reasoning") => thought(item),
        Some(other) => {
            let place = item.place("type");
            Err(Unreadable {
                what: format!("`{place}`: items of type {other:?} have no counterpart elsewhere"),
            })
        }
    }
}

fn message(mut item: Fields) -> Result<Message, Unreadable> {
    let role = match item.required("role")?.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => return Err(item.wrong("role", "system, developer, user or assistant")),
    };
    Ok(said(role, content(&mut item, "content")?))
}

/// Only what we signed is a signature: what OpenAI encrypted is for OpenAI.
fn thought(mut item: Fields) -> Result<Message, Unreadable> {
    let summary = item.array("summary")?;
    let text = summary.iter().filter_map(|part| part.get("text")?.as_str()).collect();
    let encrypted = item.string("encrypted_content")?;
    let signature = encrypted.and_then(|given| given.strip_prefix(SIGNATURE).map(str::to_owned));
    Ok(said(Role::Assistant, vec![Part::Reasoning { text, signature }]))
}

fn content(fields: &mut Fields, name: &str) -> Result<Vec<Part>, Unreadable> {
    match fields.take(name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::Text(text)]),
        Some(Value::Array(items)) => {
            let place = fields.place(name);
            items
                .into_iter()
                .enumerate()
                .map(|(at, item)| part(Fields::of(item, &format!("{place}[{at}]"))?))
                .collect()
        }
        Some(_) => Err(fields.wrong(name, "text or a list of parts")),
    }
}

fn part(mut fields: Fields) -> Result<Part, Unreadable> {
    let kind = fields.required("type")?;
    if fields.take("file_id").is_some() {
        let place = fields.place("file_id");
        return Err(Unreadable {
            what: format!("`{place}`: a file known by its id is known to one provider only"),
        });
    }
    match kind.as_str() {
        "input_text" | "output_text" | "text" => Ok(Part::Text(fields.required("text")?)),
        "refusal" => Ok(Part::Refusal(fields.required("refusal")?)),
        "input_image" => {
            let media = Media::of_url(&fields.required("image_url")?);
            Ok(Part::Image { media, detail: fields.string("detail")? })
        }
        "input_file" => {
            let url = match fields.string("file_data")? {
                Some(data) => data,
                None => fields.required("file_url")?,
            };
            Ok(Part::File { media: Media::of_url(&url), name: fields.string("filename")? })
        }
        other => {
            let place = fields.place("type");
            Err(Unreadable {
                what: format!("`{place}`: parts of type {other:?} have no counterpart elsewhere"),
            })
        }
    }
}

fn tool(mut tool: Fields) -> Result<Tool, Unreadable> {
    match tool.required("type")?.as_str() {
        "function" => Ok(Tool {
            name: tool.required("name")?,
            description: tool.string("description")?,
            parameters: tool.take("parameters"),
            strict: tool.bool("strict")?,
        }),
        other => {
            let place = tool.place("type");
            Err(Unreadable {
                what: format!("`{place}`: tools of type {other:?} have no counterpart elsewhere"),
            })
        }
    }
}

fn tool_choice(fields: &mut Fields) -> Result<Option<ToolChoice>, Unreadable> {
    match fields.take("tool_choice") {
        None => Ok(None),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Ok(Some(ToolChoice::Auto)),
            "none" => Ok(Some(ToolChoice::None)),
            "required" => Ok(Some(ToolChoice::Required)),
            _ => Err(fields.wrong("tool_choice", "auto, none, required or a function")),
        },
        Some(value) => {
            let mut chosen = Fields::of(value, "tool_choice")?;
            match chosen.required("type")?.as_str() {
                "function" => Ok(Some(ToolChoice::Tool(chosen.required("name")?))),
                _ => Err(chosen.wrong("type", "function")),
            }
        }
    }
}

fn format(mut format: Fields) -> Result<ResponseFormat, Unreadable> {
    match format.required("type")?.as_str() {
        "text" => Ok(ResponseFormat::Text),
        "json_object" => Ok(ResponseFormat::JsonObject),
        "json_schema" => Ok(ResponseFormat::JsonSchema {
            name: format.string("name")?.unwrap_or_else(|| "answer".to_owned()),
            description: format.string("description")?,
            schema: format.take("schema").ok_or_else(|| format.wrong("schema", "given"))?,
            strict: format.bool("strict")?,
        }),
        _ => Err(format.wrong("type", "text, json_object or json_schema")),
    }
}
