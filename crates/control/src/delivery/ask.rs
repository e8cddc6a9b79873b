//! What operators ask about receivers: how they stand, what they would read, whether they are reached.

use mainstay_base::{Micros, id};
use mainstay_store::{
    NoticeFilter, Standing, StoreError,
    model::{Alert as Row, Delivery},
};
use mainstay_wire::notify::{self, Notice, What, call, shown};
use serde::Serialize;
use serde_json::json;

use super::Receiver;
use crate::{
    alert,
    facade::{CONTROL, Facade},
    health::{Component, State},
    incident,
};

/// Begins the key of a notice that somebody asked for to see whether it arrives. It is tried once.
pub(super) const TEST_KEY: &str = "test-";

/// A receiver as it is configured, and how it goes with its notices.
#[derive(Clone, Debug, Serialize)]
pub struct ReceiverState {
    pub name: String,
    /// Empty for one that is told something still and is not configured any more.
    pub kind: String,
    pub min_severity: String,
    /// As health has it; `None`: it is not configured any more, or nothing was judged yet.
    pub state: Option<State>,
    #[serde(flatten)]
    pub standing: Standing,
}

impl ReceiverState {
    /// `unknown` before the first look.
    pub fn word(&self) -> &'static str {
        self.state.unwrap_or_default().as_str()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TestRefused {
    #[error("there is no receiver `{0}`; there are: {1}")]
    NoReceiver(String, String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum PreviewRefused {
    #[error("there is no receiver `{0}`; there are: {1}")]
    NoReceiver(String, String),
    #[error("there is no alert {0}")]
    NoAlert(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a receiver would be sent.
#[derive(Clone, Debug, Serialize)]
pub struct Preview {
    pub title: String,
    pub body: String,
    /// The body of the call, without secrets; empty for mail.
    pub call: String,
}

/// What `receiver` would be sent for a notice of this sort.
pub fn preview(receiver: &Receiver, what: What, now: Micros) -> Preview {
    of_notice(receiver, &Notice::sample(what, now), now)
}

fn of_notice(receiver: &Receiver, notice: &Notice, now: Micros) -> Preview {
    let words = receiver.words(notice);
    let call = call(&receiver.channel, notice, &words, "preview", now);
    let call = call.map_or_else(String::new, |call| shown(&receiver.channel, &call));
    Preview { title: words.title, body: words.body, call }
}

impl Facade {
    /// Those that are configured, in their order, then those that are not any more and have something to be told.
    pub async fn receivers(&self) -> Result<Vec<ReceiverState>, StoreError> {
        let options = self.shared.options.borrow().clone();
        let report = self.report();
        let mut standings = self.shared.store.outbox().standings().await?;
        let mut all = Vec::new();
        for receiver in &options.receivers {
            let name = &receiver.name;
            let component = format!("receiver:{name}");
            let judged = report.components.iter().find(|judged| judged.id == component);
            let known = standings.iter().position(|standing| standing.receiver == *name);
            all.push(ReceiverState {
                name: name.clone(),
                kind: receiver.channel.kind().as_str().to_owned(),
                min_severity: receiver.min_severity.as_str().to_owned(),
                state: judged.map(|judged| judged.state),
                standing: known.map_or_else(
                    || Standing { receiver: name.clone(), ..Standing::default() },
                    |index| standings.swap_remove(index),
                ),
            });
        }
        standings.retain(|standing| standing.pending > 0);
        standings.sort_by(|one, other| one.receiver.cmp(&other.receiver));
        all.extend(standings.into_iter().map(|standing| ReceiverState {
            name: standing.receiver.clone(),
            kind: String::new(),
            min_severity: String::new(),
            state: None,
            standing,
        }));
        Ok(all)
    }

    /// What a receiver that is in force would be sent: of this alert, or of the sample. Nothing is sent.
    pub async fn preview(
        &self,
        name: &str,
        what: What,
        alert: Option<&str>,
    ) -> Result<Preview, PreviewRefused> {
        let (options, now) = (self.shared.options.borrow().clone(), self.shared.clock.now());
        let Some(receiver) = options.receivers.iter().find(|receiver| receiver.name == name) else {
            let names: Vec<&str> = options.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
            return Err(PreviewRefused::NoReceiver(name.to_owned(), names.join(", ")));
        };
        let mut notice = Notice::sample(what, now);
        if let Some(id) = alert {
            let row = self.shared.store.alerts().get(id).await?;
            let row = row.ok_or_else(|| PreviewRefused::NoAlert(id.to_owned()))?;
            let report = self.report();
            let component = report.components.iter().find(|component| component.id == row.subject);
            let alert = told(&row, component, what, now);
            (notice.severity, notice.title) = (alert.severity, alert.summary.clone());
            notice.alerts = vec![alert];
        }
        Ok(of_notice(receiver, &notice, now))
    }

    pub async fn notices(&self, filter: NoticeFilter) -> Result<Vec<Delivery>, StoreError> {
        self.shared.store.outbox().notices(filter).await
    }

    /// Enqueues a notice that says it is a test. Gives the id of its delivery, whose outcome [`Facade::notices`] shows.
    pub async fn test_receiver(&self, name: &str, actor: &str) -> Result<String, TestRefused> {
        let options = self.shared.options.borrow().clone();
        let Some(receiver) = options.receivers.iter().find(|receiver| receiver.name == name) else {
            let names: Vec<&str> = options.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
            return Err(TestRefused::NoReceiver(name.to_owned(), names.join(", ")));
        };
        let now = self.shared.clock.now();
        let key = format!("{TEST_KEY}{}", id::new());
        let names = [name.to_owned()];
        let test = Notice { key: key.clone(), ..Notice::sample(What::Test, now) };
        let mut id = String::new();
        for delivery in alert::deliveries(&test, &names) {
            id.clone_from(&delivery.id);
            self.shared.store.outbox().enqueue(delivery).await?;
        }
        if receiver.channel.kind().keeps_open() {
            let end =
                Notice { key, number: 2, severity: test.severity, ..Notice::sample(What::Resolved, now) };
            for mut delivery in alert::deliveries(&end, &names) {
                // It comes after the test, not instead of it.
                delivery.replaces = false;
                self.shared.store.outbox().enqueue(delivery).await?;
            }
        }
        let text = format!("a test notice to receiver {name} was asked for");
        self.note(CONTROL, "receiver_test", actor, &text, json!({ "receiver": name, "delivery": id }))
            .await?;
        Ok(id)
    }
}

/// An alert by what is kept of it, and while it is open by how its component is now.
fn told(row: &Row, component: Option<&Component>, what: What, now: Micros) -> notify::Alert {
    let resolved_at = row.resolved_at.or((what == What::Resolved).then_some(now));
    let component = component.filter(|_| resolved_at.is_none());
    let finding = component.and_then(|component| component.finding.as_ref());
    let state = component.map_or(State::Down, |component| component.state);
    notify::Alert {
        alert_id: row.id.clone(),
        severity: alert::told_severity(row.severity),
        component: row.subject.clone(),
        state: if resolved_at.is_some() { State::Ok } else { state }.as_str().to_owned(),
        reason: component.map_or_else(String::new, |component| component.reason.clone()),
        summary: row.summary.clone(),
        cause: finding.map_or_else(String::new, |finding| finding.cause.clone()),
        remedy: finding.map_or_else(String::new, |finding| finding.remedy.clone()),
        labels: component.map(incident::labels_of).unwrap_or_default(),
        opened_at: row.opened_at,
        resolved_at,
    }
}
