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
//! share two minutes often share a cause. Kish's effective number (1965) of the failures of each two minutes, `(Σb)² / Σb²`, is 1 when all
//! happened in the same ones, and their number when each had its own; the runs are taken less in the same proportion. Fewer than five
//! independent failures prove nothing: who fails and tries again five times, 40 s apart, fails in four times two minutes.

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
const FEWEST_INDEPENDENT: f64 = 5.0;
/// Failures that are so near each other may have one cause, such as somebody who tries again.
const MINUTES_OF_A_CAUSE: usize = 2;

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
        let (long, short) = (series.sum(until - self.long, until), series.sum(until - self.short, until));
        let least = self.reachable_factor(objective) * objective.allowed();
        // Seldom more than nothing: asks for the cheap things first.
        let may_fire = short.bad() > 0 && short.share() > least && long.share() > least;
        Seen { long, short, fires: may_fire && lower_bound(series.cells(until - self.long, until)) > least }
    }
}

/// The lower bound of the share of failures, from the good and bad of each minute. 0: too few are independent.
fn lower_bound(minutes: impl Iterator<Item = (u32, u32)>) -> f64 {
    let (mut total, mut bad, mut bad_squared) = (0.0, 0.0, 0.0);
    let mut together = 0.0;
    for (number, (good_here, bad_here)) in minutes.enumerate() {
        if number % MINUTES_OF_A_CAUSE == 0 {
            together = 0.0;
        }
        let bad_here = f64::from(bad_here);
        total += f64::from(good_here) + bad_here;
        bad += bad_here;
        // (t + b)² − t²
        bad_squared += bad_here * (bad_here + 2.0 * together);
        together += bad_here;
    }
    let independent = bad * bad / f64::max(bad_squared, 1.0);
    if independent < FEWEST_INDEPENDENT {
        return 0.0;
    }
    let share = bad / total;
    wilson_lower(share, independent / share, Z)
}

/// The lower end of Wilson's interval for a share that was seen in `n` runs.
pub fn wilson_lower(share: f64, n: f64, z: f64) -> f64 {
    let z2 = z * z;
    let spread = z * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    ((share + z2 / (2.0 * n) - spread) / (1.0 + z2 / n)).max(0.0)
}
