//! What a node is to the engine, and the table of those there are.
//!
//! A node type is one file with a [`NodeType`] and a [`Node`]. Adding one means writing the file and naming it in
//! [`NODE_TYPES`]. A node reads what it needs from the pool when it starts; if it has to wait for something it gives
//! back a future that owns what it read.

mod answer;
mod assigner;
mod end;
mod http_request;
mod if_else;
mod iteration;
mod llm;
mod start;
mod template_transform;
mod variable_aggregator;

use std::sync::{Arc, LazyLock};

use futures_util::future::BoxFuture;
use mainstay_base::Kind;
use serde_json::{Map, Value};

pub(crate) use self::iteration::Level;
use crate::{
    Fields, NodeStarted, Usage,
    compile::NodeCompiler,
    outcome::IterationPlace,
    plan::PlanNode,
    pool::View,
    run::{Chunks, Run},
    selector::{NodeIndex, Selector},
    template::Segment,
};

/// Every node type there is.
pub(crate) const NODE_TYPES: [&NodeType; 12] = [
    &start::TYPE,
    &end::TYPE,
    &answer::TYPE,
    &llm::TYPE,
    &if_else::TYPE,
    &template_transform::TYPE,
    &http_request::TYPE,
    &variable_aggregator::TYPE,
    &variable_aggregator::OLD_TYPE,
    &assigner::TYPE,
    &iteration::TYPE,
    &iteration::START_TYPE,
];

/// A row of the table.
#[derive(Debug)]
pub(crate) struct NodeType {
    /// As the DSL spells it.
    pub(crate) kind: &'static str,
    pub(crate) role: Role,
    /// Compiles a node's data; `None` after it reported why not.
    pub(crate) compile: Compile,
}

type Compile = fn(&Map<String, Value>, &mut NodeCompiler<'_, '_>) -> Option<Box<dyn Node>>;

pub(crate) fn find(kind: &str) -> Option<&'static NodeType> {
    NODE_TYPES.into_iter().find(|row| row.kind == kind)
}

/// What a node's end means for its outgoing edges and for streamed answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Where a run, or one item of an iteration, begins.
    Root,
    Plain,
    /// Takes the edges of one handle and skips the others.
    Branch,
    /// Runs a graph of its own.
    Container,
    /// Its outputs are the run's, and are streamed.
    Response,
}

/// A compiled node.
pub(crate) trait Node: Send + Sync + std::fmt::Debug {
    fn start<'r>(&'r self, context: Context<'_, 'r>) -> Step<'r>;

    /// What a response node streams, in order.
    fn response(&self) -> Option<Vec<Segment>> {
        None
    }

    /// Whether this node changes the variable, so that an answer that shows it has to wait.
    fn assigns(&self, _selector: &Selector) -> bool {
        false
    }

    /// The graph inside a container.
    fn level_mut(&mut self) -> Option<&mut Level> {
        None
    }

    fn level(&self) -> Option<&Level> {
        None
    }
}

/// What a node is given.
pub(crate) struct Context<'c, 'r> {
    pub(crate) run: &'r Run,
    pub(crate) index: NodeIndex,
    pub(crate) node: &'r PlanNode,
    pub(crate) view: View<'c>,
    /// Where streamed text goes; `None` when nobody waits for it.
    pub(crate) chunks: Option<Chunks>,
    /// Iterations around this node.
    pub(crate) depth: usize,
    pub(crate) started: Started,
}

/// One execution that has begun.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) id: uuid::Uuid,
    pub(crate) index: u64,
    pub(crate) predecessor: Option<NodeIndex>,
    pub(crate) place: Option<IterationPlace>,
    pub(crate) at: mainstay_base::Micros,
}

impl Started {
    pub(crate) fn event(&self, run: &Run, node: &PlanNode) -> NodeStarted {
        NodeStarted {
            id: self.id,
            node_id: Arc::clone(&node.id),
            node_type: node.kind,
            title: Arc::clone(&node.title),
            index: self.index,
            predecessor_node_id: self.predecessor.map(|index| Arc::clone(&run.plan.node(index).id)),
            iteration: self.place.clone(),
            at: self.at,
        }
    }
}

pub(crate) enum Step<'r> {
    Now(NodeResult),
    Later(BoxFuture<'r, NodeResult>),
}

pub(crate) type NodeResult = Result<Done, Box<Failed>>;

/// A node's good end.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) inputs: Arc<Fields>,
    pub(crate) process_data: Arc<Fields>,
    pub(crate) outputs: Arc<Fields>,
    /// The handle a branch node takes.
    pub(crate) handle: Option<Arc<str>>,
    pub(crate) usage: Option<Usage>,
    pub(crate) metadata: Fields,
}

impl Default for Done {
    fn default() -> Done {
        Done {
            inputs: nothing(),
            process_data: nothing(),
            outputs: nothing(),
            handle: None,
            usage: None,
            metadata: Fields::new(),
        }
    }
}

/// A node's bad end.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) inputs: Arc<Fields>,
    pub(crate) process_data: Arc<Fields>,
    pub(crate) outputs: Arc<Fields>,
    pub(crate) error: String,
    /// Dify's name for the sort of error.
    pub(crate) error_type: &'static str,
    pub(crate) kind: Kind,
    pub(crate) usage: Option<Usage>,
}

impl Failed {
    pub(crate) fn new(error: impl Into<String>, error_type: &'static str, kind: Kind) -> Box<Failed> {
        Box::new(Failed {
            inputs: nothing(),
            process_data: nothing(),
            outputs: nothing(),
            error: error.into(),
            error_type,
            kind,
            usage: None,
        })
    }

    pub(crate) fn with_inputs(mut self: Box<Failed>, inputs: Arc<Fields>) -> Box<Failed> {
        self.inputs = inputs;
        self
    }

    pub(crate) fn with_process_data(mut self: Box<Failed>, process_data: Arc<Fields>) -> Box<Failed> {
        self.process_data = process_data;
        self
    }
}

/// An empty mapping, shared.
pub(crate) fn nothing() -> Arc<Fields> {
    static NOTHING: LazyLock<Arc<Fields>> = LazyLock::new(Arc::default);
    Arc::clone(&NOTHING)
}
