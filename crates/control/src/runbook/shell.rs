//! Performs what the executions decide: reads them, steps them, stores them, and only then acts.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use mainstay_base::{Micros, id};
use mainstay_store::{
    Store, StoreError,
    model::{Execution, ExecutionFilter},
};
use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinSet};
use tracing::{error, info, warn};

use super::{Action, Definition, Effect, Event, Facts, Run, Stage, automatic_for, find, may_detour, step};
use crate::{
    health::{Component, Report, State},
    incident::{self, Incident, Incidents, RunbookSays},
    overrides::{self, Drained, Freeze, Overrides},
    ports::{Peers, Supervisor},
};

/// Executions that are open at a time; one a component.
const MAX_OPEN: u32 = 200;
/// Of one component, so many executions are remembered for its budget. Longer than any budget's tries.
const MAX_RECENT: u32 = 20;

/// What the round goes by.
pub(crate) struct World<'a> {
    pub(crate) report: &'a Report,
    pub(crate) peers: &'a Peers,
    pub(crate) overrides: &'a Overrides,
    pub(crate) freeze: &'a Freeze,
    pub(crate) automatic: bool,
    pub(crate) now: Micros,
}

/// Who wants what.
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) component: String,
    pub(crate) alert_id: Option<String>,
    pub(crate) actor: String,
    pub(crate) why: String,
    pub(crate) by_hand: bool,
    pub(crate) dry_run: bool,
}

/// An execution that nobody has looked at yet.
pub(crate) fn requested(
    definition: &Definition,
    request: Request,
    now: Micros,
) -> Result<Execution, StoreError> {
    let Request { id, component, alert_id, actor, why, by_hand, dry_run } = request;
    let run = Run {
        stage: Stage::Requested,
        component: component.clone(),
        incident: alert_id.clone().unwrap_or_else(|| id.clone()),
        actor,
        why,
        by_hand,
        dry_run,
        acted_at: Vec::new(),
        paged: false,
    };
    Ok(Execution {
        id,
        runbook: definition.name.to_owned(),
        subject: component,
        alert_id,
        state: run.stage.as_str().to_owned(),
        ended: false,
        detail: to_value(&run)?,
        started_at: now,
        updated_at: now,
    })
}

/// What an action did.
struct Outcome {
    text: String,
    before: Value,
    after: Value,
    undo: String,
}

pub(crate) struct Shell {
    store: Store,
    host: String,
    supervisor: Option<Arc<dyn Supervisor>>,
    wake: Arc<Notify>,
    actions: JoinSet<(String, Result<Outcome, String>)>,
    /// Actions that have ended and whose execution has not been told yet.
    outcomes: HashMap<String, Result<Outcome, String>>,
    /// Alerts of which it was said that nothing is done while frozen.
    told_frozen: HashSet<String>,
}

impl Shell {
    pub(crate) fn new(
        store: Store,
        host: String,
        supervisor: Option<Arc<dyn Supervisor>>,
        wake: Arc<Notify>,
    ) -> Shell {
        let (actions, outcomes, told_frozen) = (JoinSet::new(), HashMap::new(), HashSet::new());
        Shell { store, host, supervisor, wake, actions, outcomes, told_frozen }
    }

    /// What the executions mean for the alerts of components in trouble.
    pub(crate) async fn says(
        &self,
        incidents: &Incidents,
    ) -> Result<HashMap<String, RunbookSays>, StoreError> {
        let mut says = HashMap::new();
        for incident in incidents.firing() {
            let past = self.past(&incident.component).await?;
            let held = past.iter().any(|(execution, _)| !execution.ended);
            let paged = past.iter().any(|(execution, run)| is_of(execution, incident) && run.paged);
            says.insert(incident.component.clone(), RunbookSays { held, paged });
        }
        Ok(says)
    }

    /// Moves every open execution on, and opens new ones for alerts that fire.
    pub(crate) async fn round(&mut self, incidents: &Incidents, world: &World<'_>) -> Result<(), StoreError> {
        while let Some(ended) = self.actions.try_join_next() {
            match ended {
                Ok((id, outcome)) => drop(self.outcomes.insert(id, outcome)),
                Err(error) => {
                    error!(%error, "an action ended badly; its execution goes on when its time is up")
                }
            }
        }
        let filter = ExecutionFilter { open_only: true, limit: MAX_OPEN, ..ExecutionFilter::default() };
        for execution in self.store.runbooks().list(filter).await? {
            self.advance(execution, world).await?;
        }
        for incident in incidents.firing() {
            self.trigger(incident, world).await?;
        }
        self.told_frozen.retain(|id| incidents.firing().any(|incident| incident.id == *id));
        Ok(())
    }

    pub(crate) async fn shutdown(&mut self) {
        self.actions.shutdown().await;
    }

    async fn advance(&mut self, execution: Execution, world: &World<'_>) -> Result<(), StoreError> {
        let now = world.now;
        let parsed = serde_json::from_value::<Run>(execution.detail.clone()).ok();
        let Some((definition, run)) = find(&execution.runbook).zip(parsed) else {
            warn!(execution.id = %execution.id, "an execution cannot be read; it is closed");
            let closed =
                Execution { state: "unreadable".to_owned(), ended: true, updated_at: now, ..execution };
            return self.store.runbooks().update(closed).await.map(|_| ());
        };
        let past = self.past(&execution.subject).await?;
        let of_this_runbook = past.iter().filter(|(past, _)| past.runbook == execution.runbook);
        let recent: Vec<Micros> = of_this_runbook.flat_map(|(_, run)| run.acted_at.clone()).collect();
        let event = match self.outcomes.get(&execution.id) {
            Some(Ok(outcome)) => Event::Done(outcome.text.clone()),
            Some(Err(why)) => Event::Failed(why.clone()),
            None => Event::Look(self.facts(definition, &execution, world)),
        };
        let (after, effects) = step(definition, run.clone(), &recent, event, now);
        if after == run && effects.is_empty() {
            return Ok(());
        }
        let stored = Execution {
            state: after.stage.as_str().to_owned(),
            ended: after.stage.is_ended(),
            detail: to_value(&after)?,
            updated_at: now,
            ..execution
        };
        // Stored before it is done: whoever takes over counts the action, whether or not it was done.
        if !self.store.runbooks().update(stored.clone()).await? {
            warn!(execution.id = %stored.id, "the execution has ended elsewhere; nothing is done");
            self.outcomes.remove(&stored.id);
            return Ok(());
        }
        let outcome = self.outcomes.remove(&stored.id);
        if let Some(Ok(Outcome { text, before, after: changed, undo })) = outcome {
            let detail = json!({ "execution": stored.id, "before": before, "after": changed, "undo": undo });
            self.note(&after, definition, "change", &text, detail, now).await?;
        }
        for effect in effects {
            self.perform(definition, &stored, &after, effect, world).await?;
        }
        Ok(())
    }

    async fn perform(
        &mut self,
        definition: &'static Definition,
        execution: &Execution,
        run: &Run,
        effect: Effect,
        world: &World<'_>,
    ) -> Result<(), StoreError> {
        let detail = json!({ "execution": execution.id, "component": run.component });
        match effect {
            Effect::Note(kind, text) => {
                info!(runbook = definition.name, execution.id = %execution.id, component = %run.component, "{kind}: {text}");
                self.note(run, definition, kind, &text, detail, world.now).await
            }
            Effect::Page(why) => {
                error!(runbook = definition.name, execution.id = %execution.id, component = %run.component, "page: {why}");
                self.note(run, definition, "page", &why, detail, world.now).await
            }
            Effect::Act => {
                self.start(definition.action, execution, run, world, false);
                Ok(())
            }
            Effect::Undo => {
                self.start(definition.action, execution, run, world, true);
                Ok(())
            }
        }
    }

    /// Starts an action beside the round; its outcome is an event of a later one.
    fn start(&mut self, action: Action, execution: &Execution, run: &Run, world: &World<'_>, undo: bool) {
        let (store, id, wake) = (self.store.clone(), execution.id.clone(), self.wake.clone());
        let name = name_of(&run.component).to_owned();
        let reason = format!("{}: {}", execution.runbook, run.why);
        match action {
            Action::RestartWorker => {
                let (supervisor, host) = (self.supervisor.clone(), self.host.clone());
                self.actions.spawn(async move {
                    let outcome = restart(&store, supervisor, &host, &name, reason).await;
                    wake.notify_one();
                    (id, outcome)
                });
            }
            Action::DrainProvider => {
                let (execution_id, by) = (Some(id.clone()), execution.runbook.clone());
                let drained = Drained { reason, since: world.now, execution_id, by };
                self.actions.spawn(async move {
                    let outcome = detour(&store, &name, drained, undo).await;
                    wake.notify_one();
                    (id, outcome)
                });
            }
        }
    }

    async fn trigger(&mut self, incident: &Incident, world: &World<'_>) -> Result<(), StoreError> {
        let Some(component) = world.report.component(&incident.component) else { return Ok(()) };
        let Some(definition) = automatic_for(component.group) else { return Ok(()) };
        if component.state < definition.acts_on || is_out_by_hand(definition, component, world) {
            return Ok(());
        }
        let past = self.past(&incident.component).await?;
        let is_busy = past.iter().any(|(execution, _)| !execution.ended);
        let gave_up = past.iter().any(|(execution, run)| is_of(execution, incident) && run.paged);
        if is_busy || gave_up {
            return Ok(());
        }
        if world.freeze.frozen || !world.automatic {
            return self.tell_frozen(incident, definition, world).await;
        }
        self.open(incident, component, definition, world.now).await
    }

    async fn open(
        &self,
        incident: &Incident,
        component: &Component,
        definition: &'static Definition,
        now: Micros,
    ) -> Result<(), StoreError> {
        let request = Request {
            id: id::new(),
            component: component.id.clone(),
            alert_id: Some(incident.id.clone()),
            actor: incident::ACTOR.to_owned(),
            why: component.reason.clone(),
            by_hand: false,
            dry_run: false,
        };
        let execution = requested(definition, request, now)?;
        let text = format!("runbook {} begins for {}: {}", definition.name, component.id, component.reason);
        let detail = json!({ "execution": execution.id, "component": component.id });
        self.store.runbooks().insert(execution).await?;
        self.wake.notify_one();
        incident::note(&self.store, &incident.id, "runbook", incident::ACTOR, &text, detail, now).await
    }

    async fn tell_frozen(
        &mut self,
        incident: &Incident,
        definition: &Definition,
        world: &World<'_>,
    ) -> Result<(), StoreError> {
        if self.told_frozen.contains(&incident.id) {
            return Ok(());
        }
        let why = match world.freeze.frozen {
            true => format!("automatic action is frozen by {}: {}", world.freeze.by, world.freeze.why),
            false => "automatic action is switched off in the configuration".to_owned(),
        };
        let text = format!("would run {} on {}, but {why}", definition.name, incident.component);
        let detail = json!({ "component": incident.component });
        incident::note(&self.store, &incident.id, "frozen", incident::ACTOR, &text, detail, world.now)
            .await?;
        self.told_frozen.insert(incident.id.clone());
        Ok(())
    }

    fn facts(&self, definition: &Definition, execution: &Execution, world: &World<'_>) -> Facts {
        let component = world.report.component(&execution.subject);
        let name = name_of(&execution.subject);
        let permitted = match definition.action {
            Action::RestartWorker => self.may_restart(name, world.report),
            Action::DrainProvider => may_detour(name, world.peers, world.overrides, world.report),
        };
        Facts {
            state: component.map_or(State::Unknown, |component| component.state),
            permitted,
            frozen: world.freeze.frozen || !world.automatic,
            in_force: world.overrides.drained.get(name).is_some_and(|drained| is_its(drained, &execution.id)),
        }
    }

    fn may_restart(&self, name: &str, report: &Report) -> Result<(), String> {
        let Some(supervisor) = &self.supervisor else {
            return Err("the process that acts has no worker processes of its own".to_owned());
        };
        let is_ours =
            name.parse::<u32>().is_ok_and(|slot| supervisor.list().iter().any(|ours| ours.slot == slot));
        if !is_ours {
            return Err(format!("worker {name} is not one of this host's"));
        }
        match report.component("store") {
            Some(store) if store.state == State::Down => {
                Err("the store is down: silence proves nothing".to_owned())
            }
            _ => Ok(()),
        }
    }

    async fn past(&self, component: &str) -> Result<Vec<(Execution, Run)>, StoreError> {
        let subject = Some(component.to_owned());
        let filter = ExecutionFilter { subject, limit: MAX_RECENT, ..ExecutionFilter::default() };
        let rows = self.store.runbooks().list(filter).await?;
        let read = |execution: Execution| {
            let run = serde_json::from_value::<Run>(execution.detail.clone()).ok()?;
            Some((execution, run))
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    async fn note(
        &self,
        run: &Run,
        definition: &Definition,
        kind: &str,
        text: &str,
        detail: Value,
        now: Micros,
    ) -> Result<(), StoreError> {
        let actor = if run.by_hand { run.actor.as_str() } else { definition.name };
        incident::note(&self.store, &run.incident, kind, actor, text, detail, now).await
    }
}

fn is_of(execution: &Execution, incident: &Incident) -> bool {
    execution.alert_id.as_deref() == Some(incident.id.as_str())
}

/// A provider that a person took out is theirs to put back.
fn is_out_by_hand(definition: &Definition, component: &Component, world: &World<'_>) -> bool {
    let drained = world.overrides.drained.get(&component.name);
    definition.action == Action::DrainProvider && drained.is_some_and(Drained::is_by_hand)
}

/// `worker:0` → `0`.
fn name_of(component: &str) -> &str {
    component.split_once(':').map_or(component, |(_, name)| name)
}

async fn restart(
    store: &Store,
    supervisor: Option<Arc<dyn Supervisor>>,
    host: &str,
    name: &str,
    reason: String,
) -> Result<Outcome, String> {
    let supervisor = supervisor.ok_or("there is no supervisor")?;
    let slot: u32 = name.parse().map_err(|_| format!("`{name}` is not the number of a worker"))?;
    let restarted = supervisor.restart(slot, reason).await?;
    // The old process is gone for certain, so its jobs need not wait for their leases to end.
    let freed = match restarted.old_pid {
        Some(pid) => free_jobs(store, host, slot, pid).await.map_err(|error| error.to_string()),
        None => Ok(0),
    };
    let freed = match freed {
        Ok(freed) => format!("{freed} jobs went back to the queue"),
        Err(error) => format!("its jobs go back when their leases end ({error})"),
    };
    let pid = |pid: Option<u32>| pid.map_or_else(|| "none".to_owned(), |pid| pid.to_string());
    Ok(Outcome {
        text: format!(
            "worker {slot} restarted: process {} ended, process {} started; {freed}",
            pid(restarted.old_pid),
            pid(restarted.new_pid)
        ),
        before: json!({ "pid": restarted.old_pid }),
        after: json!({ "pid": restarted.new_pid }),
        undo: "none needed: the new process does what the old one did".to_owned(),
    })
}

/// The leases of a process that is gone end now.
async fn free_jobs(store: &Store, host: &str, slot: u32, pid: u32) -> Result<u64, StoreError> {
    let mut freed = 0;
    for worker in store.workers().list().await? {
        let is_it = worker.host == host && worker.slot == i64::from(slot) && worker.pid == i64::from(pid);
        if is_it {
            freed += store.jobs().release_owner(&worker.id).await?;
            store.workers().remove(&worker.id).await?;
        }
    }
    Ok(freed)
}

/// Takes a provider out of rotation or, to undo that, puts it back. What a person has decided stays as it is.
async fn detour(store: &Store, name: &str, drained: Drained, undo: bool) -> Result<Outcome, String> {
    let execution_id = drained.execution_id.clone().unwrap_or_default();
    let (before, after) = overrides::change_overrides(store, incident::ACTOR, |overrides| {
        let is_ours = overrides.drained.get(name).is_none_or(|there| is_its(there, &execution_id));
        match (is_ours, undo) {
            (false, _) => {}
            (true, false) => drop(overrides.drained.insert(name.to_owned(), drained.clone())),
            (true, true) => drop(overrides.drained.remove(name)),
        }
    })
    .await
    .map_err(|error| error.to_string())?;
    let names = |overrides: &Overrides| json!(overrides.drained_providers());
    let (text, undo) = match undo {
        false => (
            format!("provider {name} is out of rotation"),
            format!("mainstay provider restore {name}; it goes back by itself when it is well"),
        ),
        true => (
            format!("provider {name} is back in rotation"),
            format!("run provider-detour on provider:{name}"),
        ),
    };
    Ok(Outcome { text, before: names(&before), after: names(&after), undo })
}

fn is_its(drained: &Drained, execution_id: &str) -> bool {
    drained.execution_id.as_deref() == Some(execution_id)
}

fn to_value(run: &Run) -> Result<Value, StoreError> {
    serde_json::to_value(run).map_err(|error| StoreError::Bug(error.to_string()))
}
