//! Requests as Anthropic wants them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    ANSWER_TOOL, DIALECT, blocks,
    model::Generation,
    schema,
    thinking::{self, Allowance},
};
use crate::llm::{
    Facts, Outgoing, Part, Request, ResponseFormat, Tool, ToolChoice, Unwritable, turns::ONE_JSON_OBJECT,
};

const VERSION: &str = "2023-06-01";
/// What `metadata.user_id` holds; a longer one is refused with the whole request.
const MAX_USER_CHARS: usize = 256;

pub fn write_request(request: &Request, facts: &Facts<'_>) -> Result<Outgoing, Unwritable> {
    refuse_what_would_be_lost(request)?;
    let generation = Generation::of(&request.model);
    let allowance = Allowance::of(request, facts, generation);
    let (mut system, turns) = blocks::write(&request.messages, generation, allowance.thinks())?;
    let tools = Tools::of(request, &allowance, generation);
    if request.response_format == Some(ResponseFormat::JsonObject) {
        system.push(json!({"type": "text", "text": ONE_JSON_OBJECT}));
    }
    if request.cache_system
        && let Some(last) = system.last_mut()
    {
        last["cache_control"] = json!({"type": "ephemeral"});
    }

    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("model", request.model.clone().into());
    put("max_tokens", allowance.max_tokens.into());
    if !system.is_empty() {
        put("system", system.into());
    }
    put("messages", turns.into());
    if !tools.all.is_empty() {
        put("tools", tools.all.into());
        put("tool_choice", tools.choice);
    }
    if let Some(config) = output_config(request, &allowance, generation) {
        put("output_config", config);
    }
    let stop: Vec<&str> =
        request.stop.iter().map(String::as_str).filter(|stop| !stop.trim().is_empty()).collect();
    if !stop.is_empty() {
        put("stop_sequences", stop.into());
    }
    if let Some(user) = request.user.as_deref().filter(|user| is_opaque(user)) {
        put("metadata", json!({"user_id": user}));
    }
    if request.stream {
        put("stream", true.into());
    }
    let thinks = allowance.thinks();
    if let Some(thinking) = allowance.thinking {
        put("thinking", thinking);
    }
    thinking::sampling(request, thinks, generation, &mut out);
    Ok(Outgoing {
        path: "/messages".to_owned(),
        query: None,
        headers: vec![("anthropic-version", VERSION.to_owned())],
        body: Value::Object(out).to_string().into_bytes(),
    })
}

fn refuse_what_would_be_lost(request: &Request) -> Result<(), Unwritable> {
    let what = match request {
        Request { choices: Some(2..), .. } => "several choices",
        Request { logprobs: Some(true), .. } => "log probabilities",
        _ => return Ok(()),
    };
    Err(Unwritable { dialect: DIALECT, what: what.to_owned() })
}

/// Addresses, which say who somebody is, are refused.
fn is_opaque(user: &str) -> bool {
    user.chars().count() <= MAX_USER_CHARS && !user.contains('@')
}

fn output_config(request: &Request, allowance: &Allowance, generation: Generation) -> Option<Value> {
    let mut config = Map::new();
    if let Some(effort) = allowance.effort {
        config.insert("effort".to_owned(), effort.into());
    }
    if let Some(ResponseFormat::JsonSchema { schema, .. }) = &request.response_format
        && generation.takes_schemas()
    {
        let format = json!({"type": "json_schema", "schema": schema::enforceable(schema)});
        config.insert("format".to_owned(), format);
    }
    (!config.is_empty()).then_some(Value::Object(config))
}

/// The tools and which of them is to be called.
struct Tools {
    all: Vec<Value>,
    choice: Value,
}

impl Tools {
    fn of(request: &Request, allowance: &Allowance, generation: Generation) -> Tools {
        let mut all: Vec<Value> = request.tools.iter().map(write_tool).collect();
        let mut choice = match &request.tool_choice {
            None | Some(ToolChoice::Auto) => json!({"type": "auto"}),
            Some(ToolChoice::None) => json!({"type": "none"}),
            Some(ToolChoice::Required) => json!({"type": "any"}),
            Some(ToolChoice::Tool(name)) => json!({"type": "tool", "name": name}),
        };
        if all.is_empty() {
            // Calls in the history are refused when no tools are named.
            all = called_before(request);
            choice = json!({"type": "none"});
        }
        if let Some(form) = answer_tool(request, generation) {
            let may_call = !request.tools.is_empty() && request.tool_choice != Some(ToolChoice::None);
            choice = match &request.tool_choice {
                Some(ToolChoice::Tool(_)) if may_call => choice,
                // With a budget to think no tool can be forced.
                _ if allowance.thinks() => json!({"type": "auto"}),
                _ if may_call => json!({"type": "any"}),
                _ => json!({"type": "tool", "name": ANSWER_TOOL}),
            };
            all.push(form);
        }
        if request.parallel_tool_calls == Some(false) && choice["type"] != "none" {
            choice["disable_parallel_tool_use"] = true.into();
        }
        Tools { all, choice }
    }
}

fn write_tool(tool: &Tool) -> Value {
    let mut out = json!({"name": tool.name});
    if let Some(description) = tool.description.as_ref().filter(|text| !text.is_empty()) {
        out["description"] = description.clone().into();
    }
    out["input_schema"] = schema::of_tool(tool.parameters.as_ref());
    out
}

fn called_before(request: &Request) -> Vec<Value> {
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    let names: BTreeSet<&str> = parts.filter_map(Part::tool_call).map(|call| call.name.as_str()).collect();
    names.into_iter().map(|name| json!({"name": name, "input_schema": {"type": "object"}})).collect()
}

fn answer_tool(request: &Request, generation: Generation) -> Option<Value> {
    let Some(ResponseFormat::JsonSchema { name, description, schema, strict: _ }) = &request.response_format
    else {
        return None;
    };
    if generation.takes_schemas() {
        return None;
    }
    let about = description.clone().unwrap_or_else(|| format!("Gives the answer ({name}) to the user."));
    Some(json!({"name": ANSWER_TOOL, "description": about, "input_schema": schema::of_tool(Some(schema))}))
}
