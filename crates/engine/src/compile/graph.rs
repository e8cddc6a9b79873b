//! The graph as a whole: edges, starts and ends, containers, cycles.

use std::{collections::HashMap, sync::Arc};

use mainstay_wire::dsl;

use super::Compiler;
use crate::{
    node::{Level, Role},
    plan::{self, PlanNode, Strategy},
    run::stream::Response,
    selector::{NodeIndex, Selector},
    template::Segment,
};

/// Containers within containers. A deeper nest is a mistake, or an attack.
const MAX_NESTING: usize = 5;
/// Nodes that a message about a cycle names.
const MAX_NAMED: usize = 10;

pub(super) struct Edge {
    source: NodeIndex,
    target: NodeIndex,
    handle: Arc<str>,
}

/// The edges whose ends exist; the others are reported.
pub(super) fn edges(compiler: &mut Compiler<'_>) -> Vec<Edge> {
    let app = compiler.app;
    let mut edges = Vec::with_capacity(app.graph.edges.len());
    // A few texts name all handles.
    let mut handles: HashMap<&str, Arc<str>> = HashMap::new();
    for (position, edge) in app.graph.edges.iter().enumerate() {
        let path = format!("workflow.graph.edges[{position}]");
        let source = compiler.indices.get(edge.source.as_str()).copied();
        let target = compiler.indices.get(edge.target.as_str()).copied();
        for (end, id, found) in [("source", &edge.source, source), ("target", &edge.target, target)] {
            if found.is_none() {
                compiler.graph_problem(&path, format!("its {end} \"{id}\" is no node of the graph"));
            }
        }
        let (Some(source), Some(target)) = (source, target) else { continue };
        let node = |index: NodeIndex| &app.graph.nodes[index as usize];
        if node(source).parent != node(target).parent {
            compiler.graph_problem(
                &path,
                format!(
                    "it leads from \"{}\" to \"{}\" across the border of a container",
                    edge.source, edge.target
                ),
            );
        }
        let handle = handles.entry(&edge.source_handle).or_insert_with(|| edge.source_handle.as_str().into());
        edges.push(Edge { source, target, handle: Arc::clone(handle) });
    }
    edges
}

/// Reports a graph that cannot be run as a whole.
pub(super) fn shape(compiler: &mut Compiler<'_>, edges: &[Edge]) {
    containers(compiler);
    starts_and_ends(compiler, edges);
    cycles(compiler, edges);
}

fn containers(compiler: &mut Compiler<'_>) {
    let app = compiler.app;
    let parent_of = |compiler: &Compiler<'_>, node: &dsl::Node| {
        let id = node.parent.as_deref()?;
        compiler.indices.get(id).map(|index| &app.graph.nodes[*index as usize])
    };
    for node in &app.graph.nodes {
        let Some(id) = node.parent.as_deref() else {
            if node.kind == "iteration-start" {
                compiler.node_problem(node, "data", "an iteration-start node belongs inside an iteration");
            }
            continue;
        };
        match parent_of(compiler, node) {
            None => {
                let message = format!("it is inside of \"{id}\", which is no node of the graph");
                compiler.node_problem(node, "data", &message);
                continue;
            }
            // A loop is named as unsupported itself.
            Some(parent) if !matches!(parent.kind.as_str(), "iteration" | "loop") => {
                let message = format!("it is inside of \"{id}\", which is no iteration");
                compiler.node_problem(node, "data", &message);
            }
            Some(_) => {}
        }
        let mut above = Some(node);
        for _ in 0..=MAX_NESTING {
            above = above.and_then(|node| parent_of(compiler, node));
        }
        if above.is_some() {
            let message = format!("containers are nested deeper than {MAX_NESTING}, or in a circle");
            compiler.node_problem(node, "data", &message);
        }
    }
}

fn starts_and_ends(compiler: &mut Compiler<'_>, edges: &[Edge]) {
    let app = compiler.app;
    let starts: Vec<(NodeIndex, &dsl::Node)> =
        (0..).zip(&app.graph.nodes).filter(|(_, node)| node.kind == "start").collect();
    match starts.as_slice() {
        [(index, node)] => {
            compiler.start = Some(*index);
            if node.parent.is_some() {
                compiler.node_problem(node, "data", "the start node is inside a container");
            }
        }
        [] => compiler.graph_problem("workflow.graph.nodes", "there is no start node".to_owned()),
        [_, others @ ..] => {
            for (_, node) in others {
                compiler.node_problem(node, "data.type", "there is another start node already");
            }
        }
    }
    for edge in edges {
        let target = &app.graph.nodes[edge.target as usize];
        if matches!(target.kind.as_str(), "start" | "iteration-start") {
            compiler.node_problem(target, "data.type", "an edge leads to a start");
        }
    }
    let (wanted, other, mode) = match compiler.is_chat() {
        true => ("answer", "end", "a chatflow"),
        false => ("end", "answer", "a workflow"),
    };
    if !app.graph.nodes.iter().any(|node| node.kind == wanted) {
        compiler
            .graph_problem("workflow.graph.nodes", format!("there is no {wanted} node, which {mode} needs"));
    }
    for node in app.graph.nodes.iter().filter(|node| node.kind == other) {
        let message = format!("{mode} has {wanted} nodes; it cannot have {other} nodes");
        compiler.node_problem(node, "data.type", &message);
    }
}

/// What is left when nodes without incoming edges are taken away again and again is on a cycle, or behind one.
fn cycles(compiler: &mut Compiler<'_>, edges: &[Edge]) {
    let count = compiler.app.graph.nodes.len();
    let mut incoming = vec![0usize; count];
    let mut outgoing: Vec<Vec<NodeIndex>> = vec![Vec::new(); count];
    for edge in edges {
        incoming[edge.target as usize] += 1;
        outgoing[edge.source as usize].push(edge.target);
    }
    let mut free: Vec<NodeIndex> =
        (0..).zip(&incoming).filter(|(_, count)| **count == 0).map(|(at, _)| at).collect();
    while let Some(node) = free.pop() {
        for target in &outgoing[node as usize] {
            incoming[*target as usize] -= 1;
            if incoming[*target as usize] == 0 {
                free.push(*target);
            }
        }
    }
    // Going backwards from any node that is left leads onto a cycle.
    let mut came_from: HashMap<NodeIndex, NodeIndex> = HashMap::new();
    for edge in
        edges.iter().filter(|edge| incoming[edge.source as usize] > 0 && incoming[edge.target as usize] > 0)
    {
        came_from.entry(edge.target).or_insert(edge.source);
    }
    let Some(mut at) = came_from.keys().min().copied() else { return };
    let mut visited = Vec::new();
    while !visited.contains(&at) {
        visited.push(at);
        match came_from.get(&at) {
            Some(before) => at = *before,
            None => return,
        }
    }
    let start = visited.iter().position(|node| *node == at).unwrap_or(0);
    let mut names: Vec<&str> = visited[start..]
        .iter()
        .rev()
        .map(|node| compiler.app.graph.nodes[*node as usize].id.as_str())
        .collect();
    let more = if names.len() > MAX_NAMED { ", …" } else { "" };
    names.truncate(MAX_NAMED);
    let message = format!("the edges form a cycle: {}{more}", names.join(" → "));
    compiler.graph_problem("workflow.graph.edges", message);
}

/// Puts nodes and edges together. Only called for a graph without problems.
pub(super) fn connect(
    app: &dsl::App,
    mut nodes: Vec<PlanNode>,
    edges: &[Edge],
    start: NodeIndex,
) -> (Vec<PlanNode>, Level) {
    for (number, edge) in edges.iter().enumerate() {
        nodes[edge.source as usize].outgoing.push(plan::Edge {
            number,
            target: edge.target,
            handle: Arc::clone(&edge.handle),
        });
    }
    // A node waits only for edges that can be reached.
    let reached = reach(&nodes, start);
    for edge in edges.iter().filter(|edge| reached[edge.source as usize]) {
        nodes[edge.target as usize].incoming += 1;
    }
    let mut level = Level { start, responses: Vec::new() };
    let ids: HashMap<&str, usize> =
        app.graph.nodes.iter().enumerate().map(|(index, node)| (node.id.as_str(), index)).collect();
    for index in 0..nodes.len() {
        if nodes[index].role != Role::Response || !reached[index] {
            continue;
        }
        let Some(response) = response(&nodes, index) else { continue };
        match app.graph.nodes[index].parent.as_deref().and_then(|parent| ids.get(parent)) {
            None => level.responses.push(response),
            Some(parent) => {
                if let Some(inner) = nodes[*parent].node.level_mut() {
                    inner.responses.push(response);
                }
            }
        }
    }
    (nodes, level)
}

/// Which nodes can run at all, those inside containers included.
fn reach(nodes: &[PlanNode], start: NodeIndex) -> Vec<bool> {
    let mut reached = vec![false; nodes.len()];
    let mut open = vec![start];
    while let Some(index) = open.pop() {
        if std::mem::replace(&mut reached[index as usize], true) {
            continue;
        }
        let node = &nodes[index as usize];
        open.extend(node.outgoing.iter().map(|edge| edge.target));
        open.extend(node.node.level().map(|level| level.start));
    }
    reached
}

fn response(nodes: &[PlanNode], index: usize) -> Option<Response> {
    let node = &nodes[index];
    let segments = node.node.response()?;
    let shown: Vec<&Selector> = segments
        .iter()
        .filter_map(|segment| match segment {
            Segment::Variable(selector) => Some(selector),
            _ => None,
        })
        .collect();
    // Past these nodes it is not yet sure that the answer will be given, or what its variables will be.
    let gates = nodes
        .iter()
        .map(|node| {
            matches!(node.role, Role::Branch | Role::Container | Role::Response)
                || node.strategy == Strategy::FailBranch
                || shown.iter().any(|selector| node.node.assigns(selector))
        })
        .collect();
    let own_text = Arc::from([Arc::clone(&node.id), Arc::from("answer")]);
    let node = u32::try_from(index).ok()?;
    Some(Response { node, segments: segments.into(), own_text, gates })
}
