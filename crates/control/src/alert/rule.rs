//! When an alert fires, as data.

use std::time::Duration;

use mainstay_store::model::Severity;

use crate::health::{Group, State};

/// For one kind of component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub group: Group,
    /// In trouble for so long without a pause before anybody is told.
    pub fire_after: Duration,
    /// Well for so long without a pause before the alert is resolved.
    pub resolve_after: Duration,
    pub degraded: Option<Severity>,
    pub down: Option<Severity>,
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A worker's silence is 3 s old when it shows, so its alert waits little. `workers` together only speaks when none
/// is left: each sick worker has an alert of its own.
pub const RULES: &[Rule] = &[
    Rule {
        group: Group::Store,
        fire_after: seconds(3),
        resolve_after: seconds(10),
        degraded: Some(Severity::Warning),
        down: Some(Severity::Page),
    },
    Rule {
        group: Group::Engine,
        fire_after: seconds(3),
        resolve_after: seconds(10),
        degraded: Some(Severity::Warning),
        down: Some(Severity::Page),
    },
    Rule {
        group: Group::Workers,
        fire_after: seconds(5),
        resolve_after: seconds(5),
        degraded: None,
        down: Some(Severity::Page),
    },
    Rule {
        group: Group::Worker,
        fire_after: Duration::from_millis(500),
        resolve_after: seconds(4),
        degraded: Some(Severity::Warning),
        down: Some(Severity::Warning),
    },
    Rule {
        group: Group::Queue,
        fire_after: seconds(10),
        resolve_after: seconds(10),
        degraded: Some(Severity::Warning),
        down: Some(Severity::Page),
    },
    Rule {
        group: Group::Upstream,
        fire_after: seconds(3),
        resolve_after: seconds(10),
        degraded: Some(Severity::Warning),
        down: Some(Severity::Page),
    },
    Rule {
        group: Group::Provider,
        fire_after: seconds(2),
        resolve_after: seconds(5),
        degraded: Some(Severity::Warning),
        down: Some(Severity::Warning),
    },
    // The reader tries again every 10 s, and begins where it ended: a short break costs nothing.
    Rule {
        group: Group::Ingest,
        fire_after: seconds(60),
        resolve_after: seconds(30),
        degraded: Some(Severity::Warning),
        down: Some(Severity::Warning),
    },
    // A state of a Dify stands when two looks agree on it; what flaps stays open until it is well for a while.
    Rule {
        group: Group::Dify,
        fire_after: seconds(2),
        resolve_after: seconds(10),
        degraded: Some(Severity::Warning),
        down: Some(Severity::Page),
    },
    Rule {
        group: Group::ProviderKey,
        fire_after: Duration::ZERO,
        resolve_after: seconds(5),
        degraded: None,
        down: Some(Severity::Warning),
    },
    // A notice that failed once comes again within seconds. Who is told of this: docs/receivers.md.
    Rule {
        group: Group::Receiver,
        fire_after: seconds(60),
        resolve_after: seconds(30),
        degraded: Some(Severity::Warning),
        down: Some(Severity::Page),
    },
    // Its detector has waited and weighed already: degraded is what a ticket is for, down is a page.
    Rule {
        group: Group::Slo,
        fire_after: Duration::ZERO,
        resolve_after: seconds(60),
        degraded: Some(Severity::Warning),
        down: Some(Severity::Page),
    },
];

/// What an alert's rule is called.
pub fn name_of(group: Group) -> &'static str {
    match group {
        Group::Provider => "provider-incident",
        Group::ProviderKey => "provider-key-refused",
        Group::Slo => "slo",
        Group::Receiver => "receiver-fails",
        _ => "component-health",
    }
}

/// Whether an alert in the store is one of ours.
pub fn is_rule(name: &str) -> bool {
    RULES.iter().any(|rule| name_of(rule.group) == name)
}

pub fn rule_for(group: Group) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.group == group)
}

/// How bad a component's state is for people; `None`: nobody needs to know.
pub fn severity_of(rule: &Rule, state: State) -> Option<Severity> {
    match state {
        State::Ok | State::Unknown => None,
        State::Degraded => rule.degraded,
        State::Down => rule.down,
    }
}
