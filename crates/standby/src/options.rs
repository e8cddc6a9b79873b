//! What an operator may decide about the embedded Dify.

use std::collections::HashMap;

use mainstay_base::{Secret, snapshot::Timeouts};

#[derive(Clone, Debug)]
pub struct Options {
    /// Sent as `X-Env`.
    pub environment: String,
    /// `author_name` of `/v1/info`.
    pub author_name: String,
    /// Runs that this process executes at the same time; one more is refused with 429.
    pub max_active_runs: usize,
    pub retries: RetryLimits,
    /// Those of the start; [`Standby::set_upstreams`](crate::Standby::set_upstreams) gives others.
    pub upstreams: Upstreams,
}

/// Where durable runs of apps go that live in a real Dify.
#[derive(Clone, Debug, Default)]
pub struct Upstreams {
    pub by_name: HashMap<String, Upstream>,
    /// API keys of the apps, by app id. Never stored, never printed.
    pub keys: HashMap<String, Secret>,
}

/// How often a durable run is tried, by what ended the attempt before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryLimits {
    /// What a node called answered with a failure.
    pub upstream: i64,
    /// What a node called could not be reached, or not in time.
    pub unavailable: i64,
    /// A rate or budget was used up.
    pub over_budget: i64,
}

#[derive(Clone, Debug)]
pub struct Upstream {
    /// Without `/v1`.
    pub base_url: String,
    pub timeouts: Timeouts,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            environment: "PRODUCTION".to_owned(),
            author_name: "mainstay".to_owned(),
            max_active_runs: 16_384,
            retries: RetryLimits::default(),
            upstreams: Upstreams::default(),
        }
    }
}

impl Default for RetryLimits {
    fn default() -> RetryLimits {
        RetryLimits { upstream: 3, unavailable: 5, over_budget: 3 }
    }
}
