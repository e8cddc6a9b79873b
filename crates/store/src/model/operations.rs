//! Operations: workers, deliveries, records, alerts, timeline, runbooks, leases, settings, retention.

use std::time::Duration;

use mainstay_base::{Micros, record};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    pub id: String,
    /// Its place under the supervisor, which outlives restarts.
    pub slot: i64,
    pub pid: i64,
    pub host: String,
    pub started_at: Micros,
    /// Set by the store when it beats.
    pub beat_at: Micros,
    /// Jobs in hand.
    pub jobs: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryKind {
    /// The result of a run; its body is made from the run when it is sent.
    Callback,
    Alert,
}

impl DeliveryKind {
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryKind::Callback => "callback",
            DeliveryKind::Alert => "alert",
        }
    }

    pub fn parse(text: &str) -> Option<DeliveryKind> {
        [DeliveryKind::Callback, DeliveryKind::Alert].into_iter().find(|kind| kind.as_str() == text)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    Pending,
    Delivered,
    /// Given up.
    Failed,
    /// A later one of its topic says all that it would have said.
    Superseded,
}

impl DeliveryState {
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Pending => "pending",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Failed => "failed",
            DeliveryState::Superseded => "superseded",
        }
    }

    pub fn parse(text: &str) -> Option<DeliveryState> {
        [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Failed, DeliveryState::Superseded]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A delivery that is not the result of a run (those are made by `Jobs::finish`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewDelivery {
    /// The `webhook-id`. A second delivery with the same id is not stored.
    pub id: String,
    pub kind: DeliveryKind,
    pub run_id: Option<String>,
    /// The name of the receiver that it is for; where that is and how it is spoken to is known when it is sent.
    pub receiver: Option<String>,
    /// Deliveries of one topic to one receiver go out one after the other. Needs a receiver.
    pub topic: Option<String>,
    /// It says all that earlier ones of its topic say: those that are still pending are not sent any more.
    pub replaces: bool,
    /// Empty for a receiver.
    pub url: String,
    pub payload: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The `webhook-id`, the same for every attempt.
    pub id: String,
    pub kind: DeliveryKind,
    pub run_id: Option<String>,
    pub receiver: Option<String>,
    pub topic: Option<String>,
    pub url: String,
    pub payload: Option<Value>,
    pub state: DeliveryState,
    /// Attempts begun.
    pub attempts: i64,
    /// When it is due again; `None` when it has ended.
    pub next_at: Option<Micros>,
    pub last_status: Option<i64>,
    pub last_error: Option<String>,
    pub created_at: Micros,
    pub ended_at: Option<Micros>,
    /// An earlier attempt may have arrived: its sender died, or lost the answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_repeat: bool,
}

/// Newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordFilter {
    pub app_id: Option<String>,
    pub path: Option<record::Path>,
    pub outcome: Option<record::Outcome>,
    pub run_id: Option<String>,
    /// Only records opened before this time: the cursor.
    pub before: Option<Micros>,
    pub limit: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    Firing,
    Acknowledged,
    Resolved,
}

impl AlertState {
    pub fn as_str(self) -> &'static str {
        match self {
            AlertState::Firing => "firing",
            AlertState::Acknowledged => "acknowledged",
            AlertState::Resolved => "resolved",
        }
    }

    pub fn parse(text: &str) -> Option<AlertState> {
        [AlertState::Firing, AlertState::Acknowledged, AlertState::Resolved]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    Warning,
    Page,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Page => "page",
        }
    }

    pub fn parse(text: &str) -> Option<Severity> {
        [Severity::Info, Severity::Warning, Severity::Page]
            .into_iter()
            .find(|severity| severity.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    pub id: String,
    /// What kind of trouble (`component-down`, …).
    pub rule: String,
    /// What is in trouble (`worker:0`, `provider:openai`, …).
    pub subject: String,
    pub severity: Severity,
    pub state: AlertState,
    pub summary: String,
    /// Whatever control keeps with it; never filtered on.
    pub detail: Value,
    /// Why nobody is told of it: `shadow`, `silence:ID` or `inhibited:COMPONENT`.
    pub suppressed: Option<String>,
    /// Who looks after it, and since when.
    pub acknowledged_by: Option<String>,
    pub acknowledged_at: Option<Micros>,
    pub opened_at: Micros,
    pub updated_at: Micros,
    pub resolved_at: Option<Micros>,
}

/// Newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertFilter {
    /// Only alerts that are not resolved.
    pub open_only: bool,
    pub subject: Option<String>,
    /// Only alerts older than this one (its id): the cursor.
    pub before: Option<String>,
    pub limit: u32,
}

/// One thing that happened or was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewEvent {
    pub at: Micros,
    pub subject: String,
    pub kind: String,
    /// Who did it: a person, `mainstay`, a runbook.
    pub actor: String,
    pub text: String,
    pub detail: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelineEvent {
    /// 1, 2, 3, … without a gap.
    pub seq: i64,
    #[serde(flatten)]
    pub event: NewEvent,
    /// BLAKE3 over the hash before it and its own content, in hexadecimal digits.
    pub hash: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimelineFilter {
    pub subject: Option<String>,
    pub since: Option<Micros>,
    /// Only events older than this one (its seq): the cursor of lists, newest first.
    pub before: Option<i64>,
    /// Only events newer than this one (its seq), oldest first: how live views follow.
    pub after: Option<i64>,
    pub limit: u32,
}

/// The chain is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    pub events: i64,
    /// The hash of the last event. Kept elsewhere, it also proves that nobody rewrote the whole chain.
    pub head: String,
}

/// Where the chain is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the timeline was changed at event {seq}: {reason}")]
pub struct ChainBreak {
    pub seq: i64,
    pub reason: String,
}

/// One execution of a runbook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    pub id: String,
    pub runbook: String,
    pub subject: String,
    pub alert_id: Option<String>,
    /// In control's words (`running`, `waiting`, `succeeded`, `failed`, …).
    pub state: String,
    /// Whether it has ended.
    pub ended: bool,
    /// Control's own state of it; never filtered on.
    pub detail: Value,
    pub started_at: Micros,
    pub updated_at: Micros,
}

/// Newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecutionFilter {
    pub open_only: bool,
    pub runbook: Option<String>,
    pub subject: Option<String>,
    pub since: Option<Micros>,
    pub limit: u32,
}

/// A named lease, as of the control leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub name: String,
    pub holder: String,
    pub epoch: i64,
    pub until: Micros,
}

/// A document that operators change at run time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    pub name: String,
    pub value: Value,
    /// Grows with each change; 0 was never stored.
    pub revision: i64,
    pub actor: String,
    pub updated_at: Micros,
}

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Ended runs with their events and deliveries.
    pub runs: Duration,
    pub records: Duration,
    pub idempotency: Duration,
    /// Resolved alerts and ended runbook executions.
    pub alerts: Duration,
    /// Uploaded files.
    pub files: Duration,
}

impl Default for Policy {
    fn default() -> Policy {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Policy { runs: 30 * DAY, records: 7 * DAY, idempotency: DAY, alerts: 90 * DAY, files: 30 * DAY }
    }
}

/// What one sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    pub runs: u64,
    pub records: u64,
    pub idempotency: u64,
    pub alerts: u64,
    pub files: u64,
    /// Of budgets long over.
    pub allowances: u64,
    /// Of gateway processes that are gone.
    pub standings: u64,
    /// A limit was reached: sweep again soon.
    pub more: bool,
}
