//! Tools as Converse takes them, and the tool in whose arguments an answer comes where a model cannot be held to a
//! schema otherwise.

use serde_json::{Value, json};

use super::{
    super::{
        Message, Part, Request, ResponseFormat, Tool, ToolChoice, Unwritable,
        anthropic::{
            ANSWER_TOOL,
            model::Generation,
            schema::{enforceable, of_tool},
        },
    },
    request::no_words,
    thinking::{Thinking, is_anthropic},
};

pub(super) fn config(request: &Request, thinking: &Thinking) -> Result<Option<Value>, Unwritable> {
    let mut tools: Vec<Value> = request.tools.iter().map(|tool| spec(tool, &request.model)).collect();
    let used = used(&request.messages);
    let form = answer_tool(request);
    if request.tool_choice == Some(ToolChoice::None) {
        // There is no such choice; without tools in the conversation they can simply be left out.
        if !used.is_empty() {
            return Err(no_words("tools that must not be called"));
        }
        tools.clear();
    } else if tools.is_empty() {
        // A conversation with calls in it must name the tools that were called.
        let bare =
            |name: &str| Tool { name: name.to_owned(), description: None, parameters: None, strict: None };
        tools = used.into_iter().map(|name| spec(&bare(name), &request.model)).collect();
    }
    let choice = choice(request, form.is_some(), thinking);
    tools.extend(form);
    if tools.is_empty() {
        return Ok(None);
    }
    let mut config = json!({"tools": tools});
    if let Some(choice) = choice {
        config["toolChoice"] = choice;
    }
    Ok(Some(config))
}

fn choice(request: &Request, has_form: bool, thinking: &Thinking) -> Option<Value> {
    let may_call = !request.tools.is_empty() && request.tool_choice != Some(ToolChoice::None);
    match &request.tool_choice {
        Some(ToolChoice::Tool(name)) if may_call => Some(json!({"tool": {"name": name}})),
        Some(ToolChoice::Required) if may_call => Some(json!({"any": {}})),
        // With a budget to think no tool can be forced.
        _ if !has_form || thinking.is_anthropic() => None,
        _ if may_call => Some(json!({"any": {}})),
        _ => Some(json!({"tool": {"name": ANSWER_TOOL}})),
    }
}

/// AWS names the models that it holds to a schema; of those that it does not, these can be made to call a tool.
pub(super) fn form_is_a_tool(model: &str) -> bool {
    is_anthropic(model) && !holds_to_schemas(model) || model.contains("amazon.nova")
}

/// Claudes that are known to know `strict` and schemas; elsewhere `strict` is refused, and no answer's meaning depends
/// on it.
fn holds_to_schemas(model: &str) -> bool {
    is_anthropic(model) && Generation::of(model).takes_schemas()
}

fn answer_tool(request: &Request) -> Option<Value> {
    let Some(ResponseFormat::JsonSchema { name, description, schema, strict: _ }) = &request.response_format
    else {
        return None;
    };
    if !form_is_a_tool(&request.model) {
        return None;
    }
    let about = description.clone().unwrap_or_else(|| format!("Gives the answer ({name}) to the user."));
    Some(json!({"toolSpec": {"name": ANSWER_TOOL, "description": about, "inputSchema": {"json": schema}}}))
}

fn used(messages: &[Message]) -> Vec<&str> {
    let mut names = Vec::new();
    for part in messages.iter().flat_map(|message| &message.parts) {
        if let Part::ToolCall(call) = part
            && !names.contains(&call.name.as_str())
        {
            names.push(&call.name);
        }
    }
    names
}

fn spec(tool: &Tool, model: &str) -> Value {
    let nothing = json!({"type": "object", "properties": {}});
    let schema = tool.parameters.as_ref().unwrap_or(&nothing);
    let schema = if is_anthropic(model) { of_tool(Some(schema)) } else { schema.clone() };
    let is_strict = holds_to_schemas(model) && tool.strict == Some(true);
    let schema = if is_strict { enforceable(&schema) } else { schema };
    let mut spec = json!({"name": tool.name, "inputSchema": {"json": schema}});
    if let Some(description) = tool.description.as_deref().filter(|text| !text.is_empty()) {
        spec["description"] = description.into();
    }
    if is_strict {
        spec["strict"] = true.into();
    }
    json!({"toolSpec": spec})
}
