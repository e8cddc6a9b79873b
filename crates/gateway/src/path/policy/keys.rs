//! What a virtual key may ask for, how fast, how many at once and for how much money.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use mainstay_base::{
    Clock, Snapshot, Usd,
    snapshot::{ModelKey, ModelRoutes},
};
use mainstay_signal::limits::{Minute, Taken};
use parking_lot::Mutex;

use crate::{
    allowance::{Local, Purse, Refused, Reservation},
    path::{
        failure::{Failure, Reason},
        normalize::Asked,
        price,
    },
    ports::Allowance,
    targets::Ticks,
};

/// A call of the same key usually ends within it.
const RETRY_CONCURRENCY: Duration = Duration::from_secs(1);

/// The state of all virtual keys that have a limit, by name: two keys of one name (a rotation) share theirs.
pub(super) struct Keys {
    keeper: Arc<dyn Allowance>,
    clock: Clock,
    ticks: Ticks,
    states: Mutex<States>,
}

#[derive(Default)]
struct States {
    /// Of the snapshot by which the keys were last swept.
    generation: u64,
    by_name: HashMap<String, Arc<State>>,
}

impl States {
    /// A call that was read slowly may still come by the snapshot before; it sweeps nothing away.
    fn sweep(&mut self, snapshot: &Snapshot) {
        if self.generation >= snapshot.generation {
            return;
        }
        self.generation = snapshot.generation;
        // Keys that are gone are forgotten; calls in flight keep theirs until they end.
        let known: std::collections::HashSet<&str> =
            snapshot.model.keys.values().map(|key| key.name.as_str()).collect();
        self.by_name.retain(|name, _| known.contains(name.as_str()));
    }
}

struct State {
    in_flight: AtomicU32,
    rate: Mutex<Rate>,
    purse: Mutex<Arc<Purse>>,
    ticks: Ticks,
}

struct Rate {
    requests: Option<u32>,
    tokens: Option<u64>,
    minute: Minute,
}

/// What a key gave for one call: its place, its share of the minute, its money. Dropped, the money that was noted is
/// charged, the tokens count as estimated, and the rest goes back.
pub(super) struct Share {
    state: Arc<State>,
    taken: Option<Taken>,
    reservation: Option<Reservation>,
    estimated_tokens: u64,
}

impl Keys {
    /// Without a keeper, budgets are counted in this process alone.
    pub(super) fn new(keeper: Option<Arc<dyn Allowance>>, clock: &Clock) -> Keys {
        Keys {
            keeper: keeper.unwrap_or_else(|| Arc::new(Local::default())),
            clock: clock.clone(),
            ticks: Ticks::new(clock),
            states: Mutex::default(),
        }
    }

    /// What the key gives for this call; `None` when it has no limits.
    pub(super) async fn share(
        &self,
        snapshot: &Snapshot,
        key: &ModelKey,
        asked: &Asked,
    ) -> Result<Option<Share>, Failure> {
        if !is_limited(key) {
            return Ok(None);
        }
        let mut share = Share::enter(self.state(snapshot, key), key, asked)?;
        let state = share.state.clone();
        share.taken = Some(state.take(key, share.estimated_tokens)?);
        if let Some(budget) = &key.budget {
            let worst = worst_case(&snapshot.model, asked);
            let purse = self.purse(&state, key);
            let reserved = purse.reserve(budget, worst).await;
            share.reservation = Some(reserved.map_err(|why| self.no_money(why, key, worst, &mut share))?);
        }
        Ok(Some(share))
    }

    /// Forgets what the snapshot does not name any more: leased money of a key that was taken out goes back.
    pub(super) fn sweep(&self, snapshot: &Snapshot) {
        self.states.lock().sweep(snapshot);
    }

    fn state(&self, snapshot: &Snapshot, key: &ModelKey) -> Arc<State> {
        let mut states = self.states.lock();
        states.sweep(snapshot);
        if let Some(state) = states.by_name.get(&key.name) {
            return state.clone();
        }
        let (requests, tokens) = (key.requests_a_minute, key.tokens_a_minute);
        let state = Arc::new(State {
            in_flight: AtomicU32::new(0),
            rate: Mutex::new(Rate { requests, tokens, minute: Minute::new(requests, tokens) }),
            purse: Mutex::new(self.new_purse(key)),
            ticks: self.ticks,
        });
        states.by_name.insert(key.name.clone(), state.clone());
        state
    }

    /// Of the name that the key spends under now; calls in flight end by the one they began with.
    fn purse(&self, state: &State, key: &ModelKey) -> Arc<Purse> {
        let mut purse = state.purse.lock();
        if purse.account() != key.budget_account() {
            *purse = self.new_purse(key);
        }
        purse.clone()
    }

    fn new_purse(&self, key: &ModelKey) -> Arc<Purse> {
        Arc::new(Purse::new(key.budget_account(), self.keeper.clone(), self.clock.clone()))
    }

    /// The call is not made, so its share of the minute goes back.
    fn no_money(&self, why: Refused, key: &ModelKey, worst: Usd, share: &mut Share) -> Failure {
        if let Some(taken) = share.taken.take() {
            share.state.rate.lock().minute.give_back(taken, self.ticks.now());
        }
        match why {
            Refused::Spent { until } => {
                let retry_after = until.since(self.clock.now());
                let internal = format!(
                    "the budget of key {} has no {worst} left for this call until it turns",
                    key.name
                );
                Failure::new(Reason::BudgetSpent { retry_after }, internal)
            }
            Refused::Unreachable => {
                let internal = format!(
                    "the store does not tell what is left of the budget of key {}, which is closed then \
                     (when_store_gone)",
                    key.name
                );
                Failure::new(Reason::BudgetUnreachable, internal)
            }
        }
    }
}

fn is_limited(key: &ModelKey) -> bool {
    key.requests_a_minute.is_some()
        || key.tokens_a_minute.is_some()
        || key.concurrency.is_some()
        || key.budget.is_some()
}

/// May this key ask for this model?
pub(super) fn check_model(routes: &ModelRoutes, key: &ModelKey, name: &str) -> Result<(), Failure> {
    if !routes.models.contains_key(name) && routes.other_models_to.is_empty() {
        let internal = format!("no route has the model {name}");
        return Err(Failure::new(Reason::ModelUnknown { model: name.to_owned() }, internal));
    }
    if !may_ask(key, name) {
        let internal = format!("the model {name} is not among those of key {}", key.name);
        return Err(Failure::new(Reason::ModelNotAllowed { model: name.to_owned() }, internal));
    }
    Ok(())
}

/// Whether a model is among those of the key.
pub(crate) fn may_ask(key: &ModelKey, name: &str) -> bool {
    key.models.as_ref().is_none_or(|models| models.iter().any(|model| model == name))
}

/// What the dearest target of the model may cost, and no more than a ceiling that is kept anyway. Targets without a
/// price cost nothing that we know of.
fn worst_case(routes: &ModelRoutes, asked: &Asked) -> Usd {
    let model = routes.models.get(&asked.name);
    let policy = model.map_or(&routes.other_models_policy, |model| &model.policy);
    let targets = model.map(|model| model.targets.as_slice()).unwrap_or_default();
    let worst = targets
        .iter()
        .filter_map(|target| {
            let output = price::max_output(asked, target.offer.max_output_tokens);
            target.price.map(|price| price::worst_case(&price, asked.input_tokens, output))
        })
        .max()
        .unwrap_or(Usd::ZERO);
    [policy.max_cost, asked.max_cost].into_iter().flatten().fold(worst, Usd::min)
}

impl State {
    fn take(&self, key: &ModelKey, tokens: u64) -> Result<Taken, Failure> {
        let mut rate = self.rate.lock();
        if (rate.requests, rate.tokens) != (key.requests_a_minute, key.tokens_a_minute) {
            (rate.requests, rate.tokens) = (key.requests_a_minute, key.tokens_a_minute);
            rate.minute.reconfigure(key.requests_a_minute, key.tokens_a_minute);
        }
        rate.minute.take(self.ticks.now(), tokens).map_err(|retry_after| {
            let limit = "requests or tokens a minute";
            let internal = format!(
                "key {} has used up its {limit} (requests_a_minute, tokens_a_minute); free again in {} ms",
                key.name,
                retry_after.as_millis()
            );
            Failure::new(Reason::KeyLimited { limit, retry_after }, internal)
        })
    }
}

impl Share {
    /// A place among the calls of the key.
    fn enter(state: Arc<State>, key: &ModelKey, asked: &Asked) -> Result<Share, Failure> {
        let most = key.concurrency.unwrap_or(u32::MAX);
        let entered = state.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, |in_flight| {
            (in_flight < most).then(|| in_flight.saturating_add(1))
        });
        if entered.is_err() {
            let limit = "calls at once";
            let reason = Reason::KeyLimited { limit, retry_after: RETRY_CONCURRENCY };
            return Err(Failure::new(
                reason,
                format!("key {} has as many {limit} as it may (concurrency)", key.name),
            ));
        }
        let said = asked.max_output_tokens.unwrap_or(0).saturating_mul(asked.choices);
        let estimated_tokens = asked.input_tokens.saturating_add(said);
        Ok(Share { state, taken: None, reservation: None, estimated_tokens })
    }

    pub(super) fn reservation(&self) -> Option<&Reservation> {
        self.reservation.as_ref()
    }

    pub(super) fn settle(mut self, spent: Option<Usd>, tokens: u64) {
        self.give_up_minute(tokens);
        if let (Some(reservation), Some(spent)) = (self.reservation.take(), spent) {
            reservation.settle(spent);
        }
    }

    fn give_up_minute(&mut self, tokens: u64) {
        if let Some(taken) = self.taken.take() {
            self.state.rate.lock().minute.settle(taken, tokens, self.state.ticks.now());
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_up_minute(self.estimated_tokens);
        self.state.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use mainstay_base::id::KeyHash;

    use super::*;

    fn snapshot(generation: u64, names: &[&str]) -> Snapshot {
        let mut snapshot = Snapshot { generation, ..Snapshot::default() };
        for name in names {
            snapshot.model.keys.insert(KeyHash::of(name), Arc::new(ModelKey::named(*name)));
        }
        snapshot
    }

    /// A call that came slowly under the snapshot before would have taken the new key's calls at once, minute and money
    /// away from it.
    #[test]
    fn a_straggler_of_an_old_snapshot_sweeps_no_new_key_away() {
        let keys = Keys::new(None, &Clock::System);
        let (old, new) = (snapshot(1, &["a"]), snapshot(2, &["a", "b"]));
        let [a, b] = ["a", "b"].map(ModelKey::named);
        let state = keys.state(&new, &b);
        keys.state(&old, &a);
        assert!(Arc::ptr_eq(&state, &keys.state(&new, &b)), "the state is another one");
        keys.state(&snapshot(3, &["a"]), &a);
        assert!(
            !Arc::ptr_eq(&state, &keys.state(&snapshot(4, &["a", "b"]), &b)),
            "a key that was gone begins anew"
        );
    }
}
