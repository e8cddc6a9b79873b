//! What one look changes, gathered before any of it is stored.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use mainstay_base::{Micros, id};
use mainstay_store::{
    MAX_OPEN_ALERTS,
    model::{self, AlertState, Decided, Severity},
};
use serde_json::{Value, json};

use super::{ACTOR, Detail, Incident, RunbookSays, event};
use crate::{
    alert::{self, Alert, Effect, Input},
    health::{Component, State},
};

/// While an alert is open, what is kept with it of a provider's trouble is at most so old.
const TROUBLE_EVERY: Duration = Duration::from_secs(5);
/// Apps that are remembered as touched by one alert.
const MAX_TOUCHED: usize = 200;
/// Alerts that one look opens, makes worse or closes; the next look is a moment later.
const MAX_EFFECTS: usize = 300;

/// A line for the log, once it is true.
pub(super) struct Line {
    pub(super) id: String,
    pub(super) component: String,
    pub(super) text: String,
}

pub(super) struct Draft {
    pub(super) open: HashMap<String, Incident>,
    pub(super) states: HashMap<String, State>,
    /// Resolved by this look, with how their components are.
    pub(super) resolved: Vec<(model::Alert, Detail)>,
    pub(super) decided: Decided,
    pub(super) lines: Vec<Line>,
    pub(super) now: Micros,
    effects: usize,
}

impl Draft {
    pub(super) fn new(open: HashMap<String, Incident>, states: HashMap<String, State>, now: Micros) -> Draft {
        Draft {
            open,
            states,
            resolved: Vec::new(),
            decided: Decided::default(),
            lines: Vec::new(),
            now,
            effects: 0,
        }
    }

    pub(super) fn look_at(&mut self, component: &Component, says: RunbookSays) {
        let Some(rule) = alert::rule_for(component.group) else { return };
        let incident = self.open.get(&component.id);
        if self.effects >= MAX_EFFECTS || (incident.is_none() && self.open.len() >= MAX_OPEN_ALERTS) {
            return;
        }
        let incident = incident.cloned();
        let input = Input { state: component.state, held: says.held, paged: says.paged };
        let before = incident.as_ref().map(|incident| incident.alert.clone());
        let (after, effect) = alert::step(rule, before.clone(), input, self.now);
        let id = incident.as_ref().map_or_else(id::new, |incident| incident.id.clone());
        self.tell_change(component, &id, incident.is_some() || after.is_some());
        let mut row = incident.and_then(|incident| incident.row);
        if let Some(effect) = effect {
            self.effects += 1;
            row = self.apply(component, &id, row, after.as_ref(), effect);
        } else if let (Some((stored, detail)), Some(alert)) = (&mut row, &after)
            && ((detail.alert != *alert && before.as_ref() != Some(alert))
                || detail.labels() != component.labels
                || has_more_to_tell(component, stored, detail, self.now))
        {
            detail.alert = alert.clone();
            detail.component = to_value(component);
            touch(detail, component);
            self.keep(stored, detail);
        }
        match after {
            Some(alert) => {
                let component = component.id.clone();
                self.open.insert(component.clone(), Incident { id, component, alert, row });
            }
            None => {
                self.open.remove(&component.id);
            }
        }
    }

    /// Grave by what it explains, though not by itself.
    pub(super) fn lift(&mut self, component: &Component, severity: Severity, explains: usize) {
        let Some(incident) = self.open.get(&component.id).cloned() else { return };
        let (after, effect) = alert::escalate(incident.alert, severity);
        let Some(effect) = effect else { return };
        let row = self.apply(component, &incident.id, incident.row, after.as_ref(), effect);
        let text = format!("it is a {} because of {explains} others that it explains", severity.as_str());
        self.note(&incident.id, "lifted", &text, json!({ "component": component.id, "explains": explains }));
        if let Some(alert) = after {
            let Incident { id, component, .. } = incident;
            self.open.insert(component.clone(), Incident { id, component, alert, row });
        }
    }

    /// A component that is not looked at any more (removed from the configuration, a worker that left) has no state.
    pub(super) fn close_what_is_gone(&mut self, components: &[Component]) {
        let there: HashSet<&str> = components.iter().map(|component| component.id.as_str()).collect();
        let gone: Vec<String> = self.open.keys().filter(|id| !there.contains(id.as_str())).cloned().collect();
        for component in gone {
            let Some(incident) = self.open.remove(&component) else { continue };
            if let Some((mut row, mut detail)) = incident.row {
                row.state = AlertState::Resolved;
                row.resolved_at = Some(self.now);
                detail.component["state"] = json!(State::Ok.as_str());
                detail.component["reason"] = json!("it is not there any more");
                self.keep(&mut row, &detail);
                self.resolved.push((row, detail));
            }
            let text = format!("{component} is not there any more; its alert is closed");
            self.note(&incident.id, "alert", &text, json!({ "component": component }));
        }
        self.states.retain(|id, _| there.contains(id.as_str()));
    }

    /// A line of the story for each change of a component's state that belongs to a story.
    fn tell_change(&mut self, component: &Component, incident: &str, has_story: bool) {
        let before = self.states.insert(component.id.clone(), component.state);
        let is_news = before.is_some_and(|before| before != component.state)
            || (before.is_none() && component.state.is_trouble() && !self.open.contains_key(&component.id));
        if is_news && has_story {
            let text = format!("{} is {}: {}", component.id, component.state.as_str(), component.reason);
            let detail = json!({
                "component": component.id,
                "before": before.map(State::as_str),
                "after": component.state.as_str(),
            });
            self.note(incident, "health", &text, detail);
        }
    }

    fn apply(
        &mut self,
        component: &Component,
        id: &str,
        row: Option<(model::Alert, Detail)>,
        after: Option<&Alert>,
        effect: Effect,
    ) -> Option<(model::Alert, Detail)> {
        let (what, severity) = match effect {
            Effect::Fire(severity) => ("firing", severity),
            Effect::Escalate(severity) => ("escalated", severity),
            Effect::Resolve => ("resolved", row.as_ref().map_or(Severity::Warning, |(row, _)| row.severity)),
            Effect::Forget => {
                let text = format!("{} is well again before an alert was due", component.id);
                self.note(id, "passed", &text, json!({ "component": component.id }));
                return None;
            }
        };
        let is_over = effect == Effect::Resolve;
        let told = row.as_ref().map(|(row, _)| row.summary.clone()).filter(|_| is_over);
        let summary = told.unwrap_or_else(|| {
            format!("{} is {}: {}", component.id, component.state.as_str(), component.reason)
        });
        let kept = after.cloned().or_else(|| row.as_ref().map(|(_, detail)| detail.alert.clone()))?;
        let state = match effect {
            Effect::Resolve => AlertState::Resolved,
            _ if kept.acknowledged => AlertState::Acknowledged,
            _ => AlertState::Firing,
        };
        let (stored, known) = row.unzip();
        let touched = known.map(|detail| detail.touched).unwrap_or_default();
        let mut detail = Detail { alert: kept, component: to_value(component), touched };
        touch(&mut detail, component);
        let mut stored = model::Alert {
            id: id.to_owned(),
            rule: alert::name_of(component.group).to_owned(),
            subject: component.id.clone(),
            severity,
            state,
            summary,
            detail: Value::Null,
            suppressed: stored.as_ref().and_then(|row| row.suppressed.clone()),
            acknowledged_by: None,
            acknowledged_at: None,
            opened_at: stored.as_ref().map_or(self.now, |row| row.opened_at),
            updated_at: self.now,
            resolved_at: is_over.then_some(self.now),
        };
        self.keep(&mut stored, &detail);
        self.tell_effect(component, &stored, what, is_over);
        if is_over {
            self.resolved.push((stored, detail));
            return None;
        }
        Some((stored, detail))
    }

    /// The story of one incident, and a line of the log.
    fn tell_effect(&mut self, component: &Component, row: &model::Alert, what: &str, is_over: bool) {
        let text = format!("alert {what} ({}): {}", row.severity.as_str(), row.summary);
        let detail = json!({ "component": component.id, "severity": row.severity.as_str() });
        self.note(&row.id, "alert", &text, detail);
        self.lines.push(Line { id: row.id.clone(), component: component.id.clone(), text });
        if let (Some(trouble), "firing" | "resolved") = (&component.trouble, what) {
            let detail = json!({ "component": component.id, "trouble": trouble });
            self.note(&row.id, "impact", &trouble.words(), detail);
        }
        if let (Some(finding), false) = (&component.finding, is_over) {
            let text = format!("{} ({}): {}", finding.what, finding.id, finding.remedy);
            let detail = json!({ "component": component.id, "finding": finding });
            self.note(&row.id, "finding", &text, detail);
        }
    }

    /// The row as it is stored by this look; of several versions the last.
    pub(super) fn keep(&mut self, row: &mut model::Alert, detail: &Detail) {
        row.updated_at = self.now;
        row.detail = to_value(detail);
        match self.decided.alerts.iter_mut().find(|kept| kept.id == row.id) {
            Some(kept) => *kept = row.clone(),
            None => self.decided.alerts.push(row.clone()),
        }
    }

    pub(super) fn note(&mut self, subject: &str, kind: &str, text: &str, detail: Value) {
        self.decided.events.push(event(subject, kind, ACTOR, text, detail, self.now));
    }
}

/// Whether a provider's run of failures has gone on since it was written down.
fn has_more_to_tell(component: &Component, stored: &model::Alert, detail: &Detail, now: Micros) -> bool {
    let Some(trouble) = &component.trouble else { return false };
    let told = detail.component["trouble"]["failures"].as_u64();
    let has_grown =
        Some(u64::from(trouble.failures)) != told && now.since(stored.updated_at) >= TROUBLE_EVERY;
    has_grown
        || trouble.callers.iter().any(|app| !detail.touched.contains(app))
            && detail.touched.len() < MAX_TOUCHED
}

fn touch(detail: &mut Detail, component: &Component) {
    let callers = component.trouble.iter().flat_map(|trouble| trouble.callers.iter().cloned());
    let room = MAX_TOUCHED.saturating_sub(detail.touched.len());
    detail.touched.extend(callers.take(room));
}

fn to_value(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
