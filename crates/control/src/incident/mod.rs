//! From what was found to alerts: steps every component's alert, decides who is told, and writes rows, groups, notices and
//! the story of each incident in one transaction.
//!
//! Promises: what is remembered between two looks is in the store, but for what is pending; a look whose decision could
//! not be stored has not been.

mod draft;
mod labels;
mod tell;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use mainstay_base::Micros;
use mainstay_store::{
    Store, StoreError,
    model::{self, AlertState, Decided, Fence, NewEvent, OnCallOverride, Silence},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use tracing::{info, warn};

pub(crate) use self::labels::labels_of;

use self::draft::Draft;
use crate::{
    alert::{self, Alert, Group, Labels, Phase, shadow::Shadows},
    health::{Component, State},
    options::Options,
};

pub(crate) const ACTOR: &str = "mainstay";

/// What control keeps in an alert's row beside its columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Detail {
    alert: Alert,
    component: Value,
    /// Apps that saw it: what it explains, kept for whoever takes over.
    #[serde(default)]
    touched: BTreeSet<String>,
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

    /// What its component was told apart by when it was last stored.
    pub(crate) fn labels(&self) -> Labels {
        self.row.as_ref().map(|(_, detail)| detail.labels()).unwrap_or_default()
    }
}

impl Detail {
    fn labels(&self) -> Labels {
        serde_json::from_value(self.component["labels"].clone()).unwrap_or_default()
    }
}

/// What runbooks say about a component.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunbookSays {
    pub(crate) held: bool,
    pub(crate) paged: bool,
}

/// What is read of others before anything is decided.
#[derive(Default)]
struct Book {
    groups: Vec<Group>,
    silences: Vec<Silence>,
    overrides: Vec<OnCallOverride>,
    shadows: Shadows,
}

pub(crate) struct Incidents {
    store: Store,
    options: watch::Receiver<Arc<Options>>,
    /// By component. What is pending lives only here: a control that takes over waits anew.
    open: HashMap<String, Incident>,
    states: HashMap<String, State>,
    book: Book,
}

impl Incidents {
    pub(crate) fn new(store: Store, options: watch::Receiver<Arc<Options>>) -> Incidents {
        Incidents { store, options, open: HashMap::new(), states: HashMap::new(), book: Book::default() }
    }

    /// Forgets what it knew: another control acts now, or has acted.
    pub(crate) fn reset(&mut self) {
        self.open.clear();
        self.states.clear();
        self.book = Book::default();
    }

    pub(crate) fn firing(&self) -> impl Iterator<Item = &Incident> {
        self.open.values().filter(|incident| incident.is_firing())
    }

    /// Reads everything that is open, and what others have said about it, before anything is decided.
    pub(crate) async fn refresh(&mut self) -> Result<(), StoreError> {
        let model::AlertBook { alerts, groups, silences, overrides } = self.store.alerts().book().await?;
        let shadows = Shadows::read(&self.store).await?;
        self.open.retain(|_, incident| !incident.is_firing());
        for row in alerts.into_iter().filter(|row| alert::is_rule(&row.rule)) {
            let Ok(detail) = serde_json::from_value::<Detail>(row.detail.clone()) else {
                warn!(alert.id = %row.id, "a stored alert cannot be read; it is left alone");
                continue;
            };
            let mut alert = detail.alert.clone();
            alert.acknowledged = row.state == AlertState::Acknowledged;
            let (id, component) = (row.id.clone(), row.subject.clone());
            self.open.insert(component.clone(), Incident { id, component, alert, row: Some((row, detail)) });
        }
        let read = |group: model::AlertGroup| {
            let read = serde_json::from_value::<Group>(group.body);
            read.inspect_err(
                |_| warn!(group.id = %group.id, "a stored group of alerts cannot be read; it is left alone"),
            )
            .ok()
        };
        let groups = groups.into_iter().filter_map(read).collect();
        self.book = Book { groups, silences, overrides, shadows };
        Ok(())
    }

    /// One look at everything that alerts can be about: the report's components, and those that it does not have.
    /// `fence`: the lease by which this control acts.
    pub(crate) async fn look(
        &mut self,
        components: &[Component],
        says: &HashMap<String, RunbookSays>,
        fence: Option<Fence>,
        now: Micros,
    ) -> Result<(), StoreError> {
        // If this look fails, what is pending begins anew; what fires is read again.
        let (open, states) = (std::mem::take(&mut self.open), std::mem::take(&mut self.states));
        let mut draft = Draft::new(open, states, now);
        for component in components {
            draft.look_at(component, says.get(&component.id).copied().unwrap_or_default());
        }
        draft.close_what_is_gone(components);
        let options = self.options.borrow().clone();
        tell::tell(&mut draft, components, &self.book, &options);
        let decided = Decided { fence, ..std::mem::take(&mut draft.decided) };
        let lines = std::mem::take(&mut draft.lines);
        if !decided.is_empty() && !self.store.alerts().commit(decided).await? {
            info!("what was decided about alerts was not stored: another control acts now");
            return Ok(());
        }
        for line in lines {
            info!(alert.id = %line.id, alert.component = %line.component, "{}", line.text);
        }
        (self.open, self.states) = (draft.open, draft.states);
        Ok(())
    }
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
    store.timeline().append(event(subject, kind, actor, text, detail, at)).await.map(|_| ())
}

pub(crate) fn event(
    subject: &str,
    kind: &str,
    actor: &str,
    text: &str,
    detail: Value,
    at: Micros,
) -> NewEvent {
    NewEvent {
        at,
        subject: subject.to_owned(),
        kind: kind.to_owned(),
        actor: actor.to_owned(),
        text: text.to_owned(),
        detail,
    }
}
