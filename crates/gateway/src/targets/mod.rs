//! What this process knows of the targets of models while it runs: breakers, latencies, limits, calls in flight, resting
//! keys, budgets of retries and hedges.
//!
//! Promises: state belongs to a name (provider and model, provider and key, logical model) and survives new snapshots;
//! new settings are taken over, what was learned stays. A provider at another address, or a key with another secret, is
//! another one and begins anew; calls of the old one touch only the old one. What no snapshot names any more is
//! forgotten after [`FORGET_AFTER`]. A request pays one look-up by its model's name. Refuses to know requests and their bodies.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use mainstay_base::{
    Clock, Micros, Snapshot, Standing,
    snapshot::{LogicalModel, ModelTarget, Provider, Strategy, TargetLimits},
};
use parking_lot::Mutex;

mod chain;
mod flight;
mod key;
mod target;
mod ticks;

pub(crate) use chain::{Chain, Taken, Wanted, key_bit};
pub(crate) use flight::{Failed, Flight, Used, Watched};
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

/// What a snapshot grants each target.
type Limits = HashMap<(String, String), TargetLimits>;

/// A target may stand in several routes. It is one target with one grant: the least that any of them gives it.
fn limits(snapshot: &Snapshot) -> Limits {
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
struct Naming<'a> {
    snapshot: &'a Snapshot,
    limits: &'a Limits,
    now: Micros,
    is_newest: bool,
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
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.state) > 1
    }
}

impl Table {
    fn chain(&mut self, naming: &Naming<'_>, model: &Arc<LogicalModel>) -> Arc<Chain> {
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
    fn wake_restored(&self, before: &Snapshot, after: &Snapshot) {
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
    fn forget(&mut self, now: Micros, unnamed_for: Duration) {
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

#[cfg(test)]
mod tests {
    use mainstay_base::{
        Secret,
        snapshot::{Breaker, Dialect, ProviderKey, Timeouts},
        standing::BreakerState,
    };

    use super::*;

    fn provider(name: &str) -> Arc<Provider> {
        Arc::new(Provider {
            name: name.to_owned(),
            dialect: Dialect::OpenAi,
            base_url: "http://127.0.0.1:9/v1".to_owned(),
            keys: vec![ProviderKey::token("k", Secret::new("s"))],
            timeouts: Timeouts::default(),
            first_token: Duration::from_secs(1),
            speaks_responses: true,
        })
    }

    fn snapshot(generation: u64, concurrency: Option<u32>) -> Arc<Snapshot> {
        let mut snapshot = Snapshot { generation, ..Snapshot::default() };
        snapshot.model.breaker = Breaker { consecutive: 2, ..Breaker::default() };
        let limits = TargetLimits { concurrency, ..TargetLimits::default() };
        let target = ModelTarget { limits, ..ModelTarget::new(provider("p"), "m") };
        let model = LogicalModel::ordered("small", vec![target]);
        snapshot.model.models.insert("small".to_owned(), Arc::new(model));
        Arc::new(snapshot)
    }

    fn wanted() -> Wanted {
        Wanted { tokens: 1, streams: true, tried_keys: 0, insists: false }
    }

    fn failed(class: mainstay_base::Class) -> Failed {
        Failed { class, retry_after: Some(Duration::ZERO), is_targets_doing: true, tokens: Some(0) }
    }

    fn fly(targets: &Targets, snapshot: &Arc<Snapshot>) -> Result<Flight, Turned> {
        let chain = targets.chain(snapshot, "small").unwrap();
        chain.places[0].take(&wanted(), targets.ticks).map(|taken| taken.flight)
    }

    #[test]
    fn state_survives_snapshots_and_takes_new_settings_but_not_old_ones() {
        let targets = Targets::new(&Clock::System);
        let (old, new) = (snapshot(1, None), snapshot(2, Some(1)));
        for _ in 0..2 {
            fly(&targets, &old).unwrap().failed(&failed(mainstay_base::Class::ServerError));
        }
        assert_eq!(targets.standing(&new).targets[0].breaker, BreakerState::Open);
        // A straggler of the old snapshot changes nothing.
        let chain = targets.chain(&old, "small").unwrap();
        let insists = Wanted { insists: true, ..wanted() };
        let held = chain.places[0].take(&insists, targets.ticks).map(|taken| taken.flight);
        assert!(held.is_ok());
        let second = chain.places[0].take(&insists, targets.ticks).map(|_| ());
        assert_eq!(second, Err(Turned::Busy), "the limit of the new one holds");
    }

    #[test]
    fn a_target_of_several_routes_has_the_least_that_any_of_them_gives_it() {
        for _ in 0..8 {
            let targets = Targets::new(&Clock::System);
            let mut open = Snapshot::clone(&snapshot(1, Some(1)));
            let limits = TargetLimits { concurrency: Some(9), ..TargetLimits::default() };
            let loose = ModelTarget { limits, ..ModelTarget::new(provider("p"), "m") };
            for name in ["large", "other"] {
                let model = LogicalModel::ordered(name, vec![loose.clone()]);
                open.model.models.insert(name.to_owned(), Arc::new(model));
            }
            open.model.other_models_to = vec![provider("p")];
            let open = Arc::new(open);
            let _held = fly(&targets, &open).unwrap();
            // A name in no route that leads to the same target lifts no limit either.
            for name in ["large", "other", "m"] {
                let chain = targets.chain(&open, name).unwrap();
                let taken = chain.places[0].take(&wanted(), targets.ticks).map(|_| ());
                assert_eq!(taken, Err(Turned::Busy), "{name}");
            }
        }
    }

    #[test]
    fn a_loser_of_races_is_found_out_when_it_is_silent() {
        let targets = Targets::new(&Clock::System);
        let snapshot = snapshot(1, None);
        fly(&targets, &snapshot).unwrap().first_token();
        let until = std::time::Instant::now() + Duration::from_secs(5);
        let is_open = || targets.standing(&snapshot).targets[0].breaker == BreakerState::Open;
        // A second of silence is the least that is called so.
        while !is_open() && std::time::Instant::now() < until {
            let Ok(mut lost) = fly(&targets, &snapshot) else { break };
            lost.watch().has_lost.store(true, std::sync::atomic::Ordering::Relaxed);
            drop(lost);
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(is_open(), "only races were lost, and nothing was heard");
        assert_eq!(targets.standing(&snapshot).targets[0].failures, 0);
    }

    #[test]
    fn too_many_calls_for_a_provider_without_keys_leave_the_target_alone() {
        let targets = Targets::new(&Clock::System);
        let mut keyless = Snapshot::clone(&snapshot(1, None));
        let provider = Arc::new(Provider { keys: Vec::new(), ..Provider::clone(&provider("p")) });
        let model = LogicalModel::ordered("small", vec![ModelTarget::new(provider, "m")]);
        keyless.model.models.insert("small".to_owned(), Arc::new(model));
        let keyless = Arc::new(keyless);
        let retry_after = Some(Duration::from_secs(30));
        let class = mainstay_base::Class::RateLimited;
        let flight = fly(&targets, &keyless).unwrap();
        flight.failed(&Failed { retry_after, ..failed(class) });
        assert!(matches!(fly(&targets, &keyless), Err(Turned::Limited { wait }) if wait.as_secs() >= 29));
    }

    #[test]
    fn whatever_becomes_of_a_flight_everything_comes_back() {
        let targets = Targets::new(&Clock::System);
        let snapshot = snapshot(1, Some(1));
        let ends: [fn(Flight); 5] = [
            drop,
            |flight| flight.end(Ok(Used { tokens: Some(3) })),
            |flight| flight.end(Err(mainstay_base::Class::Cut)),
            |flight| flight.failed(&failed(mainstay_base::Class::RateLimited)),
            |mut flight| flight.first_token(),
        ];
        for end in ends {
            let chain = targets.chain(&snapshot, "small").unwrap();
            chain.places[0].keys[0].key.wake();
            let flight = fly(&targets, &snapshot).unwrap();
            assert_eq!(fly(&targets, &snapshot).map(|_| ()), Err(Turned::Busy));
            end(flight);
            let standing = targets.standing(&snapshot);
            assert_eq!((standing.targets[0].in_flight, standing.keys[0].in_flight), (0, 0));
        }
    }

    // A provider that was moved to another address on a bad day stayed behind the breaker of the old one, and the last calls
    // with a refused key put the new key to rest.
    #[test]
    fn another_address_or_secret_begins_anew_and_old_calls_do_not_touch_it() {
        let targets = Targets::new(&Clock::System);
        let old = snapshot(1, None);
        let with = |generation, provider: Provider| {
            let mut changed = Snapshot::clone(&old);
            changed.generation = generation;
            let model = LogicalModel::ordered("small", vec![ModelTarget::new(Arc::new(provider), "m")]);
            changed.model.models.insert("small".to_owned(), Arc::new(model));
            Arc::new(changed)
        };
        let late = [fly(&targets, &old).unwrap(), fly(&targets, &old).unwrap()];
        for _ in 0..2 {
            fly(&targets, &old).unwrap().failed(&failed(mainstay_base::Class::ServerError));
        }
        assert_eq!(targets.standing(&old).targets[0].breaker, BreakerState::Open);

        let base_url = "http://127.0.0.1:10/v1".to_owned();
        let moved = with(2, Provider { base_url, ..Provider::clone(&provider("p")) });
        fly(&targets, &moved).unwrap();
        for flight in late {
            flight.failed(&failed(mainstay_base::Class::ServerError));
        }
        let standing = targets.standing(&moved);
        assert_eq!((standing.targets.len(), standing.targets[0].breaker), (1, BreakerState::Closed));
        assert_eq!(standing.targets[0].failures, 0);

        let late = fly(&targets, &moved).unwrap();
        let moved_provider = moved.model.models["small"].targets[0].provider.clone();
        let keys = vec![ProviderKey::token("k", Secret::new("rotated"))];
        let rotated = with(3, Provider { keys, ..Provider::clone(&moved_provider) });
        fly(&targets, &rotated).unwrap();
        late.failed(&failed(mainstay_base::Class::BadKey));
        assert_eq!(targets.standing(&rotated).keys[0].why, None);
        assert!(fly(&targets, &rotated).is_ok());
    }

    #[test]
    fn what_is_taken_out_is_not_told_of_and_is_found_again_within_its_time() {
        let targets = Targets::new(&Clock::System);
        let (with, without) =
            (snapshot(1, None), Arc::new(Snapshot { generation: 2, ..Snapshot::default() }));
        for _ in 0..2 {
            fly(&targets, &with).unwrap().failed(&failed(mainstay_base::Class::ServerError));
        }
        let open = fly(&targets, &with).map(|_| ());
        assert!(matches!(open, Err(Turned::BreakerOpen { .. })));
        for _ in 0..3 {
            assert_eq!(targets.standing(&without).targets, []);
        }
        let back = Arc::new(Snapshot { generation: 3, ..Snapshot::clone(&with) });
        assert_eq!(targets.standing(&back).targets[0].breaker, BreakerState::Open);
        let without = Arc::new(Snapshot { generation: 4, ..Snapshot::clone(&without) });
        targets.standing(&without);
        let later = targets.ticks.now() + FORGET_AFTER;
        targets.table.lock().forget(later, FORGET_AFTER);
        let table = targets.table.lock();
        assert_eq!((table.targets.len(), table.keys.len(), table.budgets.len()), (0, 0, 0));
    }

    #[test]
    fn what_nobody_names_any_more_is_forgotten_and_names_of_callers_are_bounded() {
        let targets = Targets::new(&Clock::System);
        let mut open = Snapshot { generation: 1, ..Snapshot::default() };
        open.model.other_models_to = vec![provider("p")];
        let open = Arc::new(open);
        for number in 0..3 * MAX_OTHER_MODELS {
            assert!(targets.chain(&open, &format!("model-{number}")).is_some());
        }
        assert!(targets.table.lock().targets.len() <= MAX_OTHER_MODELS);
        targets.chain(&snapshot(2, None), "small");
        targets.table.lock().forget(targets.ticks.now(), Duration::ZERO);
        assert_eq!(targets.table.lock().targets.len(), 1);
    }
}
