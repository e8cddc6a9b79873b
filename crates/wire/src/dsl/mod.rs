//! Dify's app DSL: the YAML file that Dify exports for one app.
//!
//! [`parse`] reads a file into an [`App`] and names everything that is wrong with it at once. It promises never to
//! panic and never to take more time or memory than its [`Limits`] allow, whatever the text; it keeps the text itself,
//! so that an export gives back what was imported. It refuses to know what nodes do: a node's own fields stay JSON
//! here, and the engine judges them.

mod app;
mod yaml;

use std::sync::Arc;

use mainstay_base::AppMode;
use serde_json::{Map, Value};

/// DSL versions that are read, as `major.minor`. Dify itself treats these as one format that only gained fields.
pub const VERSIONS: [&str; 7] = ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"];

/// How large a DSL file may be, so that no file costs more than a run of the app it describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub max_bytes: usize,
    pub max_depth: usize,
    pub max_aliases: usize,
    /// YAML values that aliases may stand for, all together. Dify writes an alias only where it repeats itself.
    pub max_aliased_values: usize,
    /// YAML values of every sort.
    pub max_values: usize,
    pub max_nodes: usize,
    pub max_edges: usize,
    pub max_variables: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_bytes: 4 * 1024 * 1024,
            max_depth: 64,
            max_aliases: 64,
            max_aliased_values: 20_000,
            max_values: 200_000,
            max_nodes: 1_000,
            max_edges: 4_000,
            max_variables: 500,
        }
    }
}

/// One thing that is wrong with a file: where (`workflow.graph.nodes[3].data`) and what, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Problem {
    pub path: String,
    pub message: String,
}

/// An app as its DSL file describes it.
#[derive(Clone, Debug)]
pub struct App {
    /// As written, such as `0.5.0`.
    pub version: String,
    pub name: String,
    pub mode: AppMode,
    pub description: String,
    pub icon: String,
    pub icon_type: Option<String>,
    pub icon_background: Option<String>,
    pub use_icon_as_answer_icon: bool,
    /// Opening statement, suggested questions, file upload and so on, in Dify's own shape.
    pub features: Map<String, Value>,
    pub environment_variables: Vec<Variable>,
    pub conversation_variables: Vec<Variable>,
    pub graph: Graph,
    /// The file itself.
    pub text: Arc<str>,
}

/// An environment or conversation variable with its value (or first value).
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    pub id: String,
    pub name: String,
    /// `string`, `number`, `secret`, `boolean`, `object`, `array[string]`, …
    pub value_type: String,
    pub value: Value,
    pub description: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub id: String,
    /// `data.type`: `llm`, `if-else`, … Never empty.
    pub kind: String,
    pub title: String,
    /// The iteration or loop that holds this node.
    pub parent: Option<String>,
    /// Everything under `data`, unknown fields included.
    pub data: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    pub source: String,
    /// `source` for a plain node; a case id, `fail-branch` and so on for a branching one.
    pub source_handle: String,
    pub target: String,
}

/// Reads a DSL file within the default [`Limits`].
pub fn parse(text: &str) -> Result<App, Vec<Problem>> {
    parse_within(text, &Limits::default())
}

/// Reads a DSL file.
pub fn parse_within(text: &str, limits: &Limits) -> Result<App, Vec<Problem>> {
    let document = yaml::read(text, limits).map_err(|problem| vec![problem])?;
    app::read(&document, text, limits)
}
