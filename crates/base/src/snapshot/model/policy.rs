//! How a call is tried, retried, hedged, given up and accounted for, and when a target is left alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Usd;

/// How one call is tried. Every field has a default; a route may change any.
#[derive(Clone, Debug, PartialEq)]
pub struct CallPolicy {
    /// The whole call, over all attempts; a caller may ask for less, never for more.
    pub deadline: Duration,
    /// Until the first byte goes to the caller, over all attempts. Dify's plugins give up after 300 s of silence.
    pub answer_within: Duration,
    /// What the call may cost over all attempts, in the worst case of each. `None`: no ceiling.
    pub max_cost: Option<Usd>,
    /// Attempts of one call, hedges included.
    pub max_attempts: u32,
    pub retry: Retry,
    pub hedge: Option<Hedge>,
    pub pre_commit: PreCommit,
    pub on_cut: OnCut,
    /// Whether an answer that a provider's content filter refused is asked of the next target.
    pub content_filter_falls_over: bool,
    pub single_flight: SingleFlight,
    pub drain: Drain,
}

impl Default for CallPolicy {
    fn default() -> CallPolicy {
        CallPolicy {
            deadline: Duration::from_secs(600),
            answer_within: Duration::from_secs(280),
            max_cost: None,
            max_attempts: 4,
            retry: Retry::default(),
            hedge: None,
            pre_commit: PreCommit::default(),
            on_cut: OnCut::default(),
            content_filter_falls_over: false,
            single_flight: SingleFlight::default(),
            drain: Drain::default(),
        }
    }
}

/// Tries of one target again, with full jitter: the wait before try n is uniform in 0..min(cap, base × 2ⁿ).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Tries of the same target after its first.
    pub same_target: u32,
    pub base: Duration,
    pub cap: Duration,
    /// Retries (of the same or another target) that each call earns for its model; what is saved up is bounded by `burst`.
    pub ratio: f64,
    pub burst: f64,
}

impl Default for Retry {
    /// A tenth of the traffic: amplification stays at most 1.1.
    fn default() -> Retry {
        Retry {
            same_target: 1,
            base: Duration::from_millis(200),
            cap: Duration::from_secs(5),
            ratio: 0.1,
            burst: 10.0,
        }
    }
}

/// A second attempt beside a slow first one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hedge {
    /// The quantile of the target's times to the first token after which the second attempt starts.
    pub after_quantile: f64,
    pub at_least: Duration,
    /// Hedges that each call earns for its model.
    pub ratio: f64,
}

impl Default for Hedge {
    fn default() -> Hedge {
        Hedge { after_quantile: 0.95, at_least: Duration::from_millis(50), ratio: 0.05 }
    }
}

/// How much of a stream is held until it has proved itself. The first of the bounds that is reached commits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreCommit {
    pub max_events: usize,
    pub max_bytes: usize,
    /// From the first event.
    pub max_wait: Duration,
    /// Characters of content that prove a stream. 1: the first content does.
    pub min_chars: usize,
}

impl Default for PreCommit {
    fn default() -> PreCommit {
        PreCommit { max_events: 64, max_bytes: 256 * 1024, max_wait: Duration::from_secs(10), min_chars: 1 }
    }
}

/// What happens when a stream breaks after its first content went out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnCut {
    /// A typed error event ends it.
    #[default]
    End,
    /// Another target continues from what was said (chat only), and the join is marked.
    Continue,
}

/// Which identical calls in flight share one upstream call, inside one tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SingleFlight {
    Off,
    /// Embeddings, rerank, moderations, and completions that ask for temperature 0.
    #[default]
    Deterministic,
    All,
}

/// What is still read of a stream whose caller left, so that its usage is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    pub max_wait: Duration,
    pub max_bytes: u64,
    /// Drains at once in one process; beyond it streams are aborted and billed for what was delivered.
    pub max_at_once: usize,
}

impl Default for Drain {
    /// Aborting at once stops the meter at most providers, so that is the default.
    fn default() -> Drain {
        Drain { max_wait: Duration::ZERO, max_bytes: 1024 * 1024, max_at_once: 64 }
    }
}

/// When a target is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaker {
    /// What is remembered.
    pub window: Duration,
    /// Fewer calls in the window never open it, except `consecutive`.
    pub min_calls: u32,
    /// The share of failures that opens it.
    pub failure_share: f64,
    /// So many failures in a row open it.
    pub consecutive: u32,
    /// A call whose first token took longer is slow.
    pub slow_call: Duration,
    /// The share of slow calls that opens it.
    pub slow_share: f64,
    /// How long it stays open the first time; doubles with each failed probe up to `max_open`.
    pub open_for: Duration,
    pub max_open: Duration,
    /// Calls at once that probe it while half-open, and successes that close it.
    pub probes: u32,
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker {
            window: Duration::from_secs(10),
            min_calls: 10,
            failure_share: 0.5,
            consecutive: 5,
            slow_call: Duration::from_secs(30),
            slow_share: 0.8,
            open_for: Duration::from_secs(2),
            max_open: Duration::from_secs(4),
            probes: 2,
        }
    }
}

/// Outlier ejection among the targets of one chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ejection {
    /// A target whose failure share exceeds the mean of the others by so much is ejected.
    pub excess: f64,
    /// With at least so many calls in the breaker's window.
    pub min_calls: u32,
    pub eject_for: Duration,
    /// At most this share of a chain's targets is ejected at a time: the floor is the rest.
    pub max_share: f64,
}

impl Default for Ejection {
    fn default() -> Ejection {
        Ejection { excess: 0.3, min_calls: 20, eject_for: Duration::from_secs(10), max_share: 0.5 }
    }
}
