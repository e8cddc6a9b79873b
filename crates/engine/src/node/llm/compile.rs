//! The node's data as the DSL has it, to what a run needs of it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Llm, Memory, Message, Prompt, Text, Vision, prompt::MAX_MEMORY_EXCHANGES};
use crate::{
    compile::{NamedSelector, NodeCompiler},
    node::Node,
};

#[derive(Deserialize)]
struct Data {
    model: ModelData,
    prompt_template: PromptData,
    #[serde(default)]
    prompt_config: Option<PromptConfig>,
    #[serde(default)]
    memory: Option<MemoryData>,
    #[serde(default)]
    context: Option<ContextData>,
    #[serde(default)]
    vision: Option<VisionData>,
    #[serde(default)]
    structured_output_enabled: bool,
    #[serde(default)]
    structured_output: Option<Map<String, Value>>,
    #[serde(default)]
    reasoning_format: Option<String>,
}

#[derive(Deserialize)]
struct ModelData {
    #[serde(default)]
    provider: String,
    name: String,
    #[serde(default)]
    mode: String,
    #[serde(default)]
    completion_params: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PromptData {
    Messages(Vec<MessageData>),
    Completion(MessageData),
}

#[derive(Deserialize)]
struct MessageData {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    edition_type: Option<String>,
    #[serde(default)]
    jinja2_text: Option<String>,
}

#[derive(Deserialize)]
struct PromptConfig {
    #[serde(default)]
    jinja2_variables: Option<Vec<NamedSelector>>,
}

#[derive(Deserialize)]
struct MemoryData {
    #[serde(default)]
    role_prefix: Option<RolePrefix>,
    #[serde(default)]
    window: Option<Window>,
    #[serde(default)]
    query_prompt_template: Option<String>,
}

#[derive(Deserialize)]
struct RolePrefix {
    #[serde(default)]
    user: String,
    #[serde(default)]
    assistant: String,
}

#[derive(Deserialize)]
struct Window {
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    size: Option<usize>,
}

#[derive(Deserialize)]
struct ContextData {
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    variable_selector: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct VisionData {
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    configs: Option<VisionConfig>,
}

#[derive(Deserialize)]
struct VisionConfig {
    #[serde(default)]
    variable_selector: Option<Vec<String>>,
    #[serde(default)]
    detail: Option<String>,
}

pub(super) fn compile(
    data: &Map<String, Value>,
    compiler: &mut NodeCompiler<'_, '_>,
) -> Option<Box<dyn Node>> {
    let data: Data = compiler.read(data)?;
    if data.model.name.is_empty() {
        compiler.problem("model.name", "the model has no name");
    }
    let jinja_variables = data.prompt_config.and_then(|config| config.jinja2_variables).unwrap_or_default();
    let jinja_variables = compiler.named_selectors("prompt_config.jinja2_variables", jinja_variables);
    let prompt = match data.prompt_template {
        PromptData::Completion(text) => Prompt::Completion(compile_text("prompt_template", text, compiler)?),
        PromptData::Messages(messages) => {
            let mut compiled = Vec::with_capacity(messages.len());
            for (position, message) in messages.into_iter().enumerate() {
                let field = format!("prompt_template[{position}]");
                let role = role(&field, message.role.as_deref(), compiler);
                let text = compile_text(&field, message, compiler);
                compiled.extend(role.zip(text).map(|(role, text)| Message { role, text }));
            }
            Prompt::Messages(compiled)
        }
    };
    let context = match data.context {
        Some(ContextData { enabled: true, variable_selector: Some(selector) }) if !selector.is_empty() => {
            Some(compiler.selector("context.variable_selector", &selector)?)
        }
        _ => None,
    };
    let memory = data.memory.map(|memory| compile_memory(memory, compiler));
    let vision = match data.vision {
        Some(VisionData { enabled: true, configs }) => Some(compile_vision(configs, compiler)?),
        _ => None,
    };
    let schema = data.structured_output.filter(|_| data.structured_output_enabled);
    let mut parameters = parameters(data.model.completion_params.unwrap_or_default());
    if let Some(output) = &schema {
        let schema = output.get("schema").cloned().unwrap_or_else(|| json!({}));
        let format = json!({"type": "json_schema", "json_schema": {"name": "output", "schema": schema}});
        parameters.insert("response_format".to_owned(), format);
    }
    Some(Box::new(Llm {
        provider: data.model.provider.into(),
        model: data.model.name.into(),
        mode: if data.model.mode.is_empty() { "chat".into() } else { data.model.mode.into() },
        parameters,
        prompt,
        jinja_variables,
        memory,
        context,
        vision,
        is_structured: schema.is_some(),
        separates_reasoning: data.reasoning_format.as_deref() == Some("separated"),
    }))
}

fn compile_text(field: &str, data: MessageData, compiler: &mut NodeCompiler<'_, '_>) -> Option<Text> {
    match data.edition_type.as_deref() {
        Some("jinja2") => {
            let source = data.jinja2_text.or(data.text).unwrap_or_default();
            compiler.jinja(&format!("{field}.jinja2_text"), &source).map(Text::Jinja)
        }
        _ => Some(Text::Basic(compiler.prompt(&format!("{field}.text"), &data.text.unwrap_or_default()))),
    }
}

fn role(field: &str, role: Option<&str>, compiler: &mut NodeCompiler<'_, '_>) -> Option<&'static str> {
    match role {
        Some("system") => Some("system"),
        Some("user") => Some("user"),
        Some("assistant") => Some("assistant"),
        other => {
            let message = format!("the role \"{}\" is not known", other.unwrap_or_default());
            compiler.problem(&format!("{field}.role"), &message);
            None
        }
    }
}

fn compile_memory(data: MemoryData, compiler: &mut NodeCompiler<'_, '_>) -> Memory {
    let window = data.window.filter(|window| window.enabled).and_then(|window| window.size);
    let RolePrefix { user, assistant } =
        data.role_prefix.unwrap_or(RolePrefix { user: String::new(), assistant: String::new() });
    let or = |text: String, usual: &str| if text.is_empty() { usual.to_owned() } else { text };
    let query = data.query_prompt_template.filter(|text| !text.is_empty());
    Memory {
        user: or(user, "Human"),
        assistant: or(assistant, "Assistant"),
        exchanges: window.filter(|size| *size > 0).unwrap_or(MAX_MEMORY_EXCHANGES).min(MAX_MEMORY_EXCHANGES),
        query: query.map(|text| compiler.prompt("memory.query_prompt_template", &text)),
    }
}

fn compile_vision(configs: Option<VisionConfig>, compiler: &mut NodeCompiler<'_, '_>) -> Option<Vision> {
    let (selector, detail) =
        configs.map_or((None, None), |configs| (configs.variable_selector, configs.detail));
    let selector = selector
        .filter(|parts| !parts.is_empty())
        .unwrap_or_else(|| vec!["sys".to_owned(), "files".to_owned()]);
    let files = compiler.selector("vision.configs.variable_selector", &selector)?;
    Some(Vision { files, detail: detail.unwrap_or_else(|| "high".to_owned()) })
}

/// Dify's parameters as the API has them: its editor writes the format as a word and the schema as text.
fn parameters(mut given: Map<String, Value>) -> Map<String, Value> {
    let schema = given.remove("json_schema");
    if let Some(Value::String(format)) = given.get("response_format").cloned() {
        let format = match format.as_str() {
            "json_schema" => {
                let text = schema.as_ref().and_then(Value::as_str).unwrap_or("{}");
                let schema: Value = serde_json::from_str(text).unwrap_or_else(|_| json!({}));
                json!({"type": "json_schema", "json_schema": schema})
            }
            other => json!({ "type": other }),
        };
        given.insert("response_format".to_owned(), format);
    }
    given.retain(|_, value| !value.is_null());
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_take_the_form_of_the_api() {
        let given = |value: Value| parameters(value.as_object().unwrap().clone());
        let plain = json!({"temperature": 0.7, "stop": ["x"], "seed": null});
        assert_eq!(Value::Object(given(plain)), json!({"temperature": 0.7, "stop": ["x"]}));
        let object = json!({"response_format": "json_object"});
        assert_eq!(Value::Object(given(object)), json!({"response_format": {"type": "json_object"}}));
        let schema = json!({"response_format": "json_schema", "json_schema": "{\"name\":\"n\"}"});
        let expected = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}});
        assert_eq!(Value::Object(given(schema)), expected);
    }
}
