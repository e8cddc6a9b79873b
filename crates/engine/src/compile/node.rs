//! What a node type's `compile` may ask for while it reads its data.

use std::{sync::Arc, time::Duration};

use mainstay_wire::dsl;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::Compiler;
use crate::{
    Fields, jinja,
    plan::{Retry, Strategy},
    python,
    selector::{CONVERSATION, ENVIRONMENT, NodeIndex, SYSTEM, Selector, Source},
    template::{Piece, Segment, Template, cut},
};

/// Dify's editor allows ten.
const MAX_RETRIES: u64 = 10;
/// A node that waits longer between attempts than this waits this long.
const MAX_RETRY_INTERVAL_MS: u64 = 60_000;

/// A variable under a name of its own, as many nodes have them.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NamedSelector {
    pub(crate) variable: String,
    #[serde(default)]
    pub(crate) value_selector: Vec<String>,
}

pub(crate) struct NodeCompiler<'a, 'c> {
    compiler: &'c mut Compiler<'a>,
    node: &'a dsl::Node,
}

impl<'a, 'c> NodeCompiler<'a, 'c> {
    pub(super) fn new(compiler: &'c mut Compiler<'a>, node: &'a dsl::Node) -> NodeCompiler<'a, 'c> {
        NodeCompiler { compiler, node }
    }

    /// Reports what is wrong with one field of the node.
    pub(crate) fn problem(&mut self, field: &str, message: &str) {
        self.compiler.node_problem(self.node, &format!("data.{field}"), message);
    }

    /// The node's data as the type has it; nulls count as absent.
    pub(crate) fn read<T: DeserializeOwned>(&mut self, data: &Map<String, Value>) -> Option<T> {
        let present: Map<String, Value> = data
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        match T::deserialize(Value::Object(present)) {
            Ok(data) => Some(data),
            Err(error) => {
                self.compiler.node_problem(self.node, "data", &format!("not readable: {error}"));
                None
            }
        }
    }

    pub(crate) fn selector<Part: AsRef<str>>(&mut self, field: &str, parts: &[Part]) -> Option<Selector> {
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
            let shown = python::repr_list(parts.iter().copied());
            self.problem(
                field,
                &format!("{shown} selects nothing; a selector has a node's id and a variable's name"),
            );
            return None;
        }
        let selector = self.resolve(&parts);
        if selector.is_none() {
            self.problem(field, &format!("the node \"{}\" that is selected from does not exist", parts[0]));
        }
        selector
    }

    /// The selectors that are right; the others are reported.
    pub(crate) fn selectors(&mut self, field: &str, list: &[Vec<String>]) -> Vec<Selector> {
        let mut selectors = Vec::with_capacity(list.len());
        for (position, parts) in list.iter().enumerate() {
            // The editor leaves empty rows behind; Dify finds nothing there.
            if !parts.is_empty() {
                selectors.extend(self.selector(&format!("{field}[{position}]"), parts));
            }
        }
        selectors
    }

    pub(crate) fn named_selectors(
        &mut self,
        field: &str,
        list: Vec<NamedSelector>,
    ) -> Vec<(Arc<str>, Option<Selector>)> {
        let mut named: Vec<(Arc<str>, Option<Selector>)> = Vec::with_capacity(list.len());
        for (position, NamedSelector { variable, value_selector }) in list.into_iter().enumerate() {
            let field = format!("{field}[{position}].value_selector");
            let selector =
                if value_selector.is_empty() { None } else { self.selector(&field, &value_selector) };
            // Of two with one name, Python keeps the later in the place of the earlier.
            match named.iter_mut().find(|(name, _)| **name == *variable) {
                Some((_, known)) => *known = selector,
                None => named.push((variable.into(), selector)),
            }
        }
        named
    }

    fn resolve(&self, parts: &[&str]) -> Option<Selector> {
        let source = match parts[0] {
            SYSTEM => Source::System,
            ENVIRONMENT => Source::Environment,
            CONVERSATION => Source::Conversation,
            id => Source::Node(*self.compiler.indices.get(id)?),
        };
        let parts: Arc<[Arc<str>]> = parts.iter().map(|part| Arc::from(*part)).collect();
        Some(Selector { source, name: Arc::clone(&parts[1]), path: parts[2..].into(), parts })
    }

    /// A text with references. One to a node that does not exist becomes its own name, as in Dify.
    pub(crate) fn template(&mut self, text: &str) -> Template {
        self.cut(text, false).0
    }

    /// A prompt: a text that also knows the marks of LLM nodes, and whose references must lead somewhere.
    pub(crate) fn prompt(&mut self, field: &str, text: &str) -> Template {
        let (template, dangling) = self.cut(text, true);
        for reference in dangling {
            self.problem(field, &format!("{{{{#{reference}#}}}} refers to a node that does not exist"));
        }
        template
    }

    fn cut(&self, text: &str, marks: bool) -> (Template, Vec<String>) {
        let mut dangling = Vec::new();
        let segments = cut(text, marks)
            .into_iter()
            .map(|piece| match piece {
                Piece::Text(text) => Segment::Text(text.into()),
                Piece::Context => Segment::Context,
                Piece::Histories => Segment::Histories,
                Piece::Reference(parts) => match self.resolve(&parts) {
                    Some(selector) => Segment::Variable(selector),
                    None => {
                        dangling.push(parts.join("."));
                        Segment::Text(parts.join(".").into())
                    }
                },
            })
            .collect();
        (Template { segments }, dangling)
    }

    pub(crate) fn jinja(&mut self, field: &str, source: &str) -> Option<jinja::Template> {
        match self.compiler.templates.add(source) {
            Ok(template) => Some(template),
            Err(error) => {
                self.problem(field, &format!("the Jinja2 template cannot be read: {error}"));
                None
            }
        }
    }

    /// The declared type of the conversation variable that a selector names.
    pub(crate) fn conversation_type(&self, selector: &Selector) -> Option<Arc<str>> {
        let declared = &self.compiler.app.conversation_variables;
        let variable = declared.iter().find(|variable| variable.name == *selector.name)?;
        (selector.source == Source::Conversation && selector.path.is_empty())
            .then(|| variable.value_type.as_str().into())
    }

    /// The iteration-start node inside this iteration.
    pub(crate) fn iteration_start(&mut self, named: Option<&str>) -> Option<NodeIndex> {
        let nodes = &self.compiler.app.graph.nodes;
        let inside = (0..).zip(nodes).filter(|(_, node)| {
            node.kind == "iteration-start" && node.parent.as_deref() == Some(self.node.id.as_str())
        });
        let starts: Vec<NodeIndex> = inside.map(|(index, _)| index).collect();
        let found = match (named, starts.as_slice()) {
            (Some(named), starts) => {
                starts.iter().copied().find(|index| nodes[*index as usize].id == named).ok_or_else(|| {
                    format!("its start \"{named}\" is no iteration-start node inside this iteration")
                })
            }
            (None, [only]) => Ok(*only),
            (None, []) => Err("the iteration has no iteration-start node".to_owned()),
            (None, _) => Err("the iteration has several iteration-start nodes".to_owned()),
        };
        match found {
            Ok(index) => Some(index),
            Err(message) => {
                self.problem("start_node_id", &message);
                None
            }
        }
    }

    /// `error_strategy`, `default_value` and `retry_config`, which every node may have.
    pub(super) fn failure_handling(&mut self) -> (Strategy, Retry) {
        let data = &self.node.data;
        let strategy = match data.get("error_strategy").and_then(Value::as_str) {
            None | Some("" | "none") => Strategy::Abort,
            Some("fail-branch") => Strategy::FailBranch,
            Some("default-value") => Strategy::DefaultValue(self.default_values()),
            Some(other) => {
                let message = format!("the error strategy \"{other}\" is not known");
                self.problem("error_strategy", &message);
                Strategy::Abort
            }
        };
        let retry = data.get("retry_config").and_then(Value::as_object);
        let number =
            |name: &str| retry.and_then(|retry| retry.get(name)).and_then(Value::as_u64).unwrap_or(0);
        let is_on =
            retry.and_then(|retry| retry.get("retry_enabled")).and_then(Value::as_bool).unwrap_or(false);
        let retry = match is_on {
            true => Retry {
                most: number("max_retries").min(MAX_RETRIES),
                interval: Duration::from_millis(number("retry_interval").min(MAX_RETRY_INTERVAL_MS)),
            },
            false => Retry::default(),
        };
        (strategy, retry)
    }

    fn default_values(&mut self) -> Fields {
        let list = match self.node.data.get("default_value") {
            None | Some(Value::Null) => &[],
            Some(Value::Array(list)) => list.as_slice(),
            Some(_) => {
                self.problem("default_value", "expected a list");
                &[]
            }
        };
        let mut defaults = Fields::with_capacity(list.len());
        for (position, item) in list.iter().enumerate() {
            let key = item.get("key").and_then(Value::as_str).unwrap_or_default();
            let value = item.get("value").cloned().unwrap_or_default();
            let kind = item.get("type").and_then(Value::as_str).unwrap_or("string");
            match default_value(kind, value) {
                Ok(value) if !key.is_empty() => defaults.set(key, value),
                Ok(_) => self.problem(&format!("default_value[{position}]"), "the default value has no key"),
                Err(message) => self.problem(&format!("default_value[{position}]"), &message),
            }
        }
        defaults
    }
}

/// A default value as its declared type; texts are read as JSON where the type asks for it.
fn default_value(kind: &str, value: Value) -> Result<Value, String> {
    let value = match (kind, value) {
        ("string", value) => value,
        ("number", Value::String(text)) => text
            .trim()
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| format!("\"{text}\" is no number"))?,
        (_, Value::String(text)) => {
            serde_json::from_str(&text).map_err(|error| format!("the value is no JSON: {error}"))?
        }
        (_, value) => value,
    };
    let all = |is: fn(&Value) -> bool| value.as_array().is_some_and(|items| items.iter().all(is));
    let fits = match kind {
        "string" => value.is_string() || value.is_null(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "array[number]" => all(Value::is_number),
        "array[string]" => all(Value::is_string),
        "array[object]" => all(Value::is_object),
        "array[file]" => value.is_array() || value.is_null(),
        _ => return Err(format!("the type \"{kind}\" of the default value is not known")),
    };
    if fits { Ok(value) } else { Err(format!("the default value is not of type {kind}")) }
}
