//! LLM: a prompt to a model, its answer streamed.

use std::sync::Arc;

use mainstay_base::Kind;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Context, Done, Failed, Node, NodeResult, NodeType, Role, Step};
use crate::{
    ChatInput, Exchange, Fields, Usage,
    compile::{NamedSelector, NodeCompiler},
    jinja, model, python,
    run::{Chunks, Run},
    segment,
    selector::Selector,
    template::{Segment, Template},
};

pub(crate) const TYPE: NodeType = NodeType { kind: "llm", role: Role::Plain, compile };

/// Exchanges that a prompt remembers when its window is off. Dify's own limit.
const MAX_MEMORY_EXCHANGES: usize = 500;
/// Bytes of memory in a prompt. We do not know a model's context, so this stands for it.
const MAX_MEMORY_BYTES: usize = 256 * 1024;

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

#[derive(Debug)]
struct Llm {
    provider: Arc<str>,
    model: Arc<str>,
    mode: Arc<str>,
    /// The request without its messages.
    parameters: Map<String, Value>,
    prompt: Prompt,
    jinja_variables: Vec<(Arc<str>, Option<Selector>)>,
    memory: Option<Memory>,
    context: Option<Selector>,
    vision: Option<Vision>,
    is_structured: bool,
    separates_reasoning: bool,
}

#[derive(Debug)]
enum Prompt {
    Messages(Vec<Message>),
    Completion(Text),
}

#[derive(Debug)]
struct Message {
    role: &'static str,
    text: Text,
}

#[derive(Debug)]
enum Text {
    Basic(Template),
    Jinja(jinja::Template),
}

#[derive(Debug)]
struct Memory {
    user: String,
    assistant: String,
    exchanges: usize,
    query: Option<Template>,
}

#[derive(Debug)]
struct Vision {
    files: Selector,
    detail: String,
}

fn compile(data: &Map<String, Value>, compiler: &mut NodeCompiler<'_, '_>) -> Option<Box<dyn Node>> {
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

impl Node for Llm {
    fn start<'r>(&'r self, context: Context<'_, 'r>) -> Step<'r> {
        let mut inputs = Fields::new();
        let prompts = match self.prompts(&context, &mut inputs) {
            Ok(prompts) => prompts,
            Err(failed) => return Step::Now(Err(failed.with_inputs(Arc::new(inputs)))),
        };
        let body = self.body(context.run, &prompts);
        let Context { run, chunks, .. } = context;
        Step::Later(Box::pin(self.call(run, body, prompts, Arc::new(inputs), chunks)))
    }
}

/// One message of a request, with its images.
struct Said {
    role: &'static str,
    text: String,
    files: Vec<Value>,
}

impl Llm {
    async fn call(
        &self,
        run: &Run,
        body: Value,
        prompts: Vec<Said>,
        inputs: Arc<Fields>,
        chunks: Option<Chunks>,
    ) -> NodeResult {
        let answered = match model::complete(run, &body, &self.provider, chunks.as_ref()).await {
            Ok(answered) => answered,
            Err(error) => {
                return Err(Failed::new(error.message, error.error_type, error.kind).with_inputs(inputs));
            }
        };
        let model::Answered { text, finish_reason, usage } = answered;
        let (text, reasoning) = match self.separates_reasoning {
            true => separate(&text),
            false => (text, String::new()),
        };
        let shown_usage = Arc::new(usage.to_value());
        let finish_reason = Arc::new(finish_reason.map_or(Value::Null, Value::String));
        let mut process_data = Fields::with_capacity(6);
        process_data.push("model_mode".into(), Arc::new(json!(self.mode)));
        process_data.push("prompts".into(), Arc::new(prompts.iter().map(Said::shown).collect()));
        process_data.push("usage".into(), Arc::clone(&shown_usage));
        process_data.push("finish_reason".into(), Arc::clone(&finish_reason));
        process_data.push("model_provider".into(), Arc::new(json!(self.provider)));
        process_data.push("model_name".into(), Arc::new(json!(self.model)));
        let process_data = Arc::new(process_data);
        let mut outputs = Fields::with_capacity(5);
        if self.is_structured {
            match structured(&text) {
                Some(value) => outputs.push("structured_output".into(), Arc::new(value)),
                None => {
                    let message =
                        "Failed to parse structured output: the model's answer holds no JSON object";
                    let mut failed = Failed::new(message, "LLMNodeError", Kind::Upstream);
                    failed.usage = Some(usage);
                    return Err(failed.with_inputs(inputs).with_process_data(process_data));
                }
            }
        }
        let structured = std::mem::take(&mut outputs);
        outputs.push("text".into(), Arc::new(Value::String(text)));
        outputs.push("reasoning_content".into(), Arc::new(Value::String(reasoning)));
        outputs.push("usage".into(), shown_usage);
        outputs.push("finish_reason".into(), finish_reason);
        for (name, value) in structured.iter() {
            outputs.push(Arc::clone(name), Arc::clone(value));
        }
        if let Some(chunks) = &chunks {
            chunks.send(None).await;
        }
        let metadata = metadata(&usage);
        Ok(Done {
            inputs,
            process_data,
            outputs: Arc::new(outputs),
            usage: Some(usage),
            metadata,
            handle: None,
        })
    }

    fn body(&self, run: &Run, prompts: &[Said]) -> Value {
        let mut body = self.parameters.clone();
        body.insert("model".to_owned(), json!(self.model));
        body.insert(
            "messages".to_owned(),
            prompts.iter().map(|said| said.message(self.vision.as_ref())).collect(),
        );
        body.insert("stream".to_owned(), json!(true));
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
        body.insert("user".to_owned(), json!(run.user_id));
        Value::Object(body)
    }

    fn prompts(&self, context: &Context<'_, '_>, inputs: &mut Fields) -> Result<Vec<Said>, Box<Failed>> {
        let files = self.files(context)?;
        if !files.is_empty() {
            inputs.set("#files#", Value::Array(files.clone()));
        }
        let knowledge = self.knowledge(context)?;
        if !knowledge.is_empty() {
            inputs.set("#context#", Value::String(knowledge.clone()));
        }
        let jinja_inputs = Arc::new(self.jinja_inputs(context));
        let writer = Writer { context, knowledge: &knowledge, jinja_inputs: &jinja_inputs };
        let mut prompts = match &self.prompt {
            Prompt::Messages(messages) => self.conversation(messages, &writer)?,
            Prompt::Completion(text) => vec![self.completion(text, &writer)?],
        };
        prompts.retain(|said| !said.text.is_empty());
        if !files.is_empty() {
            match prompts.last_mut() {
                Some(last) if last.role == "user" => last.files = files,
                _ => prompts.push(Said { role: "user", text: String::new(), files }),
            }
        }
        if prompts.is_empty() {
            let message = "No prompt found in the LLM configuration. Please ensure a prompt is properly configured \
                           before proceeding.";
            return Err(Failed::new(message, "NoPromptFoundError", Kind::Caller));
        }
        Ok(prompts)
    }

    /// The prompt's messages, what was said before, and what is asked now.
    fn conversation(
        &self,
        messages: &[Message],
        writer: &Writer<'_, '_, '_>,
    ) -> Result<Vec<Said>, Box<Failed>> {
        let mut prompts = Vec::with_capacity(messages.len() + 1);
        for Message { role, text } in messages {
            prompts.push(Said { role, text: writer.text(text, "")?, files: Vec::new() });
        }
        let (Some(memory), chat) = (&self.memory, writer.context.run.chat.as_ref()) else {
            return Ok(prompts);
        };
        let plain = |role, text: &str| Said { role, text: text.to_owned(), files: Vec::new() };
        for exchange in chat.map(|chat| memory.recalled(chat)).unwrap_or_default() {
            prompts.push(plain("user", &exchange.query));
            prompts.push(plain("assistant", &exchange.answer));
        }
        let query = match &memory.query {
            Some(template) => writer.basic(template, "")?,
            None => chat.map(|chat| chat.query.clone()).unwrap_or_default(),
        };
        prompts.push(plain("user", &query));
        Ok(prompts)
    }

    /// One text with what was said before inside of it.
    fn completion(&self, text: &Text, writer: &Writer<'_, '_, '_>) -> Result<Said, Box<Failed>> {
        let chat = writer.context.run.chat.as_ref();
        let lines: Vec<String> = match (&self.memory, chat) {
            (Some(memory), Some(chat)) => memory
                .recalled(chat)
                .iter()
                .flat_map(|exchange| {
                    [
                        format!("{}: {}", memory.user, exchange.query),
                        format!("{}: {}", memory.assistant, exchange.answer),
                    ]
                })
                .collect(),
            _ => Vec::new(),
        };
        let histories = lines.join("\n");
        let has_place = match text {
            Text::Basic(template) => template.segments.iter().any(|part| matches!(part, Segment::Histories)),
            Text::Jinja(_) => false,
        };
        let written = writer.text(text, &histories)?;
        let text = match has_place || histories.is_empty() {
            true => written,
            false => format!("{histories}\n{written}"),
        };
        Ok(Said { role: "user", text, files: Vec::new() })
    }

    /// Values for Jinja prompts.
    fn jinja_inputs(&self, context: &Context<'_, '_>) -> Fields {
        let mut inputs = Fields::with_capacity(self.jinja_variables.len());
        for (name, selector) in &self.jinja_variables {
            let value = selector.as_ref().and_then(|selector| context.view.get(selector));
            inputs.push(Arc::clone(name), value.unwrap_or_else(|| Arc::new(json!(""))));
        }
        inputs
    }

    /// The text for the context's mark.
    fn knowledge(&self, context: &Context<'_, '_>) -> Result<String, Box<Failed>> {
        let Some(value) = self.context.as_ref().and_then(|selector| context.view.get(selector)) else {
            return Ok(String::new());
        };
        let Value::Array(items) = &*value else {
            return Ok(value.as_str().unwrap_or_default().to_owned());
        };
        let mut text = String::new();
        for item in items {
            let summary = item.get("summary").and_then(Value::as_str).filter(|text| !text.is_empty());
            let content = item.as_str().or_else(|| item.get("content").and_then(Value::as_str));
            let Some(content) = content else {
                let message = format!("Invalid context structure: {}", python::str(item));
                return Err(Failed::new(message, "InvalidContextStructureError", Kind::Caller));
            };
            for part in summary.into_iter().chain([content]) {
                text.push_str(part);
                text.push('\n');
            }
        }
        Ok(text.trim().to_owned())
    }

    fn files(&self, context: &Context<'_, '_>) -> Result<Vec<Value>, Box<Failed>> {
        let Some(value) = self.vision.as_ref().and_then(|vision| context.view.get(&vision.files)) else {
            return Ok(Vec::new());
        };
        let files = segment::files(&value);
        let has_address = |file: &Value| file_address(file).is_some();
        match files.iter().find(|file| !has_address(file)) {
            None => Ok(files),
            Some(file) => {
                let name = file.get("filename").and_then(Value::as_str).unwrap_or("a file");
                let message = format!("{name} cannot be shown to the model: only files with a URL can");
                Err(Failed::new(message, "LLMNodeError", Kind::Caller))
            }
        }
    }
}

fn file_address(file: &Value) -> Option<&str> {
    let address = file.get("url").or_else(|| file.get("remote_url")).and_then(Value::as_str);
    address.filter(|address| address.starts_with("http"))
}

impl Memory {
    /// The latest exchanges that the window and the limits allow, oldest first.
    fn recalled<'c>(&self, chat: &'c ChatInput) -> &'c [Exchange] {
        let mut bytes = 0;
        let kept = chat
            .history
            .iter()
            .rev()
            .take(self.exchanges)
            .take_while(|exchange| {
                bytes += exchange.query.len() + exchange.answer.len();
                bytes <= MAX_MEMORY_BYTES
            })
            .count();
        &chat.history[chat.history.len() - kept..]
    }
}

/// Writes prompts from what the run knows.
struct Writer<'w, 'c, 'r> {
    context: &'w Context<'c, 'r>,
    knowledge: &'w str,
    jinja_inputs: &'w Arc<Fields>,
}

impl Writer<'_, '_, '_> {
    fn text(&self, text: &Text, histories: &str) -> Result<String, Box<Failed>> {
        match text {
            Text::Basic(template) => self.basic(template, histories),
            Text::Jinja(template) => {
                let run = self.context.run;
                let limit = run.ports.limits.max_template_output_bytes;
                let rendered = run.plan.templates.render(template, self.jinja_inputs, limit);
                rendered.map_err(|error| Failed::new(error.to_string(), "TemplateRenderError", Kind::Caller))
            }
        }
    }

    /// Unlike elsewhere, a reference to nothing is an error here.
    fn basic(&self, template: &Template, histories: &str) -> Result<String, Box<Failed>> {
        let mut text = String::new();
        for part in &template.segments {
            match part {
                Segment::Text(part) => text.push_str(part),
                Segment::Context => text.push_str(self.knowledge),
                Segment::Histories => text.push_str(histories),
                Segment::Variable(selector) => match self.context.view.get(selector) {
                    Some(value) => segment::write_text(&mut text, &value),
                    None => {
                        let message = format!("Variable #{}# not found", selector.parts.join("."));
                        return Err(Failed::new(message, "VariableNotFoundError", Kind::Caller));
                    }
                },
            }
        }
        Ok(text)
    }
}

impl Said {
    /// As the node's record shows it.
    fn shown(&self) -> Value {
        let mut shown = Map::with_capacity(3);
        shown.insert("role".to_owned(), json!(self.role));
        shown.insert("text".to_owned(), json!(self.text));
        shown.insert("files".to_owned(), Value::Array(self.files.clone()));
        Value::Object(shown)
    }

    /// As the model is sent it.
    fn message(&self, vision: Option<&Vision>) -> Value {
        if self.files.is_empty() {
            return json!({"role": self.role, "content": self.text});
        }
        let detail = vision.map_or("high", |vision| &vision.detail);
        let mut content: Vec<Value> = self
            .files
            .iter()
            .filter_map(file_address)
            .map(|address| json!({"type": "image_url", "image_url": {"url": address, "detail": detail}}))
            .collect();
        if !self.text.is_empty() {
            content.push(json!({"type": "text", "text": self.text}));
        }
        json!({"role": self.role, "content": content})
    }
}

fn metadata(usage: &Usage) -> Fields {
    Fields::from([
        ("total_tokens", json!(usage.total_tokens)),
        ("total_price", json!("0")),
        ("currency", json!("USD")),
    ])
}

/// The JSON object in an answer, whether bare or in a fenced block.
fn structured(text: &str) -> Option<Value> {
    let inside = text.find('{').and_then(|start| text.rfind('}').and_then(|end| text.get(start..=end)));
    [Some(text), inside]
        .into_iter()
        .flatten()
        .find_map(|text| serde_json::from_str::<Value>(text.trim()).ok())
        .filter(Value::is_object)
}

/// An answer without what the model thought, and what it thought.
fn separate(text: &str) -> (String, String) {
    const OPEN: &str = "<think";
    const CLOSE: &str = "</think>";
    let lower = text.to_ascii_lowercase();
    let mut answer = String::with_capacity(text.len());
    let mut thoughts: Vec<&str> = Vec::new();
    let mut at = 0;
    while let Some(open) = lower[at..].find(OPEN).map(|found| at + found) {
        let inside = lower[open..].find('>').map(|found| open + found + 1);
        let close =
            inside.and_then(|inside| lower[inside..].find(CLOSE).map(|found| (inside, inside + found)));
        let Some((inside, close)) = close else { break };
        answer.push_str(&text[at..open]);
        thoughts.push(text[inside..close].trim());
        at = close + CLOSE.len();
    }
    answer.push_str(&text[at..]);
    (without_gaps(&answer), thoughts.join("\n"))
}

/// Runs of blank lines become one.
fn without_gaps(text: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for line in text.trim().split('\n') {
        let is_gap = line.trim().is_empty();
        if is_gap && kept.last().is_some_and(|last| last.is_empty()) {
            continue;
        }
        kept.push(if is_gap { "" } else { line });
    }
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_are_separated_from_the_answer() {
        for (text, answer, thought) in [
            ("plain", "plain", ""),
            ("<think>\nhm\n</think>Yes", "Yes", "hm"),
            ("a<THINK>b</think>c<think x>d</think>", "ac", "b\nd"),
            ("<think>never closed", "<think>never closed", ""),
            ("a\n\n \n\nb", "a\n\nb", ""),
            ("İ<think>ü</think>İ", "İİ", "ü"),
        ] {
            assert_eq!(separate(text), (answer.to_owned(), thought.to_owned()), "{text}");
        }
    }

    #[test]
    fn structured_answers_are_found_bare_and_fenced() {
        assert_eq!(structured("{\"a\": 1}"), Some(json!({"a": 1})));
        assert_eq!(structured("Here:\n```json\n{\"a\": {\"b\": 2}}\n```"), Some(json!({"a": {"b": 2}})));
        assert_eq!(structured("no"), None);
        assert_eq!(structured("} {"), None);
        assert_eq!(structured("[1]"), None);
    }

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
