//! What comes next of a group: found by the same decision, asked ahead of time. Pure.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_base::Micros;
use mainstay_store::model::Severity;
use mainstay_wire::notify::What;

use super::{AFTER_INHIBITION, Group, Input, Outgoing, decide};
use crate::alert::To;

/// The next notice, if nothing else happens.
pub(crate) fn ahead(input: &Input<'_>, group: &Group, now: Micros) -> Option<(Micros, Outgoing)> {
    let told = moments(input, group, now).into_iter().find_map(|at| {
        // What a look decides is forgotten again: this is a copy.
        Some((at, decide::decide(input, &mut group.clone(), &BTreeMap::new(), at)?))
    })?;
    // The end and a thank-you come when somebody does something.
    matches!(told.1.notice.what, What::Firing | What::Escalated | What::Reminder).then_some(told)
}

/// Every time at which waiting ends, from now on.
fn moments(input: &Input<'_>, group: &Group, now: Micros) -> BTreeSet<Micros> {
    let mut moments = BTreeSet::from([now]);
    let Some(route) = input.plan.route(&group.route) else { return moments };
    let open = group.members.values().filter(|member| member.resolved_at.is_none());
    for since in open.filter_map(|member| member.loud_since) {
        moments.extend([since + AFTER_INHIBITION, since + route.group_wait]);
    }
    if let Some(last) = group.last_notice_at {
        let pauses = [route.group_interval, route.repeat, route.repeat_warnings];
        moments.extend(pauses.map(|pause| last + pause));
    }
    if let To::Policy(name) = &route.to
        && group.severity == Some(Severity::Page)
        && let (Some(policy), Some(since)) = (input.plan.policy(name), group.step_since)
    {
        let place = usize::try_from(group.step).unwrap_or(usize::MAX);
        let step = policy.steps.get(place).or(policy.steps.last());
        moments.extend(step.map(|step| since + step.wait));
    }
    moments.split_off(&now)
}
