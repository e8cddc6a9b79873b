//! Template-transform: a Jinja2 template over chosen variables.

use std::sync::Arc;

use mainstay_base::Kind;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Context, Done, Failed, Node, NodeType, Role, Step};
use crate::{Fields, compile::NamedSelector, compile::NodeCompiler, jinja, selector::Selector};

pub(crate) const TYPE: NodeType = NodeType { kind: "template-transform", role: Role::Plain, compile };

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    variables: Vec<NamedSelector>,
    template: String,
}

#[derive(Debug)]
struct TemplateTransform {
    variables: Vec<(Arc<str>, Option<Selector>)>,
    template: jinja::Template,
    output: Arc<str>,
}

fn compile(data: &Map<String, Value>, compiler: &mut NodeCompiler<'_, '_>) -> Option<Box<dyn Node>> {
    let Data { variables, template } = compiler.read(data)?;
    let variables = compiler.named_selectors("variables", variables);
    let template = compiler.jinja("template", &template)?;
    Some(Box::new(TemplateTransform { variables, template, output: "output".into() }))
}

impl Node for TemplateTransform {
    fn start<'r>(&'r self, context: Context<'_, 'r>) -> Step<'r> {
        let mut inputs = Fields::with_capacity(self.variables.len());
        for (name, selector) in &self.variables {
            let value = selector.as_ref().and_then(|selector| context.view.get(selector));
            inputs.push(Arc::clone(name), value.unwrap_or_else(|| Arc::new(Value::Null)));
        }
        let inputs = Arc::new(inputs);
        let limit = context.run.ports.limits.max_template_output_bytes;
        Step::Now(match context.run.plan.templates.render(&self.template, &inputs, limit) {
            Ok(text) => {
                let mut outputs = Fields::with_capacity(1);
                outputs.push(Arc::clone(&self.output), Arc::new(Value::String(text)));
                Ok(Done { inputs, outputs: Arc::new(outputs), ..Done::default() })
            }
            Err(error) => {
                Err(Failed::new(error.to_string(), "TemplateRenderError", Kind::Caller).with_inputs(inputs))
            }
        })
    }
}
