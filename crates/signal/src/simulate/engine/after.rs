//! What follows an attempt's first token and its end.

use mainstay_base::{Class, record::AttemptRole};

use super::{Engine, Trace, What, World};
use crate::{
    jitter, keys,
    next::{self, Situation, Step},
    simulate::{
        flight::Flight,
        recording::{Ended, How},
    },
};

impl<W: World, T: Trace> Engine<'_, W, T> {
    /// Content goes to the caller from now on; other attempts are cancelled.
    pub(super) fn first_token(&mut self, live: usize, index: usize) {
        let flight = self.lives[live].flights[index];
        if flight.is_over {
            return;
        }
        let took = self.now.since(flight.started);
        self.targets[flight.target].heard(&flight.share, took, self.now);
        self.lives[live].committed = Some(index);
        self.cancel_others(live, index);
    }

    pub(super) fn flight_ended(&mut self, live: usize, index: usize) {
        let flight = self.lives[live].flights[index];
        if flight.is_over {
            return;
        }
        self.land(live, index);
        let Some(class) = flight.outcome.class else {
            if flight.outcome.first_token.is_none() {
                self.targets[flight.target].answered_whole(&flight.share, flight.outcome.took, self.now);
            }
            self.cancel_others(live, index);
            self.lives[live].committed = Some(index);
            return self.finish(live, How::Well);
        };
        self.targets[flight.target].failed(&flight.share, class, self.now);
        self.rest_key(&flight, class);
        if self.lives[live].under_way() == 0 {
            self.decide(live, &flight, class);
        }
    }

    /// Gives back what a flight took and books what it cost.
    fn land(&mut self, live: usize, index: usize) {
        let flight = &mut self.lives[live].flights[index];
        flight.is_over = true;
        let Flight { target, share, outcome, .. } = *flight;
        self.lives[live].spent += outcome.cost;
        let needs = &self.recording.calls[self.lives[live].call].needs;
        let used = if outcome.class.is_none() {
            u64::from(needs.used_input_tokens) + u64::from(needs.output_tokens)
        } else {
            0
        };
        self.targets[target].give_back(&share, used, self.now);
    }

    /// Cancels what is still under way, but for the winner.
    fn cancel_others(&mut self, live: usize, winner: usize) {
        for index in 0..self.lives[live].flights.len() {
            let flight = &mut self.lives[live].flights[index];
            if index == winner || flight.is_over {
                continue;
            }
            // Cancelled and booked: how it would have ended nobody knows.
            flight.outcome.class = Some(Class::HedgeLost);
            flight.outcome.first_token = None;
            flight.outcome.took = self.now.since(flight.started);
            let Flight { target, share, .. } = *flight;
            self.land(live, index);
            self.targets[target].failed(&share, Class::HedgeLost, self.now);
        }
    }

    fn rest_key(&mut self, flight: &Flight, class: Class) {
        let Some(rest) = keys::rest(class, None) else { return };
        let target = &mut self.targets[flight.target];
        let Some(key) = flight.share.key else {
            // Without keys nothing can rest but the target; a refused or used up account is none of a minute's.
            return if class == Class::RateLimited {
                target.refused(rest, self.now)
            };
        };
        let until = &mut self.rests[target.provider][key];
        *until = (*until).max(Some(self.now + rest));
    }

    fn decide(&mut self, live: usize, flight: &Flight, class: Class) {
        let Some(situation) = self.situation(live, flight) else { return self.finish(live, How::Failed) };
        let went = match next::step(class, &situation) {
            Step::Answer | Step::GiveUp => return self.finish(live, How::after(class)),
            Step::SameTarget { wait } => {
                self.lives[live].again = flight.place;
                self.plan(live, self.now + wait, What::Again);
                true
            }
            // Other keys are bounded by their number; the budget lets them pass like another target.
            Step::OtherKey => self.launch(live, flight.place, AttemptRole::Fallback, false),
            Step::OtherTarget => self.launch_next(live, AttemptRole::Fallback, false),
            Step::LongerContext => self.launch_longer(live, flight),
        };
        if !went {
            self.finish(live, How::after(class));
        }
    }

    fn situation(&mut self, live: usize, flight: &Flight) -> Option<Situation> {
        let attempt = self.lives[live].tries_in_place(flight.place).saturating_sub(1);
        let chance = self.chance.draw();
        let (call, chain) = self.of(live)?;
        let policy = &chain.model.policy;
        let wait = jitter::full(policy.retry.base, policy.retry.cap, attempt, chance);
        let context = chain.model.targets[flight.place].offer.context_tokens.unwrap_or(call.tokens());
        let rests = &self.rests[self.targets[flight.target].provider];
        let tried = self.lives[live].tried_keys(flight.place);
        let is_free = |key: usize| {
            tried & crate::simulate::target::key_bit(key) == 0
                && rests[key].is_none_or(|until| until <= self.now)
        };
        Some(Situation {
            has_begun: self.lives[live].committed.is_some(),
            may_try: self.may_try(live),
            same_target_left: policy.retry.same_target.saturating_sub(attempt),
            budget_left: chain.retry.can_spend(),
            other_key: (0..rests.len()).any(is_free),
            other_target: self.has_other_target(live, None, self.now),
            longer_context: self.has_other_target(live, Some(context), self.now),
            content_filter_falls_over: policy.content_filter_falls_over,
            wait,
            wait_fits: wait < self.lives[live].bounds.time_left(self.now).0,
        })
    }

    fn launch_longer(&mut self, live: usize, flight: &Flight) -> bool {
        let Some((call, chain)) = self.of(live) else { return false };
        let model = chain.model.clone();
        let short = model.targets[flight.place].offer.context_tokens.unwrap_or(call.tokens());
        while let Some(place) = self.lives[live].candidates.get(self.lives[live].position).copied() {
            self.lives[live].position += 1;
            let is_longer = model.targets[place].offer.context_tokens.is_none_or(|context| context > short);
            if is_longer && self.launch(live, place, AttemptRole::Fallback, false) {
                return true;
            }
        }
        false
    }

    /// The call is over for its caller.
    pub(super) fn finish(&mut self, live: usize, how: How) {
        self.cancel_others(live, usize::MAX);
        let under_way = &mut self.lives[live];
        let call = &self.recording.calls[under_way.call];
        // Nothing that is still planned for it happens.
        under_way.generation = under_way.generation.wrapping_add(1);
        let first = under_way.committed.map(|index| under_way.flights[index]);
        let first_token = first.and_then(|flight| Some(flight.started + flight.outcome.first_token?));
        let ended = Ended {
            how,
            first_token: first_token.map(|at| at.since(call.at)),
            took: self.now.since(call.at),
        };
        if let Some(flight) = first.filter(|_| how == How::Well) {
            self.targets[flight.target].figures.answers += 1;
        }
        let tally = &mut self.tallies[call.model()];
        tally.end(&ended);
        for flight in &under_way.flights {
            tally.attempt(flight.target, flight.outcome.cost);
        }
        let index = under_way.call;
        self.trace_end(live, index, &ended);
        self.free.push(live);
    }

    fn trace_end(&mut self, live: usize, call: usize, ended: &Ended) {
        if !self.trace.wants_attempts() {
            return;
        }
        let flights = self.lives[live].flights.iter();
        let known =
            |flight: &Flight| Some((self.targets[flight.target].known?, flight.started, flight.outcome));
        let attempts: Vec<_> = flights.filter_map(known).collect();
        self.trace.ended(call, ended, &attempts);
    }
}
