//! The multiwindow, multi-burn-rate rules: a long window that says how much was spent, and a short one that says it goes on.
//!
//! After the Google SRE workbook, chapter 5, for a period of 30 days: 2 % of the budget in 1 h is a burn rate of 14.4, 5 % in 6 h is 6, 10 %
//! in 1 d is 3, and 10 % in 3 d is 1. Two things are different here.
//!
//! *Cap.* A burn rate cannot be above 1 / allowed: at 93 % the workbook's 14.4 can never be reached, at 83 % not even 6. So the
//! factor is at most 0.8 / allowed.
//!
//! *Lower bound.* At little traffic one failure is a high share. The long window must be above the factor by the lower end of
//! Wilson's interval (1927) for the share, z = 2.58, computed for as many runs as the failures are *independent*: failures that
//! share a minute often share a cause. Kish's effective number (1965) of the minutes' failures, `(Σb)² / Σb²`, is 1 when all happened in one
//! minute, and their number when each had its own; the runs are taken less in the same proportion. Fewer than three
//! independent failures prove nothing.

use std::time::Duration;

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};

use super::{Counts, Objective, Series};

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub pages: bool,
    pub long: Duration,
    pub short: Duration,
    pub factor: f64,
}

const fn rule(pages: bool, long_h: u64, short_min: u64, factor: f64) -> Rule {
    Rule {
        pages,
        long: Duration::from_secs(long_h * 3_600),
        short: Duration::from_secs(short_min * 60),
        factor,
    }
}

/// The workbook's; the first two page, the others are tickets.
pub const RULES: [Rule; 4] =
    [rule(true, 1, 5, 14.4), rule(true, 6, 30, 6.0), rule(false, 24, 120, 3.0), rule(false, 72, 360, 1.0)];

/// Above this share of failures nothing needs to be for a rule to fire.
const HIGHEST_SHARE: f64 = 0.8;
const Z: f64 = 2.58;
const FEWEST_INDEPENDENT: f64 = 3.0;

/// What a rule saw.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    pub long: Counts,
    pub short: Counts,
    pub fires: bool,
}

impl Rule {
    /// The workbook's factor, or what can be reached.
    pub fn reachable_factor(&self, objective: &Objective) -> f64 {
        self.factor.min(HIGHEST_SHARE / objective.allowed())
    }

    /// Without the cap it could never fire: not even when everything fails.
    pub fn is_unreachable(&self, objective: &Objective) -> bool {
        self.factor * objective.allowed() >= 1.0
    }

    /// Looks at the windows that end now.
    pub fn look(&self, series: &Series, objective: &Objective, now: Micros) -> Seen {
        let until = now + Duration::from_secs(60);
        let mut long = Failures::default();
        series.cells(until - self.long, until).for_each(|(good, bad)| long.add(good, bad));
        let short = series.sum(until - self.short, until);
        let least = self.reachable_factor(objective) * objective.allowed();
        // Seldom more than nothing: ask for the cheap things first.
        let fires = short.bad() > 0
            && short.share() > least
            && long.counts().share() > least
            && long.lower_bound() > least;
        Seen { long: long.counts(), short, fires }
    }
}

/// The failures of a window, and how independent they are.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    good: u64,
    bad: u64,
    bad_squared: f64,
}

impl Failures {
    fn add(&mut self, good: u32, bad: u32) {
        self.good += u64::from(good);
        self.bad += u64::from(bad);
        self.bad_squared += f64::from(bad) * f64::from(bad);
    }

    fn counts(&self) -> Counts {
        Counts::new(self.good, self.bad)
    }

    fn lower_bound(&self) -> f64 {
        let bad = self.bad as f64;
        let independent = bad * bad / self.bad_squared.max(1.0);
        if independent < FEWEST_INDEPENDENT {
            return 0.0;
        }
        let share = self.counts().share();
        wilson_lower(share, independent / share, Z)
    }
}

/// The lower end of Wilson's interval for a share that was seen in `n` runs.
pub fn wilson_lower(share: f64, n: f64, z: f64) -> f64 {
    let z2 = z * z;
    let spread = z * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    ((share + z2 / (2.0 * n) - spread) / (1.0 + z2 / n)).max(0.0)
}
