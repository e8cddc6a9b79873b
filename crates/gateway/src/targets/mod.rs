//! What this process knows of the targets of models while it runs: breakers, latencies, limits, calls in flight, resting
//! keys, budgets of retries and hedges.
//!
//! Promises: state belongs to a name (provider and model, provider and key, logical model) and survives new snapshots;
//! new settings are taken over, what was learned stays. What no snapshot names any more is forgotten after
//! [`FORGET_AFTER`]. A request pays one look-up by its model's name. Refuses to know requests and their bodies.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use mainstay_base::{
    Clock, Micros, Snapshot, Standing,
    snapshot::{LogicalModel, ModelTarget, Provider, Strategy},
};
use parking_lot::Mutex;

mod chain;
mod flight;
mod key;
mod target;
mod ticks;

pub(crate) use chain::{Chain, Taken, Wanted, key_bit};
pub(crate) use flight::{Flight, Used};
pub(crate) use key::LIMITED_REST;
pub(crate) use target::Turned;
pub(crate) use ticks::{Chance, Ticks};

use chain::{Budgets, Place};
use key::Key;
use target::Target;

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

#[derive(Default)]
struct Table {
    targets: HashMap<(String, String), Kept<Target>>,
    keys: HashMap<(String, String), Kept<Key>>,
    budgets: HashMap<String, Kept<Budgets>>,
}

struct Kept<T> {
    state: Arc<T>,
    named_at: Micros,
}

/// The chains of one snapshot.
struct Resolved {
    snapshot: Arc<Snapshot>,
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
            strategy: Strategy::Ordered,
            targets: other_targets(snapshot, model),
            policy: snapshot.model.other_models_policy.clone(),
        });
        let chain = self.table.lock().chain(snapshot, &model, self.ticks.now());
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
        let mut table = self.table.lock();
        let models = snapshot.model.models.iter();
        let chains = models.map(|(name, model)| (name.clone(), table.chain(snapshot, model, now))).collect();
        if let Some(before) = before {
            table.wake_restored(&before.snapshot, snapshot);
        }
        table.forget(now, FORGET_AFTER);
        drop(table);
        let resolved = Arc::new(Resolved { snapshot: snapshot.clone(), chains, others: Mutex::default() });
        if before.is_none_or(|before| before.snapshot.generation <= snapshot.generation) {
            self.resolved.store(Some(resolved.clone()));
        }
        resolved
    }

    /// How all of them stand now.
    pub(crate) fn standing(&self, snapshot: &Arc<Snapshot>) -> Standing {
        // So that targets nobody asked yet are shown too.
        self.resolved(snapshot);
        let now = self.ticks.now();
        let table = self.table.lock();
        let mut targets: Vec<_> = table.targets.values().map(|kept| kept.state.standing(now)).collect();
        let mut keys: Vec<_> = table.keys.values().map(|kept| kept.state.standing(now)).collect();
        drop(table);
        targets.sort_by(|one, other| (&one.provider, &one.model).cmp(&(&other.provider, &other.model)));
        keys.sort_by(|one, other| (&one.provider, &one.key).cmp(&(&other.provider, &other.key)));
        Standing { at: now, snapshot_generation: snapshot.generation, targets, keys }
    }
}

fn other_targets(snapshot: &Snapshot, model: &str) -> Vec<ModelTarget> {
    let providers = snapshot.model.other_models_to.iter();
    providers.map(|provider| ModelTarget::new(provider.clone(), model)).collect()
}

impl Table {
    fn chain(&mut self, snapshot: &Snapshot, model: &Arc<LogicalModel>, now: Micros) -> Arc<Chain> {
        let places = model.targets.iter().map(|target| self.place(snapshot, target, now)).collect();
        let budgets = self.budgets.entry(model.name.clone());
        let kept =
            budgets.or_insert_with(|| Kept { state: Arc::new(Budgets::new(&model.policy)), named_at: now });
        kept.named_at = now;
        kept.state.reconfigure(&model.policy);
        Arc::new(Chain::new(model.clone(), places, kept.state.clone(), snapshot.model.ejection))
    }

    fn place(&mut self, snapshot: &Snapshot, target: &ModelTarget, now: Micros) -> Place {
        let ModelTarget { provider, model, limits, .. } = target;
        let settings = snapshot.model.breaker;
        let name = (provider.name.clone(), model.clone());
        let kept = self.targets.entry(name).or_insert_with(|| Kept {
            state: Arc::new(Target::new(&provider.name, model, settings, *limits)),
            named_at: now,
        });
        kept.named_at = now;
        kept.state.reconfigure(settings, *limits);
        let state = kept.state.clone();
        let keys = self.keys(provider, now);
        let is_drained = snapshot.model.drained.contains(&provider.name);
        Place::new(state, keys, provider, model, is_drained)
    }

    fn keys(&mut self, provider: &Provider, now: Micros) -> Vec<Arc<Key>> {
        let known = provider.keys.iter().map(|key| {
            let name = (provider.name.clone(), key.name.clone());
            let kept = self.keys.entry(name).or_insert_with(|| Kept {
                state: Arc::new(Key::new(&provider.name, &key.name, &key.secret)),
                named_at: now,
            });
            kept.named_at = now;
            kept.state.reconfigure(&key.secret);
            kept.state.clone()
        });
        known.collect()
    }

    /// A provider that was taken out and is put back gets a fresh start: whoever restored it has looked at its keys.
    fn wake_restored(&self, before: &Snapshot, after: &Snapshot) {
        let restored = before.model.drained.iter().filter(|name| !after.model.drained.contains(name));
        for name in restored {
            for ((provider, _), kept) in &self.keys {
                if provider == name {
                    kept.state.wake();
                }
            }
        }
    }

    /// Forgets what was not named for so long and is not in use.
    fn forget(&mut self, now: Micros, unnamed_for: Duration) {
        fn stays<T>(kept: &Kept<T>, now: Micros, unnamed_for: Duration) -> bool {
            Arc::strong_count(&kept.state) > 1 || now.since(kept.named_at) < unnamed_for
        }
        self.targets.retain(|_, kept| stays(kept, now, unnamed_for));
        self.keys.retain(|_, kept| stays(kept, now, unnamed_for));
        self.budgets.retain(|_, kept| stays(kept, now, unnamed_for));
    }
}
