//! What operators decide about control.

use std::{sync::Arc, time::Duration};

use mainstay_base::Secret;
use mainstay_net::AddressRule;
use mainstay_store::model::Policy;
use mainstay_wire::webhook;

use crate::alert::Plan;

pub use crate::delivery::Receiver;

/// Sent anew when the configuration is loaded again: whoever needs a part reads it when it acts. `holder`, `host` and
/// `automatic` are those of the start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names this process among all that run control (`host:pid`, or an instance id).
    pub holder: String,
    /// The name of this host, as its workers give it with their heartbeats.
    pub host: String,
    /// Who is told of alerts.
    pub receivers: Vec<Receiver>,
    /// How: routes, groups, escalation, schedules.
    pub alerting: Arc<Plan>,
    /// Who hears at intervals that control acts. `None`: nobody.
    pub heartbeat: Option<Heartbeat>,
    /// Signs callbacks. `None`: callbacks go out unsigned.
    pub callback_key: Option<webhook::Key>,
    /// Where callbacks may go: their addresses come from callers.
    pub callback_rule: AddressRule,
    /// How long things are kept.
    pub retention: Policy,
    /// The time limit of one run. A run outside the queue that is older has lost its process.
    pub longest_run: Duration,
    /// Whether runbooks act by themselves. `false` leaves health, alerts and runs by hand.
    pub automatic: bool,
    /// The Dify whose database is read, by the name under which it is kept; `None`: none is.
    pub dify_source: Option<String>,
}

impl Options {
    pub fn new(holder: impl Into<String>, host: impl Into<String>) -> Options {
        Options {
            holder: holder.into(),
            host: host.into(),
            receivers: Vec::new(),
            alerting: Arc::default(),
            heartbeat: None,
            callback_key: None,
            callback_rule: AddressRule::default(),
            retention: Policy::default(),
            longest_run: Duration::from_secs(1200),
            automatic: true,
            dify_source: None,
        }
    }
}

/// A dead man's switch: a service elsewhere that calls people when it is not called any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Often a secret by itself.
    pub url: Secret,
    pub every: Duration,
}
