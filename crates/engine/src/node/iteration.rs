//! Iteration: runs a graph of its own once for each item of a list.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use mainstay_base::Kind;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Context, Done, Failed, Node, NodeResult, NodeType, Role, Started, Step};
use crate::{
    Event, Fields, IterationStarted, Usage,
    compile::NodeCompiler,
    outcome::{IterationPlace, NodeExecution, NodeStatus},
    plan::PlanNode,
    pool::{Pool, View},
    run::{Run, stream::Response, walk},
    selector::{NodeIndex, Selector},
};

pub(crate) const TYPE: NodeType = NodeType { kind: "iteration", role: Role::Container, compile };
pub(crate) const START_TYPE: NodeType =
    NodeType { kind: "iteration-start", role: Role::Root, compile: compile_start };

/// What Dify's editor starts with.
const DEFAULT_PARALLEL_NUMS: usize = 10;

/// A graph of nodes that run together: the app's, or an iteration's.
#[derive(Debug, Default)]
pub(crate) struct Level {
    pub(crate) start: NodeIndex,
    pub(crate) responses: Vec<Response>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum OnError {
    #[default]
    #[serde(rename = "terminated")]
    Terminated,
    #[serde(rename = "continue-on-error")]
    Continue,
    #[serde(rename = "remove-abnormal-output")]
    Remove,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    iterator_selector: Vec<String>,
    #[serde(default)]
    output_selector: Vec<String>,
    #[serde(default)]
    is_parallel: bool,
    #[serde(default)]
    parallel_nums: Option<usize>,
    #[serde(default)]
    error_handle_mode: Option<OnError>,
    #[serde(default)]
    flatten_output: Option<bool>,
    #[serde(default)]
    start_node_id: Option<String>,
}

#[derive(Debug)]
struct Iteration {
    iterator: Selector,
    output: Selector,
    /// Items at a time.
    at_a_time: usize,
    on_error: OnError,
    flatten: bool,
    level: Level,
}

fn compile(data: &Map<String, Value>, compiler: &mut NodeCompiler<'_, '_>) -> Option<Box<dyn Node>> {
    let data: Data = compiler.read(data)?;
    let iterator = compiler.selector("iterator_selector", &data.iterator_selector);
    let output = compiler.selector("output_selector", &data.output_selector);
    let start = compiler.iteration_start(data.start_node_id.as_deref());
    let at_a_time =
        if data.is_parallel { data.parallel_nums.unwrap_or(DEFAULT_PARALLEL_NUMS).max(1) } else { 1 };
    Some(Box::new(Iteration {
        iterator: iterator?,
        output: output?,
        at_a_time,
        on_error: data.error_handle_mode.unwrap_or_default(),
        flatten: data.flatten_output.unwrap_or(true),
        level: Level { start: start?, responses: Vec::new() },
    }))
}

/// The beginning of an item: it gives nothing and is not told about.
#[derive(Debug)]
struct ItemStart;

fn compile_start(_: &Map<String, Value>, _: &mut NodeCompiler<'_, '_>) -> Option<Box<dyn Node>> {
    Some(Box::new(ItemStart))
}

impl Node for ItemStart {
    fn start<'r>(&'r self, _: Context<'_, 'r>) -> Step<'r> {
        Step::Now(Ok(Done::default()))
    }
}

impl Node for Iteration {
    fn start<'r>(&'r self, context: Context<'_, 'r>) -> Step<'r> {
        let value = match context.view.get(&self.iterator) {
            Some(value) => value,
            None => {
                let message = format!("iterator variable {} not found", self.iterator.repr());
                return Step::Now(Err(Failed::new(message, "IteratorVariableNotFoundError", Kind::Caller)));
            }
        };
        let length = match &*value {
            Value::Null => 0,
            Value::Array(items) => items.len(),
            other => {
                let message =
                    format!("invalid iterator value: {}, please provide a list.", crate::python::str(other));
                return Step::Now(Err(Failed::new(message, "InvalidIteratorValueError", Kind::Caller)));
            }
        };
        let limits = &context.run.ports.limits;
        if length == 0 {
            return Step::Now(Ok(Done { outputs: Arc::new(output(Vec::new())), ..Done::default() }));
        }
        if length > limits.max_iteration_items {
            let message =
                format!("{length} items are more than the {} of one iteration", limits.max_iteration_items);
            return Step::Now(Err(Failed::new(message, "IterationNodeError", Kind::Caller)));
        }
        if context.depth >= limits.max_call_depth {
            let message = format!("iterations are nested deeper than {}", limits.max_call_depth);
            return Step::Now(Err(Failed::new(message, "IterationNodeError", Kind::Caller)));
        }
        let round = Round {
            iteration: self,
            run: context.run,
            index: context.index,
            node: context.node,
            items: value,
            pool: context.view.pool.clone(),
            depth: context.depth,
            started: context.started,
        };
        Step::Later(Box::pin(round.run()))
    }

    fn level_mut(&mut self) -> Option<&mut Level> {
        Some(&mut self.level)
    }

    fn level(&self) -> Option<&Level> {
        Some(&self.level)
    }
}

/// One execution of an iteration.
struct Round<'r> {
    iteration: &'r Iteration,
    run: &'r Run,
    index: NodeIndex,
    node: &'r PlanNode,
    items: Arc<Value>,
    pool: Pool,
    depth: usize,
    started: Started,
}

/// How one item ended.
struct Item {
    index: usize,
    took: Duration,
    usage: Usage,
    result: Result<Value, (String, Kind)>,
}

impl Round<'_> {
    async fn run(self) -> NodeResult {
        let items = self.items.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut inputs = Fields::with_capacity(1);
        inputs.push("iterator_selector".into(), Arc::clone(&self.items));
        let inputs = Arc::new(inputs);
        if self.run.is_heard() {
            let node = self.started.event(self.run, self.node);
            let metadata = Arc::new(json!({ "iteration_length": items.len() }));
            self.run
                .emit(Event::IterationStarted(IterationStarted {
                    node,
                    inputs: Arc::clone(&inputs),
                    metadata,
                }))
                .await;
        }
        let at_a_time = self.iteration.at_a_time.min(self.run.ports.limits.max_parallel_nodes).max(1);
        let mut results: Vec<Option<Value>> = vec![None; items.len()];
        let mut durations = Map::with_capacity(items.len());
        let mut usage = Usage::default();
        let mut failure = None;
        {
            let mut waiting = items.iter().enumerate();
            let mut running: FuturesUnordered<BoxFuture<'_, Item>> = FuturesUnordered::new();
            loop {
                while running.len() < at_a_time
                    && let Some((index, item)) = waiting.next()
                {
                    running.push(Box::pin(self.item(index, item)));
                }
                let Some(item) = running.next().await else { break };
                usage.add(&item.usage);
                durations.insert(item.index.to_string(), json!(item.took.as_secs_f64()));
                match item.result {
                    Ok(value) => results[item.index] = Some(value),
                    Err(error) if self.iteration.on_error == OnError::Terminated => {
                        // Dropping them ends the items that still run.
                        failure = Some(error);
                        break;
                    }
                    Err(_) => {}
                }
            }
        }
        let values = self.iteration.collect(results, failure.is_some());
        let outputs = Arc::new(output(values));
        let mut metadata = Fields::with_capacity(4);
        metadata.push("total_tokens".into(), Arc::new(json!(usage.total_tokens)));
        metadata.push("total_price".into(), Arc::new(json!("0")));
        metadata.push("currency".into(), Arc::new(json!("USD")));
        metadata.push("iteration_duration_map".into(), Arc::new(Value::Object(durations)));
        self.emit_completed(items.len(), &inputs, &outputs, &metadata, failure.as_ref()).await;
        match failure {
            None => Ok(Done { inputs, outputs, usage: Some(usage), metadata, ..Done::default() }),
            Some((error, kind)) => {
                let mut failed = Failed::new(error, "IterationNodeError", kind).with_inputs(inputs);
                failed.usage = Some(usage);
                Err(failed)
            }
        }
    }

    async fn item(&self, index: usize, item: &Value) -> Item {
        let started_at = self.run.now();
        if self.run.is_heard() {
            let node = self.started.event(self.run, self.node);
            self.run.emit(Event::IterationNext { node, index: index as u64 }).await;
        }
        let mut pool = self.pool.clone();
        pool.set(self.index, Arc::new(Fields::from([("index", json!(index)), ("item", item.clone())])));
        let place = IterationPlace { iteration_id: Arc::clone(&self.node.id), index: index as u64 };
        let walked = walk::run(self.run, &self.iteration.level, pool, Some(place), self.depth + 1).await;
        let result = match walked.end {
            Ok(()) => {
                let view = View { pool: &walked.pool, globals: &self.run.globals };
                Ok(view.get(&self.iteration.output).map_or(Value::Null, Arc::unwrap_or_clone))
            }
            Err(failure) => Err((failure.error, failure.kind)),
        };
        Item { index, took: self.run.now().since(started_at), usage: walked.usage, result }
    }

    async fn emit_completed(
        &self,
        steps: usize,
        inputs: &Arc<Fields>,
        outputs: &Arc<Fields>,
        metadata: &Fields,
        failure: Option<&(String, Kind)>,
    ) {
        if !self.run.is_heard() {
            return;
        }
        let NodeStartedParts { id, index, predecessor_node_id } = NodeStartedParts::of(self);
        let execution = NodeExecution {
            id,
            node_id: Arc::clone(&self.node.id),
            node_type: self.node.kind,
            title: Arc::clone(&self.node.title),
            index,
            predecessor_node_id,
            iteration: self.started.place.clone(),
            status: if failure.is_some() { NodeStatus::Failed } else { NodeStatus::Succeeded },
            inputs: Arc::clone(inputs),
            process_data: super::nothing(),
            outputs: Arc::clone(outputs),
            error: failure.map(|(error, _)| error.clone()),
            error_type: None,
            metadata: metadata.clone(),
            started_at: self.started.at,
            finished_at: self.run.now(),
        };
        self.run
            .emit(Event::IterationCompleted { execution: Arc::new(execution), steps: steps as u64 })
            .await;
    }
}

struct NodeStartedParts {
    id: uuid::Uuid,
    index: u64,
    predecessor_node_id: Option<Arc<str>>,
}

impl NodeStartedParts {
    fn of(round: &Round<'_>) -> NodeStartedParts {
        let started = round.started.event(round.run, round.node);
        NodeStartedParts {
            id: started.id,
            index: started.index,
            predecessor_node_id: started.predecessor_node_id,
        }
    }
}

impl Iteration {
    /// The items' results in order, as the error mode and flattening have it.
    fn collect(&self, results: Vec<Option<Value>>, is_cut_short: bool) -> Vec<Value> {
        let values: Vec<Value> = match self.on_error {
            OnError::Terminated if is_cut_short => results.into_iter().flatten().collect(),
            OnError::Terminated | OnError::Continue => {
                results.into_iter().map(Option::unwrap_or_default).collect()
            }
            OnError::Remove => {
                // Dify drops empty results as well when items run in parallel; a result of null is abnormal enough.
                results.into_iter().flatten().filter(|value| !value.is_null()).collect()
            }
        };
        let are_lists = values.iter().any(Value::is_array)
            && values.iter().all(|value| value.is_array() || value.is_null());
        if !(self.flatten && are_lists) {
            return values;
        }
        values
            .into_iter()
            .flat_map(|value| match value {
                Value::Array(items) => items,
                _ => Vec::new(),
            })
            .collect()
    }
}

fn output(values: Vec<Value>) -> Fields {
    Fields::from([("output", Value::Array(values))])
}
