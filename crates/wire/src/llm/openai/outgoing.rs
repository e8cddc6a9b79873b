//! Requests as they are sent to a provider of OpenAI's dialect.

use serde_json::{Map, Value, json};

use super::message;
use crate::llm::{Facts, Outgoing, Reasoning, Request, ResponseFormat, Tool, ToolChoice, Unwritable};

/// A chat request.
pub fn write_request(request: &Request, facts: &Facts<'_>) -> Result<Outgoing, Unwritable> {
    let mut out = Map::new();
    out.insert("model".to_owned(), request.model.clone().into());
    let messages: Vec<Value> = request.messages.iter().flat_map(message::write).collect();
    out.insert("messages".to_owned(), messages.into());
    write_tools(request, &mut out);
    if let Some(format) = &request.response_format {
        out.insert("response_format".to_owned(), write_format(format));
    }
    let max_tokens = facts.max_tokens_field.unwrap_or("max_tokens");
    put(&mut out, max_tokens, request.max_tokens);
    put(&mut out, "temperature", request.temperature);
    put(&mut out, "top_p", request.top_p);
    put(&mut out, "top_k", request.top_k);
    put(&mut out, "frequency_penalty", request.frequency_penalty);
    put(&mut out, "presence_penalty", request.presence_penalty);
    put(&mut out, "seed", request.seed);
    put(&mut out, "n", request.choices);
    put(&mut out, "logprobs", request.logprobs);
    put(&mut out, "top_logprobs", request.top_logprobs);
    put(&mut out, "user", request.user.clone());
    if !request.stop.is_empty() {
        out.insert("stop".to_owned(), request.stop.clone().into());
    }
    match &request.reasoning {
        Some(Reasoning::Effort(effort)) => put(&mut out, "reasoning_effort", Some(effort.clone())),
        Some(Reasoning::BudgetTokens(budget)) => {
            put(&mut out, "reasoning", Some(json!({"max_tokens": budget})))
        }
        None => {}
    }
    if request.stream {
        out.insert("stream".to_owned(), true.into());
    }
    if request.include_usage {
        out.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    for (name, value) in &request.extra {
        out.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Ok(Outgoing {
        path: "/chat/completions".to_owned(),
        query: None,
        headers: Vec::new(),
        body: Value::Object(out).to_string().into_bytes(),
    })
}

fn put(out: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        out.insert(name.to_owned(), value.into());
    }
}

fn write_tools(request: &Request, out: &mut Map<String, Value>) {
    if !request.tools.is_empty() {
        let tools: Vec<Value> = request.tools.iter().map(write_tool).collect();
        out.insert("tools".to_owned(), tools.into());
    }
    let choice = request.tool_choice.as_ref().map(|choice| match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Tool(name) => json!({"type": "function", "function": {"name": name}}),
    });
    put(out, "tool_choice", choice);
    put(out, "parallel_tool_calls", request.parallel_tool_calls);
}

fn write_tool(tool: &Tool) -> Value {
    let mut function = Map::new();
    function.insert("name".to_owned(), tool.name.clone().into());
    put(&mut function, "description", tool.description.clone());
    put(&mut function, "parameters", tool.parameters.clone());
    put(&mut function, "strict", tool.strict);
    json!({"type": "function", "function": function})
}

fn write_format(format: &ResponseFormat) -> Value {
    match format {
        ResponseFormat::Text => json!({"type": "text"}),
        ResponseFormat::JsonObject => json!({"type": "json_object"}),
        ResponseFormat::JsonSchema { name, description, schema, strict } => {
            let mut inner = Map::new();
            inner.insert("name".to_owned(), name.clone().into());
            put(&mut inner, "description", description.clone());
            inner.insert("schema".to_owned(), schema.clone());
            put(&mut inner, "strict", *strict);
            json!({"type": "json_schema", "json_schema": inner})
        }
    }
}
