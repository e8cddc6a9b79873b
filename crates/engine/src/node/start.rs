//! Start: hands the run's inputs to the others.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Context, Done, Node, NodeType, Role, Step};
use crate::{compile::NodeCompiler, inputs};

pub(crate) const TYPE: NodeType = NodeType { kind: "start", role: Role::Root, compile };

#[derive(Debug)]
struct Start;

fn compile(data: &Map<String, Value>, compiler: &mut NodeCompiler<'_, '_>) -> Option<Box<dyn Node>> {
    match inputs::read(data) {
        Ok(variables) => compiler.start_variables(variables),
        Err(problems) => {
            for (field, message) in problems {
                compiler.problem(&field, &message);
            }
            return None;
        }
    }
    Some(Box::new(Start))
}

impl Node for Start {
    fn start<'r>(&'r self, context: Context<'_, 'r>) -> Step<'r> {
        let fields = &context.run.start_fields;
        Step::Now(Ok(Done { inputs: Arc::clone(fields), outputs: Arc::clone(fields), ..Done::default() }))
    }
}
