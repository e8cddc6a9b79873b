//! How often what is tried again, as data.

use std::time::Duration;

use mainstay_base::Kind;

/// One class of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    pub name: &'static str,
    /// Attempts that may end this way before the job is a dead letter.
    pub attempts: i64,
    /// The longest pause after the first such failure; it doubles with each.
    pub first_pause: Duration,
    pub longest_pause: Duration,
}

const fn class(name: &'static str, attempts: i64, first_ms: u64, longest_ms: u64) -> Class {
    let (first_pause, longest_pause) = (Duration::from_millis(first_ms), Duration::from_millis(longest_ms));
    Class { name, attempts, first_pause, longest_pause }
}

/// A worker that vanished is counted by the store, which alone sees it.
const UNAVAILABLE: Class = class("unavailable", 5, 500, 30_000);
const UPSTREAM: Class = class("upstream", 3, 1_000, 30_000);
const OVER_BUDGET: Class = class("over_budget", 3, 2_000, 60_000);
const BUG: Class = class("bug", 2, 1_000, 5_000);
const CALLER: Class = class("caller", 1, 0, 0);
/// Being stopped by a shutdown says nothing about the job, so it may happen often.
pub(super) const SHUTDOWN: Class = class("shutdown", 1_000, 0, 0);

pub const CLASSES: &[Class] = &[UNAVAILABLE, UPSTREAM, OVER_BUDGET, BUG, CALLER, SHUTDOWN];

pub fn class_of(kind: Kind) -> Class {
    match kind {
        Kind::Caller | Kind::Denied => CALLER,
        Kind::OverBudget => OVER_BUDGET,
        Kind::Upstream => UPSTREAM,
        Kind::Unavailable => UNAVAILABLE,
        Kind::Bug => BUG,
    }
}

impl Class {
    /// The pause after failure number `failures` (from 1): full jitter, anything between nothing and the doubled
    /// pause, so that jobs that failed together do not come back together. `random` is any number.
    pub fn pause(&self, failures: i64, random: u64) -> Duration {
        let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(0).min(16);
        let longest = self.first_pause.saturating_mul(1 << doublings).min(self.longest_pause);
        let longest_us = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(random.checked_rem(longest_us.saturating_add(1)).unwrap_or(0))
    }
}
