//! The course of one call: attempts one after the other, now and then two beside each other, until one is proved or
//! nothing is left. One deadline and one ceiling bound them all, and every one of them is in the record.

use std::{collections::VecDeque, time::Duration};

use futures_util::future::{Either, select};
use mainstay_base::{
    Class, Usd,
    record::{Attempt, AttemptRole},
};
use mainstay_signal::{
    jitter,
    next::{self, Situation, Step},
};
use mainstay_wire::llm::Usage;
use tokio::time::{sleep, timeout};

use super::{
    attempt::{self, Answered, Missed, Outcome, Patience},
    order::Order,
    plan,
};
use crate::{
    path::{
        failure::{Failure, FromProvider, Reason},
        policy::Permit,
        price,
        telemetry::{Attempted, Open},
    },
    targets::{LIMITED_REST, Taken, Turned, Wanted, key_bit},
};

/// How long a call waits for a place, a key or a minute's grant when every target is out of them.
const MAX_ROOM_WAIT: Duration = Duration::from_secs(10);
/// How long to wait before a full target is looked at again, should nobody tell.
const BUSY_LOOK_AGAIN: Duration = Duration::from_millis(250);

pub(super) struct Course<'a> {
    order: &'a Order,
    record: &'a mut Open,
    /// `None` for what goes on after the permit moved to the answer.
    permit: Option<&'a Permit>,
    /// An answer to go on from.
    said: Option<&'a str>,
    queue: VecDeque<usize>,
    /// Nobody but a target with an open breaker is left.
    insists: bool,
    /// What was tried of each target.
    tried: Vec<Tried>,
    attempts: u32,
    spent: Usd,
    reserved: Usd,
    turned: Vec<(usize, Barred)>,
}

#[derive(Clone, Copy, Default)]
struct Tried {
    keys: u64,
    again: u32,
}

/// Why an attempt is not begun.
#[derive(Clone, Copy, Debug)]
enum Barred {
    Turned(Turned),
    /// The call's ceiling, or its key's budget, does not cover it.
    TooDear,
    /// The policy allows no more attempts, or the time is over.
    NoMore,
}

/// An attempt that may begin.
struct Started {
    flying: Flying,
    taken: Taken,
    patience: Patience,
}

/// An attempt under way, as the books have it.
#[derive(Clone, Copy)]
struct Flying {
    index: usize,
    attempted: Attempted,
    worst: Usd,
    estimate: Option<Usd>,
}

/// The attempt that is the answer.
pub(super) struct Won {
    pub(super) index: usize,
    pub(super) attempted: Attempted,
    pub(super) answered: Answered,
}

/// An attempt that is not.
struct Failed {
    index: usize,
    status: Option<u16>,
    missed: Missed,
}

impl<'a> Course<'a> {
    pub(super) fn new(order: &'a Order, record: &'a mut Open, permit: Option<&'a Permit>) -> Course<'a> {
        let spent = record.cost().unwrap_or_default();
        let attempts = record.known().map_or(0, |record| record.attempts.len()) as u32;
        Course {
            order,
            record,
            permit,
            said: None,
            queue: VecDeque::new(),
            insists: false,
            tried: vec![Tried::default(); order.chain.places.len()],
            attempts,
            spent,
            reserved: Usd::ZERO,
            turned: Vec::new(),
        }
    }

    /// From the first target to the answer.
    pub(super) async fn run(mut self) -> Result<Won, Failure> {
        let plan = plan::plan(self.order);
        if plan.candidates.is_empty() {
            return Err(plan::nobody(self.order, &plan));
        }
        self.order.chain.budgets.earn(self.order.policy().hedge.is_some());
        self.insists = plan.is_last_resort;
        self.queue = plan.candidates.into();
        let started = self.first().await?;
        self.follow(started).await
    }

    /// Goes on elsewhere from what the target at `broken` said.
    pub(super) async fn go_on(mut self, broken: usize, said: &'a str) -> Result<Won, Failure> {
        self.said = Some(said);
        let plan = plan::plan(self.order);
        self.queue = plan.candidates.into_iter().filter(|index| *index != broken).collect();
        match self.take_next(AttemptRole::Continuation, |_| true) {
            Some(started) => self.follow(started).await,
            None => Err(Failure::new(Reason::NoCandidate, "no other target can go on with the answer")),
        }
    }

    async fn follow(&mut self, mut started: Started) -> Result<Won, Failure> {
        loop {
            let failed = match self.race(started).await {
                Ok(won) => return Ok(won),
                Err(failed) => failed,
            };
            match self.after(&failed).await {
                Some(next) => started = next,
                None => return Err(self.failure(failed)),
            }
        }
    }

    /// The first attempt. When every target is out of places, keys or grants, it waits a while for the first to be back.
    async fn first(&mut self) -> Result<Started, Failure> {
        let all: Vec<usize> = self.queue.iter().copied().collect();
        let wait_until = tokio::time::Instant::now() + MAX_ROOM_WAIT.min(self.order.bounds.answer_left());
        loop {
            self.turned.clear();
            if let Some(started) = self.take_next(AttemptRole::First, |_| true) {
                return Ok(started);
            }
            let left = wait_until.saturating_duration_since(tokio::time::Instant::now());
            match self.room(left) {
                Some(Room::Insist) => self.insists = true,
                Some(Room::After(wait)) => sleep(wait).await,
                Some(Room::Freed { index, at_most }) => {
                    let freed = self.order.chain.places[index].target.freed.notified();
                    // Whether it was told or not, all are looked at again.
                    let _ = timeout(at_most, freed).await;
                }
                None => return Err(self.no_room()),
            }
            self.queue = all.iter().copied().collect();
        }
    }

    /// What is worth waiting for, if it comes within `left`.
    fn room(&self, left: Duration) -> Option<Room> {
        let now = self.order.gateway.targets().ticks.now();
        let mut soonest: Option<Duration> = None;
        let mut busy = None;
        for (index, barred) in &self.turned {
            match barred {
                Barred::Turned(Turned::BreakerOpen { .. }) if !self.insists => return Some(Room::Insist),
                Barred::Turned(Turned::Busy) => busy = busy.or(Some(*index)),
                Barred::Turned(turned) => {
                    let wait = turned.wait(now).filter(|wait| *wait < left);
                    soonest =
                        wait.map_or(soonest, |wait| Some(soonest.map_or(wait, |known| known.min(wait))));
                }
                Barred::TooDear | Barred::NoMore => {}
            }
        }
        match (busy, soonest) {
            (Some(index), soonest) if !left.is_zero() => {
                let at_most = soonest.unwrap_or(BUSY_LOOK_AGAIN).min(BUSY_LOOK_AGAIN).min(left);
                Some(Room::Freed { index, at_most })
            }
            (_, soonest) => soonest.map(Room::After),
        }
    }

    /// Every target is out of something.
    fn no_room(&self) -> Failure {
        let now = self.order.gateway.targets().ticks.now();
        let why: Vec<String> = self
            .turned
            .iter()
            .map(|(index, barred)| format!("{}: {}", self.order.target(*index).provider.name, barred.words()))
            .collect();
        let internal =
            format!("no target of {} takes the call now: {}", self.order.chain.model.name, why.join("; "));
        let turned = || {
            self.turned.iter().filter_map(|(_, barred)| match barred {
                Barred::Turned(turned) => Some(*turned),
                Barred::TooDear | Barred::NoMore => None,
            })
        };
        let Some(first_back) = turned().min_by_key(|turned| turned.wait(now).unwrap_or(Duration::MAX)) else {
            let is_dear = self.turned.iter().any(|(_, barred)| matches!(barred, Barred::TooDear));
            let reason = if is_dear { Reason::CostCeiling } else { Reason::DeadlineOver };
            return Failure::new(reason, internal);
        };
        let class = match first_back {
            Turned::Limited { .. } => Class::RateLimited,
            Turned::KeysRest { why, .. } => why,
            Turned::Busy | Turned::BreakerOpen { .. } | Turned::KeysTried => Class::Overloaded,
        };
        let retry_after = first_back.wait(now);
        let failed = FromProvider { class, status: None, message: None, retry_after };
        Failure::new(Reason::Provider(Box::new(failed)), internal)
    }

    /// The next target in the queue that takes the call.
    fn take_next(&mut self, role: AttemptRole, fits: impl Fn(usize) -> bool) -> Option<Started> {
        while let Some(index) = self.queue.pop_front() {
            if !fits(index) {
                continue;
            }
            match self.take(index, role, 0) {
                Ok(started) => return Some(started),
                Err(barred) => self.turned.push((index, barred)),
            }
        }
        None
    }

    fn take(&mut self, index: usize, role: AttemptRole, tried_keys: u64) -> Result<Started, Barred> {
        let order = self.order;
        if self.attempts >= order.policy().max_attempts.max(1) || order.bounds.is_over() {
            return Err(Barred::NoMore);
        }
        let worst = order.worst_case(index);
        let all = self.spent + self.reserved + worst;
        let is_covered = self.permit.is_none_or(|permit| permit.covers(all));
        if order.bounds.max_cost.is_some_and(|max_cost| all > max_cost) || !is_covered {
            return Err(Barred::TooDear);
        }
        let wanted = Wanted {
            tokens: order.tokens(),
            streams: order.asked.streams,
            tried_keys,
            insists: self.insists,
        };
        let place = &order.chain.places[index];
        let taken = place.take(&wanted, order.gateway.targets().ticks).map_err(Barred::Turned)?;
        if !self.may_spend(role, &taken) {
            return Err(Barred::Turned(Turned::BreakerOpen { until: order.gateway.targets().ticks.now() }));
        }
        Ok(self.begin(index, role, taken, worst))
    }

    /// A fallback to a healthy target is never refused; one that only probes is an extra attempt like any other.
    fn may_spend(&self, role: AttemptRole, taken: &Taken) -> bool {
        let mut retry = self.order.chain.budgets.retry.lock();
        match role {
            AttemptRole::Fallback if taken.flight.is_probe() => retry.spend(),
            AttemptRole::Fallback | AttemptRole::Continuation => {
                retry.owe();
                true
            }
            AttemptRole::First | AttemptRole::Retry | AttemptRole::Hedge => true,
        }
    }

    fn begin(&mut self, index: usize, role: AttemptRole, taken: Taken, worst: Usd) -> Started {
        let order = self.order;
        let target = order.target(index);
        self.attempts += 1;
        self.reserved += worst;
        if let Some(key) = taken.key {
            self.tried[index].keys |= key_bit(key);
        }
        let estimate = order.input_cost(index);
        self.note(estimate.unwrap_or_default());
        let attempted = self.record.begin_attempt(Attempt {
            upstream: target.provider.name.clone(),
            model: Some(target.model.clone()),
            key: taken.key.and_then(|key| target.provider.keys.get(key)).map(|key| key.name.clone()),
            role,
            input_tokens: estimate.map(|_| order.asked.input_tokens),
            cost: estimate,
            is_cost_estimated: estimate.is_some(),
            ..Attempt::default()
        });
        let patience = Patience::new(order, target, !self.queue.is_empty());
        Started { flying: Flying { index, attempted, worst, estimate }, taken, patience }
    }

    /// One attempt, and a second one beside it when the first is slow. The first to be proved wins.
    async fn race(&mut self, started: Started) -> Result<Won, Failed> {
        let (order, said) = (self.order, self.said);
        let Started { flying: first, taken, patience } = started;
        let hedge_after = self.hedge_after(first.index);
        let mut running = std::pin::pin!(attempt::run(order, first.index, taken, patience, said));
        let Some(hedge_after) = hedge_after else {
            let outcome = running.await;
            return self.ended(first, outcome);
        };
        if let Ok(outcome) = timeout(hedge_after, running.as_mut()).await {
            return self.ended(first, outcome);
        }
        let Some(Started { flying: second, taken, patience }) = self.take_hedge() else {
            let outcome = running.await;
            return self.ended(first, outcome);
        };
        let beside = Box::pin(attempt::run(order, second.index, taken, patience, said));
        let (ended, outcome, other, left) = match select(running, beside).await {
            Either::Left((outcome, left)) => (first, outcome, second, Either::Right(left)),
            Either::Right((outcome, left)) => (second, outcome, first, Either::Left(left)),
        };
        match self.ended(ended, outcome) {
            Ok(won) => {
                drop(left);
                self.lost(other);
                Ok(won)
            }
            // One is still under way: the call is not lost.
            Err(_) => {
                let outcome = match left {
                    Either::Left(first) => first.await,
                    Either::Right(second) => second.await,
                };
                self.ended(other, outcome)
            }
        }
    }

    /// When a second attempt starts beside the first. `None`: never, or nothing is known of the target's times.
    fn hedge_after(&self, index: usize) -> Option<Duration> {
        let hedge = self.order.policy().hedge.as_ref()?;
        if self.queue.is_empty() || self.said.is_some() || !self.order.chain.budgets.hedge.lock().can_spend()
        {
            return None;
        }
        let target = &self.order.chain.places[index].target;
        let quantile = target.quantile(hedge.after_quantile, self.order.asked.streams)?;
        Some(quantile.max(hedge.at_least))
    }

    fn take_hedge(&mut self) -> Option<Started> {
        if !self.order.chain.budgets.hedge.lock().spend() {
            return None;
        }
        let started = self.take_next(AttemptRole::Hedge, |_| true);
        if started.is_none() {
            self.order.chain.budgets.hedge.lock().give_back();
        }
        started
    }

    /// What follows a failure, if anything.
    async fn after(&mut self, failed: &Failed) -> Option<Started> {
        let index = failed.index;
        loop {
            let situation = self.situation(failed);
            match next::step(failed.missed.class, &situation) {
                Step::Answer | Step::GiveUp => return None,
                Step::OtherKey => match self.take(index, AttemptRole::Retry, self.tried[index].keys) {
                    Ok(started) => {
                        self.order.chain.budgets.retry.lock().owe();
                        return Some(started);
                    }
                    Err(_) => self.tried[index].keys = u64::MAX,
                },
                Step::OtherTarget => {
                    if let Some(started) = self.take_next(AttemptRole::Fallback, |_| true) {
                        return Some(started);
                    }
                }
                Step::LongerContext => {
                    let order = self.order;
                    let longer = |other| is_longer(order, index, other);
                    if let Some(started) = self.take_next(AttemptRole::Fallback, longer) {
                        return Some(started);
                    }
                }
                Step::SameTarget { wait } => {
                    if !self.order.chain.budgets.retry.lock().spend() {
                        return None;
                    }
                    self.tried[index].again += 1;
                    sleep(wait).await;
                    return self.take(index, AttemptRole::Retry, 0).ok();
                }
            }
        }
    }

    fn situation(&self, failed: &Failed) -> Situation {
        let order = self.order;
        let policy = order.policy();
        let Tried { keys, again } = self.tried[failed.index];
        let wait = self.wait_before_again(&failed.missed, again);
        let now = order.gateway.targets().ticks.now();
        Situation {
            has_begun: false,
            may_try: self.attempts < policy.max_attempts && !order.bounds.is_over(),
            same_target_left: policy.retry.same_target.saturating_sub(again),
            budget_left: order.chain.budgets.retry.lock().can_spend(),
            other_key: order.chain.places[failed.index].has_free_key(keys, now),
            other_target: !self.queue.is_empty(),
            longer_context: self.queue.iter().any(|other| is_longer(order, failed.index, *other)),
            content_filter_falls_over: policy.content_filter_falls_over,
            wait,
            wait_fits: wait < order.bounds.answer_left() && wait <= MAX_ROOM_WAIT,
        }
    }

    fn wait_before_again(&self, missed: &Missed, again: u32) -> Duration {
        let retry = &self.order.policy().retry;
        let jittered = jitter::full(retry.base, retry.cap, again, self.order.gateway.targets().chance.next());
        let asked_for = missed.told.as_ref().and_then(|told| told.retry_after);
        match missed.class {
            // Its key rests for so long.
            Class::RateLimited => asked_for.unwrap_or(LIMITED_REST).max(Duration::from_secs(1)) + jittered,
            _ => asked_for.unwrap_or_default().max(jittered),
        }
    }

    /// Books the end of an attempt. A proved stream is still under way: its end is booked by who delivers it.
    fn ended(&mut self, flying: Flying, outcome: Outcome) -> Result<Won, Failed> {
        let Flying { index, attempted, worst, estimate } = flying;
        let Outcome { status, first_byte, result } = outcome;
        let began_at = self.record.attempted(attempted).map_or(0, |attempt| attempt.started_us);
        if let Some(attempt) = self.record.attempted(attempted) {
            attempt.status = status;
            attempt.first_byte_us = first_byte.map(micros);
        }
        self.reserved = self.reserved - worst;
        match result {
            Ok(answered) => {
                match &answered {
                    Answered::Stream(streamed) => {
                        // Who delivers it notes all of its cost.
                        self.note(Usd::ZERO - estimate.unwrap_or_default());
                        let first_token_at = streamed.proved.first_token_at;
                        let since = first_token_at
                            .map(|at| self.record.at_us(at.into_std()).saturating_sub(began_at));
                        if let Some(attempt) = self.record.attempted(attempted) {
                            attempt.first_token_us = since;
                        }
                    }
                    Answered::Whole(whole) => {
                        let usage = whole.usage.unwrap_or_else(|| estimated(self.order, whole.text_bytes));
                        self.book(flying, Some(&usage), None);
                    }
                }
                self.spent += estimate.unwrap_or_default();
                Ok(Won { index, attempted, answered })
            }
            Err(missed) => {
                let usage = missed
                    .usage
                    .or_else(|| missed.may_be_billed(status).then(|| attempt::estimated(&self.order.asked)));
                self.book(flying, usage.as_ref(), Some(missed.class));
                if let Some(attempt) = self.record.attempted(attempted) {
                    attempt.error = Some(missed.internal.clone());
                }
                Err(Failed { index, status, missed })
            }
        }
    }

    /// A faster attempt won. What this one was sent is paid for.
    fn lost(&mut self, flying: Flying) {
        self.reserved = self.reserved - flying.worst;
        self.spent += flying.estimate.unwrap_or_default();
        if let Some(attempt) = self.record.end_attempt(flying.attempted, Some(Class::HedgeLost)) {
            attempt.error = Some("another attempt was faster".to_owned());
        }
    }

    fn book(&mut self, flying: Flying, usage: Option<&Usage>, class: Option<Class>) {
        let known = self.order.target(flying.index).price.as_ref();
        let cost = known.map(|price| usage.map_or(Usd::ZERO, |usage| price::cost(price, usage)));
        self.note(cost.unwrap_or_default() - flying.estimate.unwrap_or_default());
        if class.is_some() {
            self.spent += cost.unwrap_or_default();
        }
        if let Some(attempt) = self.record.end_attempt(flying.attempted, class) {
            attempt.cost = cost;
            attempt.input_tokens = usage.map(|usage| usage.input);
            attempt.output_tokens = usage.map(|usage| usage.output);
            attempt.is_cost_estimated = cost.is_some() && usage.is_some_and(|usage| usage.is_estimated);
        }
    }

    fn note(&self, more: Usd) {
        if let Some(permit) = self.permit.filter(|_| more != Usd::ZERO) {
            permit.note(more);
        }
    }

    /// The call's failure is that of its last attempt, in words that the caller may read.
    fn failure(&self, failed: Failed) -> Failure {
        let Failed { index, status, missed } = failed;
        let Missed { class, told, internal, usage: _ } = missed;
        let internal = format!("{}: {internal}", self.order.target(index).provider.name);
        if class == Class::TotalTimeout && self.order.bounds.is_over() {
            return Failure::new(Reason::DeadlineOver, internal);
        }
        let (message, retry_after) = told.map_or((None, None), |told| (Some(told.message), told.retry_after));
        let failed = FromProvider { class, status, message, retry_after };
        Failure::new(Reason::Provider(Box::new(failed)), internal)
    }
}

/// What a call may wait for.
enum Room {
    Insist,
    After(Duration),
    Freed { index: usize, at_most: Duration },
}

impl Barred {
    fn words(self) -> &'static str {
        match self {
            Barred::Turned(Turned::Busy) => "all its places are taken",
            Barred::Turned(Turned::BreakerOpen { .. }) => "its breaker is open",
            Barred::Turned(Turned::Limited { .. }) => "its grant for this minute is used up",
            Barred::Turned(Turned::KeysRest { .. }) => "all its keys rest",
            Barred::Turned(Turned::KeysTried) => "all its keys were tried",
            Barred::TooDear => "the cost ceiling does not cover it",
            Barred::NoMore => "the call's attempts or time are used up",
        }
    }
}

/// Whether the other target is known to take more.
fn is_longer(order: &Order, index: usize, other: usize) -> bool {
    let context = |index: usize| order.target(index).offer.context_tokens;
    context(other).is_some_and(|other| context(index).is_none_or(|one| other > one))
}

/// The usage of an answer whose provider told none.
fn estimated(order: &Order, text_bytes: u64) -> Usage {
    const BYTES_A_TOKEN: u64 = 4;
    Usage { output: text_bytes.div_ceil(BYTES_A_TOKEN), ..attempt::estimated(&order.asked) }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
