//! The order in which answers are streamed.
//!
//! Each response node (answer, end) has a session: its texts and variables, in order. A session begins as soon as it
//! is sure that its node will be reached, and only one is active at a time; a variable is streamed while it is
//! produced, or given whole once it is there. Only made when somebody listens.

use std::{collections::VecDeque, sync::Arc};

use super::Run;
use crate::{
    Event,
    node::Level,
    pool::View,
    segment,
    selector::{NodeIndex, Selector, Source},
    template::Segment,
};

/// The output that LLM nodes stream.
const STREAMED: &str = "text";

/// A response node as the streams see it.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) node: NodeIndex,
    pub(crate) segments: Box<[Segment]>,
    /// What its own texts are said to come from.
    pub(crate) own_text: Arc<[Arc<str>]>,
    /// By node: whether an edge out of it counts only once it is taken.
    pub(crate) gates: Box<[bool]>,
}

pub(crate) struct Streams<'r> {
    run: &'r Run,
    level: &'r Level,
    sessions: Vec<Session>,
    active: Option<usize>,
    waiting: VecDeque<usize>,
    produced: Vec<Produced>,
    taken: Vec<bool>,
    is_started: bool,
}

struct Session {
    /// By node: whether it is sure to be reached. Empty once the session has begun.
    sure: Vec<bool>,
    position: usize,
}

/// What one LLM node has streamed so far.
struct Produced {
    node: NodeIndex,
    pieces: VecDeque<Arc<str>>,
    is_closed: bool,
}

impl<'r> Streams<'r> {
    /// `None` when nothing is ever streamed on this level.
    pub(crate) fn new(run: &'r Run, level: &'r Level) -> Option<Streams<'r>> {
        if !run.is_heard() || level.responses.is_empty() {
            return None;
        }
        let sessions = level
            .responses
            .iter()
            .map(|_| Session { sure: vec![false; run.plan.nodes.len()], position: 0 })
            .collect();
        let taken = vec![false; run.plan.edges];
        Some(Streams {
            run,
            level,
            sessions,
            active: None,
            waiting: VecDeque::new(),
            produced: Vec::new(),
            taken,
            is_started: false,
        })
    }

    /// An edge was taken: sessions may begin.
    pub(crate) fn edge_taken(
        &mut self,
        edge: usize,
        source: NodeIndex,
        target: NodeIndex,
        view: &View<'_>,
        skipped: &dyn Fn(NodeIndex) -> bool,
    ) -> Vec<Event> {
        self.taken[edge] = true;
        let start = (!std::mem::replace(&mut self.is_started, true)).then_some(self.level.start);
        let mut events = Vec::new();
        for number in 0..self.sessions.len() {
            let response = &self.level.responses[number];
            let session = &mut self.sessions[number];
            if session.sure.is_empty() {
                continue;
            }
            if let Some(start) = start {
                spread(self.run, response, &mut session.sure, &self.taken, start);
            }
            if session.sure[source as usize] {
                spread(self.run, response, &mut session.sure, &self.taken, target);
            }
            if !session.sure[response.node as usize] {
                continue;
            }
            session.sure = Vec::new();
            match self.active {
                Some(_) => self.waiting.push_back(number),
                None => {
                    self.active = Some(number);
                    self.flush(view, skipped, &mut events);
                }
            }
        }
        events
    }

    /// An LLM node produced a piece of text; `None` closes its stream.
    pub(crate) fn chunk(
        &mut self,
        node: NodeIndex,
        text: Option<Arc<str>>,
        view: &View<'_>,
        skipped: &dyn Fn(NodeIndex) -> bool,
    ) -> Vec<Event> {
        let position = match self.produced.iter().position(|produced| produced.node == node) {
            Some(position) => position,
            None => {
                self.produced.push(Produced { node, pieces: VecDeque::new(), is_closed: false });
                self.produced.len() - 1
            }
        };
        let produced = &mut self.produced[position];
        match text {
            Some(text) => produced.pieces.push_back(text),
            None => {
                // Dify ends every stream with an empty piece.
                produced.pieces.push_back(Arc::from(""));
                produced.is_closed = true;
            }
        }
        self.node_finished(view, skipped)
    }

    /// A node's outputs are in the pool: what waited for them goes on.
    pub(crate) fn node_finished(
        &mut self,
        view: &View<'_>,
        skipped: &dyn Fn(NodeIndex) -> bool,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        self.flush(view, skipped, &mut events);
        events
    }

    fn flush(&mut self, view: &View<'_>, skipped: &dyn Fn(NodeIndex) -> bool, events: &mut Vec<Event>) {
        while let Some(number) = self.active {
            let response = &self.level.responses[number];
            while let Some(segment) = response.segments.get(self.sessions[number].position) {
                let is_complete = match segment {
                    Segment::Text(text) => {
                        events.push(chunk(Arc::clone(text), &response.own_text));
                        true
                    }
                    Segment::Variable(selector) => self.variable(selector, view, skipped, events),
                    Segment::Context | Segment::Histories => true,
                };
                if !is_complete {
                    return;
                }
                self.sessions[number].position += 1;
            }
            self.active = self.waiting.pop_front();
        }
    }

    /// Streams what there is of a variable; whether that is all of it.
    fn variable(
        &mut self,
        selector: &Selector,
        view: &View<'_>,
        skipped: &dyn Fn(NodeIndex) -> bool,
        events: &mut Vec<Event>,
    ) -> bool {
        if let Source::Node(node) = selector.source {
            if skipped(node) {
                return true;
            }
            let is_streamed = &*selector.name == STREAMED && selector.path.is_empty();
            let produced = self.produced.iter_mut().find(|produced| is_streamed && produced.node == node);
            if let Some(produced) = produced {
                for text in produced.pieces.drain(..) {
                    events.push(chunk(text, &selector.parts));
                }
                if produced.is_closed {
                    return true;
                }
            }
        }
        match view.get(selector) {
            Some(value) => {
                events.push(chunk(segment::markdown(&value).into(), &selector.parts));
                true
            }
            None => false,
        }
    }
}

/// Marks what is now sure to be reached from `from` on.
fn spread(run: &Run, response: &Response, sure: &mut [bool], taken: &[bool], from: NodeIndex) {
    let mut open = vec![from];
    while let Some(index) = open.pop() {
        if std::mem::replace(&mut sure[index as usize], true) {
            continue;
        }
        let is_gate = response.gates[index as usize];
        let edges = run.plan.node(index).outgoing.iter();
        open.extend(edges.filter(|edge| !is_gate || taken[edge.number]).map(|edge| edge.target));
    }
}

fn chunk(text: Arc<str>, selector: &Arc<[Arc<str>]>) -> Event {
    Event::Chunk { text, selector: Arc::clone(selector) }
}
