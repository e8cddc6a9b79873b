//! The facts that health is decided by, as plain values.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::{Class, Micros, standing::BreakerState};
use mainstay_store::model::QueueStats;

use super::{Group, ReceiverFacts, RefusedKey, Report, State, Traffic};
use crate::{deep::PartFacts, ports::Slot};

/// One look at everything. What was never looked at is `None`.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub store: Option<Read<Duration>>,
    /// `None` inside: there is no embedded engine.
    pub engine: Option<PeerFacts>,
    pub queue: Option<Read<QueueStats>>,
    /// The name of this host, as its workers give it.
    pub host: String,
    /// The worker processes that ought to run here; empty without a supervisor.
    pub slots: Vec<Slot>,
    /// The workers that beat, here or elsewhere. The error stands for a store that did not answer.
    pub workers: Option<Read<Vec<WorkerFacts>>>,
    pub upstreams: Vec<PeerFacts>,
    pub providers: Vec<PeerFacts>,
    /// The parts of the Dify that is looked after.
    pub dify: Vec<PartFacts>,
    /// Those who are told of alerts.
    pub receivers: Vec<ReceiverFacts>,
    /// What the process around says of itself, by group: control has no other way to know.
    pub told: BTreeMap<Group, Told>,
    /// What was decided last time, for `since`.
    pub previous: Option<Report>,
}

/// What the process around says of one of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub state: State,
    pub reason: String,
    pub at: Micros,
}

/// Something asked of the store: when, and what it said.
#[derive(Clone, Debug)]
pub struct Read<T> {
    pub at: Micros,
    pub value: Result<T, String>,
    /// Failed asks in a row.
    pub failures: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerFacts {
    pub id: String,
    pub slot: i64,
    pub pid: i64,
    pub host: String,
    pub jobs: i64,
    pub started_at: Micros,
    /// How long its heartbeat has not changed, by the clock of this process: other clocks may be wrong.
    pub silent: Duration,
}

/// Somebody who is called.
#[derive(Clone, Debug, Default)]
pub struct PeerFacts {
    pub name: String,
    pub traffic: Traffic,
    pub probe: Option<ProbeFacts>,
    /// A provider out of rotation: by whom and why.
    pub drained: Option<String>,
    /// Of a provider: its targets, as the gateways say.
    pub targets: Vec<TargetFacts>,
    /// Of a provider: how many keys it has, and which of them it refuses.
    pub keys: usize,
    pub keys_refused: Vec<RefusedKey>,
}

/// One target of a provider, as the gateway says that has the worst of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetFacts {
    /// The provider's name of the model.
    pub model: String,
    pub breaker: BreakerState,
    /// Until then nobody asks it.
    pub probe_at: Option<Micros>,
    pub last_failure: Option<Class>,
}

/// How synthetic probes of a peer went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeFacts {
    pub at: Micros,
    /// The last one's failure.
    pub error: Option<String>,
    pub bad_in_a_row: u32,
    pub good_in_a_row: u32,
}
