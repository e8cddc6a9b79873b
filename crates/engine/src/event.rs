//! What happens during a run, as it happens.

use std::sync::Arc;

use mainstay_base::Micros;
use serde_json::Value;
use uuid::Uuid;

use crate::{Fields, NodeExecution, RunOutcome, outcome::IterationPlace};

/// Neutral data; the Service API turns it into Dify's envelopes. Events come in the order in which Dify sends them.
#[derive(Clone, Debug)]
pub enum Event {
    WorkflowStarted {
        /// The caller's inputs and the `sys.` variables.
        inputs: Arc<Fields>,
        at: Micros,
    },
    NodeStarted(NodeStarted),
    NodeFinished(Arc<NodeExecution>),
    /// An attempt failed and another follows; `retry_index` counts from 1.
    NodeRetry {
        execution: Arc<NodeExecution>,
        retry_index: u64,
    },
    IterationStarted(IterationStarted),
    IterationNext {
        node: NodeStarted,
        index: u64,
    },
    /// The iteration node's own execution; its `node_finished` follows.
    IterationCompleted {
        execution: Arc<NodeExecution>,
        steps: u64,
    },
    /// A piece of the answer (chatflows) or of the streamed outputs (workflows).
    Chunk {
        text: Arc<str>,
        selector: Arc<[Arc<str>]>,
    },
    WorkflowFinished(Arc<RunOutcome>),
}

#[derive(Clone, Debug)]
pub struct NodeStarted {
    pub id: Uuid,
    pub node_id: Arc<str>,
    pub node_type: &'static str,
    pub title: Arc<str>,
    pub index: u64,
    pub predecessor_node_id: Option<Arc<str>>,
    pub iteration: Option<IterationPlace>,
    pub at: Micros,
}

#[derive(Clone, Debug)]
pub struct IterationStarted {
    pub node: NodeStarted,
    pub inputs: Arc<Fields>,
    /// Dify's `metadata` of the event: `iterator_length`.
    pub metadata: Arc<Value>,
}
