//! From reports to alerts: steps every component's alert, keeps open ones in the store, tells receivers, and writes
//! the story of each incident into the timeline under one id, which is the alert's.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use mainstay_base::{Micros, id};
use mainstay_store::{
    Store, StoreError,
    model::{self, AlertFilter, AlertState, NewEvent, Severity},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    alert::{self, Alert, Effect, Input, Notice, Phase},
    health::{Component, State},
    options::Options,
};

/// Open alerts read at a time; there is one a component, so this many components would have to be in trouble.
const MAX_OPEN: u32 = 200;
pub(crate) const ACTOR: &str = "mainstay";
/// While an alert is open, what is kept with it of a provider's trouble is at most so old.
const TROUBLE_EVERY: Duration = Duration::from_secs(5);

/// What control keeps in an alert's row beside its columns.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Detail {
    alert: Alert,
    /// Notices so far: each has a number, so that repeating one is recognised.
    notices: i64,
    /// The last notice, to be repeated by a control that takes over.
    last: String,
    component: Value,
}

/// An incident: its id, and its alert as the step machine knows it.
#[derive(Clone, Debug)]
pub(crate) struct Incident {
    pub(crate) id: String,
    pub(crate) component: String,
    alert: Alert,
    row: Option<(model::Alert, Detail)>,
}

impl Incident {
    pub(crate) fn is_firing(&self) -> bool {
        matches!(self.alert.phase, Phase::Firing { .. })
    }
}

/// What runbooks say about a component.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunbookSays {
    pub(crate) held: bool,
    pub(crate) paged: bool,
}

pub(crate) struct Incidents {
    store: Store,
    options: watch::Receiver<Arc<Options>>,
    /// By component. What is pending lives only here: a control that takes over waits anew.
    open: HashMap<String, Incident>,
    states: HashMap<String, State>,
    /// Set until the notices of the alerts that were found open have been repeated.
    is_new: bool,
}

impl Incidents {
    pub(crate) fn new(store: Store, options: watch::Receiver<Arc<Options>>) -> Incidents {
        Incidents { store, options, open: HashMap::new(), states: HashMap::new(), is_new: true }
    }

    /// Forgets what it knew: another control acts now, or has acted.
    pub(crate) fn reset(&mut self) {
        self.open.clear();
        self.states.clear();
        self.is_new = true;
    }

    pub(crate) fn firing(&self) -> impl Iterator<Item = &Incident> {
        self.open.values().filter(|incident| incident.is_firing())
    }

    /// Reads again what others may have changed (acknowledgements), before anything is decided.
    pub(crate) async fn refresh(&mut self) -> Result<(), StoreError> {
        let filter = AlertFilter { open_only: true, limit: MAX_OPEN, ..AlertFilter::default() };
        let rows = self.store.alerts().list(filter).await?;
        self.open.retain(|_, incident| !incident.is_firing());
        for row in rows.into_iter().filter(|row| alert::is_rule(&row.rule)) {
            let Ok(detail) = serde_json::from_value::<Detail>(row.detail.clone()) else {
                warn!(alert.id = %row.id, "a stored alert cannot be read; it is left alone");
                continue;
            };
            let mut alert = detail.alert.clone();
            alert.acknowledged = row.state == AlertState::Acknowledged;
            let (id, component) = (row.id.clone(), row.subject.clone());
            self.open.insert(component.clone(), Incident { id, component, alert, row: Some((row, detail)) });
        }
        Ok(())
    }

    /// One look at everything that alerts can be about: the report's components, and those that it does not have.
    pub(crate) async fn look(
        &mut self,
        components: &[Component],
        says: &HashMap<String, RunbookSays>,
        now: Micros,
    ) -> Result<(), StoreError> {
        if std::mem::take(&mut self.is_new) {
            self.repeat_last_notices(now).await.inspect_err(|_| self.is_new = true)?;
        }
        for component in components {
            self.look_at(component, says.get(&component.id).copied().unwrap_or_default(), now).await?;
        }
        self.close_what_is_gone(components, now).await
    }

    async fn look_at(
        &mut self,
        component: &Component,
        says: RunbookSays,
        now: Micros,
    ) -> Result<(), StoreError> {
        let Some(rule) = alert::rule_for(component.group) else { return Ok(()) };
        let incident = self.open.get(&component.id).cloned();
        let input = Input { state: component.state, held: says.held, paged: says.paged };
        let before = incident.as_ref().map(|incident| incident.alert.clone());
        let (after, effect) = alert::step(rule, before.clone(), input, now);
        let id = incident.as_ref().map_or_else(id::new, |incident| incident.id.clone());
        self.tell_change(component, &id, incident.is_some() || after.is_some(), now).await?;
        let mut row = incident.and_then(|incident| incident.row);
        if let Some(effect) = effect {
            row = self.apply(component, &id, row, after.as_ref(), effect, now).await?;
        } else if let (Some((stored, detail)), Some(alert)) = (&mut row, &after)
            && ((detail.alert != *alert && before.as_ref() != Some(alert))
                || has_more_to_tell(component, stored, detail, now))
        {
            detail.alert = alert.clone();
            detail.component = serde_json::to_value(component).unwrap_or(Value::Null);
            stored.detail = to_value(detail)?;
            stored.updated_at = now;
            self.store.alerts().upsert(stored.clone()).await?;
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
        Ok(())
    }

    /// A line of the story for each change of a component's state that belongs to a story.
    async fn tell_change(
        &mut self,
        component: &Component,
        incident: &str,
        has_story: bool,
        now: Micros,
    ) -> Result<(), StoreError> {
        let before = self.states.get(&component.id).copied();
        let is_news = before.is_some_and(|before| before != component.state)
            || (before.is_none() && component.state.is_trouble() && !self.open.contains_key(&component.id));
        if is_news && has_story {
            let text = format!("{} is {}: {}", component.id, component.state.as_str(), component.reason);
            let detail = json!({
                "component": component.id,
                "before": before.map(State::as_str),
                "after": component.state.as_str(),
            });
            self.note(incident, "health", &text, detail, now).await?;
        }
        self.states.insert(component.id.clone(), component.state);
        Ok(())
    }

    async fn apply(
        &mut self,
        component: &Component,
        id: &str,
        row: Option<(model::Alert, Detail)>,
        after: Option<&Alert>,
        effect: Effect,
        now: Micros,
    ) -> Result<Option<(model::Alert, Detail)>, StoreError> {
        let what = match effect {
            Effect::Fire(_) => "firing",
            Effect::Escalate(_) => "escalated",
            Effect::Remind(_) => "reminder",
            Effect::Resolve => "resolved",
            Effect::Forget => {
                let text = format!("{} is well again before an alert was due", component.id);
                self.note(id, "passed", &text, json!({ "component": component.id }), now).await?;
                return Ok(None);
            }
        };
        let severity = match effect {
            Effect::Fire(severity) | Effect::Escalate(severity) | Effect::Remind(severity) => severity,
            Effect::Resolve | Effect::Forget => {
                row.as_ref().map_or(Severity::Warning, |(row, _)| row.severity)
            }
        };
        let summary = match effect {
            Effect::Resolve => {
                row.as_ref().map_or_else(|| component.reason.clone(), |(row, _)| row.summary.clone())
            }
            _ => format!("{} is {}: {}", component.id, component.state.as_str(), component.reason),
        };
        let number = row.as_ref().map_or(1, |(_, detail)| detail.notices + 1);
        let kept = after.cloned().or_else(|| row.as_ref().map(|(_, detail)| detail.alert.clone()));
        let Some(alert) = kept else { return Ok(None) };
        let component_json = serde_json::to_value(component).unwrap_or(Value::Null);
        let detail = Detail { alert, notices: number, last: what.to_owned(), component: component_json };
        let acknowledged = detail.alert.acknowledged;
        let state = match effect {
            Effect::Resolve => AlertState::Resolved,
            _ if acknowledged => AlertState::Acknowledged,
            _ => AlertState::Firing,
        };
        let stored = model::Alert {
            id: id.to_owned(),
            rule: alert::name_of(component.group).to_owned(),
            subject: component.id.clone(),
            severity,
            state,
            summary: summary.clone(),
            detail: to_value(&detail)?,
            suppressed: None,
            acknowledged_by: None,
            acknowledged_at: None,
            opened_at: row.as_ref().map_or(now, |(row, _)| row.opened_at),
            updated_at: now,
            resolved_at: (effect == Effect::Resolve).then_some(now),
        };
        let notice = Notice {
            what,
            alert_id: id,
            number,
            severity,
            component: &component.id,
            state: component.state.as_str(),
            reason: &component.reason,
            summary: &summary,
            cause: component.finding.as_ref().map_or("", |finding| &finding.cause),
            remedy: component.finding.as_ref().map_or("", |finding| &finding.remedy),
            at: now,
        };
        // A notice repeated is recognised by its id; one left out is lost. So: an alert that opens is stored first,
        // because whoever takes over repeats its notice; one that closes is stored last, because nobody would.
        if effect == Effect::Resolve {
            self.send(&notice).await?;
            self.store.alerts().upsert(stored.clone()).await?;
        } else {
            self.store.alerts().upsert(stored.clone()).await?;
            self.send(&notice).await?;
        }
        info!(alert.id = %id, alert.component = %component.id, alert.severity = severity.as_str(), "alert {what}: {summary}");
        let text = format!("alert {what} ({}): {summary}", severity.as_str());
        self.note(
            id,
            "alert",
            &text,
            json!({ "component": component.id, "severity": severity.as_str() }),
            now,
        )
        .await?;
        if let (Some(trouble), Effect::Fire(_) | Effect::Resolve) = (&component.trouble, &effect) {
            let detail = json!({ "component": component.id, "trouble": trouble });
            self.note(id, "impact", &trouble.words(), detail, now).await?;
        }
        if let (Some(finding), Effect::Fire(_) | Effect::Escalate(_)) = (&component.finding, &effect) {
            let text = format!("{} ({}): {}", finding.what, finding.id, finding.remedy);
            let detail = json!({ "component": component.id, "finding": finding });
            self.note(id, "finding", &text, detail, now).await?;
        }
        Ok((effect != Effect::Resolve).then_some((stored, detail)))
    }

    async fn send(&self, notice: &Notice<'_>) -> Result<(), StoreError> {
        let options = self.options.borrow().clone();
        for delivery in alert::deliveries(notice, &options.receivers) {
            self.store.outbox().enqueue(delivery).await?;
        }
        Ok(())
    }

    async fn repeat_last_notices(&self, now: Micros) -> Result<(), StoreError> {
        for incident in self.open.values() {
            let Some((row, detail)) = &incident.row else { continue };
            let text = |field: &str| detail.component[field].as_str().unwrap_or_default();
            let notice = Notice {
                what: &detail.last,
                alert_id: &row.id,
                number: detail.notices,
                severity: row.severity,
                component: &row.subject,
                state: text("state"),
                reason: text("reason"),
                summary: &row.summary,
                cause: detail.component["finding"]["cause"].as_str().unwrap_or_default(),
                remedy: detail.component["finding"]["remedy"].as_str().unwrap_or_default(),
                at: now,
            };
            self.send(&notice).await?;
        }
        Ok(())
    }

    /// A component that is not looked at any more (removed from the configuration, a worker that left) has no state.
    async fn close_what_is_gone(&mut self, components: &[Component], now: Micros) -> Result<(), StoreError> {
        let there: HashSet<&str> = components.iter().map(|component| component.id.as_str()).collect();
        let gone: Vec<String> = self.open.keys().filter(|id| !there.contains(id.as_str())).cloned().collect();
        for component in gone {
            let Some(incident) = self.open.get(&component) else { continue };
            if let Some((row, _)) = &incident.row {
                let mut row = row.clone();
                row.state = AlertState::Resolved;
                row.resolved_at = Some(now);
                row.updated_at = now;
                self.store.alerts().upsert(row).await?;
            }
            let text = format!("{component} is not there any more; its alert is closed");
            let id = incident.id.clone();
            self.note(&id, "alert", &text, json!({ "component": component }), now).await?;
            self.open.remove(&component);
        }
        self.states.retain(|id, _| there.contains(id.as_str()));
        Ok(())
    }

    async fn note(
        &self,
        subject: &str,
        kind: &str,
        text: &str,
        detail: Value,
        now: Micros,
    ) -> Result<(), StoreError> {
        note(&self.store, subject, kind, ACTOR, text, detail, now).await
    }
}

/// Whether a provider's run of failures has gone on since it was written down.
fn has_more_to_tell(component: &Component, stored: &model::Alert, detail: &Detail, now: Micros) -> bool {
    let told = detail.component["trouble"]["failures"].as_u64();
    let failures = component.trouble.as_ref().map(|trouble| u64::from(trouble.failures));
    failures.is_some() && failures != told && now.since(stored.updated_at) >= TROUBLE_EVERY
}

/// One event of a story.
pub(crate) async fn note(
    store: &Store,
    subject: &str,
    kind: &str,
    actor: &str,
    text: &str,
    detail: Value,
    at: Micros,
) -> Result<(), StoreError> {
    let event = NewEvent {
        at,
        subject: subject.to_owned(),
        kind: kind.to_owned(),
        actor: actor.to_owned(),
        text: text.to_owned(),
        detail,
    };
    store.timeline().append(event).await.map(|_| ())
}

fn to_value(detail: &Detail) -> Result<Value, StoreError> {
    serde_json::to_value(detail).map_err(|error| StoreError::Bug(error.to_string()))
}
