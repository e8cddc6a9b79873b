//! State by name, and who still names it.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use mainstay_base::{
    Micros, Snapshot,
    snapshot::{LogicalModel, ModelTarget, Provider, TargetLimits},
};

use super::{
    chain::{Budgets, Chain, Place},
    key::Key,
    target::Target,
};

#[derive(Default)]
pub(super) struct Table {
    pub(super) targets: HashMap<(String, String), Kept<Target>>,
    pub(super) keys: HashMap<(String, String), Kept<Key>>,
    pub(super) budgets: HashMap<String, Kept<Budgets>>,
}

pub(super) struct Kept<T> {
    pub(super) state: Arc<T>,
    named_at: Micros,
}

/// What a snapshot grants each target.
pub(super) type Limits = HashMap<(String, String), TargetLimits>;

/// A target may stand in several routes. It is one target with one grant: the least that any of them gives it.
pub(super) fn limits(snapshot: &Snapshot) -> Limits {
    let mut least = Limits::new();
    for target in snapshot.model.models.values().flat_map(|model| &model.targets) {
        let name = (target.provider.name.clone(), target.model.clone());
        let known = least.entry(name).or_insert(target.limits);
        *known = lesser(*known, target.limits);
    }
    least
}

fn lesser(one: TargetLimits, other: TargetLimits) -> TargetLimits {
    fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
        [one, other].into_iter().flatten().min()
    }
    let TargetLimits { concurrency, requests_a_minute, tokens_a_minute } = other;
    TargetLimits {
        concurrency: least(one.concurrency, concurrency),
        requests_a_minute: least(one.requests_a_minute, requests_a_minute),
        tokens_a_minute: least(one.tokens_a_minute, tokens_a_minute),
    }
}

/// Who names state now. A call of an older snapshot finds it and changes nothing.
pub(super) struct Naming<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) limits: &'a Limits,
    pub(super) now: Micros,
    pub(super) is_newest: bool,
}

fn named<Name: Eq + Hash, State>(
    table: &mut HashMap<Name, Kept<State>>,
    name: Name,
    naming: &Naming<'_>,
    is_it: impl FnOnce(&State) -> bool,
    new: impl FnOnce() -> State,
) -> Arc<State> {
    let named_at = naming.now;
    match table.get_mut(&name) {
        Some(kept) if is_it(&kept.state) => {
            kept.named_at = named_at;
            kept.state.clone()
        }
        // What an older snapshot means is gone; its last calls have their own.
        Some(_) if !naming.is_newest => Arc::new(new()),
        _ => {
            let state = Arc::new(new());
            table.insert(name, Kept { state: state.clone(), named_at });
            state
        }
    }
}

impl<T> Kept<T> {
    /// Named by the present snapshot, or by a call that is under way.
    pub(super) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.state) > 1
    }
}

impl Table {
    pub(super) fn chain(&mut self, naming: &Naming<'_>, model: &Arc<LogicalModel>) -> Arc<Chain> {
        let places = model.targets.iter().map(|target| self.place(naming, target)).collect();
        let new = || Budgets::new(&model.policy);
        let budgets = named(&mut self.budgets, model.name.clone(), naming, |_| true, new);
        if naming.is_newest {
            budgets.reconfigure(&model.policy);
        }
        Arc::new(Chain::new(model.clone(), places, budgets, naming.snapshot.model.ejection))
    }

    fn place(&mut self, naming: &Naming<'_>, target: &ModelTarget) -> Place {
        let ModelTarget { provider, model, .. } = target;
        let routes = &naming.snapshot.model;
        let name = (provider.name.clone(), model.clone());
        let limits = naming.limits.get(&name).copied().unwrap_or_default();
        let new = || Target::new(provider, model, routes.breaker, limits);
        let state = named(&mut self.targets, name, naming, |known| known.is_at(provider), new);
        if naming.is_newest {
            state.reconfigure(routes.breaker, limits);
            state.keep_minutes_of(|name| provider.keys.iter().any(|key| key.name == name));
        }
        let keys = self.keys(naming, provider);
        Place::new(state, keys, provider, model, routes.drained.contains(&provider.name))
    }

    fn keys(&mut self, naming: &Naming<'_>, provider: &Provider) -> Vec<Arc<Key>> {
        let states = provider.keys.iter().map(|key| {
            let name = (provider.name.clone(), key.name.clone());
            let new = || Key::new(&provider.name, &key.name, &key.secret);
            if naming.is_newest && self.keys.get(&name).is_some_and(|known| !known.state.is_of(&key.secret)) {
                let ours = self.targets.iter().filter(|((owner, _), _)| *owner == provider.name);
                ours.for_each(|(_, kept)| kept.state.keep_minutes_of(|name| name != key.name));
            }
            named(&mut self.keys, name, naming, |known| known.is_of(&key.secret), new)
        });
        states.collect()
    }

    /// A provider that was taken out and is put back gets a fresh start: whoever restored it has looked at its keys. So
    /// does one whose refused key was found to work again.
    pub(super) fn wake_restored(&self, before: &Snapshot, after: &Snapshot) {
        let restored = before.model.drained.iter().filter(|name| !after.model.drained.contains(name));
        let woken = after.model.woken.iter().filter(|woken| !before.model.woken.contains(woken));
        for name in restored.chain(woken.map(|(name, _)| name)) {
            for ((provider, _), kept) in &self.keys {
                if provider == name {
                    kept.state.wake();
                }
            }
        }
    }

    /// Forgets what was not named for so long and is not in use.
    pub(super) fn forget(&mut self, now: Micros, unnamed_for: Duration) {
        fn stays<T>(kept: &mut Kept<T>, now: Micros, unnamed_for: Duration) -> bool {
            if kept.is_in_use() {
                kept.named_at = now;
            }
            kept.is_in_use() || now.since(kept.named_at) < unnamed_for
        }
        self.targets.retain(|_, kept| stays(kept, now, unnamed_for));
        self.keys.retain(|_, kept| stays(kept, now, unnamed_for));
        self.budgets.retain(|_, kept| stays(kept, now, unnamed_for));
    }
}
