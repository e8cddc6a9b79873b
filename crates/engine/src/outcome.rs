//! What one run gives.

use std::{sync::Arc, time::Duration};

use mainstay_base::{Kind, Micros};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{Fields, Usage};

/// How a run ended, in Dify's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStatus {
    Succeeded,
    /// It ended well although nodes failed, because their failures were handled.
    PartialSucceeded,
    Failed,
    Stopped,
}

impl RunStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Succeeded => "succeeded",
            RunStatus::PartialSucceeded => "partial-succeeded",
            RunStatus::Failed => "failed",
            RunStatus::Stopped => "stopped",
        }
    }
}

/// How a node's execution ended (or that it runs), in Dify's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeStatus {
    Running,
    Succeeded,
    Failed,
    /// Failed, and the failure was handled by the node's error strategy.
    Exception,
    /// Failed, and the node is tried again.
    Retry,
    Stopped,
}

impl NodeStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            NodeStatus::Running => "running",
            NodeStatus::Succeeded => "succeeded",
            NodeStatus::Failed => "failed",
            NodeStatus::Exception => "exception",
            NodeStatus::Retry => "retry",
            NodeStatus::Stopped => "stopped",
        }
    }
}

/// Everything about a run that has ended.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    pub status: RunStatus,
    pub outputs: Fields,
    pub error: Option<String>,
    /// Whose doing the failure is; set exactly when the run failed.
    pub error_kind: Option<Kind>,
    pub total_tokens: u64,
    pub total_steps: u64,
    pub exceptions_count: u64,
    /// Executions in the order in which they started. Empty when [`Limits::keep_nodes`](crate::Limits) is off.
    pub nodes: Vec<Arc<NodeExecution>>,
    /// What a chatflow answered.
    pub answer: Option<String>,
    /// The conversation's variables after the run, all of them.
    pub conversation_variables: Map<String, Value>,
    pub usage: Usage,
    pub started_at: Micros,
    pub finished_at: Micros,
}

impl RunOutcome {
    pub fn elapsed(&self) -> Duration {
        self.finished_at.since(self.started_at)
    }
}

/// One execution of one node.
#[derive(Clone, Debug)]
pub struct NodeExecution {
    pub id: Uuid,
    pub node_id: Arc<str>,
    /// As the DSL spells it: `llm`, `if-else`, …
    pub node_type: &'static str,
    pub title: Arc<str>,
    /// 1 for the first execution of the run.
    pub index: u64,
    /// The node whose end made this one ready; `None` for the first.
    pub predecessor_node_id: Option<Arc<str>>,
    /// The iteration this execution is part of, and which item.
    pub iteration: Option<IterationPlace>,
    pub status: NodeStatus,
    pub inputs: Arc<Fields>,
    pub process_data: Arc<Fields>,
    pub outputs: Arc<Fields>,
    pub error: Option<String>,
    /// Dify's class of the error, such as `HTTPResponseCodeError`.
    pub error_type: Option<String>,
    /// Dify's `execution_metadata`; empty is reported as null.
    pub metadata: Fields,
    pub started_at: Micros,
    pub finished_at: Micros,
}

impl NodeExecution {
    pub fn elapsed(&self) -> Duration {
        self.finished_at.since(self.started_at)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IterationPlace {
    pub iteration_id: Arc<str>,
    pub index: u64,
}
