//! End: picks the run's outputs.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Context, Done, Node, NodeType, Role, Step};
use crate::{Fields, compile::NodeCompiler, selector::Selector, template::Segment};

pub(crate) const TYPE: NodeType = NodeType { kind: "end", role: Role::Response, compile };

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Output {
    variable: String,
    #[serde(default)]
    value_selector: Vec<String>,
}

#[derive(Debug)]
struct End {
    outputs: Vec<(Arc<str>, Option<Selector>)>,
}

fn compile(data: &Map<String, Value>, compiler: &mut NodeCompiler<'_, '_>) -> Option<Box<dyn Node>> {
    let Data { outputs } = compiler.read(data)?;
    let mut compiled: Vec<(Arc<str>, Option<Selector>)> = Vec::with_capacity(outputs.len());
    for (position, Output { variable, value_selector }) in outputs.into_iter().enumerate() {
        let field = format!("outputs[{position}].value_selector");
        // Dify lets an output without a selector be, as null.
        let selector = match value_selector.is_empty() {
            true => None,
            false => compiler.selector(&field, &value_selector),
        };
        compiled.retain(|(name, _)| **name != *variable);
        compiled.push((variable.into(), selector));
    }
    Some(Box::new(End { outputs: compiled }))
}

impl Node for End {
    fn start<'r>(&'r self, context: Context<'_, 'r>) -> Step<'r> {
        let mut outputs = Fields::with_capacity(self.outputs.len());
        for (name, selector) in &self.outputs {
            let value = selector.as_ref().and_then(|selector| context.view.get(selector));
            outputs.push(Arc::clone(name), value.unwrap_or_else(|| Arc::new(Value::Null)));
        }
        let outputs = Arc::new(outputs);
        Step::Now(Ok(Done { inputs: Arc::clone(&outputs), outputs, ..Done::default() }))
    }

    /// The outputs one after the other, on lines of their own.
    fn response(&self) -> Option<Vec<Segment>> {
        let mut segments = Vec::with_capacity(self.outputs.len() * 2);
        for (position, (_, selector)) in self.outputs.iter().enumerate() {
            if position > 0 {
                segments.push(Segment::Text("\n".into()));
            }
            segments.extend(selector.clone().map(Segment::Variable));
        }
        if matches!(segments.last(), Some(Segment::Text(_))) {
            segments.pop();
        }
        Some(segments)
    }
}
