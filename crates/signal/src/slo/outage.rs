//! A total outage: failures in a row, from several moments, for a time in which successes should have come.
//!
//! *How many in a row.* When runs fail independently with probability p, a row of k begins with probability p^k at each run. With
//! R runs in the time in which one false page is allowed, k = ⌈ln R / −ln p⌉ keeps the expected number below one. p is half of
//! what is allowed, or what was seen lately if that is more: a bad hour makes rows more likely, and must not page for that.
//!
//! *Clumps.* Where failures usually come several at a time, a row of k is fewer causes than k. How they come together is learned
//! from the time without outages ([`Clumps`]), and k grows with it.
//!
//! *For how long.* A cause that fails five runs at once makes a row of five wherever traffic is low, and so does somebody who
//! tries again. So no success may have come for [`span`]: 40 s at nine or more runs a minute, seven and a half minutes at one, the time of
//! seven and a half runs below; silence at its end counts, when it would have been told of. The failures must be of half of that time, and
//! spread over it, by Kish's effective number of its ninths.
//!
//! Within a slot the good runs are taken to come first, because their order is not known. That makes a row longer by
//! less than one failure.

use std::time::Duration;

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};

use super::{Objective, Settings, Slot, clumps::Clumps, pace::time_of};

const FEWEST_FAILURES: f64 = 3.0;
const FEWEST_INDEPENDENT: f64 = 2.05;
/// The failures of such a part of the span count as one moment.
const MOMENTS: u32 = 9;
const SHORTEST_SPAN: Duration = Duration::from_secs(40);
/// Runs a second from which on the shortest span is enough, and how steeply it grows below.
const FAST: f64 = 8.5 / 60.0;
const STEEP: f64 = 4.0;
/// The span at one run a minute, how it grows below [`FAST`], and the runs of whose time it is below one a minute.
const SLOW: f64 = 1.0 / 60.0;
const FLAT: f64 = 0.55;
const SLOW_RUNS: f64 = 7.5;
/// A part of a failure that may be missing: the span makes chance rarer than the row does.
const TOLERATED: f64 = 0.15;
/// What was seen lately fades in about this time.
const LATELY: Duration = Duration::from_secs(900);

/// The row that goes on, and what share failed lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    row: Option<Row>,
    /// The last slot with a success.
    good_at: Micros,
    lately: Lately,
    clumps: Clumps,
}

/// Failures without a success between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The last slot with a success before.
    good_at: Micros,
    pub first: Micros,
    pub last: Micros,
    pub failures: u64,
    /// The moment that goes on, its failures, and the sum of the squares of all moments' failures.
    moment_at: Micros,
    moment: f64,
    squares: f64,
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
            // What lasted as long as an outage says nothing of health.
            let ended = self.row.take();
            if ended.is_some_and(|row| row.has_lasted(row.last)) {
                self.clumps.drop_window();
            }
            let ended = ended.filter(|row| !row.has_lasted(row.last));
            self.clumps.pass(slot.at, rate.map(span));
            self.lately.add(slot.at, ended.map_or(0.0, |row| row.failures as f32), slot.good as f32);
            self.good_at = slot.at;
        }
        self.clumps.add(slot);
        if slot.bad == 0 {
            return;
        }
        match &mut self.row {
            Some(row) => row.add(slot),
            None => self.row = rate.map(|rate| Row::begin(slot, self.good_at, rate)),
        }
    }

    /// The row, if it is a total outage.
    pub(super) fn outage(&self, objective: &Objective, settings: &Settings, now: Micros) -> Option<Row> {
        let row = self.row?;
        let is_spread = row.independent() >= FEWEST_INDEPENDENT;
        let is_enough = || row.failures as f64 >= self.needed(row.rate, objective, settings);
        (row.has_lasted(row.last.max(now - settings.told)) && is_spread && is_enough()).then_some(row)
    }

    pub(super) fn is_open(&self) -> bool {
        self.row.is_some_and(|row| row.failures as f64 >= FEWEST_FAILURES)
    }

    pub(super) fn forget(&mut self) {
        self.row = None;
    }

    fn needed(&self, rate: f64, objective: &Objective, settings: &Settings) -> f64 {
        let share = (objective.allowed() / 2.0).max(self.lately.share_at_least());
        (needed(rate, share, settings.quiet) * self.clumps.more() - TOLERATED).ceil()
    }
}

impl Row {
    fn begin(slot: &Slot, good_at: Micros, rate: f64) -> Row {
        let mut row = Row {
            good_at,
            first: slot.at,
            last: slot.at,
            failures: 0,
            moment_at: slot.at,
            moment: 0.0,
            squares: 0.0,
            rate,
        };
        row.add(slot);
        row
    }

    fn add(&mut self, slot: &Slot) {
        let bad = f64::from(slot.bad);
        if slot.at.since(self.moment_at) > span(self.rate) / MOMENTS {
            (self.moment_at, self.moment) = (slot.at, 0.0);
        }
        self.squares += (self.moment + bad).powi(2) - self.moment.powi(2);
        self.moment += bad;
        self.failures = self.failures.saturating_add(u64::from(slot.bad));
        self.last = slot.at;
    }

    fn has_lasted(&self, until: Micros) -> bool {
        let span = span(self.rate);
        until.since(self.good_at) >= span && self.last.since(self.first) >= span / 2
    }

    /// Kish's effective number of failures.
    fn independent(&self) -> f64 {
        (self.failures as f64).powi(2) / self.squares.max(1.0)
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
        (share - 0.5 * (share * (1.0 - share) / f64::from(self.total)).sqrt()).max(0.0)
    }
}

/// How many failures in a row come by chance less than once in `quiet`, at `rate` runs a second of which `share` fail.
pub fn needed(rate: f64, share: f64, quiet: Duration) -> f64 {
    let runs = (rate * quiet.as_secs_f64()).max(2.0);
    (runs.ln() / -share.clamp(1e-9, 0.9).ln()).max(FEWEST_FAILURES)
}

/// For how long a row must last, at `rate` runs a second.
pub fn span(rate: f64) -> Duration {
    if rate < SLOW {
        return time_of(SLOW_RUNS, rate);
    }
    let flat = time_of(SLOW_RUNS, SLOW).div_f64((rate / SLOW).powf(FLAT));
    let steep = SHORTEST_SPAN.mul_f64((FAST / rate).max(1.0).powf(STEEP));
    flat.min(steep).max(SHORTEST_SPAN)
}
