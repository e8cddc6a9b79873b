//! What one group has to say now: at most one notice a look.

use std::collections::BTreeMap;

use mainstay_base::Micros;
use mainstay_store::model::Severity;
use mainstay_wire::notify::What;

use super::{
    Group, Input, Member, Outgoing, Standing,
    notice::notice,
    reach::{Asked, asked, told_of_acknowledgement},
};
use crate::alert::{Policy, Reach, Route, To};

/// Begins the component that a receiver is.
const RECEIVER: &str = "receiver:";

pub(super) fn decide(
    input: &Input<'_>,
    group: &mut Group,
    firing: &BTreeMap<&str, Standing<'_>>,
    now: Micros,
) -> Option<Outgoing> {
    if group.ended_at.is_some() {
        return None;
    }
    let reached = others(input, group);
    let input = &Input { receivers: &reached, ..*input };
    if group.members.values().all(|member| member.resolved_at.is_some()) {
        return end(input, group, now);
    }
    let loud = loud(group, now);
    if loud.is_empty() {
        group.paused = group.number > 0;
        return None;
    }
    if std::mem::take(&mut group.paused) {
        group.step_since = Some(now);
    }
    // What its route says; a group whose route is gone has no member left.
    let route = input.plan.route(&group.route)?;
    let worst = worst(group, &loud);
    if let Some(what) = news(route, group, &loud, now) {
        return Some(tell_news(input, route, group, firing, (what, worst), now));
    }
    if let Some(by) = all_acknowledged(group, &loud) {
        return acknowledged(input, group, firing, by, now);
    }
    group.acknowledged_by = None;
    again(input, route, group, firing, worst, now)
}

/// Everybody but the receiver that all of it is about: it would wait behind what it does not take.
pub(super) fn others(input: &Input<'_>, group: &Group) -> Vec<Reach> {
    let mut components = group.members.values().map(|member| member.component.strip_prefix(RECEIVER));
    let about = components.next().flatten().filter(|about| components.all(|other| other == Some(about)));
    let is_other = |receiver: &&Reach| about != Some(receiver.name.as_str());
    input.receivers.iter().filter(is_other).cloned().collect()
}

/// All is well: whoever was told is told so.
fn end(input: &Input<'_>, group: &mut Group, now: Micros) -> Option<Outgoing> {
    group.ended_at = Some(now);
    if group.number == 0 {
        return None;
    }
    let known = input.receivers.iter().map(|receiver| receiver.name.clone());
    let receivers = known.filter(|name| group.told.contains(name)).collect();
    Some(send(input, group, &BTreeMap::new(), What::Resolved, Asked::only(receivers), now))
}

fn loud(group: &Group, now: Micros) -> Vec<String> {
    let is_loud = |(_, member): &(&String, &Member)| member.is_loud(now);
    group.members.iter().filter(is_loud).map(|(id, _)| id.clone()).collect()
}

fn worst(group: &Group, ids: &[String]) -> Severity {
    ids.iter().map(|id| group.members[id].severity).max().unwrap_or(Severity::Info)
}

/// Whether something has to be told that was not, and may be told now.
fn news(route: &Route, group: &Group, loud: &[String], now: Micros) -> Option<What> {
    let untold: Vec<&Member> =
        loud.iter().map(|id| &group.members[id]).filter(|member| member.is_untold()).collect();
    let first_loud = untold.iter().filter_map(|member| member.loud_since).min()?;
    let is_page = untold.iter().any(|member| member.severity == Severity::Page);
    let due = is_page
        || match group.last_notice_at {
            None => now.since(first_loud) >= route.group_wait,
            Some(last) => now.since(last) >= route.group_interval,
        };
    let is_new = untold.iter().any(|member| member.told.is_none());
    due.then_some(if is_new { What::Firing } else { What::Escalated })
}

fn tell_news(
    input: &Input<'_>,
    route: &Route,
    group: &mut Group,
    firing: &BTreeMap<&str, Standing<'_>>,
    (what, worst): (What, Severity),
    now: Micros,
) -> Outgoing {
    // Worse than anybody was told, or somebody had it and this is more: it begins with the first again.
    let begins = group.severity < Some(worst) || group.acknowledged_by.is_some();
    if begins {
        (group.step, group.round, group.step_since) = (0, 0, Some(now));
    }
    group.acknowledged_by = None;
    group.severity = group.severity.max(Some(worst));
    for id in loud(group, now) {
        if let Some(member) = group.members.get_mut(&id) {
            member.told = member.told.max(Some(member.severity));
        }
    }
    let asked = asked(input, route, group.step, worst, now);
    group.step = asked.last_step;
    send(input, group, firing, what, asked, now)
}

/// Who acknowledged it, when nobody is left who was told and has no one looking after it.
fn all_acknowledged(group: &Group, loud: &[String]) -> Option<String> {
    let told = loud.iter().map(|id| &group.members[id]).filter(|member| member.told.is_some());
    let mut by = None;
    for member in told {
        by = Some(member.acknowledged_by.clone()?);
    }
    by
}

fn acknowledged(
    input: &Input<'_>,
    group: &mut Group,
    firing: &BTreeMap<&str, Standing<'_>>,
    by: String,
    now: Micros,
) -> Option<Outgoing> {
    if group.acknowledged_by.is_some() {
        return None;
    }
    group.acknowledged_by = Some(by);
    let receivers = told_of_acknowledgement(input, group);
    if receivers.is_empty() {
        return None;
    }
    let last_notice_at = group.last_notice_at;
    let outgoing = send(input, group, firing, What::Acknowledged, Asked::only(receivers), now);
    group.last_notice_at = last_notice_at;
    Some(outgoing)
}

/// Nobody takes care of it: others are asked, or the same again.
fn again(
    input: &Input<'_>,
    route: &Route,
    group: &mut Group,
    firing: &BTreeMap<&str, Standing<'_>>,
    worst: Severity,
    now: Micros,
) -> Option<Outgoing> {
    if group.number == 0 {
        return None;
    }
    if let To::Policy(name) = &route.to
        && let Some(policy) = input.plan.policy(name)
        && worst == Severity::Page
        && let Some(what) = next_step(policy, group, now)
    {
        let asked = match what {
            What::Escalated => Asked::of_step(input, route, group.step, worst, now),
            _ => asked(input, route, group.step, worst, now),
        };
        return Some(send(input, group, firing, what, asked, now));
    }
    let pause = if worst == Severity::Page { route.repeat } else { route.repeat_warnings };
    let is_due = group.last_notice_at.is_some_and(|last| now.since(last) >= pause);
    if pause.is_zero() || !is_due {
        return None;
    }
    let asked = asked(input, route, group.step, worst, now);
    Some(send(input, group, firing, What::Reminder, asked, now))
}

/// Moves on when the present step had its time.
fn next_step(policy: &Policy, group: &mut Group, now: Micros) -> Option<What> {
    let place = usize::try_from(group.step).unwrap_or(usize::MAX);
    let wait = policy.steps.get(place).or(policy.steps.last())?.wait;
    let since = *group.step_since.get_or_insert(now);
    if now.since(since) < wait {
        return None;
    }
    if place + 1 < policy.steps.len() {
        (group.step, group.step_since) = (group.step + 1, Some(now));
        return Some(What::Escalated);
    }
    if group.round < policy.repeats {
        (group.step, group.round, group.step_since) = (0, group.round + 1, Some(now));
        return Some(What::Reminder);
    }
    None
}

fn send(
    input: &Input<'_>,
    group: &mut Group,
    firing: &BTreeMap<&str, Standing<'_>>,
    what: What,
    asked: Asked,
    now: Micros,
) -> Outgoing {
    group.number += 1;
    group.last_notice_at = Some(now);
    group.told.extend(asked.receivers.iter().cloned());
    let notice = notice(input, group, firing, what, &asked, now);
    Outgoing { notice, receivers: asked.receivers, is_shadow: group.shadow }
}
