//! What this process knows of the targets of models while it runs: breakers, latencies, limits, calls in flight, resting
//! keys, budgets of retries and hedges.
//!
//! Promises: state belongs to a name (provider and model, provider and key, logical model) and survives new snapshots;
//! new settings are taken over, what was learned stays. A provider at another address, or a key with another secret, is
//! another one and begins anew; calls of the old one touch only the old one. What no snapshot names any more is
//! forgotten after [`FORGET_AFTER`]. A request pays one look-up by its model's name. Refuses to know requests and their bodies.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use mainstay_base::{
    Clock, Snapshot, Standing,
    snapshot::{LogicalModel, ModelTarget, Strategy},
};
use parking_lot::Mutex;

mod chain;
mod flight;
mod key;
mod table;
mod target;
mod ticks;

pub(crate) use chain::{Chain, Taken, Wanted, key_bit};
pub(crate) use flight::{Failed, Flight, Used, Watched};
pub(crate) use target::Turned;
pub(crate) use ticks::{Chance, Ticks};

use table::{Limits, Naming, Table, limits};

/// How long state outlives the last snapshot that named it: a route taken out and put back finds its breaker again.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Names of models in no route that are remembered at a time; callers choose them, so they are bounded.
const MAX_OTHER_MODELS: usize = 512;

/// Everything known, and the current snapshot's view of it.
pub(crate) struct Targets {
    pub(crate) ticks: Ticks,
    pub(crate) chance: Chance,
    table: Mutex<Table>,
    resolved: ArcSwapOption<Resolved>,
}

/// The chains of one snapshot.
struct Resolved {
    snapshot: Arc<Snapshot>,
    limits: Limits,
    chains: HashMap<String, Arc<Chain>>,
    /// Of models in no route, made when they are asked for.
    others: Mutex<HashMap<String, Arc<Chain>>>,
}

impl Targets {
    pub(crate) fn new(clock: &Clock) -> Targets {
        Targets {
            ticks: Ticks::new(clock),
            chance: Chance::new(),
            table: Mutex::default(),
            resolved: ArcSwapOption::empty(),
        }
    }

    /// Who may answer for a model. `None`: nobody.
    pub(crate) fn chain(&self, snapshot: &Arc<Snapshot>, model: &str) -> Option<Arc<Chain>> {
        let resolved = self.resolved(snapshot);
        if let Some(chain) = resolved.chains.get(model) {
            return Some(chain.clone());
        }
        if snapshot.model.other_models_to.is_empty() {
            return None;
        }
        let mut others = resolved.others.lock();
        if let Some(chain) = others.get(model) {
            return Some(chain.clone());
        }
        let model = Arc::new(LogicalModel {
            name: model.to_owned(),
            app: None,
            strategy: Strategy::Ordered,
            targets: other_targets(snapshot, model),
            policy: snapshot.model.other_models_policy.clone(),
        });
        let (now, limits) = (self.ticks.now(), &resolved.limits);
        let naming = Naming { snapshot, limits, now, is_newest: self.is_newest(snapshot) };
        let chain = self.table.lock().chain(&naming, &model);
        // Old names make room for new ones; those in use are kept by their calls.
        if others.len() >= MAX_OTHER_MODELS {
            others.clear();
            self.table.lock().forget(self.ticks.now(), Duration::ZERO);
        }
        others.insert(model.name.clone(), chain.clone());
        Some(chain)
    }

    fn resolved(&self, snapshot: &Arc<Snapshot>) -> Arc<Resolved> {
        match &*self.resolved.load() {
            Some(resolved) if Arc::ptr_eq(&resolved.snapshot, snapshot) => resolved.clone(),
            before => self.resolve(snapshot, before.as_deref()),
        }
    }

    /// Requests of the snapshot before may still come; the newer one stays.
    fn resolve(&self, snapshot: &Arc<Snapshot>, before: Option<&Resolved>) -> Arc<Resolved> {
        let now = self.ticks.now();
        let is_newest = before.is_none_or(|before| before.snapshot.generation <= snapshot.generation);
        let limits = limits(snapshot);
        let mut table = self.table.lock();
        let naming = Naming { snapshot, limits: &limits, now, is_newest };
        let models = snapshot.model.models.iter();
        let chains = models.map(|(name, model)| (name.clone(), table.chain(&naming, model))).collect();
        if let Some(before) = before.filter(|_| is_newest) {
            table.wake_restored(&before.snapshot, snapshot);
        }
        table.forget(now, FORGET_AFTER);
        drop(table);
        let others = Mutex::default();
        let resolved = Arc::new(Resolved { snapshot: snapshot.clone(), limits, chains, others });
        if is_newest {
            self.resolved.store(Some(resolved.clone()));
        }
        resolved
    }

    fn is_newest(&self, snapshot: &Arc<Snapshot>) -> bool {
        self.resolved.load().as_ref().is_none_or(|known| known.snapshot.generation <= snapshot.generation)
    }

    /// How all of them stand now.
    pub(crate) fn standing(&self, snapshot: &Arc<Snapshot>) -> Standing {
        // So that targets nobody asked yet are shown too.
        self.resolved(snapshot);
        let now = self.ticks.now();
        let mut table = self.table.lock();
        // Here too, because this comes each second and another snapshot may never come.
        table.forget(now, FORGET_AFTER);
        let targets = table.targets.values().filter(|kept| kept.is_in_use());
        let mut targets: Vec<_> = targets.map(|kept| kept.state.standing(now)).collect();
        let keys = table.keys.values().filter(|kept| kept.is_in_use());
        let mut keys: Vec<_> = keys.map(|kept| kept.state.standing(now)).collect();
        drop(table);
        targets.sort_by(|one, other| (&one.provider, &one.model).cmp(&(&other.provider, &other.model)));
        keys.sort_by(|one, other| (&one.provider, &one.key).cmp(&(&other.provider, &other.key)));
        Standing { at: now, snapshot_generation: snapshot.generation, targets, keys, answers: Vec::new() }
    }
}

fn other_targets(snapshot: &Snapshot, model: &str) -> Vec<ModelTarget> {
    let providers = snapshot.model.other_models_to.iter();
    providers.map(|provider| ModelTarget::new(provider.clone(), model)).collect()
}

#[cfg(test)]
mod tests;
