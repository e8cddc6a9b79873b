//! Counts records into minutes and hours of series.
//!
//! Promises: a record of a known series costs one look-up and no allocation; the number of series is bounded, and what
//! finds no place is counted together; what was counted is handed out until the store has it, up to a bound, and what is
//! beyond that is counted as lost. Times only go forward: what ended before the open minute counts in it.

mod labels;
mod span;

use std::{collections::HashMap, hash::BuildHasherDefault, sync::Arc};

use mainstay_base::{
    AppMode, Blame, Micros, Record,
    record::{Outcome, Path},
};
use mainstay_dify::signature::{self, Catalogue};
use mainstay_store::model::{SLI_SLOT_US, SliBatch, SliCounts, SliSeries};

use super::{HOUR_US, MINUTE_US, blame, endpoint};
use labels::{AsIs, Labels};
pub use span::MAX_WAITING;
use span::Span;

/// Beyond this, a new series is counted with all others of its path and endpoint.
pub const MAX_SERIES: usize = 5_000;
/// Texts of failed runs that are looked up in one minute; beyond it the upstream is blamed.
const LOOK_UPS_A_MINUTE: u32 = 600;
/// The answer to `Prefer: respond-async`.
const ACCEPTED: u16 = 202;

/// What one process has counted.
pub struct Rollup {
    instance: String,
    /// By the hash of their labels; labels that share one are told apart.
    by_labels: HashMap<u64, Vec<u32>, BuildHasherDefault<AsIs>>,
    series: Vec<Known>,
    /// Series that the store has.
    stored: usize,
    minutes: Span,
    hours: Span,
    look_ups: u32,
    lost: u64,
}

struct Known {
    labels: Arc<SliSeries>,
    totals: Totals,
}

/// What was counted of a series since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub good: u64,
    /// By [`Blame::index`].
    pub blamed: [u64; Blame::ALL.len()],
}

impl Rollup {
    /// `instance` names this process and is never used again by another.
    pub fn new(instance: impl Into<String>) -> Rollup {
        Rollup {
            instance: instance.into(),
            by_labels: HashMap::default(),
            series: Vec::new(),
            stored: 0,
            minutes: Span::new(MINUTE_US),
            hours: Span::new(HOUR_US),
            look_ups: 0,
            lost: 0,
        }
    }

    /// Counts one record, when it has ended; a run that was accepted to be answered later counts when that has ended, and
    /// not here. `mode_of` says the mode of an app by its id; it is asked once for a series.
    pub fn take(&mut self, record: &Record, mode_of: &dyn Fn(&str) -> Option<AppMode>) {
        if is_accepted(record) {
            return;
        }
        let ended_at = record.opened_at.0.saturating_add(i64::try_from(record.took_us).unwrap_or(i64::MAX));
        if self.minutes.roll(ended_at) {
            self.look_ups = 0;
        }
        self.hours.roll(ended_at);
        let blame = self.blame(record);
        let index = self.series_of(record, blame, mode_of);
        let slot = match ended_at.div_euclid(MINUTE_US).cmp(&self.minutes.time) {
            std::cmp::Ordering::Equal => ended_at.rem_euclid(MINUTE_US) / SLI_SLOT_US,
            _ => 0,
        };
        let totals = &mut self.series[index as usize].totals;
        match blame {
            None => totals.good += 1,
            Some(blame) => totals.blamed[blame.index()] += 1,
        }
        let minute = self.minutes.cell(index);
        count(&mut minute.counts, record, blame);
        let slot = &mut minute.slots[usize::try_from(slot).unwrap_or(0)];
        match blame {
            None => slot.0 = slot.0.saturating_add(1),
            Some(Blame::Client) => {}
            Some(_) => slot.1 = slot.1.saturating_add(1),
        }
        count(&mut self.hours.cell(index).counts, record, blame);
    }

    /// What the store does not have yet. Say afterwards by [`Rollup::written`] what became of it.
    pub fn batch(&mut self, now: Micros) -> SliBatch {
        self.minutes.roll(now.0);
        self.hours.roll(now.0);
        self.lost += self.minutes.shed() + self.hours.shed();
        let series: Vec<_> = self.series[self.stored..].iter().map(|known| known.labels.clone()).collect();
        let ids = |index: u32| self.series[index as usize].labels.id;
        SliBatch {
            instance: self.instance.clone(),
            minutes: self.minutes.hand_out(ids),
            hours: self.hours.hand_out(ids),
            series: series.into(),
        }
    }

    /// What became of the last batch. What the store did not take is handed out again.
    pub fn written(&mut self, batch: &SliBatch, is_stored: bool) {
        if is_stored {
            self.stored += batch.series.len();
        }
        self.minutes.written(is_stored);
        self.hours.written(is_stored);
    }

    /// Rows given up for want of room while the store was away.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Each series with what was counted of it since the start.
    pub fn totals(&self) -> impl Iterator<Item = (&SliSeries, &Totals)> {
        self.series.iter().map(|known| (&*known.labels, &known.totals))
    }

    fn blame(&mut self, record: &Record) -> Option<Blame> {
        let look_ups = &mut self.look_ups;
        let mut class_of = |text: &str| -> Option<signature::Class> {
            if *look_ups >= LOOK_UPS_A_MINUTE {
                return None;
            }
            *look_ups += 1;
            Catalogue::built_in().classify(text).map(|row| row.class)
        };
        blame::of_record(record, &mut class_of)
    }

    fn series_of(
        &mut self,
        record: &Record,
        blame: Option<Blame>,
        mode_of: &dyn Fn(&str) -> Option<AppMode>,
    ) -> u32 {
        let labels = Labels::of(record, blame);
        if let Some(index) = self.known(labels.hash(), &labels) {
            return index;
        }
        let labels = if self.series.len() >= MAX_SERIES { labels.together() } else { labels };
        self.place(labels.hash(), &labels, mode_of)
    }

    fn known(&self, hash: u64, labels: &Labels<'_>) -> Option<u32> {
        let same = self.by_labels.get(&hash)?;
        same.iter().copied().find(|index| labels.are_of(&self.series[*index as usize].labels))
    }

    fn place(&mut self, hash: u64, labels: &Labels<'_>, mode_of: &dyn Fn(&str) -> Option<AppMode>) -> u32 {
        if let Some(index) = self.known(hash, labels) {
            return index;
        }
        let index = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        let labels = Arc::new(labels.series(mode_of).numbered());
        self.series.push(Known { labels, totals: Totals::default() });
        self.by_labels.entry(hash).or_default().push(index);
        index
    }
}

/// Its run goes on.
fn is_accepted(record: &Record) -> bool {
    record.path == Path::App
        && record.status == ACCEPTED
        && record.outcome == Outcome::Ok
        && endpoint::RUNS.contains(&endpoint::of(&record.method, &record.target).0)
}

fn count(counts: &mut SliCounts, record: &Record, blame: Option<Blame>) {
    match blame {
        Some(blame) => counts.blamed[blame.index()] += 1,
        None => {
            counts.good += 1;
            counts.took.add(i64::try_from(record.took_us).unwrap_or(i64::MAX));
            if let Some(us) = record.first_token_us {
                counts.first_token.add(i64::try_from(us).unwrap_or(i64::MAX));
            }
        }
    }
}

#[cfg(test)]
mod tests;
