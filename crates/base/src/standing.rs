//! How the gateway's model targets stand now: what only the process that sends to them knows. Goes up to control and
//! the console, each second; the newest wins.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Class, Micros};

/// All targets as one gateway process sees them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    pub at: Micros,
    pub snapshot_generation: u64,
    pub targets: Vec<TargetStanding>,
    pub keys: Vec<KeyStanding>,
    /// What providers answered in the last minute or so, oldest first: what control makes an incident's shares of.
    #[serde(default)]
    pub answers: Vec<Answers>,
}

impl Standing {
    /// A gateway says each second how its targets stand; one that is silent for longer knows nothing of now.
    pub const MAX_AGE: Duration = Duration::from_secs(10);
}

/// What came of the attempts at one provider that ended in one span of [`Answers::SPAN`], as one process counted them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    pub provider: String,
    /// A whole multiple of the span since 1970.
    pub from: Micros,
    pub good: u32,
    pub bad: u32,
    pub last_bad_at: Option<Micros>,
    pub last_error: Option<String>,
    pub callers: Vec<CallerAnswers>,
    /// How often each class of failure was met.
    pub classes: BTreeMap<String, u32>,
    /// Who answered the calls that it failed: provider, model and how many.
    pub detours: Vec<(String, Option<String>, u32)>,
}

impl Answers {
    pub const SPAN: Duration = Duration::from_secs(10);
}

/// An app, or a virtual key where no app is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerAnswers {
    pub caller: String,
    /// What it is called, where `caller` is an app's id and its name is known.
    pub name: Option<String>,
    pub good: u32,
    pub bad: u32,
}

/// One target: a provider's model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetStanding {
    pub provider: String,
    pub model: String,
    pub breaker: BreakerState,
    /// Since when the breaker is in this state.
    pub since: Micros,
    /// When an open breaker lets the first probe through.
    pub probe_at: Option<Micros>,
    pub ejected_until: Option<Micros>,
    pub in_flight: u32,
    /// In the breaker's window.
    pub calls: u32,
    pub failures: u32,
    pub last_failure: Option<Class>,
    pub last_failure_at: Option<Micros>,
    pub last_success_at: Option<Micros>,
    pub first_token_ms_p50: Option<u64>,
    pub first_token_ms_p95: Option<u64>,
    /// What the provider's headers, or the configured limits, still allow in this minute.
    pub requests_left: Option<u64>,
    pub tokens_left: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    #[default]
    Closed,
    Open,
    HalfOpen,
}

impl BreakerState {
    pub fn as_str(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }
}

/// One key of a provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyStanding {
    pub provider: String,
    /// Its name, never the key.
    pub key: String,
    /// Out of use until then; `None`: in use.
    pub rests_until: Option<Micros>,
    pub why: Option<Class>,
    /// In flight with this key.
    pub in_flight: u32,
}
