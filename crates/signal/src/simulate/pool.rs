//! How an attempt would have gone, told from records.
//!
//! The call's own recorded attempt at the target, if it has one (its n-th there, for the n-th try). Else one is drawn: a
//! moment within 10 s of the attempt's, by chance, and the attempt recorded at that target nearest to that moment. So the
//! few probes of a target that was out count for the time that they stand for, and not less than the many calls just
//! before; where records are thin, the nearest may be far.
//!
//! An attempt that was cancelled (a lost hedge, a caller that left) tells that nothing came until then. When it is drawn,
//! another is drawn in its place of which content came later (the redistribution to the right of Efron 1967); if none is
//! found in a few draws, none came. A caller's error would be one at every target; others of the caller's doing are not
//! drawn.

use std::time::Duration;

use mainstay_base::{Class, Micros, snapshot::ModelRoutes};

use super::{
    chance::Chance,
    engine::{Asked, Granted, World},
    recording::{Call, Outcome, Recording},
};

const NEAR: Duration = Duration::from_secs(10);
/// Draws for an outcome that came later than what is known not to have come.
const MAX_DRAWS: usize = 8;
/// Longer than any limit.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) struct Pool<'a> {
    recording: &'a Recording,
    /// The policy under which it was recorded.
    in_force: &'a ModelRoutes,
    /// For each target, its attempts' numbers by time.
    samples: Vec<Vec<u32>>,
    pub(super) own: u64,
    pub(super) drawn: u64,
}

impl<'a> Pool<'a> {
    pub(super) fn new(recording: &'a Recording, in_force: &'a ModelRoutes) -> Pool<'a> {
        let mut samples = vec![Vec::new(); recording.target_count()];
        let attempts = recording.all_attempts();
        for (number, attempt) in
            attempts.iter().enumerate().filter(|(_, attempt)| attempt.outcome.is_a_sample())
        {
            samples[attempt.target()].push(number as u32);
        }
        for of_target in &mut samples {
            of_target.sort_by_key(|number| attempts[*number as usize].at);
        }
        Pool { recording, in_force, samples, own: 0, drawn: 0 }
    }

    fn own(&self, asked: &Asked) -> Option<Outcome> {
        let attempts = self.recording.attempts(&self.recording.calls[asked.call]);
        let wrong = attempts.iter().find(|attempt| attempt.outcome.class == Some(Class::CallerError));
        let mut here = attempts.iter().filter(|attempt| attempt.target() == asked.target);
        let nth = usize::try_from(asked.nth).unwrap_or(usize::MAX);
        wrong.or_else(|| here.nth(nth)).map(|attempt| attempt.outcome)
    }

    /// One of the target's outcomes, of which nothing came before `later_than`.
    fn draw(&self, asked: &Asked, mut later_than: Duration) -> Outcome {
        let samples = &self.samples[asked.target];
        let mut chance = Chance::new(asked.chance.to_bits());
        for _ in 0..MAX_DRAWS {
            let moment = asked.at - NEAR + (NEAR * 2).mul_f64(chance.draw());
            let Some(drawn) = self.nearest(samples, moment, chance.draw()) else { break };
            if drawn.is_cancelled() {
                later_than = later_than.max(drawn.took);
            } else if drawn.first_token.unwrap_or(drawn.took) >= later_than {
                return drawn;
            }
        }
        Outcome { first_token: Some(NEVER), ..Outcome::good(None, NEVER) }
    }

    /// The outcome recorded nearest to a moment; by chance among those of one time.
    fn nearest(&self, samples: &[u32], moment: Micros, chance: f64) -> Option<Outcome> {
        let attempt = |number: u32| &self.recording.all_attempts()[number as usize];
        let when = |number: &u32| attempt(*number).at;
        let after = samples.partition_point(|sample| when(sample) < moment);
        let before = after.checked_sub(1);
        let distance = |index: usize| samples.get(index).map(|sample| when(sample).0.abs_diff(moment.0));
        let is_before =
            before.is_some_and(|before| distance(after).is_none_or(|right| distance(before) < Some(right)));
        let at = when(samples.get(if is_before { before? } else { after })?);
        let (from, to) = match is_before {
            true => (samples[..after].partition_point(|sample| when(sample) < at), after),
            false => (after, after + samples[after..].partition_point(|sample| when(sample) <= at)),
        };
        let index = from + ((to - from) as f64 * chance) as usize;
        samples.get(index.min(to - 1)).map(|sample| attempt(*sample).outcome)
    }
}

impl World for Pool<'_> {
    /// A record tells what was granted in the end. Where that is the policy's own bound, the caller set none, and another
    /// policy may grant more.
    fn granted(&self, call: &Call) -> Granted {
        let Some(model) = self.in_force.models.get(&self.recording.models[call.model()]) else {
            return Granted { deadline: call.deadline, max_cost: call.max_cost };
        };
        let policy = &model.policy;
        Granted {
            deadline: call.deadline.filter(|deadline| *deadline < policy.deadline),
            max_cost: call.max_cost.filter(|ceiling| policy.max_cost != Some(*ceiling)),
        }
    }

    fn target(&self, provider: &str, model: &str) -> Option<usize> {
        let target = self.recording.known(provider, model)?;
        (!self.samples[target].is_empty()).then_some(target)
    }

    fn outcome(&mut self, asked: &Asked) -> Outcome {
        let own = self.own(asked);
        if let Some(own) = own.filter(|own| !own.is_cancelled()) {
            self.own += 1;
            return own;
        }
        self.drawn += 1;
        self.draw(asked, own.map_or(Duration::ZERO, |own| own.took))
    }
}
