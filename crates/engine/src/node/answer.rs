//! Answer: a piece of a chatflow's answer.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Context, Done, Node, NodeType, Role, Step};
use crate::{
    Fields,
    compile::NodeCompiler,
    segment,
    template::{Segment, Template},
};

pub(crate) const TYPE: NodeType = NodeType { kind: "answer", role: Role::Response, compile };

#[derive(Deserialize)]
struct Data {
    answer: String,
}

#[derive(Debug)]
struct Answer {
    answer: Template,
}

fn compile(data: &Map<String, Value>, compiler: &mut NodeCompiler<'_, '_>) -> Option<Box<dyn Node>> {
    let Data { answer } = compiler.read(data)?;
    Some(Box::new(Answer { answer: compiler.template(&answer) }))
}

impl Node for Answer {
    fn start<'r>(&'r self, context: Context<'_, 'r>) -> Step<'r> {
        let answer = context.view.markdown(&self.answer);
        let mut files = Vec::new();
        for selector in self.answer.selectors() {
            files.extend(context.view.get(selector).map(|value| segment::files(&value)).unwrap_or_default());
        }
        let outputs =
            Arc::new(Fields::from([("answer", Value::String(answer)), ("files", Value::Array(files))]));
        Step::Now(Ok(Done { outputs, ..Done::default() }))
    }

    fn response(&self) -> Option<Vec<Segment>> {
        Some(self.answer.segments.clone())
    }
}
