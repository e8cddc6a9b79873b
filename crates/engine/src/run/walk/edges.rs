//! Edges: which are taken, which are skipped, and whom that lets begin.

use super::{Ready, Walk};
use crate::{pool::View, selector::NodeIndex};

/// The handles of a plain end. Dify names the second in its enumerations and writes the first.
const SUCCESS: [&str; 2] = ["source", "success-branch"];

/// What is known of a node's edges.
#[derive(Clone, Copy)]
pub(super) struct State {
    /// Edges into the node that are neither taken nor skipped.
    unknown: u32,
    is_taken: bool,
    pub(super) is_skipped: bool,
    pub(super) failures: u64,
}

impl State {
    pub(super) fn new(incoming: u32) -> State {
        State { unknown: incoming, is_taken: false, is_skipped: false, failures: 0 }
    }
}

/// Which outgoing edges are taken.
pub(super) enum Taken<'a> {
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

impl Walk<'_> {
    pub(super) async fn flush_streams(&mut self) {
        let Walk { streams, pool, run, states, .. } = self;
        if let Some(streams) = streams {
            let view = View { pool, globals: &run.globals };
            let events = streams.node_finished(&view, &|node| states[node as usize].is_skipped);
            self.emit_all(events).await;
        }
    }

    /// Takes the edges of a handle and skips the others.
    pub(super) async fn leave(&mut self, index: NodeIndex, taken: &Taken<'_>) {
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
}
