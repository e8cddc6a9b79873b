//! From the engine's events to a caller's event stream.
//!
//! The stream is bounded. A reader that takes nothing for [`STALL_LIMIT`] is let go; its run goes on and is stored.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use mainstay_engine::{Event, Fields, NodeExecution, NodeStarted};
use mainstay_net::{Body, BodyError};
use mainstay_wire::dify::{
    Envelope,
    event::{self, Empty, Frame, PING},
};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, interval_at, timeout},
};

/// Dify sends a keep-alive frame this often.
pub const PING_EVERY: Duration = Duration::from_secs(10);
/// How long a reader may take nothing before it is let go.
pub const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Frames that wait for a reader.
const FRAMES_AHEAD: usize = 32;
/// Events that wait to become frames.
pub(crate) const EVENTS_AHEAD: usize = 32;

/// The sending end of one stream.
pub(crate) struct Frames {
    sender: Option<mpsc::Sender<Result<Bytes, BodyError>>>,
    envelope: Envelope,
    stall_limit: Duration,
}

impl Frames {
    pub(crate) fn new(envelope: Envelope) -> (Frames, Body) {
        let (sender, body) = mainstay_net::channel(FRAMES_AHEAD);
        (Frames { sender: Some(sender), envelope, stall_limit: STALL_LIMIT }, body)
    }

    /// Sends events as they come, with pings between, until there are no more or the reader is gone.
    pub(crate) async fn relay(&mut self, mut events: mpsc::Receiver<Event>) {
        let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        while let Some(sender) = self.sender.clone() {
            tokio::select! {
                biased;
                () = sender.closed() => self.sender = None,
                event = events.recv() => match event {
                    None => return,
                    Some(event) => {
                        if let Some(frame) = frame(&self.envelope, &event) {
                            self.send(frame).await;
                        }
                    }
                },
                _ = ping.tick() => self.send(PING.to_owned()).await,
            }
        }
    }

    pub(crate) async fn close_with(&mut self, frames: &[Frame<'_, Fields>]) {
        for frame in frames {
            self.send(self.envelope.write(frame)).await;
        }
    }

    async fn send(&mut self, frame: String) {
        let Some(sender) = &self.sender else { return };
        match timeout(self.stall_limit, sender.send(Ok(Bytes::from(frame)))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => self.sender = None,
            Err(_) => {
                let run = self.envelope.run_id();
                tracing::info!(
                    run,
                    "the reader of a stream took nothing for {:?} and was let go",
                    self.stall_limit
                );
                self.sender = None;
            }
        }
    }
}

/// Dify's containers have events of their own and no `node_started` or `node_finished`.
fn is_container(node_type: &str) -> bool {
    matches!(node_type, "iteration" | "loop")
}

/// One event as Dify writes it; `None` for what Dify does not tell, and for the end, which is sent once it is stored.
fn frame(envelope: &Envelope, event: &Event) -> Option<String> {
    match event {
        Event::WorkflowStarted { inputs, at } => {
            let (id, created_at) = (envelope.run_id(), at.unix_seconds());
            let workflow_id = inputs.get("sys.workflow_id").and_then(|id| id.as_str()).unwrap_or_default();
            let started = event::WorkflowStarted { id, workflow_id, inputs: &**inputs, created_at };
            Some(envelope.write(&Frame::WorkflowStarted(started)))
        }
        Event::NodeStarted(node) if is_container(node.node_type) => None,
        Event::NodeStarted(node) => Some(node_started(envelope, node)),
        Event::NodeFinished(node) if is_container(node.node_type) => None,
        Event::NodeFinished(node) => {
            let files = files_of(&node.outputs);
            let finished = node_finished(node, &node.id.to_string(), &files, |node| {
                envelope.write(&Frame::NodeFinished(node))
            });
            Some(finished)
        }
        Event::NodeRetry { execution, .. } if is_container(execution.node_type) => None,
        Event::NodeRetry { execution, retry_index } => {
            let files = files_of(&execution.outputs);
            let retried = node_finished(execution, &execution.id.to_string(), &files, |node| {
                envelope.write(&Frame::NodeRetry(event::NodeRetry { node, retry_index: *retry_index }))
            });
            Some(retried)
        }
        Event::IterationStarted(started) => {
            let node = &started.node;
            Some(envelope.write(&Frame::IterationStarted(event::IterationStarted {
                id: &node.node_id,
                node_id: &node.node_id,
                node_type: node.node_type,
                title: &node.title,
                created_at: node.at.unix_seconds(),
                extras: Empty {},
                metadata: &started.metadata,
                inputs: &*started.inputs,
                inputs_truncated: false,
            })))
        }
        Event::IterationNext { node, index } => {
            Some(envelope.write::<Fields>(&Frame::IterationNext(event::IterationNext {
                id: &node.node_id,
                node_id: &node.node_id,
                node_type: node.node_type,
                title: &node.title,
                index: *index,
                created_at: node.at.unix_seconds(),
                extras: Empty {},
            })))
        }
        Event::IterationCompleted { execution, steps } => {
            Some(iteration_completed(envelope, execution, *steps))
        }
        Event::Chunk { text, selector } => {
            let selector: Vec<String> = selector.iter().map(ToString::to_string).collect();
            Some(envelope.write::<Fields>(&Frame::Text { text, selector: &selector }))
        }
        Event::WorkflowFinished(_) => None,
    }
}

fn node_started(envelope: &Envelope, node: &NodeStarted) -> String {
    envelope.write::<Fields>(&Frame::NodeStarted(event::NodeStarted {
        id: &node.id.to_string(),
        node_id: &node.node_id,
        node_type: node.node_type,
        title: &node.title,
        index: node.index,
        // Dify 1.12.1 always says null here.
        predecessor_node_id: None,
        inputs: None,
        inputs_truncated: false,
        created_at: node.at.unix_seconds(),
        extras: Empty {},
        iteration_id: node.iteration.as_ref().map(|place| &*place.iteration_id),
        loop_id: None,
        agent_strategy: None,
    }))
}

fn node_finished(
    node: &Arc<NodeExecution>,
    id: &str,
    files: &[Value],
    write: impl FnOnce(event::NodeFinished<'_, Fields>) -> String,
) -> String {
    write(event::NodeFinished {
        id,
        node_id: &node.node_id,
        node_type: node.node_type,
        title: &node.title,
        index: node.index,
        predecessor_node_id: None,
        inputs: &node.inputs,
        inputs_truncated: false,
        process_data: &node.process_data,
        process_data_truncated: false,
        outputs: &node.outputs,
        outputs_truncated: false,
        status: node.status.as_str(),
        error: node.error.as_deref(),
        elapsed_time: node.elapsed().as_secs_f64(),
        execution_metadata: Some(&node.metadata).filter(|metadata| !metadata.is_empty()),
        created_at: node.started_at.unix_seconds(),
        finished_at: node.finished_at.unix_seconds(),
        files,
        iteration_id: node.iteration.as_ref().map(|place| &*place.iteration_id),
        loop_id: None,
    })
}

fn iteration_completed(envelope: &Envelope, node: &NodeExecution, steps: u64) -> String {
    let tokens = node.metadata.get("total_tokens").and_then(|tokens| tokens.as_u64());
    envelope.write(&Frame::IterationCompleted(event::IterationCompleted {
        id: &node.node_id,
        node_id: &node.node_id,
        node_type: node.node_type,
        title: &node.title,
        outputs: &*node.outputs,
        outputs_truncated: false,
        created_at: node.started_at.unix_seconds(),
        extras: Empty {},
        inputs: &*node.inputs,
        inputs_truncated: false,
        status: if node.error.is_none() { "succeeded" } else { "failed" },
        // Dify leaves it null, whatever happened.
        error: None,
        elapsed_time: node.elapsed().as_secs_f64(),
        total_tokens: tokens.unwrap_or(0),
        execution_metadata: &node.metadata,
        finished_at: node.finished_at.unix_seconds(),
        steps,
    }))
}

/// Files among a node's outputs, or in lists among them.
pub(crate) fn files_of(outputs: &Fields) -> Vec<Value> {
    let is_file =
        |value: &&Value| value.get("dify_model_identity").and_then(Value::as_str) == Some("__dify__file__");
    let mut files = Vec::new();
    for (_, value) in outputs.iter() {
        match &**value {
            Value::Array(items) => files.extend(items.iter().filter(is_file).cloned()),
            single => files.extend(Some(single).filter(is_file).cloned()),
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mainstay_base::Micros;

    use super::*;

    fn envelope() -> Envelope {
        Envelope::Workflow { run_id: "run".into(), task_id: "task".into() }
    }

    fn chunk() -> Event {
        Event::Chunk { text: "x".into(), selector: Arc::from(["llm".into(), "text".into()]) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_let_go_and_its_run_is_not_held_up() {
        let (mut frames, body) = Frames::new(envelope());
        let (sender, events) = mpsc::channel(1);
        let run = async move {
            let mut sent = 0;
            while sent < 1000 && sender.send(chunk()).await.is_ok() {
                sent += 1;
            }
            sent
        };
        let started = Instant::now();
        let (sent, ()) = tokio::join!(run, frames.relay(events));
        assert!(sent < 1000, "the listener went away before the end");
        let waited = started.elapsed();
        assert!(waited >= STALL_LIMIT && waited < STALL_LIMIT + Duration::from_secs(1), "{waited:?}");
        drop(body);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_run_pings_every_ten_seconds() {
        let (mut frames, body) = Frames::new(envelope());
        let (sender, events) = mpsc::channel(1);
        let run = async move {
            tokio::time::sleep(Duration::from_secs(25)).await;
            drop(sender);
        };
        tokio::join!(run, frames.relay(events));
        drop(frames);
        let bytes = mainstay_net::collect(body, 1024).await.unwrap();
        assert_eq!(bytes, PING.repeat(2).as_bytes());
    }

    fn execution(node_type: &'static str) -> Arc<NodeExecution> {
        Arc::new(NodeExecution {
            id: uuid::Uuid::nil(),
            node_id: "n".into(),
            node_type,
            title: "N".into(),
            index: 2,
            predecessor_node_id: Some("start".into()),
            iteration: None,
            status: mainstay_engine::NodeStatus::Retry,
            inputs: Arc::default(),
            process_data: Arc::default(),
            outputs: Arc::default(),
            error: Some("boom".to_owned()),
            error_type: None,
            metadata: Fields::new(),
            started_at: Micros(1_000_000),
            finished_at: Micros(1_500_000),
        })
    }

    /// The keys under `data`, in order.
    fn keys(event: &Event) -> String {
        let frame = frame(&envelope(), event).unwrap();
        let data: Value = serde_json::from_str(frame.trim().strip_prefix("data: ").unwrap()).unwrap();
        data["data"].as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn containers_and_retries_have_the_fields_of_difys_models() {
        let node = NodeStarted {
            id: uuid::Uuid::nil(),
            node_id: "n".into(),
            node_type: "iteration",
            title: "N".into(),
            index: 2,
            predecessor_node_id: None,
            iteration: None,
            at: Micros(0),
        };
        let started = mainstay_engine::IterationStarted {
            node: node.clone(),
            inputs: Arc::default(),
            metadata: Arc::new(serde_json::json!({"iterator_length": 3})),
        };
        assert!(frame(&envelope(), &Event::NodeStarted(node.clone())).is_none());
        assert!(frame(&envelope(), &Event::NodeFinished(execution("iteration"))).is_none());
        for (event, expected) in [
            (
                Event::IterationStarted(started),
                "id node_id node_type title created_at extras metadata inputs inputs_truncated",
            ),
            (Event::IterationNext { node, index: 1 }, "id node_id node_type title index created_at extras"),
            (
                Event::IterationCompleted { execution: execution("iteration"), steps: 3 },
                "id node_id node_type title outputs outputs_truncated created_at extras inputs inputs_truncated \
                 status error elapsed_time total_tokens execution_metadata finished_at steps",
            ),
            (
                Event::NodeRetry { execution: execution("llm"), retry_index: 1 },
                "id node_id node_type title index predecessor_node_id inputs inputs_truncated process_data \
                 process_data_truncated outputs outputs_truncated status error elapsed_time execution_metadata \
                 created_at finished_at files iteration_id loop_id retry_index",
            ),
        ] {
            assert_eq!(keys(&event), expected);
        }
    }

    #[test]
    fn the_end_is_not_told_before_it_is_stored() {
        let event = Event::WorkflowStarted { inputs: Arc::new(Fields::new()), at: Micros(0) };
        assert!(frame(&envelope(), &event).is_some());
        assert!(frame(&envelope(), &chunk()).is_some());
    }
}
