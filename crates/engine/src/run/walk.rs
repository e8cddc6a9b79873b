//! The walk over one level's graph: which node runs when, and what its end means for the others.
//!
//! A node runs when every edge into it is taken or skipped and at least one is taken. All of a walk happens in the
//! task that runs it: nodes that compute run at once, nodes that wait are polled side by side.

mod edges;
mod finish;

use std::collections::VecDeque;

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use mainstay_base::Kind;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{CHUNK_CAPACITY, Chunk, Chunks, Run, stream::Streams};
use crate::{
    Event, Fields, Usage,
    node::{Context, Level, NodeResult, Role, Started, Step},
    outcome::IterationPlace,
    pool::{Pool, View},
    selector::NodeIndex,
};
use edges::State;

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
}
