//! Requests as callers send them.

use serde_json::{Map, Value};

use super::message;
use crate::llm::{
    Message, Part, Reasoning, Request, ResponseFormat, Role, Tool, ToolChoice, Unreadable, fields::Fields,
};

/// A chat request. Errors name the field, in words that a caller may read.
pub fn read_request(body: &[u8]) -> Result<Request, Unreadable> {
    let mut fields = Fields::parse(body)?;
    let messages = fields.array("messages")?;
    if messages.is_empty() {
        return Err(fields.wrong("messages", "a list with at least one message"));
    }
    let mut request = Request { messages: message::read_all(messages)?, ..Request::default() };
    read_tools(&mut fields, &mut request)?;
    request.response_format = response_format(&mut fields)?;
    request.logprobs = fields.bool("logprobs")?;
    request.top_logprobs = fields.count("top_logprobs")?;
    read_common(fields, request)
}

/// A request of the old endpoint: a prompt instead of messages.
pub fn read_completion_request(body: &[u8]) -> Result<Request, Unreadable> {
    let mut fields = Fields::parse(body)?;
    let prompt = match fields.take("prompt") {
        Some(Value::String(text)) => text,
        // Lists of prompts and of tokens mean something to OpenAI's dialect only.
        Some(Value::Array(items)) => match items.as_slice() {
            [Value::String(text)] => text.clone(),
            _ => return Err(fields.wrong("prompt", "one text, for this provider")),
        },
        _ => return Err(fields.wrong("prompt", "a string")),
    };
    let message = Message { role: Role::User, parts: vec![Part::Text(prompt)], name: None };
    read_common(fields, Request { messages: vec![message], ..Request::default() })
}

/// What both endpoints have; the rest is kept as it came.
fn read_common(mut fields: Fields, mut request: Request) -> Result<Request, Unreadable> {
    request.model = fields.required("model")?;
    let newer = fields.count("max_completion_tokens")?;
    let older = fields.count("max_tokens")?;
    request.max_tokens = newer.or(older);
    request.temperature = fields.number("temperature")?;
    request.top_p = fields.number("top_p")?;
    request.top_k = top_k(&mut fields)?;
    request.frequency_penalty = fields.number("frequency_penalty")?;
    request.presence_penalty = fields.number("presence_penalty")?;
    request.seed = fields.integer("seed")?;
    request.stop = stop(&mut fields)?;
    request.choices = fields.count("n")?;
    request.reasoning = reasoning(&mut fields)?;
    request.stream = fields.bool("stream")?.unwrap_or(false);
    request.user = fields.string("user")?;
    if let Some(mut options) = fields.object("stream_options")? {
        request.include_usage = options.bool("include_usage")?.unwrap_or(false);
    }
    request.extra = fields.rest();
    request.extra.retain(|_, value| !value.is_null());
    Ok(request)
}

/// vLLM and others say -1 for "no limit".
fn top_k(fields: &mut Fields) -> Result<Option<u64>, Unreadable> {
    match fields.take("top_k") {
        Some(Value::Number(number)) if number.as_f64().is_some_and(|count| count < 0.0) => Ok(None),
        Some(value) => match crate::llm::fields::whole(&value) {
            Some(count) => Ok(Some(count)),
            None => Err(fields.wrong("top_k", "a whole number")),
        },
        None => Ok(None),
    }
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, Unreadable> {
    match fields.take("stop") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(items)) => {
            let texts: Option<Vec<String>> =
                items.into_iter().map(|item| item.as_str().map(str::to_owned)).collect();
            texts.ok_or_else(|| fields.wrong("stop", "a string or a list of strings"))
        }
        Some(_) => Err(fields.wrong("stop", "a string or a list of strings")),
    }
}

/// `reasoning_effort` of OpenAI, `reasoning.{effort,max_tokens}` of OpenRouter.
fn reasoning(fields: &mut Fields) -> Result<Option<Reasoning>, Unreadable> {
    let effort = fields.string("reasoning_effort")?;
    let nested = fields.object("reasoning")?;
    if let Some(effort) = effort {
        return Ok(Some(Reasoning::Effort(effort)));
    }
    let Some(mut nested) = nested else { return Ok(None) };
    if let Some(budget) = nested.count("max_tokens")? {
        return Ok(Some(Reasoning::BudgetTokens(budget)));
    }
    Ok(nested.string("effort")?.map(Reasoning::Effort))
}

fn read_tools(fields: &mut Fields, request: &mut Request) -> Result<(), Unreadable> {
    for (at, item) in fields.array("tools")?.into_iter().enumerate() {
        let place = format!("tools[{at}]");
        let mut tool = Fields::of(item, &place)?;
        match tool.string("type")?.as_deref() {
            None | Some("function") => {}
            Some(other) => {
                let what = format!("`{place}.type`: tools of type {other:?} have no counterpart elsewhere");
                return Err(Unreadable { what });
            }
        }
        let function = tool.object("function")?.ok_or_else(|| tool.wrong("function", "given"))?;
        request.tools.push(read_function(function)?);
    }
    for (at, item) in fields.array("functions")?.into_iter().enumerate() {
        request.tools.push(read_function(Fields::of(item, &format!("functions[{at}]"))?)?);
    }
    request.tool_choice = tool_choice(fields)?;
    request.parallel_tool_calls = fields.bool("parallel_tool_calls")?;
    Ok(())
}

fn read_function(mut function: Fields) -> Result<Tool, Unreadable> {
    Ok(Tool {
        name: function.required("name")?,
        description: function.string("description")?,
        parameters: function.take("parameters"),
        strict: function.bool("strict")?,
    })
}

fn tool_choice(fields: &mut Fields) -> Result<Option<ToolChoice>, Unreadable> {
    for name in ["tool_choice", "function_call"] {
        let choice = match fields.take(name) {
            None => continue,
            Some(Value::String(word)) => match word.as_str() {
                "auto" => ToolChoice::Auto,
                "none" => ToolChoice::None,
                "required" | "any" => ToolChoice::Required,
                _ => return Err(fields.wrong(name, "auto, none, required or the name of a tool")),
            },
            Some(value) => {
                let mut chosen = Fields::of(value, name)?;
                let mut function = match chosen.object("function")? {
                    Some(function) => function,
                    None => chosen,
                };
                ToolChoice::Tool(function.required("name")?)
            }
        };
        return Ok(Some(choice));
    }
    Ok(None)
}

fn response_format(fields: &mut Fields) -> Result<Option<ResponseFormat>, Unreadable> {
    let mut format = match fields.take("response_format") {
        None => return Ok(None),
        // Dify's older plugins send the bare word.
        Some(Value::String(word)) => {
            let object: Map<String, Value> = [("type".to_owned(), Value::String(word))].into_iter().collect();
            Fields::of(Value::Object(object), "response_format")?
        }
        Some(value) => Fields::of(value, "response_format")?,
    };
    match format.required("type")?.as_str() {
        "text" => Ok(Some(ResponseFormat::Text)),
        "json_object" => Ok(Some(ResponseFormat::JsonObject)),
        "json_schema" => {
            let mut schema =
                format.object("json_schema")?.ok_or_else(|| format.wrong("json_schema", "given"))?;
            Ok(Some(ResponseFormat::JsonSchema {
                name: schema.string("name")?.unwrap_or_else(|| "answer".to_owned()),
                description: schema.string("description")?,
                schema: schema.take("schema").unwrap_or_else(|| Value::Object(Map::new())),
                strict: schema.bool("strict")?,
            }))
        }
        _ => Err(format.wrong("type", "text, json_object or json_schema")),
    }
}
