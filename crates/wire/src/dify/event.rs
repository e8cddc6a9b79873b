//! The frames of an event stream, in the order of fields that Dify writes.

use serde::Serialize;
use serde_json::Value;

use super::{ApiError, answer::Metadata};
use crate::python_json::orjson;

/// The keep-alive frame; Dify sends one every ten seconds, without data.
pub const PING: &str = "event: ping\n\n";

/// What all frames of one run repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Envelope {
    Workflow { run_id: String, task_id: String },
    Chat { conversation_id: String, message_id: String, created_at: i64, task_id: String, run_id: String },
}

/// What a frame says. Bodies are borrowed: a frame is written once and forgotten. `F` is whatever serializes as a JSON
/// object.
#[derive(Clone, Debug)]
pub enum Frame<'a, F> {
    WorkflowStarted(WorkflowStarted<'a, F>),
    NodeStarted(NodeStarted<'a, F>),
    NodeFinished(NodeFinished<'a, F>),
    NodeRetry(NodeRetry<'a, F>),
    IterationStarted(IterationStarted<'a, F>),
    IterationNext(IterationNext<'a>),
    IterationCompleted(IterationCompleted<'a, F>),
    /// A piece of output: `text_chunk` in a workflow, `message` in a chat.
    Text {
        text: &'a str,
        selector: &'a [String],
    },
    WorkflowFinished(WorkflowFinished<'a, F>),
    /// Chat only.
    MessageEnd {
        metadata: &'a Metadata,
        files: &'a [Value],
    },
    Error(&'a ApiError),
}

#[derive(Clone, Debug, Serialize)]
pub struct WorkflowStarted<'a, F> {
    pub id: &'a str,
    pub workflow_id: &'a str,
    pub inputs: &'a F,
    pub created_at: i64,
}

#[derive(Clone, Debug, Serialize)]
pub struct NodeStarted<'a, F> {
    pub id: &'a str,
    pub node_id: &'a str,
    pub node_type: &'a str,
    pub title: &'a str,
    pub index: u64,
    pub predecessor_node_id: Option<&'a str>,
    pub inputs: Option<&'a F>,
    pub inputs_truncated: bool,
    pub created_at: i64,
    pub extras: Empty,
    pub iteration_id: Option<&'a str>,
    pub loop_id: Option<&'a str>,
    pub agent_strategy: Option<&'a str>,
}

#[derive(Clone, Debug, Serialize)]
pub struct NodeFinished<'a, F> {
    pub id: &'a str,
    pub node_id: &'a str,
    pub node_type: &'a str,
    pub title: &'a str,
    pub index: u64,
    pub predecessor_node_id: Option<&'a str>,
    pub inputs: &'a F,
    pub inputs_truncated: bool,
    pub process_data: &'a F,
    pub process_data_truncated: bool,
    pub outputs: &'a F,
    pub outputs_truncated: bool,
    pub status: &'a str,
    pub error: Option<&'a str>,
    pub elapsed_time: f64,
    pub execution_metadata: Option<&'a F>,
    pub created_at: i64,
    pub finished_at: i64,
    pub files: &'a [Value],
    pub iteration_id: Option<&'a str>,
    pub loop_id: Option<&'a str>,
}

#[derive(Clone, Debug, Serialize)]
pub struct NodeRetry<'a, F> {
    #[serde(flatten)]
    pub node: NodeFinished<'a, F>,
    pub retry_index: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct IterationStarted<'a, F> {
    pub id: &'a str,
    pub node_id: &'a str,
    pub node_type: &'a str,
    pub title: &'a str,
    pub created_at: i64,
    pub extras: Empty,
    pub metadata: &'a Value,
    pub inputs: &'a F,
    pub inputs_truncated: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct IterationNext<'a> {
    pub id: &'a str,
    pub node_id: &'a str,
    pub node_type: &'a str,
    pub title: &'a str,
    pub index: u64,
    pub created_at: i64,
    pub extras: Empty,
}

#[derive(Clone, Debug, Serialize)]
pub struct IterationCompleted<'a, F> {
    pub id: &'a str,
    pub node_id: &'a str,
    pub node_type: &'a str,
    pub title: &'a str,
    pub outputs: &'a F,
    pub outputs_truncated: bool,
    pub created_at: i64,
    pub extras: Empty,
    pub inputs: &'a F,
    pub inputs_truncated: bool,
    pub status: &'a str,
    pub error: Option<&'a str>,
    pub elapsed_time: f64,
    pub total_tokens: u64,
    pub execution_metadata: &'a F,
    pub finished_at: i64,
    pub steps: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct WorkflowFinished<'a, F> {
    pub id: &'a str,
    pub workflow_id: &'a str,
    pub status: &'a str,
    pub outputs: &'a F,
    pub error: Option<&'a str>,
    pub elapsed_time: f64,
    pub total_tokens: u64,
    pub total_steps: u64,
    pub created_by: CreatedBy<'a>,
    pub created_at: i64,
    pub finished_at: i64,
    pub exceptions_count: u64,
    pub files: &'a [Value],
}

#[derive(Clone, Debug, Serialize)]
pub struct CreatedBy<'a> {
    /// The id of the end user's row.
    pub id: &'a str,
    /// What the caller named its user.
    pub user: &'a str,
}

/// `{}`.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Empty {}

impl Envelope {
    pub fn run_id(&self) -> &str {
        match self {
            Envelope::Workflow { run_id, .. } | Envelope::Chat { run_id, .. } => run_id,
        }
    }

    pub fn task_id(&self) -> &str {
        match self {
            Envelope::Workflow { task_id, .. } | Envelope::Chat { task_id, .. } => task_id,
        }
    }

    /// The frame's bytes: `data: {…}` and a blank line.
    pub fn write<F: Serialize>(&self, frame: &Frame<'_, F>) -> String {
        format!("data: {}\n\n", self.json(frame))
    }

    /// The frame's JSON alone: what is stored of it.
    pub fn json<F: Serialize>(&self, frame: &Frame<'_, F>) -> String {
        match frame {
            Frame::WorkflowStarted(data) => self.with_data("workflow_started", data),
            Frame::NodeStarted(data) => self.with_data("node_started", data),
            Frame::NodeFinished(data) => self.with_data("node_finished", data),
            Frame::NodeRetry(data) => self.with_data("node_retry", data),
            Frame::IterationStarted(data) => self.with_data("iteration_started", data),
            Frame::IterationNext(data) => self.with_data("iteration_next", data),
            Frame::IterationCompleted(data) => self.with_data("iteration_completed", data),
            Frame::WorkflowFinished(data) => self.with_data("workflow_finished", data),
            Frame::Text { text, selector } => self.text(text, selector),
            Frame::MessageEnd { metadata, files } => self.message_end(metadata, files),
            Frame::Error(error) => self.error(error),
        }
    }

    fn with_data(&self, event: &str, data: &impl Serialize) -> String {
        match self {
            Envelope::Workflow { run_id, task_id } => {
                #[derive(Serialize)]
                struct Whole<'a, D> {
                    event: &'a str,
                    workflow_run_id: &'a str,
                    task_id: &'a str,
                    data: &'a D,
                }
                orjson(&Whole { event, workflow_run_id: run_id, task_id, data })
            }
            Envelope::Chat { conversation_id, message_id, created_at, task_id, run_id } => {
                #[derive(Serialize)]
                struct Whole<'a, D> {
                    event: &'a str,
                    conversation_id: &'a str,
                    message_id: &'a str,
                    created_at: i64,
                    task_id: &'a str,
                    workflow_run_id: &'a str,
                    data: &'a D,
                }
                orjson(&Whole {
                    event,
                    conversation_id,
                    message_id,
                    created_at: *created_at,
                    task_id,
                    workflow_run_id: run_id,
                    data,
                })
            }
        }
    }

    fn text(&self, text: &str, selector: &[String]) -> String {
        match self {
            Envelope::Workflow { .. } => {
                #[derive(Serialize)]
                struct Chunk<'a> {
                    text: &'a str,
                    from_variable_selector: &'a [String],
                }
                self.with_data("text_chunk", &Chunk { text, from_variable_selector: selector })
            }
            Envelope::Chat { conversation_id, message_id, created_at, task_id, .. } => {
                #[derive(Serialize)]
                struct Message<'a> {
                    event: &'static str,
                    conversation_id: &'a str,
                    message_id: &'a str,
                    created_at: i64,
                    task_id: &'a str,
                    id: &'a str,
                    answer: &'a str,
                    from_variable_selector: &'a [String],
                }
                orjson(&Message {
                    event: "message",
                    conversation_id,
                    message_id,
                    created_at: *created_at,
                    task_id,
                    id: message_id,
                    answer: text,
                    from_variable_selector: selector,
                })
            }
        }
    }

    fn message_end(&self, metadata: &Metadata, files: &[Value]) -> String {
        #[derive(Serialize)]
        struct End<'a> {
            event: &'static str,
            conversation_id: &'a str,
            message_id: &'a str,
            created_at: i64,
            task_id: &'a str,
            id: &'a str,
            metadata: &'a Metadata,
            files: &'a [Value],
        }
        let (conversation_id, message_id, created_at) = match self {
            Envelope::Chat { conversation_id, message_id, created_at, .. } => {
                (conversation_id.as_str(), message_id.as_str(), *created_at)
            }
            Envelope::Workflow { .. } => ("", "", 0),
        };
        let task_id = self.task_id();
        orjson(&End {
            event: "message_end",
            conversation_id,
            message_id,
            created_at,
            task_id,
            id: message_id,
            metadata,
            files,
        })
    }

    /// Unlike all other frames this one names no task.
    fn error(&self, error: &ApiError) -> String {
        #[derive(Serialize)]
        struct Failed<'a> {
            event: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            workflow_run_id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            conversation_id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            message_id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            created_at: Option<i64>,
            code: &'a str,
            status: u16,
            message: &'a str,
        }
        let (code, status, message) = (error.code.as_ref(), error.status, error.message.as_ref());
        let (workflow_run_id, conversation_id, message_id, created_at) = match self {
            Envelope::Workflow { run_id, .. } => (Some(run_id.as_str()), None, None, None),
            Envelope::Chat { conversation_id, message_id, created_at, .. } => {
                (None, Some(conversation_id.as_str()), Some(message_id.as_str()), Some(*created_at))
            }
        };
        orjson(&Failed {
            event: "error",
            workflow_run_id,
            conversation_id,
            message_id,
            created_at,
            code,
            status,
            message,
        })
    }
}
