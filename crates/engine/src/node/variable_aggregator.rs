//! Variable-aggregator: the first of some variables that has a value, or one a group.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Context, Done, Node, NodeType, Role, Step};
use crate::{Fields, compile::NodeCompiler, selector::Selector};

pub(crate) const TYPE: NodeType = NodeType { kind: "variable-aggregator", role: Role::Plain, compile };
/// What the node was called in the first versions of the DSL.
pub(crate) const OLD_TYPE: NodeType = NodeType { kind: "variable-assigner", role: Role::Plain, compile };

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    variables: Vec<Vec<String>>,
    #[serde(default)]
    advanced_settings: Option<Advanced>,
}

#[derive(Deserialize)]
struct Advanced {
    #[serde(default)]
    group_enabled: bool,
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    group_name: String,
    #[serde(default)]
    variables: Vec<Vec<String>>,
}

#[derive(Debug)]
enum Aggregator {
    One(Vec<Selector>),
    Groups(Vec<(Arc<str>, Vec<Selector>)>),
}

fn compile(data: &Map<String, Value>, compiler: &mut NodeCompiler<'_, '_>) -> Option<Box<dyn Node>> {
    let Data { variables, advanced_settings } = compiler.read(data)?;
    let aggregator = match advanced_settings.filter(|advanced| advanced.group_enabled) {
        None => Aggregator::One(compiler.selectors("variables", &variables)),
        Some(Advanced { groups, .. }) => {
            let mut compiled: Vec<(Arc<str>, Vec<Selector>)> = Vec::with_capacity(groups.len());
            for (position, group) in groups.into_iter().enumerate() {
                let field = format!("advanced_settings.groups[{position}]");
                if compiled.iter().any(|(name, _)| **name == *group.group_name) {
                    compiler
                        .problem(&field, &format!("the group name \"{}\" is used twice", group.group_name));
                }
                let selectors = compiler.selectors(&format!("{field}.variables"), &group.variables);
                compiled.push((group.group_name.into(), selectors));
            }
            Aggregator::Groups(compiled)
        }
    };
    Some(Box::new(aggregator))
}

impl Node for Aggregator {
    fn start<'r>(&'r self, context: Context<'_, 'r>) -> Step<'r> {
        let first = |selectors: &[Selector]| {
            selectors.iter().find_map(|selector| Some((selector.dotted_name(), context.view.get(selector)?)))
        };
        let mut inputs = Fields::new();
        let mut outputs = Fields::new();
        match self {
            Aggregator::One(selectors) => {
                if let Some((name, value)) = first(selectors) {
                    inputs.push(name, Arc::clone(&value));
                    outputs.push("output".into(), value);
                }
            }
            Aggregator::Groups(groups) => {
                for (group, selectors) in groups {
                    if let Some((name, value)) = first(selectors) {
                        let output = Map::from_iter([("output".to_owned(), Value::clone(&value))]);
                        outputs.push(Arc::clone(group), Arc::new(Value::Object(output)));
                        inputs.set(name, value);
                    }
                }
            }
        }
        Step::Now(Ok(Done { inputs: Arc::new(inputs), outputs: Arc::new(outputs), ..Done::default() }))
    }
}
