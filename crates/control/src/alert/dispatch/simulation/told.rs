//! Holds what was told against what was true.

use std::time::Duration;

use mainstay_store::model::Severity;
use mainstay_wire::notify::What;

use super::{
    super::{Outgoing, told_severity},
    Life,
};
use crate::alert::{AFTER_INHIBITION, REPEAT};

/// So long after it has begun to be heard, a page has been told.
const PATIENCE: Duration = AFTER_INHIBITION.saturating_add(Duration::from_secs(120));

impl Life {
    /// Everything that is told is held against what is true at this moment.
    pub(super) fn told(&mut self, outgoing: &[Outgoing]) {
        for Outgoing { notice, receivers, .. } in outgoing {
            let what = notice.what;
            let ends = what == What::Resolved;
            // By default each alert is told of by itself; what explains graver ones is as grave.
            let severity = match notice.severity {
                told if told == told_severity(Severity::Page) => Severity::Page,
                _ => Severity::Warning,
            };
            for alert in &notice.alerts {
                let Some(place) = alert.labels.get("place").and_then(|place| place.parse::<usize>().ok())
                else {
                    self.faults.push(format!("{what:?} names no alert"));
                    continue;
                };
                let truth = &mut self.truth[place];
                if !ends && !receivers.is_empty() {
                    truth.told = truth.told.max(Some(severity));
                }
                let (silenced, well) = (truth.silenced, truth.severity.is_none());
                if !ends && (silenced || well || self.is_explained(place)) {
                    let why = format!("{what:?} of {place}: silenced {silenced}, well {well}");
                    self.faults.push(why);
                }
            }
            let notices = self.told.entry(notice.key.clone()).or_default();
            let count = |kind| notices.iter().filter(|(what, ..)| *what == kind).count();
            let last = notices.last().map(|(_, at, _)| *at);
            let is_soon = last.is_some_and(|last| self.clock.since(last) < REPEAT && self.clock >= last);
            let jumped = self.jumped || notices.last().is_some_and(|(.., jumped)| *jumped);
            let is_double = match what {
                What::Firing | What::Resolved | What::Escalated => count(what) > 0,
                What::Reminder => is_soon && !jumped,
                What::Acknowledged | What::Test => false,
            };
            if is_double {
                self.faults.push(format!("{what:?} of {} again: {notices:?}", notice.key));
            }
            // What was told to nobody needs no end; acknowledgements are between.
            if what != What::Acknowledged {
                notices.push((what, self.clock, self.jumped));
            }
            self.seen.firing += u64::from(what == What::Firing);
            self.seen.resolved += u64::from(ends);
            self.seen.reminders += u64::from(what == What::Reminder);
        }
    }

    /// A page that could be heard for long enough has been told as one; by now all looks before were stored.
    pub(super) fn check_pages(&mut self) {
        for (place, truth) in self.truth.iter().enumerate() {
            let waits = truth.heard_since.map_or(0, |since| self.real - since);
            // Jumps make pauses longer by less than themselves.
            if Duration::from_secs(waits) > 2 * PATIENCE && truth.told < Some(Severity::Page) {
                self.faults.push(format!("a page of {place} was not told for {waits} s"));
            }
        }
    }
}
