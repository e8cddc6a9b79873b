//! What a replay knows of one target, as the gateway would.

use std::time::Duration;

use mainstay_base::{
    Class, Micros,
    snapshot::{self, ModelTarget},
    standing::BreakerState,
};

use crate::{
    breaker::{Admission, Breaker, End},
    chain::Seen,
    keys::{self, Choice},
    latency::Latency,
    limits::{Minute, Taken},
};

use super::figures::TargetFigures;

/// The keys of one provider: until when each rests.
pub(super) type Rests = Vec<Option<Micros>>;

pub(super) struct Target {
    /// `provider/model`.
    pub(super) name: String,
    /// The number by which the world knows it.
    pub(super) known: Option<usize>,
    /// Index of its provider.
    pub(super) provider: usize,
    pub(super) is_drained: bool,
    first_token: Duration,
    first_byte: Duration,
    pub(super) total: Duration,
    pub(super) figures: TargetFigures,
    pub(super) ejected_until: Option<Micros>,
    breaker: Breaker,
    streamed: Latency,
    whole: Latency,
    minute: Minute,
    in_flight: u32,
    concurrency: u32,
    turn: usize,
}

/// What a call took of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) admission: Admission,
    pub(super) taken: Taken,
    pub(super) key: Option<usize>,
    /// Its breaker was closed: a fallback that comes here is free of the budget.
    pub(super) was_closed: bool,
}

impl Target {
    pub(super) fn new(
        target: &ModelTarget,
        known: Option<usize>,
        provider: usize,
        is_drained: bool,
        breaker: snapshot::Breaker,
    ) -> Target {
        let limits = &target.limits;
        let timeouts = &target.provider.timeouts;
        Target {
            name: format!("{}/{}", target.provider.name, target.model),
            known,
            provider,
            is_drained,
            first_token: target.provider.first_token,
            first_byte: timeouts.first_byte,
            total: timeouts.total,
            figures: TargetFigures::default(),
            ejected_until: None,
            breaker: Breaker::new(breaker),
            streamed: Latency::default(),
            whole: Latency::default(),
            minute: Minute::new(limits.requests_a_minute, limits.tokens_a_minute),
            in_flight: 0,
            concurrency: limits.concurrency.unwrap_or(u32::MAX),
            turn: 0,
        }
    }

    pub(super) fn seen(&self, rests: &Rests, streams: bool, tokens: u64, now: Micros) -> Seen {
        let wait = self.minute.wait(now, tokens);
        let all_rest = !rests.is_empty() && rests.iter().all(|until| until.is_some_and(|until| until > now));
        Seen {
            drained: self.is_drained,
            breaker_open_until: self.breaker.refused_until(now),
            // While the breaker judges it, its probes must reach it, so that its return is found.
            ejected: self.breaker.state() == BreakerState::Closed
                && self.ejected_until.is_some_and(|until| until > now),
            busy: self.in_flight >= self.concurrency,
            rate_wait: (!wait.is_zero()).then_some(wait),
            keys_rest_until: if all_rest { rests.iter().flatten().min().copied() } else { None },
            in_flight: self.in_flight,
            mean_first_token: if streams { self.streamed.mean(now) } else { self.whole.mean(now) },
        }
    }

    /// Takes a share for one attempt. `anyway`: although it is busy, limited, resting or its breaker is open.
    pub(super) fn take(
        &mut self,
        rests: &Rests,
        tried_keys: u64,
        tokens: u64,
        now: Micros,
        anyway: bool,
    ) -> Option<Share> {
        if self.in_flight >= self.concurrency && !anyway {
            return None;
        }
        let key = self.choose_key(rests, tried_keys, now, anyway)?;
        let taken = match self.minute.take(now, tokens) {
            Ok(taken) => taken,
            Err(_) if anyway => self.minute.take_anyway(tokens),
            Err(_) => return None,
        };
        let was_closed = self.breaker.state() == BreakerState::Closed;
        let admission = if anyway { self.breaker.insist(now) } else { self.breaker.ask(now) };
        if matches!(admission, Admission::Refused { .. }) {
            self.minute.give_back(taken, now);
            return None;
        }
        self.in_flight += 1;
        Some(Share { admission, taken, key, was_closed })
    }

    /// `Some(None)`: the provider has no keys.
    fn choose_key(&mut self, rests: &Rests, tried: u64, now: Micros, anyway: bool) -> Option<Option<usize>> {
        if rests.is_empty() {
            return Some(None);
        }
        self.turn = self.turn.wrapping_add(1);
        let seen = |key: usize| keys::Seen {
            rests_until: rests[key],
            in_flight: 0,
            was_tried: tried & key_bit(key) != 0,
        };
        match keys::choose(rests.len(), seen, self.turn, now) {
            Choice::Key(key) => Some(Some(key)),
            Choice::Wait { key, .. } if anyway => Some(Some(key)),
            Choice::Nobody if anyway => Some(Some(0)),
            Choice::Wait { .. } | Choice::Nobody => None,
        }
    }

    /// Whether an attempt would be taken, keys apart.
    pub(super) fn is_open_to(&self, tokens: u64, now: Micros) -> bool {
        self.in_flight < self.concurrency
            && self.breaker.refused_until(now).is_none()
            && self.minute.wait(now, tokens).is_zero()
    }

    pub(super) fn heard(&mut self, share: &Share, first_token: Duration, now: Micros) {
        self.breaker.heard(first_token);
        self.streamed.record(first_token, now);
        self.breaker.settle(share.admission, End::Good { first_token }, now);
    }

    pub(super) fn answered_whole(&mut self, share: &Share, took: Duration, now: Micros) {
        self.whole.record(took, now);
        // Only a stream's first token can be called slow.
        self.breaker.settle(share.admission, End::Good { first_token: Duration::ZERO }, now);
    }

    pub(super) fn failed(&mut self, share: &Share, class: Class, now: Micros) {
        self.figures.failures += u64::from(class.counts_against_target());
        self.breaker.settle(share.admission, End::Bad(class), now);
    }

    /// A provider without keys said "too many".
    pub(super) fn refused(&mut self, rest: Duration, now: Micros) {
        self.minute.refused(rest, now);
    }

    pub(super) fn give_back(&mut self, share: &Share, tokens: u64, now: Micros) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.minute.settle(share.taken, tokens, now);
    }

    /// Takes a share back that was not used.
    pub(super) fn untake(&mut self, share: &Share, now: Micros) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.minute.give_back(share.taken, now);
        self.breaker.settle(share.admission, End::Unused, now);
    }

    pub(super) fn counts(&self, now: Micros) -> (u32, u32) {
        let counts = self.breaker.counts(now);
        (counts.calls, counts.failures)
    }

    pub(super) fn quantile(&self, q: f64, streams: bool) -> Option<Duration> {
        if streams { self.streamed.quantile(q) } else { self.whole.quantile(q) }
    }

    /// How long it may be silent before the first content.
    pub(super) fn silence(&self, streams: bool) -> Duration {
        if streams { self.first_token } else { self.first_byte }
    }

    pub(super) fn closed_figures(&self) -> TargetFigures {
        TargetFigures { breaker_opens: self.breaker.opens(), ..self.figures }
    }
}

/// Keys beyond the sixty-fourth share one bit.
pub(super) fn key_bit(key: usize) -> u64 {
    1 << key.min(63)
}
