//! Who is told of what, when: from open alerts and what is kept of their groups to notices. Pure.
//!
//! Promises: every look gives the same decision for the same input, so nothing depends on what a process remembers; a
//! page is told at once, to somebody; an alert is told once at each severity, and again only as a reminder or to others;
//! what is silenced or inhibited is told by nothing but the end of what was told before.

mod ahead;
mod decide;
mod group;
mod notice;
mod reach;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use mainstay_base::Micros;
use mainstay_store::model::{OnCallOverride, Severity};
use mainstay_wire::notify::{self, Notice};

pub(crate) use ahead::ahead;
pub use group::{Group, Member};
pub(crate) use notice::told_severity;

use super::{AFTER_INHIBITION, Grouping, Labels, Matcher, Plan, Reach, Route, matcher::all_fit};

/// The most alerts of one group; what comes beyond is another group.
pub(crate) const MAX_MEMBERS: usize = 200;

/// Everything a look goes by.
pub(crate) struct Input<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) receivers: &'a [Reach],
    /// Open ones, and those that this look resolved.
    pub(crate) alerts: &'a [Active],
    /// Those that hold now.
    pub(crate) silences: &'a [Quiet],
    pub(crate) overrides: &'a [OnCallOverride],
}

/// One alert that fires, or has just been resolved.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Active {
    /// As receivers are told of it.
    pub(crate) told: notify::Alert,
    pub(crate) severity: Severity,
    pub(crate) is_resolved: bool,
    pub(crate) acknowledged_by: Option<String>,
    /// Nobody is told; what would have been is remembered.
    pub(crate) is_shadow: bool,
    /// The component that explains it.
    pub(crate) inhibited_by: Option<String>,
}

/// A silence that holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quiet {
    pub(crate) id: String,
    pub(crate) matchers: Vec<Matcher>,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Decision {
    /// Those that changed.
    pub(crate) groups: Vec<Group>,
    pub(crate) outgoing: Vec<Outgoing>,
    /// Why nobody is told of an alert, by its id, for each that fires.
    pub(crate) suppressed: BTreeMap<String, Option<String>>,
}

/// One notice and whom it goes to; of a shadow, whom it would have gone to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outgoing {
    pub(crate) notice: Notice,
    pub(crate) receivers: Vec<String>,
    pub(crate) is_shadow: bool,
}

/// One look.
pub(crate) fn step(
    input: &Input<'_>,
    groups: &[Group],
    now: Micros,
    mut new_id: impl FnMut() -> String,
) -> Decision {
    let firing: BTreeMap<&str, Standing<'_>> = input
        .alerts
        .iter()
        .filter(|alert| !alert.is_resolved)
        .map(|alert| (alert.told.alert_id.as_str(), standing(input, alert)))
        .collect();
    let mut after: Vec<Group> = groups.to_vec();
    for group in &mut after {
        group.rebase(now);
        group.follow(&firing, now);
    }
    for standing in firing.values() {
        for route in &standing.routes {
            join(&mut after, route, standing, now, &mut new_id);
        }
    }
    let mut outgoing = Vec::new();
    for group in &mut after {
        outgoing.extend(decide::decide(input, group, &firing, now));
    }
    let suppressed =
        firing.iter().map(|(id, standing)| ((*id).to_owned(), standing.suppressed.clone())).collect();
    let before: BTreeMap<&str, &Group> = groups.iter().map(|group| (group.id.as_str(), group)).collect();
    after.retain(|group| before.get(group.id.as_str()).is_none_or(|before| *before != group));
    Decision { groups: after, outgoing, suppressed }
}

/// One that fires, with what this look found out about it.
pub(super) struct Standing<'a> {
    pub(super) alert: &'a Active,
    pub(super) routes: Vec<&'a Route>,
    /// `shadow`, `silence:ID` or `inhibited:COMPONENT`.
    pub(super) suppressed: Option<String>,
}

impl Standing<'_> {
    /// Of a shadow too: what is silenced would not have been told either.
    pub(super) fn is_quiet(&self) -> bool {
        self.suppressed.as_deref().is_some_and(|why| why != SHADOW)
    }

    pub(super) fn is_inhibited(&self) -> bool {
        self.suppressed.as_deref().is_some_and(|why| why.starts_with(INHIBITED))
    }
}

const SHADOW: &str = "shadow";
const SILENCE: &str = "silence:";
pub(crate) const INHIBITED: &str = "inhibited:";

fn standing<'a>(input: &Input<'a>, alert: &'a Active) -> Standing<'a> {
    let labels = labels_now(alert);
    let silence = input.silences.iter().find(|silence| all_fit(&silence.matchers, &labels));
    let suppressed = match (silence, &alert.inhibited_by) {
        (Some(silence), _) => Some(format!("{SILENCE}{}", silence.id)),
        (None, Some(by)) => Some(format!("{INHIBITED}{by}")),
        (None, None) => alert.is_shadow.then(|| SHADOW.to_owned()),
    };
    Standing { alert, routes: input.plan.routes_of(&labels), suppressed }
}

/// With what changes while it is open.
pub(crate) fn labels_now(alert: &Active) -> Labels {
    let mut labels = alert.told.labels.clone();
    labels.insert("severity".to_owned(), alert.severity.as_str().to_owned());
    labels.insert("state".to_owned(), alert.told.state.clone());
    labels
}

/// Puts an alert into its group of a route, unless it is in one.
fn join(
    groups: &mut Vec<Group>,
    route: &Route,
    standing: &Standing<'_>,
    now: Micros,
    new_id: &mut impl FnMut() -> String,
) {
    let alert = standing.alert;
    let id = &alert.told.alert_id;
    let is_ours = |group: &&mut Group| {
        group.ended_at.is_none() && group.route == route.name && group.shadow == alert.is_shadow
    };
    if groups.iter_mut().filter(is_ours).any(|group| group.has(id)) {
        return;
    }
    let labels: Labels = match &route.grouping {
        Grouping::Each => [("alert".to_owned(), id.clone())].into(),
        Grouping::By(names) => {
            let value =
                |name: &String| (name.clone(), alert.told.labels.get(name).cloned().unwrap_or_default());
            names.iter().map(value).collect()
        }
    };
    let fits = |group: &&mut Group| group.labels == labels && group.members.len() < MAX_MEMBERS;
    match groups.iter_mut().filter(is_ours).find(fits) {
        Some(group) => group.add(standing, now),
        None => {
            let mut group = Group::new(new_id(), route.name.clone(), labels, alert.is_shadow, now);
            group.add(standing, now);
            groups.push(group);
        }
    }
}
