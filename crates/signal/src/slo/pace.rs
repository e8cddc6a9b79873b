//! How fast runs come, without a setting: from the time that the last few took.
//!
//! By the last 24 slots in which something happened, or those of ten minutes: half an hour of 60 runs an hour, a day of one an hour. Time in
//! which nothing happens counts at once, so that the pace of the day is not believed at night. Failures of one slot count
//! once, because one cause may have made all of them.

use std::time::Duration;

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};

use super::Slot;

const SLOTS: f32 = 24.0;
/// Where runs come fast, it is by as many slots as this time has.
const AT_LEAST_S: f32 = 600.0;
/// Before so many it is not known.
const FEWEST: f32 = 6.0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Pace {
    last: Micros,
    /// Mean time from one slot with runs to the next, and what came in one.
    gap_s: f32,
    runs: f32,
    slots: f32,
}

impl Pace {
    pub(super) fn eat(&mut self, slot: &Slot) {
        let runs = slot.good as f32 + f32::from(u8::from(slot.bad > 0));
        if self.slots > 0.0 {
            let weight = 1.0 / self.slots;
            self.gap_s += (slot.at.since(self.last).as_secs_f32() - self.gap_s) * weight;
            self.runs += (runs - self.runs) * weight;
        }
        self.last = slot.at;
        let most = (AT_LEAST_S / self.gap_s.max(1.0)).max(SLOTS);
        self.slots = (self.slots + 1.0).min(most);
    }

    /// Runs a second. `None`: too little was seen.
    pub(super) fn rate(&self, now: Micros) -> Option<f64> {
        if self.slots < FEWEST {
            return None;
        }
        let silent_s = (now.since(self.last).as_secs_f32() - self.gap_s).max(0.0);
        let rate =
            f64::from(self.runs * self.slots) / f64::from((self.gap_s * self.slots + silent_s).max(1.0));
        Some(rate.max(1e-9))
    }

    pub(super) fn last(&self) -> Option<Micros> {
        (self.slots > 0.0).then_some(self.last)
    }

    /// How long it has been silent, in times that a run comes.
    pub(super) fn silence(&self, now: Micros) -> Option<f64> {
        let usual = f64::from(self.runs) / f64::from(self.gap_s.max(1.0));
        (self.slots >= FEWEST).then(|| now.since(self.last).as_secs_f64() * usual)
    }
}

/// How long `runs` take at a pace.
pub(super) fn time_of(runs: f64, rate: f64) -> Duration {
    Duration::try_from_secs_f64(runs / rate).unwrap_or(Duration::MAX)
}
