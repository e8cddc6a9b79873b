//! Start: hands the run's inputs to the others. What may be put into its form is judged before a run, by whoever takes
//! the request.

use std::{collections::HashSet, sync::Arc};

use serde_json::{Map, Value};

use super::{Context, Done, Node, NodeType, Role, Step};
use crate::compile::NodeCompiler;

pub(crate) const TYPE: NodeType = NodeType { kind: "start", role: Role::Root, compile };

/// Kinds of inputs whose rules are known.
const KINDS: [&str; 8] =
    ["text-input", "paragraph", "select", "number", "checkbox", "file", "file-list", "json_object"];

#[derive(Debug)]
struct Start;

fn compile(data: &Map<String, Value>, compiler: &mut NodeCompiler<'_, '_>) -> Option<Box<dyn Node>> {
    let problems = problems(data);
    for (field, message) in &problems {
        compiler.problem(field, message);
    }
    problems.is_empty().then(|| Box::new(Start) as Box<dyn Node>)
}

/// What is wrong with the form: fields, and a sentence for each.
fn problems(data: &Map<String, Value>) -> Vec<(String, String)> {
    let list = match data.get("variables") {
        None | Some(Value::Null) => &[],
        Some(Value::Array(list)) => list.as_slice(),
        Some(_) => return vec![("variables".to_owned(), "expected a list".to_owned())],
    };
    let mut problems = Vec::new();
    let mut names = HashSet::new();
    for (position, variable) in list.iter().enumerate() {
        let text = |key: &str| variable.get(key).and_then(Value::as_str).unwrap_or_default();
        let (name, kind) = (text("variable"), text("type"));
        let message = if !variable.is_object() {
            "expected a variable".to_owned()
        } else if name.is_empty() {
            "the variable has no name".to_owned()
        } else if !KINDS.contains(&kind) {
            format!("inputs of type \"{kind}\" are not supported (input \"{name}\")")
        } else if !names.insert(name) {
            format!("the input \"{name}\" is there twice")
        } else {
            continue;
        };
        problems.push((format!("variables[{position}]"), message));
    }
    problems
}

impl Node for Start {
    fn start<'r>(&'r self, context: Context<'_, 'r>) -> Step<'r> {
        let fields = &context.run.start_fields;
        Step::Now(Ok(Done { inputs: Arc::clone(fields), outputs: Arc::clone(fields), ..Done::default() }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_input_that_is_not_supported_is_named() {
        let data = json!({"variables": [
            {"variable": "x", "type": "external_data_tool"},
            {"type": "number"},
            {"variable": "n", "type": "number"},
            {"variable": "n", "type": "number"},
            5,
        ]});
        let problems = problems(data.as_object().unwrap());
        let fields: Vec<&str> = problems.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["variables[0]", "variables[1]", "variables[3]", "variables[4]"]);
        assert!(problems[0].1.contains("external_data_tool"));
    }
}
