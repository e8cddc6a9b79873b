//! The document that a decision to tell becomes.

use std::{cmp::Reverse, collections::BTreeMap};

use mainstay_base::Micros;
use mainstay_store::model::Severity;
use mainstay_wire::notify::{self, MAX_ALERTS, Notice, What};

use super::{Group, Input, Member, Standing, reach::Asked};

/// While it fires: those that are loud. At its end: all of it.
pub(super) fn notice(
    input: &Input<'_>,
    group: &Group,
    firing: &BTreeMap<&str, Standing<'_>>,
    what: What,
    asked: &Asked,
    now: Micros,
) -> Notice {
    let is_meant = |member: &Member| what == What::Resolved || member.is_loud(now);
    let mut meant: Vec<(&String, &Member)> =
        group.members.iter().filter(|(_, member)| is_meant(member)).collect();
    meant.sort_by_key(|(id, member)| (Reverse(member.severity), member.opened_at, (*id).clone()));
    let alerts: Vec<notify::Alert> = meant
        .iter()
        .take(MAX_ALERTS)
        .map(|(id, member)| match firing.get(id.as_str()) {
            Some(standing) => standing.alert.told.clone(),
            None => resolved(input, id, member, now),
        })
        .collect();
    let worst = meant.iter().map(|(_, member)| member.severity).max();
    let severity = worst.or(group.severity).unwrap_or(Severity::Warning);
    let title = match alerts.as_slice() {
        [] => String::new(),
        [only] if meant.len() == 1 => only.summary.clone(),
        [first, ..] => format!("{} alerts: {}", meant.len(), first.summary),
    };
    Notice {
        what,
        key: group.id.clone(),
        number: group.number,
        severity: told_severity(severity),
        title,
        at: now,
        by: group.acknowledged_by.clone().filter(|_| what == What::Acknowledged),
        escalation: asked.escalation.clone(),
        more: u32::try_from(meant.len() - alerts.len()).unwrap_or(u32::MAX),
        alerts,
    }
}

/// One that is over: as this look resolved it, or by what is kept of it.
fn resolved(input: &Input<'_>, id: &str, member: &Member, now: Micros) -> notify::Alert {
    if let Some(alert) = input.alerts.iter().find(|alert| alert.told.alert_id == id) {
        return alert.told.clone();
    }
    notify::Alert {
        alert_id: id.to_owned(),
        severity: told_severity(member.severity),
        component: member.component.clone(),
        state: "ok".to_owned(),
        reason: String::new(),
        summary: member.summary.clone(),
        cause: String::new(),
        remedy: String::new(),
        labels: BTreeMap::new(),
        opened_at: member.opened_at,
        resolved_at: member.resolved_at.or(Some(now)),
    }
}

/// The same words on the wire.
pub(crate) fn told_severity(severity: Severity) -> notify::Severity {
    match severity {
        Severity::Info => notify::Severity::Info,
        Severity::Warning => notify::Severity::Warning,
        Severity::Page => notify::Severity::Page,
    }
}
