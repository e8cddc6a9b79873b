//! LLM: a prompt to a model, its answer streamed.

mod answer;
mod compile;
mod prompt;

use std::sync::Arc;

use mainstay_base::Kind;
use serde_json::{Map, Value, json};

use self::prompt::Said;
use super::{Context, Done, Failed, Node, NodeResult, NodeType, Role, Step};
use crate::{
    Fields, Usage, jinja, model,
    run::{Chunks, Run},
    selector::Selector,
    template::Template,
};

pub(crate) const TYPE: NodeType = NodeType { kind: "llm", role: Role::Plain, compile: compile::compile };

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
            true => answer::separate(&text),
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
            match answer::structured(&text) {
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
}

fn metadata(usage: &Usage) -> Fields {
    Fields::from([
        ("total_tokens", json!(usage.total_tokens)),
        ("total_price", json!("0")),
        ("currency", json!("USD")),
    ])
}
