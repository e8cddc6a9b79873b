//! What the console and the server may ask of control and tell it. Works in every process that runs control: what
//! only the acting one can do is written down, and it finds it at its next look.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use mainstay_base::{Clock, Micros, id, listed};
use mainstay_store::{
    Store, StoreError, Waiting,
    model::{Alert, AlertFilter, AlertState, Execution, ExecutionFilter, TimelineEvent, TimelineFilter},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Notify, watch};

use crate::{
    delivery::Sent,
    health::{Component, Observer, Report},
    incident,
    options::Options,
    overrides::{self, Freeze, Overrides},
    ports::Peers,
    runbook,
};

/// The subject under which the timeline keeps what belongs to no incident.
pub(crate) const CONTROL: &str = "control";

/// Cheap to clone.
#[derive(Clone)]
pub struct Facade {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) client: mainstay_net::Client,
    pub(crate) peers: watch::Receiver<Arc<Peers>>,
    pub(crate) observer: Observer,
    pub(crate) options: watch::Receiver<Arc<Options>>,
    pub(crate) report: watch::Sender<Arc<Report>>,
    pub(crate) overrides: watch::Sender<Arc<Overrides>>,
    pub(crate) freeze: watch::Sender<Arc<Freeze>>,
    pub(crate) is_leader: AtomicBool,
    /// The same, for who waits for a change.
    pub(crate) leads: watch::Sender<bool>,
    /// How service levels stand, for the alert step; `None`: not judged yet.
    pub(crate) slos: watch::Sender<Option<Arc<Vec<Component>>>>,
    /// Who has notices that wait, and when the outbox said so; `None`: it has not yet.
    pub(crate) waiting: watch::Sender<Option<(Micros, Arc<Vec<Waiting>>)>>,
    /// What came of the calls of this process.
    pub(crate) sent: Sent,
    /// Something was written down: look now.
    pub(crate) wake: Arc<Notify>,
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("there is no such {0}")]
    NotFound(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Acknowledged {
    Now,
    Before,
    /// It is over; there is nothing to acknowledge.
    Resolved,
}

/// A runbook started by a person.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RunRequest {
    pub runbook: String,
    /// The component (`worker:0`, `provider:openai`).
    pub component: String,
    pub actor: String,
    pub why: String,
    /// Only say what would be done.
    pub dry_run: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum RunRefused {
    #[error("there is no runbook `{0}`; there are: {1}")]
    NoRunbook(String, String),
    #[error("runbook {runbook} is for {wanted} components, and there is no such component as `{component}`")]
    NoComponent { runbook: String, wanted: &'static str, component: String },
    #[error("execution {0} works on this component already")]
    UnderWay(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Facade {
    /// The last report.
    pub fn report(&self) -> Arc<Report> {
        self.shared.report.borrow().clone()
    }

    /// Follows the reports; a new one comes about twice a second.
    pub fn reports(&self) -> watch::Receiver<Arc<Report>> {
        self.shared.report.subscribe()
    }

    /// What the server puts into the next snapshot.
    pub fn overrides(&self) -> watch::Receiver<Arc<Overrides>> {
        self.shared.overrides.subscribe()
    }

    pub fn observer(&self) -> &Observer {
        &self.shared.observer
    }

    /// Whether this process is the one that acts.
    pub fn is_leader(&self) -> bool {
        self.shared.is_leader.load(Ordering::Relaxed)
    }

    pub async fn alerts(&self, filter: AlertFilter) -> Result<Vec<Alert>, StoreError> {
        self.shared.store.alerts().list(filter).await
    }

    pub async fn alert(&self, id: &str) -> Result<Option<Alert>, StoreError> {
        self.shared.store.alerts().get(id).await
    }

    /// The story of an incident is under its alert's id as subject.
    pub async fn timeline(&self, filter: TimelineFilter) -> Result<Vec<TimelineEvent>, StoreError> {
        self.shared.store.timeline().list(filter).await
    }

    pub async fn executions(&self, filter: ExecutionFilter) -> Result<Vec<Execution>, StoreError> {
        self.shared.store.runbooks().list(filter).await
    }

    pub async fn execution(&self, id: &str) -> Result<Option<Execution>, StoreError> {
        self.shared.store.runbooks().get(id).await
    }

    pub fn runbooks(&self) -> &'static [runbook::Definition] {
        runbook::BUILT_IN
    }

    pub async fn acknowledge(
        &self,
        alert_id: &str,
        actor: &str,
        note: &str,
    ) -> Result<Acknowledged, ControlError> {
        let text = if note.is_empty() {
            "alert acknowledged".to_owned()
        } else {
            format!("alert acknowledged: {note}")
        };
        let detail = json!({ "before": "firing", "after": "acknowledged" });
        let event = incident::event(alert_id, "acknowledged", actor, &text, detail, self.shared.clock.now());
        let before = self.shared.store.alerts().acknowledge(alert_id, actor, event).await?;
        match before.ok_or(ControlError::NotFound("alert"))? {
            AlertState::Resolved => return Ok(Acknowledged::Resolved),
            AlertState::Acknowledged => return Ok(Acknowledged::Before),
            AlertState::Firing => {}
        }
        self.shared.wake.notify_one();
        Ok(Acknowledged::Now)
    }

    /// Writes a runbook's execution down; the acting control does it at its next look. Gives the execution's id.
    pub async fn run(&self, request: RunRequest) -> Result<String, RunRefused> {
        let Some(definition) = runbook::find(&request.runbook) else {
            let known = listed(runbook::BUILT_IN.iter().map(|definition| definition.name));
            return Err(RunRefused::NoRunbook(request.runbook, known));
        };
        let report = self.report();
        let found = report.component(&request.component);
        if found.is_none_or(|component| component.group != definition.group) {
            return Err(RunRefused::NoComponent {
                runbook: request.runbook,
                wanted: definition.group.as_str(),
                component: request.component,
            });
        }
        let subject = Some(request.component.clone());
        let filter = ExecutionFilter {
            open_only: true,
            subject: subject.clone(),
            limit: 1,
            ..ExecutionFilter::default()
        };
        if let Some(open) = self.shared.store.runbooks().list(filter).await?.into_iter().next() {
            return Err(RunRefused::UnderWay(open.id));
        }
        let filter = AlertFilter { open_only: true, subject, limit: 1, ..AlertFilter::default() };
        let alert = self.shared.store.alerts().list(filter).await?.into_iter().next();
        let id = id::new();
        let now = self.shared.clock.now();
        let execution = runbook::requested(
            definition,
            runbook::Request {
                id: id.clone(),
                component: request.component.clone(),
                alert_id: alert.map(|alert| alert.id),
                actor: request.actor.clone(),
                why: request.why.clone(),
                by_hand: true,
                dry_run: request.dry_run,
            },
            now,
        )?;
        let incident = execution.alert_id.clone().unwrap_or_else(|| id.clone());
        self.shared.store.runbooks().insert(execution).await?;
        let text = format!("runbook {} asked for: {}", definition.name, request.why);
        let detail = json!({ "component": request.component, "execution": id, "dry_run": request.dry_run });
        self.note(&incident, "runbook_asked", &request.actor, &text, detail).await?;
        self.shared.wake.notify_one();
        Ok(id)
    }

    /// Who is called, by the configuration of now.
    pub fn peers(&self) -> Arc<Peers> {
        self.shared.peers.borrow().clone()
    }

    pub fn freeze_state(&self) -> Arc<Freeze> {
        self.shared.freeze.borrow().clone()
    }

    /// From now on no runbook acts by itself; each only says what it would do.
    pub async fn freeze(&self, actor: &str, why: &str) -> Result<(), StoreError> {
        self.set_freeze(true, actor, why).await
    }

    pub async fn unfreeze(&self, actor: &str, why: &str) -> Result<(), StoreError> {
        self.set_freeze(false, actor, why).await
    }

    async fn set_freeze(&self, frozen: bool, actor: &str, why: &str) -> Result<(), StoreError> {
        let now = self.shared.clock.now();
        let wanted = Freeze { frozen, by: actor.to_owned(), why: why.to_owned(), since: now };
        let (before, after) = overrides::set_freeze(&self.shared.store, wanted).await?;
        self.shared.freeze.send_replace(Arc::new(after.clone()));
        let kind = if frozen { "freeze" } else { "unfreeze" };
        let undo = if frozen { "mainstay runbook unfreeze" } else { "mainstay runbook freeze" };
        let detail = json!({ "before": before.frozen, "after": after.frozen, "undo": undo });
        self.note(CONTROL, kind, actor, &format!("{kind}: {why}"), detail).await?;
        self.shared.wake.notify_one();
        Ok(())
    }

    pub(crate) async fn note(
        &self,
        subject: &str,
        kind: &str,
        actor: &str,
        text: &str,
        detail: serde_json::Value,
    ) -> Result<(), StoreError> {
        incident::note(&self.shared.store, subject, kind, actor, text, detail, self.shared.clock.now()).await
    }
}
