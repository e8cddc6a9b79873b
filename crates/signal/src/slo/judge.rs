//! What is remembered of an objective between two looks: small, so that it can be stored every few seconds.

use std::time::Duration;

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};

use super::{Counts, Detector, Objective, Settings, Slot, outage::Rows, pace::Pace, sequence::Sequence};

/// A clock that went back by more than this makes what was remembered worthless.
const WENT_BACK: Duration = Duration::from_secs(3_600);

/// The state of the detectors. Below 1 KB as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    /// Slots that begin before were eaten.
    next: Micros,
    pace: Pace,
    rows: Rows,
    sequence: Sequence,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) page: Option<Page>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ticket: Option<Ticket>,
}

/// Somebody has to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// Who found it first.
    pub by: Detector,
    /// When the trouble began, about.
    pub since: Micros,
    /// When it was found.
    pub at: Micros,
    /// What happened since the trouble began; by whole minutes.
    pub counts: Counts,
}

/// Somebody has to look in the next days.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    pub at: Micros,
    /// The long window of the rule, and what happened in it.
    pub window: Duration,
    pub counts: Counts,
}

impl Judge {
    /// Slots that begin before this were eaten: look wants all that begin at this time or later.
    pub fn next(&self) -> Micros {
        self.next
    }

    /// Runs a second, by the last few. `None`: too little was seen.
    pub fn rate(&self, now: Micros) -> Option<f64> {
        self.pace.rate(now)
    }

    /// Failures go on without a success: it is worth looking again soon.
    pub fn is_hot(&self) -> bool {
        self.rows.is_open()
    }

    /// Eats a slot. One that was eaten is ignored.
    pub(super) fn eat(&mut self, slot: &Slot, objective: &Objective, settings: &Settings) {
        if slot.at < self.next {
            return;
        }
        self.next = slot.at + settings.slot;
        if slot.good == 0 && slot.bad == 0 {
            return;
        }
        let rate = self.pace.rate(slot.at);
        self.sequence.eat(slot, rate, objective);
        self.rows.eat(slot, rate);
        self.pace.eat(slot);
    }

    /// Who says that there is trouble, and since when.
    pub(super) fn trouble(
        &mut self,
        objective: &Objective,
        settings: &Settings,
        now: Micros,
    ) -> Option<(Detector, Micros)> {
        let rate = self.pace.rate(now);
        self.sequence.pass(now, rate, objective);
        let outage = || self.rows.outage(objective, settings, now).map(|row| (Detector::Outage, row.first));
        let sequence =
            || self.sequence.trouble(rate, objective, settings).map(|since| (Detector::Sequence, since));
        let detectors = settings.detectors;
        detectors.outage.then(outage).flatten().or_else(|| detectors.sequence.then(sequence).flatten())
    }

    /// The page is over: what led to it counts no more.
    pub(super) fn calm(&mut self) {
        self.page = None;
        self.rows.forget();
        self.sequence.forget();
    }

    /// How many runs should have come since the last one.
    pub(super) fn missing_runs(&self, now: Micros) -> Option<f64> {
        self.pace.silence(now)
    }

    pub(super) fn last_run(&self) -> Option<Micros> {
        self.pace.last()
    }

    pub(super) fn mind_the_clock(&mut self, now: Micros) {
        if self.next.since(now) > WENT_BACK {
            *self = Judge { page: self.page, ticket: self.ticket, ..Judge::default() };
        }
    }
}
