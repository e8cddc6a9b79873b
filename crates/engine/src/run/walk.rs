//! The walk over one level's graph: which node runs when, and what its end means for the others.
//!
//! A node runs when every edge into it is taken or skipped and at least one is taken. All of a walk happens in the
//! task that runs it: nodes that compute run at once, nodes that wait are polled side by side.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use mainstay_base::Kind;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{CHUNK_CAPACITY, Chunk, Chunks, Run, stream::Streams};
use crate::{
    Event, Fields, NodeExecution, NodeStatus, Usage,
    node::{Context, Done, Failed, Level, NodeResult, Role, Started, Step},
    outcome::IterationPlace,
    plan::Strategy,
    pool::{Pool, View},
    selector::NodeIndex,
};

const FAIL_BRANCH: &str = "fail-branch";
/// The handles of a plain end. Dify names the second in its enumerations and writes the first.
const SUCCESS: [&str; 2] = ["source", "success-branch"];

/// How a walk ended, and what it gathered.
pub(crate) struct Walked {
    pub(crate) pool: Pool,
    pub(crate) outputs: Fields,
    pub(crate) usage: Usage,
    pub(crate) steps: u64,
    /// Failed attempts, those that were handled included.
    pub(crate) exceptions: u64,
    pub(crate) end: Result<(), Failure>,
}

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: String,
    pub(crate) kind: Kind,
}

/// Walks a level from its start until nothing is left to do, or a node fails.
pub(crate) async fn run(
    run: &Run,
    level: &Level,
    pool: Pool,
    place: Option<IterationPlace>,
    depth: usize,
) -> Walked {
    let states = run.plan.nodes.iter().map(|node| State::new(node.incoming)).collect();
    let mut walk = Walk {
        run,
        place,
        depth,
        pool,
        states,
        ready: VecDeque::with_capacity(4),
        flights: FuturesUnordered::new(),
        chunks: None,
        streams: Streams::new(run, level),
        outputs: Fields::new(),
        usage: Usage::default(),
        steps: 0,
        exceptions: 0,
    };
    walk.ready.push_back(Ready { index: level.start, predecessor: None, again: None });
    let end = walk.go_on().await;
    let Walk { pool, outputs, usage, steps, exceptions, .. } = walk;
    Walked { pool, outputs, usage, steps, exceptions, end }
}

struct Walk<'r> {
    run: &'r Run,
    place: Option<IterationPlace>,
    depth: usize,
    pool: Pool,
    states: Vec<State>,
    ready: VecDeque<Ready>,
    flights: FuturesUnordered<BoxFuture<'r, Landed>>,
    chunks: Option<(mpsc::Sender<Chunk>, mpsc::Receiver<Chunk>)>,
    streams: Option<Streams<'r>>,
    outputs: Fields,
    usage: Usage,
    steps: u64,
    exceptions: u64,
}

/// What is known of a node's edges.
#[derive(Clone, Copy)]
struct State {
    /// Edges into the node that are neither taken nor skipped.
    unknown: u32,
    is_taken: bool,
    is_skipped: bool,
    failures: u64,
}

impl State {
    fn new(incoming: u32) -> State {
        State { unknown: incoming, is_taken: false, is_skipped: false, failures: 0 }
    }
}

struct Ready {
    index: NodeIndex,
    predecessor: Option<NodeIndex>,
    /// The execution that is tried again.
    again: Option<Started>,
}

enum Landed {
    Finished {
        index: NodeIndex,
        started: Started,
        result: NodeResult,
    },
    /// A wait between attempts is over.
    Again {
        index: NodeIndex,
        started: Started,
    },
}

impl<'r> Walk<'r> {
    async fn go_on(&mut self) -> Result<(), Failure> {
        loop {
            while self.flights.len() < self.run.ports.limits.max_parallel_nodes.max(1) {
                let Some(ready) = self.ready.pop_front() else { break };
                self.start(ready).await?;
            }
            if self.flights.is_empty() {
                return Ok(());
            }
            match self.land().await {
                Some(Landed::Finished { index, started, result }) => {
                    self.drain_chunks().await;
                    self.finish(index, started, result).await?;
                }
                Some(Landed::Again { index, started }) => {
                    let predecessor = started.predecessor;
                    self.ready.push_back(Ready { index, predecessor, again: Some(started) });
                }
                None => {}
            }
        }
    }

    /// Waits until a node ends; passes streamed text on meanwhile.
    async fn land(&mut self) -> Option<Landed> {
        let Some((_, receiver)) = &mut self.chunks else {
            return self.flights.next().await;
        };
        let chunk = tokio::select! {
            biased;
            chunk = receiver.recv() => chunk?,
            landed = self.flights.next() => return landed,
        };
        self.pass_on(chunk).await;
        None
    }

    async fn drain_chunks(&mut self) {
        while let Some(chunk) = self.chunks.as_mut().and_then(|(_, receiver)| receiver.try_recv().ok()) {
            self.pass_on(chunk).await;
        }
    }

    async fn pass_on(&mut self, chunk: Chunk) {
        let Walk { streams, pool, run, states, .. } = self;
        let Some(streams) = streams else { return };
        let view = View { pool, globals: &run.globals };
        let events = streams.chunk(chunk.node, chunk.text, &view, &|node| states[node as usize].is_skipped);
        self.emit_all(events).await;
    }

    async fn emit_all(&mut self, events: Vec<Event>) {
        for event in events {
            self.run.emit(event).await;
        }
    }

    async fn start(&mut self, ready: Ready) -> Result<(), Failure> {
        let run = self.run;
        let Ready { index, predecessor, again } = ready;
        let node = run.plan.node(index);
        if run.stop.is_cancelled() {
            return Err(Failure { error: "Stopped by user.".to_owned(), kind: Kind::Caller });
        }
        let is_silent = self.place.is_some() && node.role == Role::Root;
        let is_first = again.is_none();
        let started = match again {
            Some(started) => started,
            None => {
                let started_at = run.now();
                let step = if is_silent { 0 } else { self.count()? };
                Started {
                    id: Uuid::now_v7(),
                    index: step,
                    predecessor,
                    place: self.place.clone(),
                    at: started_at,
                }
            }
        };
        if is_first && !is_silent && run.is_heard() {
            run.emit(Event::NodeStarted(started.event(run, node))).await;
        }
        let chunks = self.streams.is_some().then(|| {
            let (sender, _) = self.chunks.get_or_insert_with(|| mpsc::channel(CHUNK_CAPACITY));
            Chunks { node: index, sender: sender.clone() }
        });
        let context = Context {
            run,
            index,
            node,
            view: View { pool: &self.pool, globals: &run.globals },
            chunks,
            depth: self.depth,
            started: started.clone(),
        };
        match node.node.start(context) {
            Step::Now(result) => self.finish(index, started, result).await,
            Step::Later(future) => {
                run.open(index, &started);
                self.flights.push(Box::pin(async move {
                    let result = future.await;
                    run.close(&started);
                    Landed::Finished { index, started, result }
                }));
                Ok(())
            }
        }
    }

    fn count(&mut self) -> Result<u64, Failure> {
        let most = self.run.ports.limits.max_steps;
        if self.run.is_out_of_time() {
            return Err(self.run.out_of_time());
        }
        self.steps += 1;
        self.run.next_step().ok_or_else(|| Failure {
            error: format!("Maximum execution steps exceeded: {} > {most}", most + 1),
            kind: Kind::Caller,
        })
    }

    async fn finish(
        &mut self,
        index: NodeIndex,
        started: Started,
        result: NodeResult,
    ) -> Result<(), Failure> {
        match result {
            Ok(done) => {
                self.succeed(index, started, done).await;
                Ok(())
            }
            Err(failed) => self.fail(index, started, *failed).await,
        }
    }

    async fn succeed(&mut self, index: NodeIndex, started: Started, done: Done) {
        let node = self.run.plan.node(index);
        let Done { inputs, process_data, outputs, handle, usage, metadata } = done;
        if let Some(usage) = &usage {
            self.usage.add(usage);
        }
        self.pool.set(index, Arc::clone(&outputs));
        self.flush_streams().await;
        let handle = match (&handle, &node.strategy) {
            (Some(handle), _) => Taken::One(handle),
            (None, Strategy::FailBranch) => Taken::Success,
            (None, _) => Taken::All,
        };
        self.leave(index, &handle).await;
        if node.role == Role::Response {
            self.gather(&outputs);
        }
        if self.place.is_some() && node.role == Role::Root {
            return;
        }
        let end =
            Ending { status: NodeStatus::Succeeded, inputs, process_data, outputs, error: None, metadata };
        self.tell(index, started, end).await;
    }

    async fn fail(&mut self, index: NodeIndex, started: Started, failed: Failed) -> Result<(), Failure> {
        let run = self.run;
        let node = run.plan.node(index);
        self.exceptions += 1;
        if let Some(usage) = &failed.usage {
            self.usage.add(usage);
        }
        let state = &mut self.states[index as usize];
        if state.failures < node.retry.most {
            state.failures += 1;
            let retry_index = state.failures;
            self.retry(index, started, failed, retry_index).await;
            return Ok(());
        }
        let Failed { inputs, process_data, outputs, error, error_type, kind, usage: _ } = failed;
        let error_pair = Some((error.clone(), error_type));
        let (outputs, strategy) = match &node.strategy {
            Strategy::Abort => {
                let end = Ending {
                    status: NodeStatus::Failed,
                    inputs,
                    process_data,
                    outputs,
                    error: error_pair,
                    metadata: Fields::new(),
                };
                self.tell(index, started, end).await;
                return Err(Failure { error, kind });
            }
            Strategy::FailBranch => (Fields::with_capacity(2), FAIL_BRANCH),
            Strategy::DefaultValue(defaults) => (defaults.clone(), "default-value"),
        };
        let outputs = Arc::new(with_error(outputs, &error, error_type));
        self.pool.set(index, Arc::clone(&outputs));
        let taken = if strategy == FAIL_BRANCH { Taken::One(FAIL_BRANCH) } else { Taken::All };
        self.leave(index, &taken).await;
        if node.role == Role::Response {
            self.gather(&outputs);
        }
        let metadata = Fields::from([("error_strategy", strategy.into())]);
        let end = Ending {
            status: NodeStatus::Exception,
            inputs,
            process_data,
            outputs,
            error: error_pair,
            metadata,
        };
        self.tell(index, started, end).await;
        Ok(())
    }

    async fn retry(&mut self, index: NodeIndex, started: Started, failed: Failed, retry_index: u64) {
        let run = self.run;
        let interval = run.plan.node(index).retry.interval;
        if run.is_heard() {
            let Failed { inputs, process_data, outputs, error, error_type, .. } = failed;
            let end = Ending {
                status: NodeStatus::Retry,
                inputs,
                process_data,
                outputs,
                error: Some((error, error_type)),
                metadata: Fields::new(),
            };
            let execution = Arc::new(self.execution(index, started.clone(), end));
            run.emit(Event::NodeRetry { execution, retry_index }).await;
        }
        run.open(index, &started);
        self.flights.push(Box::pin(async move {
            if interval > Duration::ZERO {
                tokio::time::sleep(interval).await;
            }
            run.close(&started);
            Landed::Again { index, started }
        }));
    }

    async fn flush_streams(&mut self) {
        let Walk { streams, pool, run, states, .. } = self;
        if let Some(streams) = streams {
            let view = View { pool, globals: &run.globals };
            let events = streams.node_finished(&view, &|node| states[node as usize].is_skipped);
            self.emit_all(events).await;
        }
    }

    /// Takes the edges of a handle and skips the others.
    async fn leave(&mut self, index: NodeIndex, taken: &Taken<'_>) {
        let run = self.run;
        let edges = &run.plan.node(index).outgoing;
        if !matches!(taken, Taken::All) {
            for edge in edges.iter().filter(|edge| !taken.includes(&edge.handle)) {
                self.skip(edge.target, index);
            }
        }
        for edge in edges.iter().filter(|edge| taken.includes(&edge.handle)) {
            let Walk { streams, pool, states, .. } = self;
            if let Some(streams) = streams {
                let view = View { pool, globals: &run.globals };
                let events = streams.edge_taken(edge.number, index, edge.target, &view, &|node| {
                    states[node as usize].is_skipped
                });
                self.emit_all(events).await;
            }
            let state = &mut self.states[edge.target as usize];
            state.is_taken = true;
            state.unknown = state.unknown.saturating_sub(1);
            if state.unknown == 0 {
                self.ready.push_back(Ready { index: edge.target, predecessor: Some(index), again: None });
            }
        }
    }

    /// An edge into `target` is skipped; a node whose edges are all skipped skips its own.
    fn skip(&mut self, target: NodeIndex, source: NodeIndex) {
        let mut skipped = vec![(target, source)];
        while let Some((target, source)) = skipped.pop() {
            let state = &mut self.states[target as usize];
            state.unknown = state.unknown.saturating_sub(1);
            if state.unknown > 0 {
                continue;
            }
            if state.is_taken {
                self.ready.push_back(Ready { index: target, predecessor: Some(source), again: None });
                continue;
            }
            state.is_skipped = true;
            let edges = &self.run.plan.node(target).outgoing;
            skipped.extend(edges.iter().rev().map(|edge| (edge.target, target)));
        }
    }

    /// Adds a response node's outputs to the run's.
    fn gather(&mut self, outputs: &Fields) {
        for (name, value) in outputs.iter() {
            let known = self.outputs.get(name).and_then(|known| known.as_str());
            match (known, value.as_str()) {
                (Some(known), Some(more)) if &**name == "answer" && !known.is_empty() => {
                    let joined = format!("{known}{more}");
                    self.outputs.set(Arc::clone(name), serde_json::Value::String(joined));
                }
                _ => self.outputs.set(Arc::clone(name), Arc::clone(value)),
            }
        }
    }

    async fn tell(&mut self, index: NodeIndex, started: Started, end: Ending) {
        if !self.run.keeps() {
            return;
        }
        let execution = Arc::new(self.execution(index, started, end));
        self.run.keep(&execution);
        if self.run.is_heard() {
            self.run.emit(Event::NodeFinished(execution)).await;
        }
    }

    fn execution(&self, index: NodeIndex, started: Started, end: Ending) -> NodeExecution {
        let node = self.run.plan.node(index);
        let Ending { status, inputs, process_data, outputs, error, mut metadata } = end;
        if let Some(place) = &started.place {
            metadata.set("iteration_id", serde_json::Value::String(place.iteration_id.to_string()));
            metadata.set("iteration_index", serde_json::Value::from(place.index));
        }
        let (error, error_type) = error.unzip();
        NodeExecution {
            id: started.id,
            node_id: Arc::clone(&node.id),
            node_type: node.kind,
            title: Arc::clone(&node.title),
            index: started.index,
            predecessor_node_id: started.predecessor.map(|index| Arc::clone(&self.run.plan.node(index).id)),
            iteration: started.place,
            status,
            inputs,
            process_data,
            outputs,
            error,
            error_type: error_type.map(str::to_owned),
            metadata,
            started_at: started.at,
            finished_at: self.run.now(),
        }
    }
}

/// Which outgoing edges are taken.
enum Taken<'a> {
    All,
    Success,
    One(&'a str),
}

impl Taken<'_> {
    fn includes(&self, handle: &str) -> bool {
        match self {
            Taken::All => true,
            Taken::Success => SUCCESS.contains(&handle),
            Taken::One(one) => *one == handle,
        }
    }
}

struct Ending {
    status: NodeStatus,
    inputs: Arc<Fields>,
    process_data: Arc<Fields>,
    outputs: Arc<Fields>,
    error: Option<(String, &'static str)>,
    metadata: Fields,
}

fn with_error(mut outputs: Fields, error: &str, error_type: &str) -> Fields {
    outputs.set("error_message", serde_json::Value::String(error.to_owned()));
    outputs.set("error_type", serde_json::Value::String(error_type.to_owned()));
    outputs
}
