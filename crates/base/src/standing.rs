//! How the gateway's model targets stand now: what only the process that sends to them knows. Goes up to control and
//! the console, each second; the newest wins.

use serde::{Deserialize, Serialize};

use crate::{Class, Micros};

/// All targets as one gateway process sees them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    pub at: Micros,
    pub snapshot_generation: u64,
    pub targets: Vec<TargetStanding>,
    pub keys: Vec<KeyStanding>,
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
