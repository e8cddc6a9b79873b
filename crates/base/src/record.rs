//! What the data plane tells the control plane: one record for each request, opened before anything can fail.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{Class, Kind, Micros, Usd};

/// One request through the gateway, from its first byte to the end of its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub request_id: String,
    pub path: Path,
    pub method: String,
    /// The path of the URL; never its query, which may hold personal data.
    pub target: String,
    pub trace_id: String,
    #[serde(default)]
    pub span: Span,
    pub snapshot_generation: u64,
    pub opened_at: Micros,
    pub took_us: u64,
    pub outcome: Outcome,
    /// The HTTP status that was sent; 0 when the caller left before one could be.
    pub status: u16,
    pub kind: Option<Kind>,
    /// The internal message: what an operator needs. The caller got a public one.
    pub error: Option<String>,
    pub app_id: Option<String>,
    pub app: Option<String>,
    /// The upstream or provider that answered.
    pub upstream: Option<String>,
    pub model: Option<String>,
    pub run_id: Option<String>,
    pub task_id: Option<String>,
    /// The status inside the answer's body (`succeeded`, `failed`, …), when one was seen.
    pub run_status: Option<String>,
    pub streamed: bool,
    pub first_byte_us: Option<u64>,
    pub first_token_us: Option<u64>,
    pub events: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub total_tokens: Option<u64>,
    /// Input tokens that the provider had in its cache.
    #[serde(default)]
    pub cached_tokens: Option<u64>,
    /// The virtual key's name.
    #[serde(default)]
    pub key: Option<String>,
    #[serde(default)]
    pub tenant: Option<String>,
    /// The `user` of an OpenAI-shaped body: Dify's end user, by which its app is found.
    #[serde(default)]
    pub end_user: Option<String>,
    /// All attempts together. `None`: no attempt had a price.
    #[serde(default)]
    pub cost: Option<Usd>,
    /// What was allowed: until when, and how much.
    #[serde(default)]
    pub deadline_us: Option<u64>,
    #[serde(default)]
    pub max_cost: Option<Usd>,
    /// The answer was another call's, identical and in flight.
    #[serde(default)]
    pub shared_with: Option<String>,
    /// What the call needed of whoever answers it: by it recorded calls are routed again under another policy. `None`: it
    /// was refused before it was routed, is no call of a model, or was recorded before this was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Needs>,
    pub attempts: Vec<Attempt>,
    pub stages: Vec<Stage>,
}

impl Record {
    /// A record of which nothing is known. Its outcome is what is true until something else is known.
    pub fn blank(path: Path) -> Record {
        Record {
            request_id: String::new(),
            path,
            method: String::new(),
            target: String::new(),
            trace_id: String::new(),
            span: Span::default(),
            snapshot_generation: 0,
            opened_at: Micros(0),
            took_us: 0,
            outcome: Outcome::CallerGone,
            status: 0,
            kind: None,
            error: None,
            app_id: None,
            app: None,
            upstream: None,
            model: None,
            run_id: None,
            task_id: None,
            run_status: None,
            streamed: false,
            first_byte_us: None,
            first_token_us: None,
            events: 0,
            bytes_in: 0,
            bytes_out: 0,
            input_tokens: None,
            output_tokens: None,
            total_tokens: None,
            cached_tokens: None,
            key: None,
            tenant: None,
            end_user: None,
            cost: None,
            deadline_us: None,
            max_cost: None,
            shared_with: None,
            needs: None,
            attempts: Vec::new(),
            stages: Vec::new(),
        }
    }
}

/// Our own place in a trace. What is sent on names it as its parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Span {
    /// 0: the record is older than this was written down.
    pub id: u64,
    /// The caller's; `None`: the trace begins with us.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
    /// Whether the caller, or we where it said nothing, wants the trace kept.
    pub is_sampled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    App,
    Model,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The answer was delivered whole.
    Ok,
    /// Refused or failed; `kind` says whose doing.
    Failed,
    /// The caller left before the end.
    CallerGone,
    /// The answer began and was cut; the caller was told in band.
    Cut,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Failed => "failed",
            Outcome::CallerGone => "caller_gone",
            Outcome::Cut => "cut",
        }
    }
}

/// What the conditions of a chain ask of a call. Holds nothing of its content. What is absent or false is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Needs {
    /// Estimated, before anybody was asked.
    pub input_tokens: u64,
    /// For each answer, as the caller said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "is_false")]
    pub tools: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub vision: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub structured_output: bool,
    /// Embeddings and reranking stay with one model.
    #[serde(skip_serializing_if = "is_false")]
    pub keeps_model: bool,
    /// It uses what only the Responses API itself has.
    #[serde(skip_serializing_if = "is_false")]
    pub needs_responses: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_class: Option<String>,
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What is read of a stored record to route its call again. The rest of it (stages, texts, ids) is skipped.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Routed {
    pub opened_at: Micros,
    pub took_us: u64,
    pub outcome: Outcome,
    pub model: Option<String>,
    pub streamed: bool,
    pub first_token_us: Option<u64>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    #[serde(default)]
    pub key: Option<String>,
    #[serde(default)]
    pub deadline_us: Option<u64>,
    #[serde(default)]
    pub max_cost: Option<Usd>,
    #[serde(default)]
    pub shared_with: Option<String>,
    #[serde(default)]
    pub needs: Option<Needs>,
    pub attempts: Vec<RoutedAttempt>,
}

/// The same of an [`Attempt`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RoutedAttempt {
    pub upstream: String,
    pub error: Option<String>,
    pub took_us: u64,
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default)]
    pub class: Option<Class>,
    #[serde(default)]
    pub started_us: u64,
    #[serde(default)]
    pub first_token_us: Option<u64>,
    #[serde(default)]
    pub cost: Option<Usd>,
}

impl From<Record> for Routed {
    fn from(record: Record) -> Routed {
        let attempt = |attempt: Attempt| RoutedAttempt {
            upstream: attempt.upstream,
            error: attempt.error,
            took_us: attempt.took_us,
            model: attempt.model,
            class: attempt.class,
            started_us: attempt.started_us,
            first_token_us: attempt.first_token_us,
            cost: attempt.cost,
        };
        Routed {
            opened_at: record.opened_at,
            took_us: record.took_us,
            outcome: record.outcome,
            model: record.model,
            streamed: record.streamed,
            first_token_us: record.first_token_us,
            input_tokens: record.input_tokens,
            output_tokens: record.output_tokens,
            key: record.key,
            deadline_us: record.deadline_us,
            max_cost: record.max_cost,
            shared_with: record.shared_with,
            needs: record.needs,
            attempts: record.attempts.into_iter().map(attempt).collect(),
        }
    }
}

/// One try of one candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub upstream: String,
    /// The HTTP status that came back; `None` when none did.
    pub status: Option<u16>,
    /// Why it was not the answer, in words; `None` for the attempt that was.
    pub error: Option<String>,
    pub took_us: u64,
    /// The provider's name for the model.
    #[serde(default)]
    pub model: Option<String>,
    /// The provider's key that was used, by name.
    #[serde(default)]
    pub key: Option<String>,
    /// Why it was not the answer, in one word.
    #[serde(default)]
    pub class: Option<Class>,
    #[serde(default)]
    pub role: AttemptRole,
    /// From the opening of the record to its start.
    #[serde(default)]
    pub started_us: u64,
    /// From its start.
    #[serde(default)]
    pub first_byte_us: Option<u64>,
    #[serde(default)]
    pub first_token_us: Option<u64>,
    #[serde(default)]
    pub input_tokens: Option<u64>,
    #[serde(default)]
    pub output_tokens: Option<u64>,
    /// From the provider's usage, or estimated (`is_cost_estimated`) when none came.
    #[serde(default)]
    pub cost: Option<Usd>,
    #[serde(default)]
    pub is_cost_estimated: bool,
    /// It ran out of the time that the caller asked for, before that which its target is meant to have: this says nothing
    /// of the target.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_callers_haste: bool,
}

/// Why an attempt was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptRole {
    #[default]
    First,
    /// The same target again.
    Retry,
    /// The next target.
    Fallback,
    /// Beside a slow one.
    Hedge,
    /// From where a cut stream broke off.
    Continuation,
}

/// One stage of the path, as `mainstay explain` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    pub name: StageName,
    pub outcome: StageOutcome,
    /// The condition that decided the outcome, in words.
    pub condition: Cow<'static, str>,
    /// From the opening of the record to the start of the stage.
    pub started_us: u64,
    pub took_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageName {
    Bootstrap,
    Normalize,
    Admit,
    Execute,
    Check,
    Compose,
    Telemetry,
}

impl StageName {
    /// The order of the path.
    pub const ALL: [StageName; 7] = [
        StageName::Bootstrap,
        StageName::Normalize,
        StageName::Admit,
        StageName::Execute,
        StageName::Check,
        StageName::Compose,
        StageName::Telemetry,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            StageName::Bootstrap => "bootstrap",
            StageName::Normalize => "normalize",
            StageName::Admit => "admit",
            StageName::Execute => "execute",
            StageName::Check => "check",
            StageName::Compose => "compose",
            StageName::Telemetry => "telemetry",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageOutcome {
    Passed,
    Refused,
    Failed,
}
