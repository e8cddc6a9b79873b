//! A logical model with the runtime state of its targets, resolved once for each snapshot.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use mainstay_base::{
    Class, Micros,
    snapshot::{CallPolicy, Dialect, Ejection, LogicalModel, ModelTarget, Provider, ProviderSecret},
};
use mainstay_signal::{
    chain::Seen,
    ejection,
    keys::{self, Choice},
    retry,
};
use parking_lot::Mutex;

use super::{
    flight::Flight,
    key::Key,
    target::{Target, Turned},
    ticks::Ticks,
};

/// How often a chain's targets are compared with each other.
const EJECTION_EVERY: Duration = Duration::from_millis(500);

/// Hedges that a model saves up.
const HEDGE_BURST: f64 = 10.0;

/// Who may answer for a model, and the budgets of its retries and hedges.
pub(crate) struct Chain {
    pub(crate) model: Arc<LogicalModel>,
    /// In the order of the model's targets.
    pub(crate) places: Vec<Place>,
    pub(crate) budgets: Arc<Budgets>,
    ejection: Ejection,
    compared_at: AtomicI64,
}

/// What extra attempts a model may make.
pub(crate) struct Budgets {
    pub(crate) retry: Mutex<retry::Budget>,
    pub(crate) hedge: Mutex<retry::Budget>,
}

/// One target of a chain.
pub(crate) struct Place {
    pub(crate) target: Arc<Target>,
    pub(crate) keys: Vec<Credential>,
    pub(crate) is_drained: bool,
    /// `provider/model`, as an answer's header says it.
    pub(crate) shown: String,
}

/// A provider's key, ready to be sent.
pub(crate) struct Credential {
    pub(crate) key: Arc<Key>,
    /// `None`: the request is signed, or the key cannot stand in a header.
    pub(crate) header: Option<(HeaderName, HeaderValue)>,
}

/// What an attempt asks of a place.
pub(crate) struct Wanted {
    pub(crate) tokens: u64,
    pub(crate) streams: bool,
    /// Keys that this call has tried here, a bit each.
    pub(crate) tried_keys: u64,
    /// Nobody else is left: an open breaker is passed.
    pub(crate) insists: bool,
}

/// A flight and the key it flies with: its index among the provider's keys.
pub(crate) struct Taken {
    pub(crate) flight: Flight,
    pub(crate) key: Option<usize>,
}

impl Chain {
    pub(super) fn new(
        model: Arc<LogicalModel>,
        places: Vec<Place>,
        budgets: Arc<Budgets>,
        ejection: Ejection,
    ) -> Chain {
        Chain { model, places, budgets, ejection, compared_at: AtomicI64::new(0) }
    }

    pub(crate) fn target(&self, index: usize) -> &ModelTarget {
        &self.model.targets[index]
    }

    /// Ejects outliers now and then; between two looks this costs one load.
    pub(crate) fn compare(&self, now: Micros) {
        let before = self.compared_at.load(Ordering::Relaxed);
        if self.places.len() < 2 || now.since(Micros(before)) < EJECTION_EVERY {
            return;
        }
        let is_mine = self.compared_at.compare_exchange(before, now.0, Ordering::Relaxed, Ordering::Relaxed);
        if is_mine.is_err() {
            return;
        }
        let counts: Vec<(u32, u32)> = self.places.iter().map(|place| place.target.counts(now)).collect();
        for (place, is_out) in self.places.iter().zip(ejection::eject(&counts, &self.ejection)) {
            if is_out {
                place.target.eject(now + self.ejection.eject_for);
            }
        }
    }
}

impl Place {
    pub(super) fn new(
        target: Arc<Target>,
        keys: Vec<Arc<Key>>,
        provider: &Provider,
        model: &str,
        is_drained: bool,
    ) -> Place {
        let keys = keys.into_iter().zip(&provider.keys).map(|(key, known)| {
            let header = credential(&provider.dialect, &known.secret);
            Credential { key, header }
        });
        let shown = format!("{}/{model}", provider.name);
        Place { target, keys: keys.collect(), is_drained, shown }
    }

    /// Takes what an attempt needs, or says why this target does not take it now.
    pub(crate) fn take(&self, wanted: &Wanted, ticks: Ticks) -> Result<Taken, Turned> {
        let now = ticks.now();
        let index = self.free_key(wanted.tried_keys, now)?;
        let key = index.map(|index| &self.keys[index].key);
        let name = key.map(|key| key.name.as_str());
        let share = self.target.take(name, wanted, now)?;
        let flight = Flight::begin(self.target.clone(), key.cloned(), share, wanted.streams, ticks, now);
        Ok(Taken { flight, key: index })
    }

    /// The next key that neither rests nor was tried. `Ok(None)`: the provider wants none.
    fn free_key(&self, tried: u64, now: Micros) -> Result<Option<usize>, Turned> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let seen = |index: usize| self.keys[index].key.seen(was_tried(tried, index), now);
        match keys::choose(self.keys.len(), seen, self.target.next_turn(), now) {
            Choice::Key(index) => Ok(Some(index)),
            Choice::Wait { key, until } => {
                let why = self.keys[key].key.rest(now).map_or(Class::RateLimited, |rest| rest.why);
                Err(Turned::KeysRest { until, why })
            }
            Choice::Nobody => Err(Turned::KeysTried),
        }
    }

    pub(crate) fn has_free_key(&self, tried: u64, now: Micros) -> bool {
        // Without taking a turn: that is for calls.
        (0..self.keys.len()).any(|index| !was_tried(tried, index) && self.keys[index].key.rest(now).is_none())
    }

    /// How it stands for a call of so many tokens.
    pub(crate) fn seen(&self, streams: bool, tokens: u64, now: Micros) -> Seen {
        let awake = |credential: &&Credential| credential.key.rest(now).is_none();
        let names = self.keys.iter().filter(awake).map(|credential| credential.key.name.as_str());
        let rests = || self.keys.iter().map(|credential| credential.key.rest(now).map(|rest| rest.until));
        // The first that is awake makes the whole `None`.
        let keys_rest_until = rests().collect::<Option<Vec<_>>>().and_then(|rests| rests.into_iter().min());
        let seen = self.target.seen(names, streams, tokens, now);
        Seen { drained: self.is_drained, keys_rest_until, ..seen }
    }
}

impl Budgets {
    pub(super) fn new(policy: &CallPolicy) -> Budgets {
        let hedge = policy.hedge.unwrap_or_default();
        Budgets {
            retry: Mutex::new(retry::Budget::new(policy.retry.ratio, policy.retry.burst)),
            hedge: Mutex::new(retry::Budget::new(hedge.ratio, HEDGE_BURST)),
        }
    }

    pub(super) fn reconfigure(&self, policy: &CallPolicy) {
        self.retry.lock().reconfigure(policy.retry.ratio, policy.retry.burst);
        let hedge = policy.hedge.unwrap_or_default();
        self.hedge.lock().reconfigure(hedge.ratio, HEDGE_BURST);
    }

    /// For each call, before its first attempt.
    pub(crate) fn earn(&self, hedges: bool) {
        self.retry.lock().earn();
        if hedges {
            self.hedge.lock().earn();
        }
    }
}

/// Keys beyond the sixty-fourth share one bit.
fn was_tried(tried: u64, index: usize) -> bool {
    tried & key_bit(index) != 0
}

pub(crate) fn key_bit(index: usize) -> u64 {
    1 << index.min(63)
}

/// The header in which this dialect wants its key.
fn credential(dialect: &Dialect, secret: &ProviderSecret) -> Option<(HeaderName, HeaderValue)> {
    let ProviderSecret::Token(token) = secret else { return None };
    let (name, value) = match dialect {
        Dialect::Azure { .. } => (HeaderName::from_static("api-key"), HeaderValue::from_str(token.expose())),
        Dialect::Anthropic => (HeaderName::from_static("x-api-key"), HeaderValue::from_str(token.expose())),
        Dialect::Gemini => (HeaderName::from_static("x-goog-api-key"), HeaderValue::from_str(token.expose())),
        // Bedrock takes bearer tokens besides signatures.
        Dialect::OpenAi | Dialect::Cohere | Dialect::Bedrock { .. } => {
            (AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {}", token.expose())))
        }
    };
    let mut value = value.ok()?;
    value.set_sensitive(true);
    Some((name, value))
}
