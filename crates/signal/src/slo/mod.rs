//! Service level objectives: how much of the error budget is spent, and when that is worth a page.
//!
//! Three detectors, all of which keep one promise together: **at most one false page per objective in 90 days**, while no more
//! than half of the allowed failures happen.
//! * [`burn`]: the multiwindow, multi-burn-rate rule (Google SRE workbook, chapter 5), its factor capped so that it can fire at
//!   loose targets, and gated by a lower bound of the share of failures that knows of clumps. For slow burn and much traffic.
//! * [`sequence`]: an e-detector of Shiryaev-Roberts form (Shin, Ramdas and Rinaldo 2022) over blocks of time, each of which counts
//!   once however many of its runs failed for the same cause. For partial outages at any traffic.
//! * [`outage`]: failures in a row without a success between, for so long that successes should have come. For total outages.
//!
//! What the promise assumes, and what it costs, is in `docs/slo-maths.md`; `cargo xtask bench slo` measures it.
//!
//! One call does it all: [`look`]. It is given the [`Series`] of an objective (counts by minute and hour), the [`Slot`]s that its
//! [`Judge`] has not eaten yet, and when its source was heard last. Pure: time comes in as a value.

use std::time::Duration;

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};

pub use history::{Choice, Lint, Paged, Tried, choose, lint, replay};
pub use judge::{Judge, Page, Ticket};
pub use look::{Blind, Budget, Burn, Fed, Look, State, look};
pub use series::{Kept, Series};

pub mod burn;
mod clumps;
mod history;
mod judge;
mod look;
pub mod outage;
mod pace;
pub mod sequence;
mod series;

/// The longest period of an objective; as long as a quarter.
pub const LONGEST_PERIOD: Duration = Duration::from_secs(92 * 86_400);
/// The shortest one.
pub const SHORTEST_PERIOD: Duration = Duration::from_secs(86_400);

/// What share of the runs shall be good, over which time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// Share of good runs, above a half and below one: 0.99.
    pub target: f64,
    pub period: Duration,
    /// When the period began, where it is one of the calendar. Otherwise it is rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Micros>,
}

/// Why an [`Objective`] cannot be kept; each by the key that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impossible {
    Target,
    Period,
}

impl Objective {
    /// All problems at once; none: it can be judged.
    pub fn problems(&self) -> Vec<(Impossible, &'static str)> {
        let mut problems = Vec::new();
        if !(self.target > 0.5 && self.target < 1.0) {
            problems.push((Impossible::Target, "must be above 0.5 (50 %) and below 1 (100 %)"));
        }
        if !(SHORTEST_PERIOD..=LONGEST_PERIOD).contains(&self.period) {
            problems.push((Impossible::Period, "must be between 1 and 92 days"));
        }
        problems
    }

    /// The share of runs that may fail. Kept away from 0 and 1, so that nothing here divides by zero.
    pub fn allowed(&self) -> f64 {
        let allowed = 1.0 - self.target;
        if allowed.is_nan() { 0.5 } else { allowed.clamp(1e-6, 0.5) }
    }
}

/// Runs of some time: how many, and how many of them were good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub good: u64,
    pub total: u64,
}

impl Counts {
    pub fn new(good: u64, bad: u64) -> Counts {
        Counts { good, total: good.saturating_add(bad) }
    }

    pub fn bad(&self) -> u64 {
        self.total.saturating_sub(self.good)
    }

    /// The share that failed; 0 of nothing.
    pub fn share(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.bad() as f64 / self.total as f64 }
    }

    /// The share that failed, in units of what is allowed.
    pub fn burn(&self, objective: &Objective) -> f64 {
        self.share() / objective.allowed()
    }

    pub fn plus(self, other: Counts) -> Counts {
        Counts { good: self.good.saturating_add(other.good), total: self.total.saturating_add(other.total) }
    }
}

/// A few seconds of runs, in the order of time: what the detectors eat. As long as [`Settings::slot`]; empty ones may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// When it began.
    pub at: Micros,
    pub good: u32,
    pub bad: u32,
}

/// Which detectors page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detectors {
    pub burn: bool,
    pub sequence: bool,
    pub outage: bool,
}

impl Detectors {
    pub const ALL: Detectors = Detectors { burn: true, sequence: true, outage: true };
}

/// Who found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    Burn,
    Sequence,
    Outage,
}

/// How an objective is judged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub detectors: Detectors,
    /// How long a slot is: 5 s for what the gateway counts, 60 s for sources by the minute.
    pub slot: Duration,
    /// How long after its end a slot may still grow. Until then it is tasted at each look, and eaten after.
    pub settle: Duration,
    /// How long after it happened something is told of, as a rule: until then silence is no lack of successes.
    pub told: Duration,
    /// How often somebody looks.
    pub every: Duration,
    /// For how long all false pages together may be expected to come once.
    pub quiet: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            detectors: Detectors::ALL,
            slot: Duration::from_secs(5),
            settle: Duration::from_secs(5),
            told: Duration::from_secs(2),
            every: Duration::from_secs(2),
            quiet: Duration::from_secs(90 * 86_400),
        }
    }
}

#[cfg(test)]
mod tests;
