//! One component's alert as a state machine. Pure: pending → firing → resolved, and back to nothing.

use std::time::Duration;

use mainstay_base::Micros;
use mainstay_store::model::Severity;
use serde::{Deserialize, Serialize};

use super::{Rule, severity_of};
use crate::health::State;

/// A page that nobody acknowledges is repeated after this long, as long as it fires.
pub(crate) const REMIND_AFTER: Duration = Duration::from_secs(30 * 60);

/// What is remembered of a component in trouble. `None` stands for a component that has been well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    pub phase: Phase,
    /// The worst it has been since it began; never falls while the alert is open.
    pub severity: Severity,
    pub acknowledged: bool,
    /// Since when the component is well without a pause, if it is.
    pub well_since: Option<Micros>,
    pub last_notice_at: Option<Micros>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// In trouble, but not for long enough to tell anybody.
    Pending {
        since: Micros,
    },
    Firing {
        since: Micros,
    },
}

/// What one look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    pub state: State,
    /// A runbook works on it: the alert stays open until that has ended, so that one story ends once.
    pub held: bool,
    /// A runbook gave up: whoever is on call has to come.
    pub paged: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It was trouble for long enough.
    Fire(Severity),
    /// It became worse than anybody was told.
    Escalate(Severity),
    /// Still unacknowledged.
    Remind(Severity),
    Resolve,
    /// It passed before anybody was told.
    Forget,
}

/// One look at one component.
pub fn step(rule: &Rule, alert: Option<Alert>, input: Input, now: Micros) -> (Option<Alert>, Option<Effect>) {
    let found = severity_of(rule, input.state);
    match (alert, found) {
        (None, None) => (None, None),
        (None, Some(severity)) => begin(rule, severity, now),
        (Some(alert), Some(severity)) => continue_trouble(rule, alert, severity, input, now),
        (Some(alert), None) => continue_well(rule, alert, input, now),
    }
}

fn begin(rule: &Rule, severity: Severity, now: Micros) -> (Option<Alert>, Option<Effect>) {
    let phase = Phase::Pending { since: now };
    let alert = Alert { phase, severity, acknowledged: false, well_since: None, last_notice_at: None };
    if rule.fire_after.is_zero() { fire(alert, now) } else { (Some(alert), None) }
}

fn continue_trouble(
    rule: &Rule,
    mut alert: Alert,
    severity: Severity,
    input: Input,
    now: Micros,
) -> (Option<Alert>, Option<Effect>) {
    alert.well_since = None;
    let severity = if input.paged { Severity::Page } else { severity };
    match alert.phase {
        Phase::Pending { since } => {
            alert.severity = alert.severity.max(severity);
            if now.since(since) >= rule.fire_after { fire(alert, now) } else { (Some(alert), None) }
        }
        Phase::Firing { .. } if severity > alert.severity => escalate(alert, severity, now),
        Phase::Firing { .. } => remind(alert, now),
    }
}

fn continue_well(
    rule: &Rule,
    mut alert: Alert,
    input: Input,
    now: Micros,
) -> (Option<Alert>, Option<Effect>) {
    if matches!(alert.phase, Phase::Pending { .. }) {
        return (None, Some(Effect::Forget));
    }
    // What is not known to be well does not resolve anything.
    if input.state == State::Unknown {
        alert.well_since = None;
        return match input.paged && alert.severity < Severity::Page {
            true => escalate(alert, Severity::Page, now),
            false => (Some(alert), None),
        };
    }
    let since = *alert.well_since.get_or_insert(now);
    if input.held || now.since(since) < rule.resolve_after {
        return (Some(alert), None);
    }
    (None, Some(Effect::Resolve))
}

fn fire(mut alert: Alert, now: Micros) -> (Option<Alert>, Option<Effect>) {
    alert.phase = Phase::Firing { since: now };
    alert.last_notice_at = Some(now);
    let severity = alert.severity;
    (Some(alert), Some(Effect::Fire(severity)))
}

fn escalate(mut alert: Alert, severity: Severity, now: Micros) -> (Option<Alert>, Option<Effect>) {
    alert.severity = severity;
    // Whoever took note took note of something less.
    alert.acknowledged = false;
    alert.last_notice_at = Some(now);
    (Some(alert), Some(Effect::Escalate(severity)))
}

fn remind(mut alert: Alert, now: Micros) -> (Option<Alert>, Option<Effect>) {
    let due = alert.last_notice_at.is_none_or(|at| now.since(at) >= REMIND_AFTER);
    if alert.severity < Severity::Page || alert.acknowledged || !due {
        return (Some(alert), None);
    }
    alert.last_notice_at = Some(now);
    let severity = alert.severity;
    (Some(alert), Some(Effect::Remind(severity)))
}
