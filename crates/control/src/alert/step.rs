//! One component's alert as a state machine. Pure: pending → firing → resolved, and back to nothing.

use mainstay_base::Micros;
use mainstay_store::model::Severity;
use serde::{Deserialize, Serialize};

use super::{Rule, severity_of};
use crate::health::State;

/// What is remembered of a component in trouble. `None` stands for a component that has been well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    pub phase: Phase,
    /// The worst it has been since it began; never falls while the alert is open.
    pub severity: Severity,
    pub acknowledged: bool,
    /// Since when the component is well without a pause, if it is.
    pub well_since: Option<Micros>,
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
    let alert = Alert { phase, severity, acknowledged: false, well_since: None };
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
        Phase::Firing { .. } if severity > alert.severity => escalate(alert, severity),
        Phase::Firing { .. } => (Some(alert), None),
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
            true => escalate(alert, Severity::Page),
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
    let severity = alert.severity;
    (Some(alert), Some(Effect::Fire(severity)))
}

/// It became worse than anybody was told: whoever took care of the lesser has not taken care of this.
pub(crate) fn escalate(mut alert: Alert, severity: Severity) -> (Option<Alert>, Option<Effect>) {
    alert.severity = severity;
    alert.acknowledged = false;
    (Some(alert), Some(Effect::Escalate(severity)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{alert::RULES, health::Group};

    const RULE: Rule = Rule {
        group: Group::Provider,
        fire_after: Duration::from_secs(2),
        resolve_after: Duration::from_secs(5),
        degraded: Some(Severity::Warning),
        down: Some(Severity::Page),
    };

    /// Looks once a second, from second 0, and notes what was done when.
    fn story(looks: &[(State, bool, bool)]) -> Vec<(usize, Effect)> {
        let mut alert = None;
        let mut effects = Vec::new();
        for (second, (state, held, paged)) in looks.iter().enumerate() {
            let now = Micros(second as i64 * 1_000_000);
            let input = Input { state: *state, held: *held, paged: *paged };
            let (after, effect) = step(&RULE, alert, input, now);
            effects.extend(effect.map(|effect| (second, effect)));
            alert = after;
        }
        effects
    }

    fn plain(states: &[(State, usize)]) -> Vec<(usize, Effect)> {
        let looks =
            states.iter().flat_map(|(state, times)| std::iter::repeat_n((*state, false, false), *times));
        story(&looks.collect::<Vec<_>>())
    }

    #[test]
    fn an_alert_waits_fires_once_and_resolves_after_a_while() {
        use State::{Degraded, Down, Ok, Unknown};
        let warning = Severity::Warning;
        for (what, states, expected) in [
            ("well all the time", vec![(Ok, 20)], vec![]),
            ("a blip", vec![(Ok, 2), (Down, 2), (Ok, 5)], vec![(4, Effect::Forget)]),
            ("trouble", vec![(Degraded, 10)], vec![(2, Effect::Fire(warning))]),
            (
                "trouble that ends",
                vec![(Degraded, 4), (Ok, 10)],
                vec![(2, Effect::Fire(warning)), (9, Effect::Resolve)],
            ),
            (
                "trouble that comes back before it is resolved",
                vec![(Degraded, 4), (Ok, 4), (Degraded, 2), (Ok, 10)],
                vec![(2, Effect::Fire(warning)), (15, Effect::Resolve)],
            ),
            (
                "worse",
                vec![(Degraded, 4), (Down, 4)],
                vec![(2, Effect::Fire(warning)), (4, Effect::Escalate(Severity::Page))],
            ),
            (
                "worse, better, worse again: told once",
                vec![(Down, 4), (Degraded, 4), (Down, 4)],
                vec![(2, Effect::Fire(Severity::Page))],
            ),
            (
                "not known to be well resolves nothing",
                vec![(Degraded, 4), (Unknown, 30)],
                vec![(2, Effect::Fire(warning))],
            ),
            ("not known from the start", vec![(Unknown, 30)], vec![]),
        ] {
            assert_eq!(plain(&states), expected, "{what}");
        }
    }

    #[test]
    fn a_runbook_at_work_keeps_the_alert_open_and_one_that_gives_up_pages() {
        use State::{Degraded, Ok, Unknown};
        let mut looks = vec![(Degraded, false, false); 3];
        looks.extend(vec![(Ok, true, false); 20]);
        looks.extend(vec![(Ok, false, false); 2]);
        assert_eq!(story(&looks), [(2, Effect::Fire(Severity::Warning)), (23, Effect::Resolve)]);

        for state in [Degraded, Unknown] {
            let mut looks = vec![(Degraded, false, false); 3];
            looks.extend(vec![(state, false, true); 5]);
            let expected = [(2, Effect::Fire(Severity::Warning)), (3, Effect::Escalate(Severity::Page))];
            assert_eq!(story(&looks), expected, "{state:?}");
        }
    }

    fn any_state() -> impl Strategy<Value = State> {
        prop_oneof![Just(State::Ok), Just(State::Unknown), Just(State::Degraded), Just(State::Down)]
    }

    proptest! {
        /// Whatever comes: fire and resolve alternate, severity never falls while open, and what is well for long
        /// enough is closed.
        #[test]
        fn stories_are_well_formed(
            looks in proptest::collection::vec((any_state(), any::<bool>(), any::<bool>()), 0..200),
            rule in proptest::sample::select(RULES),
        ) {
            let rule = &rule;
            let (mut alert, mut open, mut severity, mut now) = (None, false, Severity::Info, Micros(0));
            for (state, held, paged) in looks {
                now = now + Duration::from_secs(1);
                let (after, effect) = step(rule, alert, Input { state, held, paged }, now);
                match effect {
                    Some(Effect::Fire(fired)) => {
                        prop_assert!(!open);
                        (open, severity) = (true, fired);
                    }
                    Some(Effect::Escalate(raised)) => {
                        prop_assert!(open && raised > severity);
                        severity = raised;
                    }
                    Some(Effect::Resolve) => {
                        let is_well = severity_of(rule, state).is_none() && state != State::Unknown;
                        prop_assert!(open && is_well && !held);
                        open = false;
                    }
                    Some(Effect::Forget) => prop_assert!(!open),
                    None => {}
                }
                prop_assert_eq!(open, after.as_ref().is_some_and(|alert| matches!(alert.phase, Phase::Firing { .. })));
                alert = after;
            }
            for _ in 0..=rule.resolve_after.as_secs() + 1 {
                now = now + Duration::from_secs(1);
                let calm = Input { state: State::Ok, held: false, paged: false };
                alert = step(rule, alert, calm, now).0;
            }
            prop_assert_eq!(alert, None);
        }
    }
}
