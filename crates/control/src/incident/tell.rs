//! From the alerts of a look to who is told: what explains what, then groups, then notices in the outbox.

use std::collections::{BTreeMap, HashMap};

use mainstay_base::{Micros, id};
use mainstay_store::model::{self, Severity};
use mainstay_wire::notify;
use serde_json::json;

use super::{Book, Detail, draft::Draft, labels::labels_of};
use crate::{
    alert::{
        self, Group, Labels, What,
        dispatch::{self, Active, Decision, Outgoing, Quiet, told_severity},
        inhibit::{Relations, Side, relate},
        shadow::is_shadow,
    },
    health::Component,
    options::Options,
};

/// A pending or firing alert, oldest first.
struct Open<'a> {
    component: &'a Component,
    labels: Labels,
    touches: BTreeMap<String, Vec<String>>,
    severity: Severity,
    is_shadow: bool,
    is_silenced: bool,
    is_firing: bool,
    opened_at: Micros,
}

pub(super) fn tell(draft: &mut Draft, components: &[Component], book: &Book, options: &Options) {
    let now = draft.now;
    let silences = silences(book, now);
    let open = open(draft, components, book, &silences);
    let sides: Vec<Side<'_>> = open.iter().map(Open::side).collect();
    let relations = relate(&options.alerting.inhibitions, &sides);
    for (&place, &severity) in &relations.lifted {
        let explains = relations.by.values().filter(|source| **source == place).count();
        draft.lift(open[place].component, severity, explains);
    }
    let mut alerts = firing(draft, &open, &relations);
    alerts.extend(draft.resolved.iter().map(|(row, detail)| resolved(row, detail)));
    let receivers: Vec<_> = options.receivers.iter().map(alert::reach).collect();
    let input = dispatch::Input {
        plan: &options.alerting,
        receivers: &receivers,
        alerts: &alerts,
        silences: &silences,
        overrides: &book.overrides,
    };
    let decision = dispatch::step(&input, &book.groups, now, id::new);
    adopt(draft, decision, !receivers.is_empty());
}

impl Open<'_> {
    fn side(&self) -> Side<'_> {
        Side {
            labels: &self.labels,
            touches: &self.touches,
            severity: self.severity,
            is_shadow: self.is_shadow,
            is_silenced: self.is_silenced,
            is_pending: !self.is_firing,
        }
    }
}

/// Those that hold now.
fn silences(book: &Book, now: Micros) -> Vec<Quiet> {
    let holds = book.silences.iter().filter(|silence| silence.starts_at <= now && now < silence.ends_at);
    holds
        .filter_map(|silence| {
            let matchers = alert::parse_all(&silence.matchers).ok()?;
            Some(Quiet { id: silence.id.clone(), matchers })
        })
        .collect()
}

fn open<'a>(draft: &Draft, components: &'a [Component], book: &Book, silences: &[Quiet]) -> Vec<Open<'a>> {
    let shadows = book.shadows.compile();
    let mut open: Vec<Open<'a>> = Vec::new();
    for component in components {
        let Some(incident) = draft.open.get(&component.id) else { continue };
        let mut labels = labels_of(component);
        let is_shadow = is_shadow(&shadows, &labels);
        let severity = incident.alert.severity;
        labels.insert("state".to_owned(), component.state.as_str().to_owned());
        labels.insert("severity".to_owned(), severity.as_str().to_owned());
        let touched = incident.row.iter().flat_map(|(_, detail)| detail.touched.iter().cloned());
        open.push(Open {
            component,
            touches: [("app".to_owned(), touched.collect())].into(),
            severity,
            is_shadow,
            is_silenced: silences.iter().any(|silence| alert::all_fit(&silence.matchers, &labels)),
            is_firing: incident.is_firing(),
            opened_at: incident.row.as_ref().map_or(draft.now, |(row, _)| row.opened_at),
            labels,
        });
    }
    open.sort_by(|one, other| {
        (one.opened_at, &one.component.id).cmp(&(other.opened_at, &other.component.id))
    });
    open
}

fn firing(draft: &Draft, open: &[Open<'_>], relations: &Relations) -> Vec<Active> {
    let mut alerts = Vec::new();
    for (place, one) in open.iter().enumerate() {
        let Some((row, _)) = draft.open.get(&one.component.id).and_then(|incident| incident.row.as_ref())
        else {
            continue;
        };
        let finding = one.component.finding.as_ref();
        let told = notify::Alert {
            alert_id: row.id.clone(),
            severity: told_severity(row.severity),
            component: one.component.id.clone(),
            state: one.component.state.as_str().to_owned(),
            reason: one.component.reason.clone(),
            summary: row.summary.clone(),
            cause: finding.map_or_else(String::new, |finding| finding.cause.clone()),
            remedy: finding.map_or_else(String::new, |finding| finding.remedy.clone()),
            labels: labels_of(one.component),
            opened_at: row.opened_at,
            resolved_at: None,
        };
        alerts.push(Active {
            told,
            severity: row.severity,
            is_resolved: false,
            acknowledged_by: (row.state == model::AlertState::Acknowledged)
                .then(|| row.acknowledged_by.clone().unwrap_or_default()),
            is_shadow: one.is_shadow,
            inhibited_by: relations
                .by
                .get(&place)
                .map(|source| open[*source].component.id.clone())
                .or_else(|| passing(one, row)),
        });
    }
    alerts
}

/// What explained it before, while it only waits for its windows to pass: what has ended is not told of because it was
/// kept quiet.
fn passing(one: &Open<'_>, row: &model::Alert) -> Option<String> {
    let by = row.suppressed.as_deref()?.strip_prefix(dispatch::INHIBITED)?;
    one.labels.contains_key(alert::PASSING).then(|| by.to_owned())
}

fn resolved(row: &model::Alert, detail: &Detail) -> Active {
    let said = |field: &str| detail.component[field].as_str().unwrap_or_default().to_owned();
    let finding = |field: &str| detail.component["finding"][field].as_str().unwrap_or_default().to_owned();
    let told = notify::Alert {
        alert_id: row.id.clone(),
        severity: told_severity(row.severity),
        component: row.subject.clone(),
        state: said("state"),
        reason: said("reason"),
        summary: row.summary.clone(),
        cause: finding("cause"),
        remedy: finding("remedy"),
        labels: Labels::new(),
        opened_at: row.opened_at,
        resolved_at: row.resolved_at,
    };
    Active {
        told,
        severity: row.severity,
        is_resolved: true,
        acknowledged_by: None,
        is_shadow: false,
        inhibited_by: None,
    }
}

/// Puts what was decided beside the rest of the look.
fn adopt(draft: &mut Draft, decision: Decision, has_receivers: bool) {
    let Decision { groups, outgoing, suppressed } = decision;
    for group in &groups {
        draft.decided.groups.push(stored(group, draft.now));
    }
    let by_id: HashMap<String, String> = draft
        .open
        .values()
        .filter(|incident| incident.row.is_some())
        .map(|incident| (incident.id.clone(), incident.component.clone()))
        .collect();
    for (alert_id, why) in suppressed {
        let Some(component) = by_id.get(&alert_id) else { continue };
        suppress(draft, component, &alert_id, why);
    }
    for one in &outgoing {
        if !one.is_shadow {
            draft.decided.deliveries.extend(alert::deliveries(&one.notice, &one.receivers));
        }
        if has_receivers || one.is_shadow {
            told(draft, one);
        }
    }
}

fn stored(group: &Group, now: Micros) -> model::AlertGroup {
    model::AlertGroup {
        id: group.id.clone(),
        shadow: group.shadow,
        body: serde_json::to_value(group).unwrap_or_default(),
        updated_at: now,
        ended_at: group.ended_at,
    }
}

fn suppress(draft: &mut Draft, component: &str, alert_id: &str, why: Option<String>) {
    let Some(mut incident) = draft.open.remove(component) else { return };
    if let Some((row, detail)) = &mut incident.row
        && row.suppressed != why
    {
        let text = match (&why, &row.suppressed) {
            (Some(why), _) => format!("nobody is told of it: {why}"),
            (None, _) => "it is told of again".to_owned(),
        };
        let (before, after) = (row.suppressed.clone(), why.clone());
        draft.note(alert_id, "suppressed", &text, json!({ "before": before, "after": after }));
        row.suppressed = why;
        draft.keep(row, detail);
    }
    draft.open.insert(component.to_owned(), incident);
}

/// A line in the story of each alert that a notice is about.
fn told(draft: &mut Draft, outgoing: &Outgoing) {
    let Outgoing { notice, receivers, is_shadow } = outgoing;
    let whom = if receivers.is_empty() { "nobody".to_owned() } else { receivers.join(", ") };
    let by = notice.escalation.as_ref().map_or_else(String::new, |step| {
        let people =
            if step.people.is_empty() { String::new() } else { format!(" ({})", step.people.join(", ")) };
        format!(", step {} of {}{people}", step.step, step.policy)
    });
    let what = match notice.what {
        What::Acknowledged => format!("acknowledged by {}", notice.by.as_deref().unwrap_or("somebody")),
        what => format!("{} ({})", what.as_str(), notice.severity.as_str()),
    };
    let (kind, verb) = if *is_shadow { ("would_tell", "would have told") } else { ("told", "told") };
    let text = format!("{verb} {whom}: {what}{by}");
    let detail = json!({ "group": notice.key, "number": notice.number, "receivers": receivers });
    for alert in &notice.alerts {
        draft.note(&alert.alert_id, kind, &text, detail.clone());
    }
}
