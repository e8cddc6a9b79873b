//! From a route to the receivers by which people are reached now.

use mainstay_base::Micros;
use mainstay_store::model::Severity;
use mainstay_wire::notify::Escalation;

use super::{Group, Input};
use crate::{
    alert::{Policy, Route, Step, Target, To},
    oncall,
};

/// Who is asked by one notice.
#[derive(Debug)]
pub(super) struct Asked {
    /// Each once, in the order of the configuration.
    pub(super) receivers: Vec<String>,
    pub(super) escalation: Option<Escalation>,
    pub(super) last_step: u32,
}

impl Asked {
    pub(super) fn only(receivers: Vec<String>) -> Asked {
        Asked { receivers, escalation: None, last_step: 0 }
    }

    /// Those of one step alone, or of the next one that reaches anybody.
    pub(super) fn of_step(
        input: &Input<'_>,
        route: &Route,
        step: u32,
        worst: Severity,
        now: Micros,
    ) -> Asked {
        let To::Policy(name) = &route.to else { return asked(input, route, step, worst, now) };
        let Some(policy) = input.plan.policy(name) else { return everybody(input, worst) };
        by_policy(input, policy, (step, step), worst, now)
    }
}

/// Everybody up to a step: whoever was asked before stays in it.
pub(super) fn asked(input: &Input<'_>, route: &Route, step: u32, worst: Severity, now: Micros) -> Asked {
    match &route.to {
        To::Everybody => everybody(input, worst),
        To::Receivers(names) => {
            Asked::only(fitting(input, |name| names.iter().any(|one| one == name), worst))
        }
        To::Policy(name) => match input.plan.policy(name) {
            Some(policy) => by_policy(input, policy, (0, step), worst, now),
            None => everybody(input, worst),
        },
    }
}

/// Those who were told and want to know that somebody takes care.
pub(super) fn told_of_acknowledgement(input: &Input<'_>, group: &Group) -> Vec<String> {
    let wants = input.receivers.iter().filter(|receiver| receiver.wants_acknowledged);
    wants.map(|receiver| receiver.name.clone()).filter(|name| group.told.contains(name)).collect()
}

fn everybody(input: &Input<'_>, worst: Severity) -> Asked {
    Asked::only(fitting(input, |_| true, worst))
}

fn fitting(input: &Input<'_>, is_meant: impl Fn(&str) -> bool, worst: Severity) -> Vec<String> {
    let reached = input.receivers.iter().filter(|receiver| worst >= receiver.min_severity);
    reached.map(|receiver| receiver.name.clone()).filter(|name| is_meant(name)).collect()
}

/// The steps from the first to the last of these; on to the next ones while nobody is reached by a page, and to
/// everybody at the end: a hole in a schedule must not swallow a page.
fn by_policy(
    input: &Input<'_>,
    policy: &Policy,
    (first, last): (u32, u32),
    worst: Severity,
    now: Micros,
) -> Asked {
    let (first, last) = (first as usize, last as usize);
    let mut names: Vec<String> = Vec::new();
    let mut people: Vec<String> = Vec::new();
    let (mut asked_step, mut reached) = (last, Vec::new());
    for (place, step) in policy.steps.iter().enumerate().skip(first) {
        if place > last && (!reached.is_empty() || worst < Severity::Page) {
            break;
        }
        if place >= last {
            people.clear();
        }
        collect(input, step, now, &mut names, &mut people);
        reached = fitting(input, |name| names.iter().any(|one| one == name), worst);
        asked_step = place;
    }
    if reached.is_empty() && worst == Severity::Page {
        reached = everybody(input, worst).receivers;
    }
    let last_step = u32::try_from(asked_step).unwrap_or(u32::MAX);
    let escalation = Escalation { policy: policy.name.clone(), step: last_step.saturating_add(1), people };
    Asked { receivers: reached, escalation: Some(escalation), last_step }
}

fn collect(input: &Input<'_>, step: &Step, now: Micros, names: &mut Vec<String>, people: &mut Vec<String>) {
    for target in &step.to {
        let person = match target {
            Target::Receiver(name) => {
                names.push(name.clone());
                None
            }
            Target::Person(name) => Some(name.clone()),
            Target::Schedule(name) => input
                .plan
                .schedule(name)
                .and_then(|schedule| oncall::on_call(schedule, input.overrides, now))
                .map(|on_call| on_call.person),
        };
        let Some(person) = person else { continue };
        names.extend(input.plan.person(&person).iter().flat_map(|person| person.receivers.clone()));
        if !people.contains(&person) {
            people.push(person);
        }
    }
}
