//! A total outage: failures in a row, from several moments, for a time in which successes should have come.
//!
//! *How many in a row.* When runs fail independently with probability p, a row of k begins with probability p^k at each run. With
//! R runs in the time in which one false page is allowed, k = ⌈ln R / −ln p⌉ keeps the expected number below one. p is half of
//! what is allowed, or what was seen lately if that is more: a bad hour makes rows more likely, and must not page for that.
//!
//! *For how long.* A cause that fails five runs at once makes a row of five wherever traffic is low, and so does somebody who
//! tries again. So the row must last for [`span`]: half a minute at eight or more runs a minute, up to the time of seven
//! runs at one a minute and less; and hold failures of three moments that are a quarter of that apart.
//!
//! Within a slot the good runs are taken to come first, because their order is not known. That makes a row longer by
//! less than one failure.

use std::time::Duration;

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};

use super::{Objective, Settings, Slot, pace::time_of};

const FEWEST_FAILURES: f64 = 3.0;
const FEWEST_MOMENTS: u32 = 3;
const SHORTEST_SPAN: Duration = Duration::from_secs(30);
/// Runs a second from which on the shortest span is enough.
const FAST: f64 = 8.0 / 60.0;
/// How much faster than the pace the span grows, and how many runs' time it is at most.
const GROWTH: f64 = 1.2;
const MOST_RUNS: f64 = 7.0;
/// What was seen lately fades in about this time.
const LATELY: Duration = Duration::from_secs(3_600);

/// The row that goes on, and what share failed lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    row: Option<Row>,
    lately: Lately,
}

/// Failures without a success between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub first: Micros,
    pub last: Micros,
    pub failures: u64,
    moments: u32,
    moment_at: Micros,
    /// Runs a second before it began.
    rate: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Lately {
    at: Micros,
    bad: f32,
    total: f32,
}

impl Rows {
    /// `rate`: runs a second before this slot, if known.
    pub(super) fn eat(&mut self, slot: &Slot, rate: Option<f64>) {
        if slot.good > 0 {
            let ended = self.row.take().map_or(0, |row| row.failures);
            self.lately.add(slot.at, ended as f32, slot.good as f32);
        }
        if slot.bad == 0 {
            return;
        }
        let Some(row) = &mut self.row else {
            self.row = rate.map(|rate| Row::begin(slot, rate));
            return;
        };
        row.last = slot.at;
        row.failures = row.failures.saturating_add(u64::from(slot.bad));
        if slot.at.since(row.moment_at) >= span(row.rate) / 4 {
            row.moments = row.moments.saturating_add(1);
            row.moment_at = slot.at;
        }
    }

    /// The row, if it is a total outage.
    pub(super) fn outage(&self, objective: &Objective, settings: &Settings) -> Option<Row> {
        let row = self.row?;
        let lasted = row.last.since(row.first) >= span(row.rate);
        let enough = row.failures as f64 >= self.needed(row.rate, objective, settings);
        (lasted && enough && row.moments >= FEWEST_MOMENTS).then_some(row)
    }

    pub(super) fn forget(&mut self) {
        self.row = None;
    }

    fn needed(&self, rate: f64, objective: &Objective, settings: &Settings) -> f64 {
        needed(rate, (objective.allowed() / 2.0).max(self.lately.share_at_least()), settings.quiet)
    }
}

impl Row {
    fn begin(slot: &Slot, rate: f64) -> Row {
        Row {
            first: slot.at,
            last: slot.at,
            failures: u64::from(slot.bad),
            moments: 1,
            moment_at: slot.at,
            rate,
        }
    }
}

impl Lately {
    fn add(&mut self, at: Micros, bad: f32, good: f32) {
        let keep = (-at.since(self.at).as_secs_f32() / LATELY.as_secs_f32()).exp();
        self.bad = self.bad * keep + bad;
        self.total = self.total * keep + bad + good;
        self.at = at;
    }

    /// Less one standard error, so that a normal hour does not count as a bad one.
    fn share_at_least(&self) -> f64 {
        if self.total < 1.0 {
            return 0.0;
        }
        let share = f64::from(self.bad / self.total).min(1.0);
        (share - (share * (1.0 - share) / f64::from(self.total)).sqrt()).max(0.0)
    }
}

/// How many failures in a row come by chance less than once in `quiet`, at `rate` runs a second of which `share` fail.
pub fn needed(rate: f64, share: f64, quiet: Duration) -> f64 {
    let runs = (rate * quiet.as_secs_f64()).max(2.0);
    (runs.ln() / -share.clamp(1e-9, 0.9).ln()).ceil().max(FEWEST_FAILURES)
}

/// For how long a row must last, at `rate` runs a second.
pub fn span(rate: f64) -> Duration {
    let slow = SHORTEST_SPAN.mul_f64((FAST / rate).max(1.0).powf(GROWTH).min(1e6));
    slow.min(time_of(MOST_RUNS, rate).max(SHORTEST_SPAN))
}
