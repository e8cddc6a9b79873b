//! A checked app, compiled once and run many times.

use std::{sync::Arc, time::Duration};

use mainstay_base::AppMode;
use serde_json::{Map, Value};

use crate::{
    Fields, jinja,
    node::{Level, Node, Role},
    selector::NodeIndex,
};

/// Immutable and shared between runs. Made by [`check`](crate::check).
#[derive(Debug)]
pub struct Plan {
    pub(crate) mode: AppMode,
    pub(crate) nodes: Vec<PlanNode>,
    /// The graph outside of iterations.
    pub(crate) level: Level,
    pub(crate) edges: usize,
    pub(crate) templates: jinja::Templates,
    pub(crate) environment: Arc<Fields>,
    pub(crate) conversation_types: Vec<(Arc<str>, Arc<str>)>,
    pub(crate) conversation_defaults: Map<String, Value>,
}

#[derive(Debug)]
pub(crate) struct PlanNode {
    pub(crate) id: Arc<str>,
    pub(crate) kind: &'static str,
    pub(crate) title: Arc<str>,
    pub(crate) role: Role,
    pub(crate) node: Box<dyn Node>,
    pub(crate) outgoing: Vec<Edge>,
    pub(crate) incoming: u32,
    pub(crate) retry: Retry,
    pub(crate) strategy: Strategy,
}

#[derive(Clone, Debug)]
pub(crate) struct Edge {
    /// Its place among all edges of the plan.
    pub(crate) number: usize,
    pub(crate) target: NodeIndex,
    pub(crate) handle: Arc<str>,
}

/// How often, and after what wait, a failed node is tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) most: u64,
    pub(crate) interval: Duration,
}

/// What a failure that is not retried leads to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Strategy {
    Abort,
    FailBranch,
    DefaultValue(Fields),
}

impl Plan {
    pub fn mode(&self) -> AppMode {
        self.mode
    }

    /// Names and declared types of the conversation's variables.
    pub fn conversation_types(&self) -> impl Iterator<Item = (&str, &str)> {
        self.conversation_types.iter().map(|(name, value_type)| (&**name, &**value_type))
    }

    /// First values of the conversation's variables.
    pub fn conversation_defaults(&self) -> &Map<String, Value> {
        &self.conversation_defaults
    }

    pub(crate) fn node(&self, index: NodeIndex) -> &PlanNode {
        &self.nodes[index as usize]
    }
}
