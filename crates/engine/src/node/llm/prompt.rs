//! What a model is asked: the node's texts, what was said before, and files.

use std::sync::Arc;

use mainstay_base::Kind;
use serde_json::{Map, Value, json};

use super::{Llm, Memory, Message, Prompt, Text, Vision};
use crate::{
    ChatInput, Exchange, Fields,
    node::{Context, Failed},
    python, segment,
    template::{Segment, Template},
};

/// Exchanges that a prompt remembers when its window is off. Dify's own limit.
pub(super) const MAX_MEMORY_EXCHANGES: usize = 500;
/// Bytes of memory in a prompt. We do not know a model's context, so this stands for it.
const MAX_MEMORY_BYTES: usize = 256 * 1024;

/// One message of a request, with its images.
pub(super) struct Said {
    role: &'static str,
    text: String,
    files: Vec<Value>,
}

impl Llm {
    pub(super) fn prompts(
        &self,
        context: &Context<'_, '_>,
        inputs: &mut Fields,
    ) -> Result<Vec<Said>, Box<Failed>> {
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
    pub(super) fn shown(&self) -> Value {
        let mut shown = Map::with_capacity(3);
        shown.insert("role".to_owned(), json!(self.role));
        shown.insert("text".to_owned(), json!(self.text));
        shown.insert("files".to_owned(), Value::Array(self.files.clone()));
        Value::Object(shown)
    }

    /// As the model is sent it.
    pub(super) fn message(&self, vision: Option<&Vision>) -> Value {
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
