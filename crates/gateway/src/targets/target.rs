//! What is known of one target: a provider's model. Judgement itself is [`mainstay_signal`]'s.

use std::{
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
    time::Duration,
};

use mainstay_base::{
    Class, Micros,
    snapshot::{self, Dialect, Provider, TargetLimits},
    standing::{BreakerState, TargetStanding},
};
use mainstay_signal::{
    breaker::{Admission, Breaker, End},
    chain::Seen,
    latency::Latency,
    limits::{Learned, Left, Minute, Taken},
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::chain::Wanted;

/// Keys whose limits a target remembers apart; with more, the last shares.
const MAX_KEY_MINUTES: usize = 32;

pub(crate) struct Target {
    pub(crate) provider: String,
    pub(crate) model: String,
    /// Where it is. The same model elsewhere is another target: what was learned of this one says nothing of it.
    address: (Dialect, String),
    pub(super) in_flight: AtomicU32,
    /// Calls at once; `u32::MAX`: no limit.
    limit: AtomicU32,
    /// Whose turn it is among the keys.
    turn: AtomicUsize,
    /// A slot became free.
    pub(crate) freed: Notify,
    state: Mutex<State>,
}

struct State {
    settings: snapshot::Breaker,
    limits: TargetLimits,
    breaker: Breaker,
    /// Of streams; whole answers come when they are complete, and say nothing of a first token.
    streamed: Latency,
    whole: Latency,
    /// What the operator granted it.
    minute: Minute,
    /// What the provider's headers told of each key, by its name.
    key_minutes: Vec<(String, Minute)>,
    ejected_until: Option<Micros>,
    last_failure: Option<(Class, Micros)>,
    last_success_at: Option<Micros>,
}

/// What one attempt took of a target, to be given back.
pub(super) struct Share {
    admission: Admission,
    /// Its end was told, or nothing more is to be learned of it but a failure.
    is_settled: bool,
    minute: Taken,
    key_minute: Option<Taken>,
    tokens: u64,
}

/// Why a target does not take an attempt now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// As many calls at once as it may have.
    Busy,
    BreakerOpen {
        until: Micros,
    },
    Limited {
        wait: Duration,
    },
    /// Every key rests; the first is back then, and rests for this.
    KeysRest {
        until: Micros,
        why: Class,
    },
    /// This call tried every key.
    KeysTried,
}

impl Turned {
    /// How long until it may take one. `None`: nobody can say.
    pub(crate) fn wait(self, now: Micros) -> Option<Duration> {
        match self {
            Turned::Busy | Turned::KeysTried => None,
            Turned::BreakerOpen { until } | Turned::KeysRest { until, .. } => Some(until.since(now)),
            Turned::Limited { wait } => Some(wait),
        }
    }
}

/// How an attempt went, as far as its target is concerned.
#[derive(Clone, Copy)]
pub(super) enum Told {
    Good { took: Duration, streams: bool },
    Bad(Class),
}

impl Share {
    /// Whether the breaker let it through to find out if the target is back.
    pub(super) fn is_probe(&self) -> bool {
        matches!(self.admission, Admission::Probe { .. })
    }
}

impl Target {
    pub(super) fn new(
        provider: &Provider,
        model: &str,
        settings: snapshot::Breaker,
        limits: TargetLimits,
    ) -> Target {
        Target {
            provider: provider.name.clone(),
            model: model.to_owned(),
            address: (provider.dialect.clone(), provider.base_url.clone()),
            in_flight: AtomicU32::new(0),
            limit: AtomicU32::new(limits.concurrency.unwrap_or(u32::MAX)),
            turn: AtomicUsize::new(0),
            freed: Notify::new(),
            state: Mutex::new(State {
                settings,
                limits,
                breaker: Breaker::new(settings),
                streamed: Latency::default(),
                whole: Latency::default(),
                minute: Minute::new(limits.requests_a_minute, limits.tokens_a_minute),
                key_minutes: Vec::new(),
                ejected_until: None,
                last_failure: None,
                last_success_at: None,
            }),
        }
    }

    pub(super) fn is_at(&self, provider: &Provider) -> bool {
        self.address.0 == provider.dialect && self.address.1 == provider.base_url
    }

    /// Keys that are gone, or are others now: what was learned of their limits is void.
    pub(super) fn keep_minutes_of(&self, stays: impl Fn(&str) -> bool) {
        self.state.lock().key_minutes.retain(|(key, _)| key.is_empty() || stays(key));
    }

    /// New settings; what is known stays.
    pub(super) fn reconfigure(&self, settings: snapshot::Breaker, limits: TargetLimits) {
        let mut state = self.state.lock();
        if state.settings != settings {
            state.settings = settings;
            state.breaker.reconfigure(settings);
        }
        if state.limits != limits {
            self.limit.store(limits.concurrency.unwrap_or(u32::MAX), Ordering::Relaxed);
            state.limits = limits;
            state.minute.reconfigure(limits.requests_a_minute, limits.tokens_a_minute);
        }
    }

    pub(super) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) >= self.limit.load(Ordering::Relaxed)
    }

    /// Takes a share for one attempt with this key.
    pub(super) fn take(&self, key: Option<&str>, wanted: &Wanted, now: Micros) -> Result<Share, Turned> {
        self.take_slot()?;
        let share = self.state.lock().take(key, wanted, now);
        if share.is_err() {
            self.give_slot();
        }
        share
    }

    fn take_slot(&self) -> Result<(), Turned> {
        let limit = self.limit.load(Ordering::Relaxed);
        let taken = self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |in_flight| {
            (in_flight < limit).then(|| in_flight + 1)
        });
        taken.map(drop).map_err(|_| Turned::Busy)
    }

    fn give_slot(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.freed.notify_one();
    }

    /// Tells of an attempt. What is told after its end (a cut after a first token) counts by itself.
    pub(super) fn tell(&self, share: &mut Share, told: Told, now: Micros) {
        let mut state = self.state.lock();
        match (state.note(told, now), share.is_settled) {
            (End::Bad(class), true) => state.breaker.settle_again(share.admission, class, now),
            (end, _) => state.breaker.settle(share.admission, end, now),
        }
        share.is_settled = true;
    }

    /// Too many calls for a provider without a key that could rest: the target itself is left alone for so long.
    pub(super) fn limited(&self, lasts: Duration, now: Micros) {
        self.state.lock().minute.refused(lasts, now);
    }

    /// Gives back what was taken, with the tokens that were used. `None`: not known, so what was estimated.
    pub(super) fn give_back(&self, key: Option<&str>, share: Share, used: Option<u64>, now: Micros) {
        let Share { admission, is_settled, minute, key_minute, tokens } = share;
        let used = used.unwrap_or(tokens);
        let mut state = self.state.lock();
        if !is_settled {
            state.breaker.settle(admission, End::Unused, now);
        }
        state.minute.settle(minute, used, now);
        if let (Some(taken), Some(minute)) = (key_minute, state.key_minute(key)) {
            minute.settle(taken, used, now);
        }
        drop(state);
        self.give_slot();
    }

    /// What an answer's headers tell of the key it was asked with.
    pub(super) fn learn(&self, key: Option<&str>, learned: &Learned, now: Micros) {
        let key = key.unwrap_or_default();
        let mut state = self.state.lock();
        if state.key_minute(Some(key)).is_none() && state.key_minutes.len() < MAX_KEY_MINUTES {
            state.key_minutes.push((key.to_owned(), Minute::new(None, None)));
        }
        if let Some(minute) = state.key_minute(Some(key)) {
            minute.learn(learned, now);
        }
    }

    pub(super) fn eject(&self, until: Micros) {
        self.state.lock().ejected_until = Some(until);
    }

    /// Calls and failures in the breaker's window.
    pub(super) fn counts(&self, now: Micros) -> (u32, u32) {
        let counts = self.state.lock().breaker.counts(now);
        (counts.calls, counts.failures)
    }

    /// The time to the first token, or to the whole answer, that this share of the calls took at most.
    pub(crate) fn quantile(&self, quantile: f64, streams: bool) -> Option<Duration> {
        let state = self.state.lock();
        if streams { state.streamed.quantile(quantile) } else { state.whole.quantile(quantile) }
    }

    /// How it stands for a call of so many tokens. `keys` are those that do not rest.
    pub(super) fn seen<'k>(
        &self,
        keys: impl Iterator<Item = &'k str>,
        streams: bool,
        tokens: u64,
        now: Micros,
    ) -> Seen {
        let mut state = self.state.lock();
        let granted = |minute: &mut Minute| minute.wait(now, tokens);
        let key_wait = keys.map(|key| state.key_minute(Some(key)).map_or(Duration::ZERO, granted)).min();
        let wait = state.minute.wait(now, tokens).max(key_wait.unwrap_or_default());
        Seen {
            drained: false,
            breaker_open_until: state.breaker.refused_until(now),
            // While the breaker judges it, its probes must reach it, so that its return is found.
            ejected: state.breaker.state() == BreakerState::Closed
                && state.ejected_until.is_some_and(|until| until > now),
            busy: self.is_busy(),
            rate_wait: (!wait.is_zero()).then_some(wait),
            keys_rest_until: None,
            in_flight: self.in_flight.load(Ordering::Relaxed),
            mean_first_token: if streams { state.streamed.mean(now) } else { state.whole.mean(now) },
        }
    }

    pub(super) fn standing(&self, now: Micros) -> TargetStanding {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut state = self.state.lock();
        let state = &mut *state;
        let counts = state.breaker.counts(now);
        let left = state.key_minutes.iter().map(|(_, minute)| minute.left(now)).fold(None, more);
        let own = state.minute.left(now);
        TargetStanding {
            provider: self.provider.clone(),
            model: self.model.clone(),
            breaker: state.breaker.state(),
            since: state.breaker.since(),
            probe_at: state.breaker.refused_until(now),
            ejected_until: state.ejected_until.filter(|until| *until > now),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            calls: counts.calls,
            failures: counts.failures,
            last_failure: state.last_failure.map(|(class, _)| class),
            last_failure_at: state.last_failure.map(|(_, at)| at),
            last_success_at: state.last_success_at,
            first_token_ms_p50: state.streamed.quantile(0.5).map(milliseconds),
            first_token_ms_p95: state.streamed.quantile(0.95).map(milliseconds),
            requests_left: least(own.requests, left.and_then(|left: Left| left.requests)),
            tokens_left: least(own.tokens, left.and_then(|left: Left| left.tokens)),
        }
    }
}

impl State {
    fn take(&mut self, key: Option<&str>, wanted: &Wanted, now: Micros) -> Result<Share, Turned> {
        let tokens = wanted.tokens;
        let limited = |wait| Turned::Limited { wait };
        let minute = self.minute.take(now, tokens).map_err(limited)?;
        let key_minute = match self.key_minute(key).map(|minute| minute.take(now, tokens)) {
            None => None,
            Some(Ok(taken)) => Some(taken),
            Some(Err(wait)) => {
                self.minute.give_back(minute, now);
                return Err(limited(wait));
            }
        };
        let admission = if wanted.insists { self.breaker.insist(now) } else { self.breaker.ask(now) };
        if let Admission::Refused { until } = admission {
            self.minute.give_back(minute, now);
            if let (Some(taken), Some(minute)) = (key_minute, self.key_minute(key)) {
                minute.give_back(taken, now);
            }
            return Err(Turned::BreakerOpen { until });
        }
        // A whole answer says nothing until it is complete: its silence is not to be judged.
        let is_settled = !wanted.streams && matches!(admission, Admission::Pass { .. });
        if is_settled {
            self.breaker.settle(admission, End::Unused, now);
        }
        Ok(Share { admission, is_settled, minute, key_minute, tokens })
    }

    fn note(&mut self, told: Told, now: Micros) -> End {
        match told {
            Told::Good { took, streams } => {
                self.last_success_at = Some(now);
                let latency = if streams { &mut self.streamed } else { &mut self.whole };
                latency.record(took, now);
                if streams {
                    self.breaker.heard(took);
                }
                // A whole answer takes as long as it is long: only a stream's first token can be called slow.
                End::Good { first_token: if streams { took } else { Duration::ZERO } }
            }
            Told::Bad(class) => {
                if class.counts_against_target() {
                    self.last_failure = Some((class, now));
                }
                End::Bad(class)
            }
        }
    }

    fn key_minute(&mut self, key: Option<&str>) -> Option<&mut Minute> {
        // Most targets never learn anything.
        if self.key_minutes.is_empty() {
            return None;
        }
        let key = key.unwrap_or_default();
        self.key_minutes.iter_mut().find(|(name, _)| name == key).map(|(_, minute)| minute)
    }
}

/// What the keys together still have.
fn more(sum: Option<Left>, next: Left) -> Option<Left> {
    let Some(sum) = sum else { return Some(next) };
    let add = |one: Option<u64>, other: Option<u64>| Some(one?.saturating_add(other?));
    Some(Left { requests: add(sum.requests, next.requests), tokens: add(sum.tokens, next.tokens) })
}

fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
