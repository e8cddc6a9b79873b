//! An app's DSL to a [`Plan`], or everything that keeps it from running.

mod graph;
mod node;

use std::{collections::HashMap, sync::Arc};

use mainstay_base::AppMode;
use mainstay_wire::dsl;
use serde_json::{Map, Value};

pub(crate) use self::node::{NamedSelector, NodeCompiler};
use crate::{Plan, Problem, jinja, node as nodes, plan::PlanNode, selector::NodeIndex};

/// Compiles an app, or names everything that keeps it from running, in the order of the file.
pub fn check(app: &dsl::App) -> Result<Plan, Vec<Problem>> {
    let mut compiler = Compiler::new(app);
    compiler.features();
    let compiled: Vec<Option<PlanNode>> = app.graph.nodes.iter().map(|node| compiler.node(node)).collect();
    let edges = graph::edges(&mut compiler);
    graph::shape(&mut compiler, &edges);
    let nodes: Option<Vec<PlanNode>> = compiled.into_iter().collect();
    let Compiler { problems, templates, start, .. } = compiler;
    // A start node is there when there are no problems; both are asked for so that nothing can be assumed wrongly.
    let (Some(nodes), Some(start), true) = (nodes, start, problems.is_empty()) else {
        return Err(problems);
    };
    let (nodes, level) = graph::connect(app, nodes, &edges, start);
    Ok(Plan {
        mode: app.mode,
        nodes,
        level,
        edges: edges.len(),
        templates,
        environment: Arc::new(variables(&app.environment_variables).into()),
        conversation_types: app
            .conversation_variables
            .iter()
            .map(|variable| (variable.name.as_str().into(), variable.value_type.as_str().into()))
            .collect(),
        conversation_defaults: variables(&app.conversation_variables),
    })
}

fn variables(list: &[dsl::Variable]) -> Map<String, Value> {
    list.iter().map(|variable| (variable.name.clone(), variable.value.clone())).collect()
}

pub(crate) struct Compiler<'a> {
    app: &'a dsl::App,
    indices: HashMap<&'a str, NodeIndex>,
    problems: Vec<Problem>,
    templates: jinja::Templates,
    start: Option<NodeIndex>,
}

impl<'a> Compiler<'a> {
    fn new(app: &'a dsl::App) -> Compiler<'a> {
        let mut compiler = Compiler {
            app,
            indices: HashMap::with_capacity(app.graph.nodes.len()),
            problems: Vec::new(),
            templates: jinja::Templates::new(),
            start: None,
        };
        for (index, node) in (0..).zip(&app.graph.nodes) {
            if compiler.indices.insert(&node.id, index).is_some() {
                compiler.node_problem(node, "id", "the id is used by another node as well");
            }
        }
        compiler
    }

    /// Features that would be silently missing.
    fn features(&mut self) {
        let is_on = |name: &str| {
            let feature = self.app.features.get(name);
            feature.and_then(|feature| feature.get("enabled")).and_then(Value::as_bool).unwrap_or(false)
        };
        if is_on("sensitive_word_avoidance") {
            self.problems.push(Problem {
                path: "workflow.features.sensitive_word_avoidance".to_owned(),
                node_id: None,
                node_type: None,
                message: "content moderation is not supported; switch it off to run the app here".to_owned(),
            });
        }
    }

    fn node(&mut self, node: &'a dsl::Node) -> Option<PlanNode> {
        let Some(row) = nodes::find(&node.kind) else {
            let message = format!("nodes of type \"{}\" are not supported", node.kind);
            self.node_problem(node, "data.type", &message);
            return None;
        };
        let compiled = (row.compile)(&node.data, &mut NodeCompiler::new(self, node));
        let (strategy, retry) = NodeCompiler::new(self, node).failure_handling();
        Some(PlanNode {
            id: node.id.as_str().into(),
            kind: row.kind,
            title: node.title.as_str().into(),
            role: row.role,
            node: compiled?,
            outgoing: Vec::new(),
            incoming: 0,
            retry,
            strategy,
        })
    }

    fn node_problem(&mut self, node: &dsl::Node, field: &str, message: &str) {
        self.problems.push(Problem {
            path: format!("workflow.graph.nodes[{}].{field}", node.id),
            node_id: Some(node.id.clone()),
            node_type: Some(node.kind.clone()),
            message: message.to_owned(),
        });
    }

    fn graph_problem(&mut self, path: &str, message: String) {
        self.problems.push(Problem { path: path.to_owned(), node_id: None, node_type: None, message });
    }

    fn is_chat(&self) -> bool {
        self.app.mode == AppMode::AdvancedChat
    }
}
