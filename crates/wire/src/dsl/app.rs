//! A JSON value to an [`App`], collecting every problem.

use mainstay_base::AppMode;
use serde_json::{Map, Value};

use super::{App, Edge, Graph, Limits, Node, Problem, VERSIONS, Variable};

/// A mode that the DSL of a `workflow` section can have.
const RUNNABLE_MODES: [AppMode; 2] = [AppMode::Workflow, AppMode::AdvancedChat];

pub(super) fn read(document: &Value, text: &str, limits: &Limits) -> Result<App, Vec<Problem>> {
    let Some(root) = document.as_object() else {
        return Err(vec![Problem {
            path: "file".to_owned(),
            message: "not a Dify app: the file holds no mapping at its top".to_owned(),
        }]);
    };
    let mut reader = Reader { problems: Vec::new(), limits: *limits };
    let app = reader.app(root, text);
    match app {
        Some(app) if reader.problems.is_empty() => Ok(app),
        _ => Err(reader.problems),
    }
}

struct Reader {
    problems: Vec<Problem>,
    limits: Limits,
}

impl Reader {
    fn app(&mut self, root: &Map<String, Value>, text: &str) -> Option<App> {
        self.kind(root);
        let version = self.version(root);
        let about = self.mapping(root, "app", "app");
        let mode = about.and_then(|about| self.mode(about));
        let name = about.map(|about| self.text(about, "name", "app.name")).unwrap_or_default();
        if about.is_some() && name.is_empty() {
            self.problem("app.name", "the app has no name; give it one");
        }
        // A chat or completion app has `model_config` instead; its mode was already named as the problem.
        let workflow = match mode {
            Some(_) => self.mapping(root, "workflow", "workflow"),
            None => None,
        };
        let graph = workflow
            .and_then(|workflow| self.mapping(workflow, "graph", "workflow.graph"))
            .map(|graph| self.graph(graph));
        let environment_variables =
            workflow.map(|workflow| self.variables(workflow, "environment_variables")).unwrap_or_default();
        let conversation_variables =
            workflow.map(|workflow| self.variables(workflow, "conversation_variables")).unwrap_or_default();
        let features = match workflow.and_then(|workflow| workflow.get("features")) {
            Some(Value::Object(features)) => features.clone(),
            None | Some(Value::Null) => Map::new(),
            Some(other) => {
                self.problem("workflow.features", &format!("expected a mapping, found {}", sort(other)));
                Map::new()
            }
        };
        let about = about?;
        Some(App {
            version,
            name,
            mode: mode?,
            description: self.text(about, "description", "app.description"),
            icon: self.text(about, "icon", "app.icon"),
            icon_type: optional_text(about, "icon_type"),
            icon_background: optional_text(about, "icon_background"),
            use_icon_as_answer_icon: about
                .get("use_icon_as_answer_icon")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            features,
            environment_variables,
            conversation_variables,
            graph: graph?,
            text: text.into(),
        })
    }

    fn kind(&mut self, root: &Map<String, Value>) {
        match root.get("kind") {
            // Dify takes a missing kind for an app: the first exports had none.
            None | Some(Value::Null) => {}
            Some(Value::String(kind)) if kind == "app" => {}
            Some(other) => self.problem(
                "kind",
                &format!(
                    "{} is not known; this is the format of Dify apps, whose kind is \"app\"",
                    shown(other)
                ),
            ),
        }
    }

    fn version(&mut self, root: &Map<String, Value>) -> String {
        let version = match root.get("version") {
            // Dify reads a file without a version as 0.1.0.
            None | Some(Value::Null) => "0.1.0".to_owned(),
            Some(Value::String(version)) => version.clone(),
            Some(Value::Number(version)) => version.to_string(),
            Some(other) => {
                self.problem(
                    "version",
                    &format!("expected a version such as \"0.5.0\", found {}", sort(other)),
                );
                return String::new();
            }
        };
        let mut parts = version.split('.');
        let known = match (parts.next(), parts.next()) {
            (Some(major), Some(minor)) => VERSIONS.contains(&format!("{major}.{minor}").as_str()),
            _ => false,
        };
        if !known {
            self.problem(
                "version",
                &format!(
                    "version {} is not known; versions {} to {} are read. Export the app again from a Dify that \
                     writes one of these, or update Mainstay",
                    shown(&Value::String(version.clone())),
                    VERSIONS[0],
                    VERSIONS[VERSIONS.len() - 1]
                ),
            );
        }
        version
    }

    fn mode(&mut self, about: &Map<String, Value>) -> Option<AppMode> {
        let text = self.text(about, "mode", "app.mode");
        match AppMode::parse(&text) {
            Some(mode) if RUNNABLE_MODES.contains(&mode) => return Some(mode),
            Some(mode) => self.problem(
                "app.mode",
                &format!("apps of mode \"{}\" are not run; workflow and advanced-chat are", mode.as_str()),
            ),
            None if text.is_empty() => self.problem("app.mode", "the app's mode is missing"),
            None => self.problem("app.mode", &format!("mode {} is not known", shown(&Value::String(text)))),
        }
        None
    }

    fn graph(&mut self, graph: &Map<String, Value>) -> Graph {
        let nodes = self.list(graph, "nodes", "workflow.graph.nodes", self.limits.max_nodes);
        let edges = self.list(graph, "edges", "workflow.graph.edges", self.limits.max_edges);
        Graph {
            nodes: nodes
                .iter()
                .enumerate()
                .filter_map(|(position, node)| self.node(position, node))
                .collect(),
            edges: edges
                .iter()
                .enumerate()
                .filter_map(|(position, edge)| self.edge(position, edge))
                .collect(),
        }
    }

    fn node(&mut self, position: usize, node: &Value) -> Option<Node> {
        let path = format!("workflow.graph.nodes[{position}]");
        let Some(node) = node.as_object() else {
            self.problem(&path, &format!("expected a node, found {}", sort(node)));
            return None;
        };
        // Notes on the canvas are nodes without a part in the run.
        if node.get("type").and_then(Value::as_str) == Some("custom-note") {
            return None;
        }
        let id = self.text(node, "id", &format!("{path}.id"));
        let data = self.mapping(node, "data", &format!("{path}.data"))?;
        let kind = self.text(data, "type", &format!("{path}.data.type"));
        if kind.is_empty() || id.is_empty() {
            // A note of an old export has an empty data.type.
            if !id.is_empty() && data.get("type").is_some_and(|kind| kind.as_str() == Some("")) {
                return None;
            }
            self.problem(&path, "a node needs an id and data.type");
            return None;
        }
        let parent = ["iteration_id", "loop_id"]
            .iter()
            .find_map(|key| optional_text(data, key))
            .or_else(|| optional_text(node, "parentId"));
        let title = self.text(data, "title", &format!("{path}.data.title"));
        Some(Node { id, kind, title, parent, data: data.clone() })
    }

    fn edge(&mut self, position: usize, edge: &Value) -> Option<Edge> {
        let path = format!("workflow.graph.edges[{position}]");
        let Some(edge) = edge.as_object() else {
            self.problem(&path, &format!("expected an edge, found {}", sort(edge)));
            return None;
        };
        let source = self.text(edge, "source", &format!("{path}.source"));
        let target = self.text(edge, "target", &format!("{path}.target"));
        if source.is_empty() || target.is_empty() {
            self.problem(&path, "an edge needs a source and a target");
            return None;
        }
        let handle = self.text(edge, "sourceHandle", &format!("{path}.sourceHandle"));
        let source_handle = if handle.is_empty() { "source".to_owned() } else { handle };
        Some(Edge { source, source_handle, target })
    }

    fn variables(&mut self, workflow: &Map<String, Value>, key: &str) -> Vec<Variable> {
        let path = format!("workflow.{key}");
        if matches!(workflow.get(key), None | Some(Value::Null)) {
            return Vec::new();
        }
        let list = self.list(workflow, key, &path, self.limits.max_variables);
        let mut variables: Vec<Variable> = Vec::with_capacity(list.len());
        for (position, item) in list.iter().enumerate() {
            let path = format!("{path}[{position}]");
            let Some(item) = item.as_object() else {
                self.problem(&path, &format!("expected a variable, found {}", sort(item)));
                continue;
            };
            let name = self.text(item, "name", &format!("{path}.name"));
            if name.is_empty() {
                self.problem(&path, "a variable needs a name");
                continue;
            }
            if variables.iter().any(|variable| variable.name == name) {
                self.problem(&path, &format!("the name {} is used twice", shown(&Value::String(name))));
                continue;
            }
            variables.push(Variable {
                id: self.text(item, "id", &format!("{path}.id")),
                value_type: self.text(item, "value_type", &format!("{path}.value_type")),
                value: item.get("value").cloned().unwrap_or(Value::Null),
                description: self.text(item, "description", &format!("{path}.description")),
                name,
            });
        }
        variables
    }

    fn mapping<'a>(
        &mut self,
        parent: &'a Map<String, Value>,
        key: &str,
        path: &str,
    ) -> Option<&'a Map<String, Value>> {
        match parent.get(key) {
            Some(Value::Object(map)) => return Some(map),
            None | Some(Value::Null) => self.problem(path, "missing; is the file complete?"),
            Some(other) => self.problem(path, &format!("expected a mapping, found {}", sort(other))),
        }
        None
    }

    fn list<'a>(
        &mut self,
        parent: &'a Map<String, Value>,
        key: &str,
        path: &str,
        most: usize,
    ) -> &'a [Value] {
        match parent.get(key) {
            Some(Value::Array(list)) if list.len() <= most => return list,
            Some(Value::Array(list)) => {
                self.problem(path, &format!("{} entries are more than the {most} that are read", list.len()));
            }
            None | Some(Value::Null) => self.problem(path, "missing; expected a list"),
            Some(other) => self.problem(path, &format!("expected a list, found {}", sort(other))),
        }
        &[]
    }

    /// A text field, empty when absent. Ids written without quotes come as numbers. NUL is dropped: no database takes it.
    fn text(&mut self, parent: &Map<String, Value>, key: &str, path: &str) -> String {
        match parent.get(key) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.replace('\0', ""),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Bool(value)) => value.to_string(),
            Some(other) => {
                self.problem(path, &format!("expected text, found {}", sort(other)));
                String::new()
            }
        }
    }

    fn problem(&mut self, path: &str, message: &str) {
        self.problems.push(Problem { path: path.to_owned(), message: message.to_owned() });
    }
}

fn optional_text(parent: &Map<String, Value>, key: &str) -> Option<String> {
    parent.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn sort(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// A value in a message: at most this many characters of it.
const SHOWN_CHARACTERS: usize = 60;

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
