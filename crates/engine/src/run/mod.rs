//! One run, from its inputs to its outcome.

pub(crate) mod stream;
pub(crate) mod walk;

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mainstay_base::{Kind, Micros, TraceParent};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    ChatInput, Event, Fields, NodeExecution, NodeStatus, Plan, RunInput, RunOutcome, RunStatus, Sink,
    engine::Ports,
    node::{Started, nothing},
    pool::{Globals, Pool},
    selector::NodeIndex,
};

/// How long the end of a run waits for a listener that does not listen.
const FINAL_EVENT_WAIT: Duration = Duration::from_secs(30);
/// How much longer than the run its calls may take, so that the run's own end is told and not theirs.
const CALL_MARGIN: Duration = Duration::from_secs(5);
/// Pieces of text between an LLM node and the streams.
pub(crate) const CHUNK_CAPACITY: usize = 32;

/// What all nodes of a run share.
pub(crate) struct Run {
    pub(crate) plan: Arc<Plan>,
    pub(crate) ports: Arc<Ports>,
    pub(crate) globals: Globals,
    /// What the start node gives.
    pub(crate) start_fields: Arc<Fields>,
    pub(crate) chat: Option<ChatInput>,
    pub(crate) app_id: String,
    pub(crate) user_id: String,
    pub(crate) trace: TraceParent,
    pub(crate) stop: CancellationToken,
    started_at: Micros,
    sink: Option<mpsc::Sender<Event>>,
    steps: AtomicU64,
    executions: Mutex<Vec<Arc<NodeExecution>>>,
    /// Executions that have begun and not ended, to be told of when the run is stopped.
    open: Mutex<Vec<(NodeIndex, Started)>>,
}

/// Where an LLM node sends its text.
#[derive(Clone)]
pub(crate) struct Chunks {
    pub(crate) node: NodeIndex,
    pub(crate) sender: mpsc::Sender<Chunk>,
}

pub(crate) struct Chunk {
    pub(crate) node: NodeIndex,
    /// `None` ends the stream.
    pub(crate) text: Option<Arc<str>>,
}

impl Chunks {
    pub(crate) async fn send(&self, text: Option<Arc<str>>) {
        // The receiver lives as long as the walk that polls this node; when it is gone nobody is interested.
        let _ = self.sender.send(Chunk { node: self.node, text }).await;
    }
}

/// Runs a plan to its end.
pub(crate) async fn run(
    ports: Arc<Ports>,
    plan: Arc<Plan>,
    input: RunInput,
    sink: Sink,
    stop: CancellationToken,
) -> RunOutcome {
    let (run, announced) = Run::new(ports, plan, input, sink, stop);
    let deadline = tokio::time::Instant::now() + run.ports.limits.max_time;
    let walk = async {
        if run.is_heard() {
            run.emit(Event::WorkflowStarted { inputs: announced, at: run.started_at }).await;
        }
        walk::run(&run, &run.plan.level, Pool::new(run.plan.nodes.len()), None, 0).await
    };
    // The walk comes first: a run that never waits costs no timer.
    let walked = tokio::select! {
        biased;
        walked = Box::pin(walk) => Some(walked),
        () = run.stop.cancelled() => None,
        () = tokio::time::sleep_until(deadline) => None,
    };
    let outcome = run.outcome(walked);
    if !run.is_heard() {
        return outcome;
    }
    let outcome = Arc::new(outcome);
    let last = run.emit(Event::WorkflowFinished(Arc::clone(&outcome)));
    if tokio::time::timeout(FINAL_EVENT_WAIT, last).await.is_err() {
        tracing::warn!(app.id = %run.app_id, "a run ended and its listener did not take the last event");
    }
    Arc::unwrap_or_clone(outcome)
}

impl Run {
    /// A run and what its start is announced with.
    fn new(
        ports: Arc<Ports>,
        plan: Arc<Plan>,
        input: RunInput,
        sink: Sink,
        stop: CancellationToken,
    ) -> (Run, Arc<Fields>) {
        let RunInput {
            run_id,
            app_id,
            workflow_id,
            user_id,
            inputs,
            files,
            chat,
            conversation_variables,
            trace,
            started_at,
        } = input;
        let system =
            system_variables(run_id, &app_id, workflow_id, &user_id, files, chat.as_ref(), started_at);
        let sink = match sink {
            Sink::Nobody => None,
            Sink::Channel(sender) => Some(sender),
        };
        let inputs = Fields::from(inputs);
        let announced = match sink.is_some() {
            // Dify announces a run before it knows these two.
            true => Arc::new(with_system(&inputs, &system, |name| {
                name != "timestamp" && name != "conversation_id"
            })),
            false => nothing(),
        };
        let start_fields = Arc::new(with_system(&inputs, &system, |_| true));
        let mut conversation = Fields::from(plan.conversation_defaults.clone());
        for (name, value) in conversation_variables {
            if conversation.get(&name).is_some() {
                conversation.set(name, value);
            }
        }
        let globals = Globals {
            system,
            environment: Arc::clone(&plan.environment),
            conversation: Mutex::new(conversation),
        };
        let run = Run {
            plan,
            ports,
            globals,
            start_fields,
            chat,
            app_id,
            user_id,
            trace,
            stop,
            started_at,
            sink,
            steps: AtomicU64::new(0),
            executions: Mutex::default(),
            open: Mutex::default(),
        };
        (run, announced)
    }

    pub(crate) fn now(&self) -> Micros {
        self.ports.clock.now()
    }

    pub(crate) fn is_heard(&self) -> bool {
        self.sink.is_some()
    }

    /// Waits for a slow listener; does nothing when there is none, or none any more.
    pub(crate) async fn emit(&self, event: Event) {
        if let Some(sink) = &self.sink {
            let _ = sink.send(event).await;
        }
    }

    /// Counts an execution; `None` when there were too many.
    pub(crate) fn next_step(&self) -> Option<u64> {
        let step = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        (step <= self.ports.limits.max_steps).then_some(step)
    }

    /// The total timeout of a call to a peer.
    pub(crate) fn call_time(&self) -> Duration {
        self.ports.limits.max_time.saturating_add(CALL_MARGIN)
    }

    /// What the run may still take.
    pub(crate) fn time_left(&self) -> Duration {
        self.ports.limits.max_time.saturating_sub(self.now().since(self.started_at))
    }

    pub(crate) fn is_out_of_time(&self) -> bool {
        self.now().since(self.started_at) > self.ports.limits.max_time
    }

    pub(crate) fn keeps(&self) -> bool {
        self.ports.limits.keep_nodes || self.is_heard()
    }

    pub(crate) fn open(&self, index: NodeIndex, started: &Started) {
        self.open.lock().push((index, started.clone()));
    }

    pub(crate) fn close(&self, started: &Started) {
        self.open.lock().retain(|(_, open)| open.id != started.id);
    }

    pub(crate) fn keep(&self, execution: &Arc<NodeExecution>) {
        if self.ports.limits.keep_nodes {
            self.executions.lock().push(Arc::clone(execution));
        }
    }

    fn outcome(&self, walked: Option<walk::Walked>) -> RunOutcome {
        let finished_at = self.now();
        let is_stopped = self.stop.is_cancelled();
        let (outputs, usage, steps, exceptions, end) = match walked {
            Some(walked) => (walked.outputs, walked.usage, walked.steps, walked.exceptions, walked.end),
            None => {
                let steps = self.steps.load(Ordering::Relaxed);
                (Fields::new(), Default::default(), steps, 0, Err(self.out_of_time()))
            }
        };
        self.stop_open(finished_at, is_stopped);
        let (status, error, error_kind) = match end {
            Ok(()) if exceptions > 0 => (RunStatus::PartialSucceeded, None, None),
            Ok(()) => (RunStatus::Succeeded, None, None),
            Err(_) if is_stopped => (RunStatus::Stopped, Some("Stopped by user.".to_owned()), None),
            Err(failure) => (RunStatus::Failed, Some(failure.error), Some(failure.kind)),
        };
        let is_good = matches!(status, RunStatus::Succeeded | RunStatus::PartialSucceeded);
        let answer = outputs.get("answer").and_then(|answer| answer.as_str()).map(str::to_owned);
        let mut nodes = std::mem::take(&mut *self.executions.lock());
        nodes.sort_by_key(|execution| execution.index);
        RunOutcome {
            status,
            // Dify gives no outputs of a run that did not end well.
            outputs: if is_good { outputs } else { Fields::new() },
            error,
            error_kind,
            total_tokens: usage.total_tokens,
            total_steps: steps,
            exceptions_count: if status == RunStatus::Stopped { 0 } else { exceptions },
            nodes,
            answer: answer.filter(|_| self.plan.mode.is_chat()),
            conversation_variables: self.globals.conversation.lock().to_map(),
            usage,
            started_at: self.started_at,
            finished_at,
        }
    }

    pub(crate) fn out_of_time(&self) -> walk::Failure {
        let limit = self.ports.limits.max_time;
        let elapsed = self.now().since(self.started_at).max(limit);
        walk::Failure {
            error: format!(
                "Maximum execution time exceeded: {:.2}s > {}s",
                elapsed.as_secs_f64(),
                limit.as_secs_f64()
            ),
            kind: Kind::Unavailable,
        }
    }

    /// Executions that were cut off end as stopped (or failed, when time ran out).
    fn stop_open(&self, at: Micros, is_stopped: bool) {
        let open = std::mem::take(&mut *self.open.lock());
        for (index, started) in open {
            let event = started.event(self, self.plan.node(index));
            self.keep(&Arc::new(NodeExecution {
                id: event.id,
                node_id: event.node_id,
                node_type: event.node_type,
                title: event.title,
                index: event.index,
                predecessor_node_id: event.predecessor_node_id,
                iteration: event.iteration,
                status: if is_stopped { NodeStatus::Stopped } else { NodeStatus::Failed },
                inputs: nothing(),
                process_data: nothing(),
                outputs: nothing(),
                error: Some("the run ended before this node did".to_owned()),
                error_type: None,
                metadata: Fields::new(),
                started_at: started.at,
                finished_at: at,
            }));
        }
    }
}

#[derive(Clone, Copy)]
enum System {
    Files,
    UserId,
    AppId,
    WorkflowId,
    WorkflowRunId,
    Timestamp,
    Query,
    ConversationId,
    DialogueCount,
}

/// The system variables' names, in the order of [`System`], without and with `sys.`; made once, not in each run.
static SYSTEM_NAMES: LazyLock<[(Arc<str>, Arc<str>); 9]> = LazyLock::new(|| {
    [
        "files",
        "user_id",
        "app_id",
        "workflow_id",
        "workflow_run_id",
        "timestamp",
        "query",
        "conversation_id",
        "dialogue_count",
    ]
    .map(|name| (Arc::from(name), Arc::from(format!("sys.{name}"))))
});

fn system_variables(
    run_id: String,
    app_id: &str,
    workflow_id: String,
    user_id: &str,
    files: Vec<Value>,
    chat: Option<&ChatInput>,
    started_at: Micros,
) -> Fields {
    let mut system = Fields::with_capacity(8);
    let mut set = |name: System, value: Value| {
        system.push(Arc::clone(&SYSTEM_NAMES[name as usize].0), Arc::new(value));
    };
    set(System::Files, Value::Array(files));
    set(System::UserId, Value::from(user_id));
    set(System::AppId, Value::from(app_id));
    set(System::WorkflowId, Value::String(workflow_id));
    set(System::WorkflowRunId, Value::String(run_id));
    match chat {
        None => set(System::Timestamp, Value::from(started_at.unix_seconds())),
        Some(chat) => {
            set(System::Query, Value::from(chat.query.as_str()));
            set(System::ConversationId, Value::from(chat.conversation_id.as_str()));
            set(System::DialogueCount, Value::from(chat.dialogue_count));
        }
    }
    system
}

/// Inputs and `sys.` variables in one mapping.
fn with_system(inputs: &Fields, system: &Fields, is_told: impl Fn(&str) -> bool) -> Fields {
    let mut fields = Fields::with_capacity(inputs.len() + system.len());
    for (name, value) in inputs.iter() {
        fields.push(Arc::clone(name), Arc::clone(value));
    }
    for (name, value) in system.iter() {
        let full = SYSTEM_NAMES.iter().find(|(known, _)| Arc::ptr_eq(known, name));
        if let Some((_, full)) = full.filter(|_| is_told(name)) {
            fields.set(Arc::clone(full), Arc::clone(value));
        }
    }
    fields
}
