//! How an attempt would have gone, told from records.
//!
//! The call's own recorded attempt at the target, if it has one (its n-th there, for the n-th try); else one drawn from
//! the attempts recorded at that target near in time: within 30 s, or, while these are fewer than 8, four times as far,
//! and so on. A caller's error would be one at every target. Attempts that say nothing of the target (a lost hedge, a
//! caller that left, a caller's error) are not drawn.

use std::time::Duration;

use mainstay_base::{Class, Micros};

use super::{
    engine::{Asked, World},
    recording::{Outcome, Recording},
};

const NEAR: Duration = Duration::from_secs(30);
const ENOUGH: usize = 8;
const WIDER: u32 = 4;
/// 30 s × 4⁸ is three weeks.
const MAX_WIDER: u32 = 8;

pub(super) struct Pool<'a> {
    recording: &'a Recording,
    /// For each target, by time.
    samples: Vec<Vec<(Micros, Outcome)>>,
    pub(super) own: u64,
    pub(super) drawn: u64,
}

impl<'a> Pool<'a> {
    pub(super) fn new(recording: &'a Recording) -> Pool<'a> {
        let mut samples = vec![Vec::new(); recording.target_count()];
        let attempts = recording.calls.iter().flat_map(|call| &call.attempts);
        for attempt in attempts.filter(|attempt| attempt.outcome.is_the_targets()) {
            samples[attempt.target].push((attempt.at, attempt.outcome));
        }
        for of_target in &mut samples {
            of_target.sort_by_key(|(at, _)| *at);
        }
        Pool { recording, samples, own: 0, drawn: 0 }
    }

    fn own(&self, asked: &Asked) -> Option<Outcome> {
        let attempts = &self.recording.calls[asked.call].attempts;
        let wrong = attempts.iter().find(|attempt| attempt.outcome.class == Some(Class::CallerError));
        let mut here = attempts.iter().filter(|attempt| attempt.target == asked.target);
        let nth = usize::try_from(asked.nth).unwrap_or(usize::MAX);
        let nobodys = |outcome: &Outcome| matches!(outcome.class, Some(Class::HedgeLost | Class::CallerGone));
        let own = wrong.or_else(|| here.nth(nth)).map(|attempt| attempt.outcome);
        own.filter(|outcome| !nobodys(outcome))
    }

    fn draw(&self, asked: &Asked) -> Option<Outcome> {
        let samples = &self.samples[asked.target];
        let near = near(samples, asked.at);
        let index = (asked.chance * near.len() as f64) as usize;
        near.get(index).or(near.last()).map(|(_, outcome)| *outcome)
    }
}

impl World for Pool<'_> {
    fn target(&self, provider: &str, model: &str) -> Option<usize> {
        let target = self.recording.known(provider, model)?;
        (!self.samples[target].is_empty()).then_some(target)
    }

    fn outcome(&mut self, asked: &Asked) -> Outcome {
        if let Some(own) = self.own(asked) {
            self.own += 1;
            return own;
        }
        self.drawn += 1;
        // A target without samples is not asked: `target` does not know it.
        self.draw(asked).unwrap_or(Outcome::bad(Class::NotAnAnswer, Duration::ZERO))
    }
}

fn near(samples: &[(Micros, Outcome)], at: Micros) -> &[(Micros, Outcome)] {
    let mut reach = NEAR;
    for _ in 0..MAX_WIDER {
        let from = samples.partition_point(|(sample, _)| *sample < at - reach);
        let to = samples.partition_point(|(sample, _)| *sample <= at + reach);
        if to - from >= ENOUGH.min(samples.len()) {
            return &samples[from..to];
        }
        reach = reach.saturating_mul(WIDER);
    }
    samples
}
