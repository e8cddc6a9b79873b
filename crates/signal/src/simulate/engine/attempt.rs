//! Beginning attempts: who takes the call, who pays, what it comes to.

use mainstay_base::{Micros, Usd, record::AttemptRole, snapshot::Price};

use super::{Asked, Chain, Engine, Trace, What, World};
use crate::{
    breaker::Admission,
    simulate::{
        flight::{Flight, bounded},
        recording::{Call, How, Needs, Outcome},
    },
};

impl<W: World, T: Trace> Engine<'_, W, T> {
    /// The next candidate that takes the call. `anyway`: the first of them must.
    pub(super) fn launch_next(&mut self, live: usize, role: AttemptRole, anyway: bool) -> bool {
        while let Some(place) = self.lives[live].candidates.get(self.lives[live].position).copied() {
            self.lives[live].position += 1;
            if self.launch(live, place, role, anyway) {
                return true;
            }
        }
        false
    }

    /// Sends the call to the target of a place; `false`: it does not take it.
    pub(super) fn launch(&mut self, live: usize, place: usize, role: AttemptRole, anyway: bool) -> bool {
        let Some((call, chain)) = self.of(live) else { return false };
        let (target, model, tokens, streams) =
            (chain.targets[place], chain.model.clone(), call.tokens(), call.streams);
        let Some(known) = self.targets[target].known else {
            self.finish(live, How::Unanswerable);
            return true;
        };
        let now = self.now;
        let tried = self.lives[live].tried_keys(place);
        let rests = &self.rests[self.targets[target].provider];
        let Some(share) = self.targets[target].take(rests, tried, tokens, now, anyway) else { return false };
        if !self.pay(live, role, share.was_closed) {
            self.targets[target].untake(&share, now);
            return false;
        }
        let nth = self.lives[live].tries_at(target);
        let asked =
            Asked { call: self.lives[live].call, target: known, nth, at: now, chance: self.chance.draw() };
        self.trace.attempt(asked.call, known, role, matches!(share.admission, Admission::Probe { .. }), now);
        let call = &self.recording.calls[asked.call];
        let outcome = priced(self.world.outcome(&asked), model.targets[place].price.as_ref(), &call.needs);
        let (until_content, until_end) = self.lives[live].bounds.time_left(now);
        let silence = self.targets[target].silence(streams);
        let outcome =
            bounded(outcome, streams, silence, until_content, until_end.min(self.targets[target].total));
        self.fly(live, Flight { place, target, share, started: now, outcome, is_over: false });
        self.plan_hedge(live, target);
        true
    }

    /// Pays an attempt beyond the first.
    fn pay(&mut self, live: usize, role: AttemptRole, was_closed: bool) -> bool {
        let Some(chain) = &mut self.chains[self.lives[live].chain] else { return false };
        match role {
            AttemptRole::First => true,
            AttemptRole::Fallback | AttemptRole::Continuation if was_closed => {
                chain.retry.owe();
                true
            }
            AttemptRole::Fallback | AttemptRole::Continuation | AttemptRole::Retry => chain.retry.spend(),
            AttemptRole::Hedge => chain.hedge.spend(),
        }
    }

    fn fly(&mut self, live: usize, flight: Flight) {
        let index = self.lives[live].flights.len();
        let Flight { started, outcome, target, .. } = flight;
        self.lives[live].flights.push(flight);
        self.targets[target].figures.attempts += 1;
        if let Some(first_token) = outcome.first_token {
            self.plan(live, started + first_token, What::FirstToken { flight: index });
        }
        self.plan(live, started + outcome.took, What::End { flight: index });
    }

    fn plan_hedge(&mut self, live: usize, target: usize) {
        let Some((call, chain)) = self.of(live) else { return };
        let Some(hedge) = chain.model.policy.hedge.filter(|_| !self.lives[live].has_hedged) else { return };
        let usual = self.targets[target].quantile(hedge.after_quantile, call.streams);
        if let Some(usual) = usual {
            self.plan(live, self.now + usual.max(hedge.at_least), What::Hedge);
        }
    }

    /// A second attempt beside a slow first one.
    pub(super) fn hedge(&mut self, live: usize) {
        let hedged = &self.lives[live];
        let is_wanted = hedged.committed.is_none() && !hedged.has_hedged && hedged.under_way() == 1;
        let Some(chain) = self.chains[self.lives[live].chain].as_mut().filter(|_| is_wanted) else { return };
        // Asked before the candidates are, because those that turn it down are not asked again.
        if !chain.hedge.can_spend() {
            chain.hedge.spend();
            return;
        }
        if self.may_try(live) {
            self.lives[live].has_hedged = true;
            self.launch_next(live, AttemptRole::Hedge, false);
        }
    }

    /// Attempts, time and money allow one more.
    pub(super) fn may_try(&self, live: usize) -> bool {
        let Some((call, chain)) = self.of(live) else { return false };
        let policy = &chain.model.policy;
        let under_way = &self.lives[live];
        let tried = u32::try_from(under_way.flights.len()).unwrap_or(u32::MAX);
        let (until_content, _) = under_way.bounds.time_left(self.now);
        tried < policy.max_attempts && !until_content.is_zero() && self.can_afford(live, call, chain)
    }

    fn can_afford(&self, live: usize, call: &Call, chain: &Chain) -> bool {
        let under_way = &self.lives[live];
        let next = under_way.candidates.get(under_way.position).or(under_way.candidates.last());
        let price = next.and_then(|place| chain.model.targets[*place].price);
        let Some((ceiling, price)) = under_way.bounds.max_cost.zip(price) else { return true };
        let output = call.needs.max_output_tokens.unwrap_or(call.needs.output_tokens);
        under_way.spent + cost(&price, call.needs.input_tokens.into(), output.into()) <= ceiling
    }

    /// The call and its chain.
    pub(super) fn of(&self, live: usize) -> Option<(&Call, &Chain)> {
        let live = &self.lives[live];
        Some((&self.recording.calls[live.call], self.chains[live.chain].as_ref()?))
    }

    /// A candidate that was not asked yet would take the call, and has at least so large a context.
    pub(super) fn has_other_target(&self, live: usize, beyond: Option<u64>, now: Micros) -> bool {
        let Some((call, chain)) = self.of(live) else { return false };
        let under_way = &self.lives[live];
        under_way.candidates[under_way.position..].iter().any(|place| {
            let context = chain.model.targets[*place].offer.context_tokens;
            let is_longer = beyond.is_none_or(|beyond| context.is_none_or(|context| context > beyond));
            is_longer && self.targets[chain.targets[*place]].is_open_to(call.tokens(), now)
        })
    }
}

/// What the attempt costs here: by this target's price where it has one, else as recorded.
fn priced(outcome: Outcome, price: Option<&Price>, needs: &Needs) -> Outcome {
    let Some(price) = price.filter(|_| outcome.class.is_none()) else { return outcome };
    Outcome { cost: cost(price, needs.used_input_tokens.into(), needs.output_tokens.into()), ..outcome }
}

fn cost(price: &Price, input: u64, output: u64) -> Usd {
    let part = |price: Usd, tokens: u64| i128::from(price.0) * i128::from(tokens);
    let micros = (part(price.input, input) + part(price.output, output)) / 1_000_000;
    Usd(i64::try_from(micros).unwrap_or(i64::MAX))
}
