//! What the control plane tells the data plane: one immutable value, swapped whole.
//!
//! A gateway works from the last snapshot it was given and never asks for more, so it keeps serving when the
//! database and the control plane are down.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{AppMode, id::KeyHash};

pub mod model;

pub use model::{
    Adaptation, Breaker, CacheSystem, CallPolicy, Conditions, Dialect, Drain, Ejection, Failover, Hedge,
    KeyBudget, LogicalModel, ModelKey, ModelRoutes, ModelTarget, Offer, OnCut, OnStoreGone, PreCommit, Price,
    Provider, ProviderKey, ProviderSecret, Retry, SingleFlight, Strategy, TargetLimits,
};

/// Everything the gateway routes by.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows with every publication; an answer can say by which snapshot it was routed.
    pub generation: u64,
    pub app: AppRoutes,
    pub model: ModelRoutes,
    /// Bodies that are read whole may be no longer, whatever else is granted. `None`: no more is said.
    pub max_body_bytes: Option<usize>,
}

/// The app path: Dify's Service API.
#[derive(Clone, Debug, Default)]
pub struct AppRoutes {
    /// Who can answer, in order of preference.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Where a key goes that is in no route: a real Dify checks keys itself. `None`: such a key is refused.
    pub unknown_keys_to: Option<Arc<Upstream>>,
    /// Apps by the hash of their API key.
    pub keys: HashMap<KeyHash, Arc<AppRoute>>,
}

/// One app as the gateway knows it.
#[derive(Clone, Debug)]
pub struct AppRoute {
    pub app_id: String,
    pub name: String,
    pub mode: AppMode,
    /// Who answers for this app, in order; the next is tried only before the first byte.
    pub candidates: Vec<Arc<Upstream>>,
    /// Whether `Prefer: respond-async` is served for this app.
    pub durable: bool,
    /// Whether a durable run may be repeated after its upstream may have begun it.
    pub idempotent: bool,
    /// The imported app that answers where a candidate is the embedded engine; `None`: the app itself.
    pub standby: Option<String>,
    /// Whether a durable run may name an address to be called: without a key to sign with, none may.
    pub callbacks: bool,
}

/// One answerer of the app path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub name: String,
    pub target: Target,
    pub timeouts: Timeouts,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The embedded engine in this process.
    Embedded,
    /// A Dify at this base URL, without `/v1` (`http://dify-api:5001`).
    Http { base_url: String },
}

/// Every wait has a name. `Duration::ZERO` is not a wait without end; there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// From the request sent to the head of the answer.
    pub first_byte: Duration,
    /// Between two pieces of a body. A Dify pings every 10 s.
    pub idle: Duration,
    /// The whole exchange.
    pub total: Duration,
}

impl Default for Timeouts {
    /// Fits Dify's own limits: runs of up to 1200 s, blocking answers that come only at the end of the run.
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(1260),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(1320),
        }
    }
}
