//! Runs: what was asked, what came out, and how each node did.

use mainstay_base::{AppMode, Kind, Micros};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ChatResult, JobKind, JobState};

/// Dify's `workflow_runs.status`, and `queued` for a durable run that nobody has taken yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    Queued,
    Running,
    Succeeded,
    PartialSucceeded,
    Failed,
    Stopped,
}

impl RunStatus {
    pub const ALL: [RunStatus; 6] = [
        RunStatus::Queued,
        RunStatus::Running,
        RunStatus::Succeeded,
        RunStatus::PartialSucceeded,
        RunStatus::Failed,
        RunStatus::Stopped,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Queued => "queued",
            RunStatus::Running => "running",
            RunStatus::Succeeded => "succeeded",
            RunStatus::PartialSucceeded => "partial-succeeded",
            RunStatus::Failed => "failed",
            RunStatus::Stopped => "stopped",
        }
    }

    pub fn parse(text: &str) -> Option<RunStatus> {
        RunStatus::ALL.into_iter().find(|status| status.as_str() == text)
    }

    pub fn is_final(self) -> bool {
        !matches!(self, RunStatus::Queued | RunStatus::Running)
    }
}

/// A run at its start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewRun {
    /// UUID v7 (`base::id::new`): runs are listed in the order of their ids.
    pub id: String,
    pub app_id: String,
    pub app_name: String,
    pub mode: AppMode,
    /// Who executes it.
    pub kind: JobKind,
    /// The name of the upstream for [`JobKind::Upstream`].
    pub upstream: Option<String>,
    /// Dify's `workflow_id`; empty when not known yet (an upstream decides).
    pub version_id: String,
    /// Dify's spelling of the version, as `/v1/workflows/logs` shows it.
    pub version: String,
    pub end_user_id: Option<String>,
    /// What the caller sent as `user`.
    pub session_id: String,
    pub task_id: Option<String>,
    pub conversation_id: Option<String>,
    pub request_id: Option<String>,
    pub trace_id: Option<String>,
    pub inputs: Value,
    pub created_at: Micros,
}

/// A run at its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    pub status: RunStatus,
    pub outputs: Option<Value>,
    pub error: Option<String>,
    pub error_kind: Option<Kind>,
    pub total_tokens: i64,
    pub total_steps: i64,
    pub exceptions_count: i64,
    pub started_at: Micros,
    pub finished_at: Micros,
    pub elapsed_us: i64,
    pub nodes: Vec<NodeExecution>,
    /// The id an upstream Dify gave the run.
    pub upstream_run_id: Option<String>,
    /// Dify's `usage` object, summed over the run's model calls.
    pub usage: Option<Value>,
    /// What a chat run leaves behind, stored in the same transaction.
    pub chat: Option<Box<ChatResult>>,
}

/// One node of a finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeExecution {
    pub id: String,
    pub node_id: String,
    pub node_type: String,
    pub title: String,
    pub index: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor_node_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iteration_id: Option<String>,
    /// Dify's `workflow_node_executions.status`.
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_data: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Dify's `execution_metadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    pub started_at: Micros,
    pub finished_at: Micros,
    pub elapsed_us: i64,
}

/// A run without its documents: what lists show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    pub id: String,
    pub app_id: String,
    pub app_name: String,
    pub mode: AppMode,
    pub kind: JobKind,
    pub upstream: Option<String>,
    pub version_id: String,
    pub version: String,
    pub status: RunStatus,
    pub error: Option<String>,
    pub error_kind: Option<Kind>,
    pub end_user_id: Option<String>,
    pub session_id: String,
    pub task_id: Option<String>,
    pub conversation_id: Option<String>,
    pub request_id: Option<String>,
    pub trace_id: Option<String>,
    pub upstream_run_id: Option<String>,
    pub total_tokens: i64,
    pub total_steps: i64,
    pub exceptions_count: i64,
    pub created_at: Micros,
    pub started_at: Option<Micros>,
    pub finished_at: Option<Micros>,
    pub elapsed_us: Option<i64>,
    /// Present while the run is in the queue, held by a worker, or a dead letter.
    pub job: Option<RunJob>,
}

/// How the queue sees a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunJob {
    pub state: JobState,
    pub attempt: i64,
    pub epoch: i64,
    pub worker_id: Option<String>,
    /// Queued: not before this time. Leased: the end of the lease. `None` for a dead letter.
    pub due_at: Option<Micros>,
    pub cancel_requested: bool,
    pub last_class: Option<String>,
    pub last_error: Option<String>,
}

/// A run with its documents, without its nodes (see `Runs::nodes`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    #[serde(flatten)]
    pub summary: RunSummary,
    pub inputs: Value,
    pub outputs: Option<Value>,
    pub usage: Option<Value>,
}

/// One event an upstream sent for a run, kept as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEvent {
    pub seq: i64,
    pub at: Micros,
    /// The `data` of the server-sent event.
    pub body: String,
}

/// Newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFilter {
    pub app_id: Option<String>,
    pub status: Option<RunStatus>,
    pub kind: Option<JobKind>,
    pub session_id: Option<String>,
    pub conversation_id: Option<String>,
    /// Only runs older than this one (its id): the cursor.
    pub before: Option<String>,
    /// At most `runs::MAX_LIST`; 0 means that limit.
    pub limit: u32,
}

/// The query of `/v1/workflows/logs`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogFilter {
    pub keyword: Option<String>,
    pub status: Option<RunStatus>,
    pub created_before: Option<Micros>,
    pub created_after: Option<Micros>,
    pub session_id: Option<String>,
    /// From 1.
    pub page: u32,
    pub limit: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LogPage {
    pub runs: Vec<RunSummary>,
    pub total: i64,
}

/// How many runs ended in a state since some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub app_id: String,
    pub status: RunStatus,
    pub runs: i64,
    pub total_tokens: i64,
}
