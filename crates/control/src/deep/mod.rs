//! Deep health: each component of a Dify is looked at again and again, at its own pace, and what was seen last is kept as a
//! plain value that health, alerts, metrics and the console read.
//!
//! Promises: a component is never looked at twice at a time, so that one which hangs gathers nothing; no state is believed
//! that was seen once only; what costs something (the canary's run, the marker in storage, the look at key files) is done
//! no more often than the deployment's [`Pace`](mainstay_dify::probe::Pace) says, also across a restart; each database and
//! each Redis is asked over one connection; of several processes one looks.

mod others;
mod standing;
#[cfg(test)]
mod tests;
mod turn;
mod view;
mod watch;

use std::{sync::Arc, time::Duration};

use mainstay_base::Micros;
use mainstay_dify::probe::{Component, Report};
use serde::Serialize;

use crate::doctor::Diagnosis;

pub use view::{PartFacts, QUEUES, parts};
pub use watch::Watch;

/// Until a look that surprised is repeated.
fn again(component: Component) -> Duration {
    Duration::from_secs(match component {
        Component::Storage | Component::Keys => 15,
        Component::Canary => 60,
        _ => 3,
    })
}

/// What is known of a Dify now.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latest {
    /// The process that looked, where several share a store.
    pub by: Option<String>,
    /// Each component that the configuration names, in the order of [`Component::ALL`].
    pub looked: Vec<Looked>,
    /// What all of it comes to, with what is known of queues, workers and schema; the same value as `mainstay doctor`
    /// makes. `None` before the first look ended.
    pub diagnosis: Option<Arc<Diagnosis>>,
}

/// One component.
#[derive(Clone, Debug, Serialize)]
pub struct Looked {
    #[serde(skip)]
    pub component: Component,
    /// When the last look ended.
    pub at: Micros,
    /// Looks so far.
    pub looks: u64,
    /// What stands: seen twice in a row, or well from the start. `None`: not yet.
    pub stands: Option<Report>,
    /// What the last look said; another state than what stands, until it was seen again.
    pub last: Report,
    /// Since when a look is out that has not come back within its deadline.
    pub out_since: Option<Micros>,
}
