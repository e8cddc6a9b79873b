//! An e-detector over blocks of time: how unlikely is it that no more than a multiple of the budget is spent, had a change come at
//! any time before?
//!
//! A *block* begins with a run and takes [`block`]: a minute or more. Its observation is the share x of its runs that failed, so however many fail for one cause within a block, and
//! however the runs of a block depend on each other, it counts once. For each of six alternatives p1,
//! `M ← (M + 1) · (1 + (p1 − p0) / (p0 (1 − p0)) · (x − p0))`, which for x of 0 and 1 is the ratio of likelihoods, and for shares between is a fair
//! bet on a bounded mean (Waudby-Smith and Ramdas 2023). As long as the mean of x, given the past, is at most p0, the mean of M grows by
//! at most one a block, so it takes `A` blocks or more in the mean until the average of the Ms reaches `A` (Shiryaev and Roberts; Shin, Ramdas and
//! Rinaldo 2022). A is the blocks of four times the time in which one false page is allowed.
//!
//! p0 is not the budget but a multiple of it, from 2 (at most one failure an hour is allowed) to 4 (30 and more): with
//! much traffic it would otherwise page for an hour at twice the budget, which nobody should be woken for.

use std::time::Duration;

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};

use super::{Objective, Settings, Slot, pace::time_of};

const SHORTEST_BLOCK: Duration = Duration::from_secs(60);
const LONGEST_BLOCK: Duration = Duration::from_secs(600);
/// How many runs' time a block takes.
const BLOCK_RUNS: f64 = 1.0;
/// How long a block is for each power of ten that is between the expected share and all.
const BLOCK_PER_POWER: f64 = 66.0;
const ALTERNATIVES: usize = 6;
/// One false page in so many times the time in which all detectors together may have one.
const TIMES_QUIET: f64 = 4.0;
const HIGHEST: f64 = 0.97;
/// Far above any threshold, so that a long trouble does not overflow.
const MOST: f32 = 1e12;
/// The multiple of the budget, and the failures an hour that the budget allows, between which it grows.
const MULTIPLES: (f64, f64) = (2.0, 4.0);
const ALLOWED_AN_HOUR: f64 = 30.0;
/// Where the budget allows so many times more, a bad hour is seldom chance and often only an hour: so much more is health.
const BUSY: (f64, f64) = (10.0, 0.06);

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    evidence: [f32; ALTERNATIVES],
    block: Block,
    /// When the evidence was last none, about: since then the trouble grows.
    since: Micros,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Block {
    at: Micros,
    for_s: u32,
    good: u64,
    bad: u64,
}

impl Sequence {
    /// `rate`: runs a second before this slot, if known.
    pub(super) fn eat(&mut self, slot: &Slot, rate: Option<f64>, objective: &Objective) {
        if slot.at.since(self.block.at) >= Duration::from_secs(u64::from(self.block.for_s)) {
            self.close(rate, objective);
            self.block =
                Block { at: slot.at, for_s: block(rate, objective).as_secs() as u32, ..Block::default() };
        }
        self.block.good += u64::from(slot.good);
        self.block.bad += u64::from(slot.bad);
    }

    /// Time goes on without runs.
    pub(super) fn pass(&mut self, now: Micros, rate: Option<f64>, objective: &Objective) {
        if now.since(self.block.at) >= Duration::from_secs(u64::from(self.block.for_s)) {
            self.close(rate, objective);
        }
    }

    fn close(&mut self, rate: Option<f64>, objective: &Objective) {
        let Block { at, good, bad, .. } = self.block;
        if good + bad == 0 {
            return;
        }
        if self.mean() < 2.0 {
            self.since = at;
        }
        let share = bad as f64 / (good + bad) as f64;
        let expected = expected(rate.unwrap_or(0.0), objective);
        for (evidence, alternative) in self.evidence.iter_mut().zip(alternatives(expected)) {
            let bet = (alternative - expected) / (expected * (1.0 - expected));
            let factor = 1.0 + bet * (share - expected);
            *evidence = ((*evidence + 1.0) * factor as f32).clamp(0.0, MOST);
        }
        (self.block.good, self.block.bad) = (0, 0);
    }

    fn mean(&self) -> f32 {
        self.evidence.iter().sum::<f32>() / ALTERNATIVES as f32
    }

    /// Since when there is trouble, if there is.
    pub(super) fn trouble(
        &self,
        rate: Option<f64>,
        objective: &Objective,
        settings: &Settings,
    ) -> Option<Micros> {
        let blocks = TIMES_QUIET * settings.quiet.as_secs_f64() / block(rate, objective).as_secs_f64();
        (f64::from(self.mean()) >= blocks).then_some(self.since)
    }

    pub(super) fn forget(&mut self) {
        self.evidence = [0.0; ALTERNATIVES];
    }
}

/// How long a block is at a pace: as long as a run takes to come, and longer where each block is stronger evidence, so
/// that it takes about six minutes of total trouble to page at any target.
pub fn block(rate: Option<f64>, objective: &Objective) -> Duration {
    let rate = rate.unwrap_or(0.0);
    let strong = Duration::from_secs_f64(-expected(rate, objective).log10() * BLOCK_PER_POWER);
    time_of(BLOCK_RUNS, rate).clamp(strong.max(SHORTEST_BLOCK), LONGEST_BLOCK)
}

/// The share of failures that is still taken for health.
pub fn expected(rate: f64, objective: &Objective) -> f64 {
    let allowed = objective.allowed();
    let an_hour = rate * 3_600.0 * allowed;
    let grown = (an_hour.max(1.0).ln() / ALLOWED_AN_HOUR.ln()).min(1.0);
    let multiple = MULTIPLES.0 + (MULTIPLES.1 - MULTIPLES.0) * grown;
    let busy = ((an_hour / ALLOWED_AN_HOUR).max(1.0).ln() / BUSY.0.ln()).min(1.0);
    (multiple * allowed).min((1.0 + 2.0 * allowed) / 4.0 + BUSY.1 * busy)
}

/// From a little above the expected share to almost all, each as many times the one before.
fn alternatives(expected: f64) -> [f64; ALTERNATIVES] {
    std::array::from_fn(|index| {
        let part = (index + 1) as f64 / ALTERNATIVES as f64;
        (expected.ln() * (1.0 - part) + HIGHEST.ln() * part).exp()
    })
}
