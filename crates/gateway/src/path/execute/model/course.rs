//! The course of one call: attempts one after the other, now and then two beside each other, until one is proved or
//! nothing is left. One deadline and one ceiling bound them all, and every one of them is in the record.

use std::{collections::VecDeque, time::Duration};

use mainstay_base::{
    Class, Usd,
    record::{Attempt, AttemptRole},
};
use mainstay_signal::{
    jitter, keys,
    next::{self, Situation, Step},
};
use tokio::time::sleep;

use super::{
    attempt::{Answered, Missed, Patience},
    order::Order,
    plan,
};
use crate::{
    path::{
        failure::{Failure, Reason},
        policy::Permit,
        stream::Said,
        telemetry::{Attempted, Open},
    },
    targets::{Taken, Turned, Wanted, key_bit},
};

mod books;
mod race;
mod room;

/// How long a call waits for a place, a key or a minute's grant when every target is out of them.
const MAX_ROOM_WAIT: Duration = Duration::from_secs(10);

pub(super) struct Course<'a> {
    order: &'a Order,
    record: &'a mut Open,
    /// `None` for what goes on after the permit moved to the answer.
    permit: Option<&'a Permit>,
    /// An answer to go on from.
    said: Option<&'a Said>,
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
    /// The call's ceiling does not cover it.
    TooDear,
    /// The caller set a ceiling, and nobody knows what this target costs.
    Unpriced,
    /// The budget of the call's key does not.
    Spent,
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
    pub(super) async fn go_on(mut self, broken: usize, said: &'a Said) -> Result<Won, Failure> {
        self.said = Some(said);
        let plan = plan::plan(self.order);
        self.queue = plan.candidates.into_iter().filter(|index| *index != broken).collect();
        match self.take_next(AttemptRole::Continuation, |_| true) {
            Some(started) => self.follow(started).await,
            None => Err(Failure::new(Reason::NoCandidate, "no other target can go on with the answer")),
        }
    }

    async fn follow(&mut self, mut started: Started) -> Result<Won, Failure> {
        let mut before = None;
        loop {
            let failed = match self.race(started).await {
                Ok(won) => return Ok(won),
                Err(failed) => failed,
            };
            let (next, told) = self.next(failed, before).await;
            match next {
                Some(next) => (started, before) = (next, Some(told)),
                None => return Err(self.failure(told)),
            }
        }
    }

    /// What follows a failure, and which one is told if nothing does. Who has no words for the call was not asked: after
    /// him it is as if the one before had been the last.
    async fn next(&mut self, failed: Failed, before: Option<Failed>) -> (Option<Started>, Failed) {
        let next = self.after(&failed).await;
        match before.filter(|_| failed.missed.class == Class::NotConvertible) {
            None => (next, failed),
            Some(before) if next.is_some() => (next, before),
            Some(before) => (self.after(&before).await, before),
        }
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
        if order.bounds.needs_price && order.target(index).price.is_none() {
            return Err(Barred::Unpriced);
        }
        let worst = order.worst_case(index);
        let all = self.spent + self.reserved + worst;
        if order.bounds.max_cost.is_some_and(|max_cost| all > max_cost) {
            return Err(Barred::TooDear);
        }
        if !self.permit.is_none_or(|permit| permit.covers(all)) {
            return Err(Barred::Spent);
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
                    let again = self.take(index, AttemptRole::Retry, 0);
                    if again.is_err() {
                        self.order.chain.budgets.retry.lock().give_back();
                    }
                    return again.ok();
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
        match keys::rest(missed.class, asked_for) {
            // Its key rests for so long.
            Some(rests) => rests + jittered,
            None => asked_for.unwrap_or_default().max(jittered),
        }
    }
}

/// Whether the other target is known to take more.
fn is_longer(order: &Order, index: usize, other: usize) -> bool {
    let context = |index: usize| order.target(index).offer.context_tokens;
    context(other).is_some_and(|other| context(index).is_none_or(|one| other > one))
}
