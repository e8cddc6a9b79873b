//! What alerts are told by: their groups, silences, and overrides of who is on call.

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Alert, NewDelivery, NewEvent};

/// Alerts that are told of together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertGroup {
    pub id: String,
    /// Nobody is told of it; what would have been told is in its body.
    pub shadow: bool,
    /// Whatever control keeps with it; never filtered on.
    pub body: Value,
    pub updated_at: Micros,
    pub ended_at: Option<Micros>,
}

/// Alerts of which nobody is told for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    pub id: String,
    /// `label=value`, all of which an alert has to fit.
    pub matchers: Vec<String>,
    pub starts_at: Micros,
    pub ends_at: Micros,
    pub author: String,
    pub comment: String,
    pub created_at: Micros,
    /// Who ended it before its time.
    pub ended_by: Option<String>,
}

/// Somebody is on call instead of whoever would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnCallOverride {
    pub id: String,
    pub schedule: String,
    pub person: String,
    pub starts_at: Micros,
    pub ends_at: Micros,
    pub author: String,
    pub comment: String,
    pub created_at: Micros,
    pub ended_by: Option<String>,
}

/// Everything that is open, read at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertBook {
    pub alerts: Vec<Alert>,
    pub groups: Vec<AlertGroup>,
    /// Those that hold or will hold.
    pub silences: Vec<Silence>,
    pub overrides: Vec<OnCallOverride>,
}

/// What one look at alerts decided: all of it is stored, or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decided {
    /// Nothing is stored when this lease is not held any more.
    pub fence: Option<Fence>,
    pub alerts: Vec<Alert>,
    pub groups: Vec<AlertGroup>,
    pub deliveries: Vec<NewDelivery>,
    pub events: Vec<NewEvent>,
}

impl Decided {
    pub fn is_empty(&self) -> bool {
        let Decided { fence: _, alerts, groups, deliveries, events } = self;
        alerts.is_empty() && groups.is_empty() && deliveries.is_empty() && events.is_empty()
    }
}

/// The lease that whoever writes has to hold at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    pub lease: String,
    pub holder: String,
    pub epoch: i64,
}
