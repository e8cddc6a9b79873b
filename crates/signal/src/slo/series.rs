//! The counts of one objective, by minute for three days and by hour for its period, in bounded memory.

use std::{collections::VecDeque, time::Duration};

use mainstay_base::Micros;

use super::Counts;

const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;
/// Three days, which is the longest window of a rule, and an hour.
const MINUTES: usize = 73 * 60;
/// 92 days, and one more hour for the one that has begun.
const HOURS: usize = 92 * 24 + 1;
/// A minute that begins later than this after now is somebody's wrong clock.
const AHEAD: Duration = Duration::from_secs(5 * 60);

/// What became of a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Kept,
    /// Older than what is kept by the minute.
    TooOld,
    /// Its clock is wrong.
    InFuture,
}

/// The counts of one objective. At most 98 KB (4,380 minutes and 2,209 hours of 8 bytes, in rings that double),
/// less while it is young.
#[derive(Clone, Debug, Default)]
pub struct Series {
    minutes: Ring,
    hours: Ring,
    /// The last minute or hour of which a source told more good runs than runs.
    impossible_at: Option<Micros>,
}

impl Series {
    /// Sets what happened in the minute of `at`, in place of what was known of it; so the same may be told twice, and late.
    pub fn set_minute(&mut self, at: Micros, counts: Counts, now: Micros) -> Kept {
        if at > now + AHEAD {
            return Kept::InFuture;
        }
        let Some(before) = self.minutes.set(at.0.div_euclid(MINUTE_US), cell(counts), MINUTES) else {
            return Kept::TooOld;
        };
        self.note(at, counts);
        let hour = at.0.div_euclid(HOUR_US);
        let known = self.hours.get(hour);
        let replaced =
            [0, 1].map(|part| known[part].saturating_sub(before[part]).saturating_add(cell(counts)[part]));
        self.hours.set(hour, replaced, HOURS);
        Kept::Kept
    }

    /// Sets a whole hour, of which the minutes are not known, or were set before: minutes set later are added to it.
    pub fn set_hour(&mut self, at: Micros, counts: Counts, now: Micros) -> Kept {
        if at > now + AHEAD {
            return Kept::InFuture;
        }
        self.note(at, counts);
        match self.hours.set(at.0.div_euclid(HOUR_US), cell(counts), HOURS) {
            Some(_) => Kept::Kept,
            None => Kept::TooOld,
        }
    }

    /// Everything from the minute of `since` up to and with the one before `until`. From the whole hour of `since`, where
    /// that is before the minutes that are kept.
    pub fn sum(&self, since: Micros, until: Micros) -> Counts {
        let (from, to) = (since.0.div_euclid(MINUTE_US), until.0.div_euclid(MINUTE_US));
        let in_minutes = from >= self.minutes.first;
        let first_hour =
            if in_minutes { from.saturating_add(59).div_euclid(60) } else { from.div_euclid(60) };
        let last_hour = to.div_euclid(60);
        if last_hour <= first_hour && in_minutes {
            return total(self.minutes.range(from, to));
        }
        // Whole hours are cheaper than their minutes.
        let before = total(self.minutes.range(from, first_hour.saturating_mul(60)));
        let after = total(self.minutes.range(last_hour.saturating_mul(60), to));
        total(self.hours.range(first_hour, last_hour)).plus(before).plus(after)
    }

    /// The minutes that are known of a time, oldest first.
    pub fn minutes(&self, since: Micros, until: Micros) -> impl Iterator<Item = (Micros, Counts)> + '_ {
        let (from, to) = (since.0.div_euclid(MINUTE_US), until.0.div_euclid(MINUTE_US));
        let first = from.max(self.minutes.first);
        self.minutes.range(from, to).enumerate().map(move |(index, cell)| {
            (Micros(first.saturating_add(index as i64).saturating_mul(MINUTE_US)), counts(cell))
        })
    }

    /// The minutes of a time as good and bad, oldest first.
    pub(super) fn cells(&self, since: Micros, until: Micros) -> impl Iterator<Item = (u32, u32)> + '_ {
        let (from, to) = (since.0.div_euclid(MINUTE_US), until.0.div_euclid(MINUTE_US));
        self.minutes.range(from, to).map(|[good, bad]| (*good, *bad))
    }

    fn note(&mut self, at: Micros, counts: Counts) {
        if counts.good > counts.total {
            self.impossible_at = self.impossible_at.max(Some(at));
        } else if self.impossible_at == Some(at) {
            self.impossible_at = None;
        }
    }

    /// From when on something is known.
    pub fn began(&self) -> Option<Micros> {
        let first = |ring: &Ring, grain: i64| {
            (!ring.cells.is_empty()).then(|| Micros(ring.first.saturating_mul(grain)))
        };
        first(&self.hours, HOUR_US).into_iter().chain(first(&self.minutes, MINUTE_US)).min()
    }

    /// Nothing is known of it.
    pub fn is_empty(&self) -> bool {
        self.minutes.cells.is_empty() && self.hours.cells.is_empty()
    }

    /// When a source told more good runs than runs, and did not put it right.
    pub fn impossible_at(&self) -> Option<Micros> {
        self.impossible_at
    }

    /// What it takes now.
    pub fn bytes(&self) -> usize {
        size_of::<Series>()
            + (self.minutes.cells.capacity() + self.hours.cells.capacity()) * size_of::<[u32; 2]>()
    }
}

/// Good and bad; more than four thousand million a minute are told as so many.
fn cell(counts: Counts) -> [u32; 2] {
    [counts.good.min(counts.total), counts.bad()].map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

fn counts(cell: &[u32; 2]) -> Counts {
    Counts::new(u64::from(cell[0]), u64::from(cell[1]))
}

fn total<'a>(cells: impl Iterator<Item = &'a [u32; 2]>) -> Counts {
    cells.fold(Counts::default(), |sum, cell| sum.plus(counts(cell)))
}

/// Cells that follow each other in time.
#[derive(Clone, Debug, Default)]
struct Ring {
    /// The number of the first cell.
    first: i64,
    cells: VecDeque<[u32; 2]>,
}

impl Ring {
    /// The cell that was there before. `None`: it is older than the newest by `most` or more.
    fn set(&mut self, index: i64, cell: [u32; 2], most: usize) -> Option<[u32; 2]> {
        let next = self.first.saturating_add(self.cells.len() as i64);
        if self.cells.is_empty() || index.saturating_sub(next) >= most as i64 {
            self.cells.clear();
            self.cells.push_back(cell);
            self.first = index;
            return Some([0, 0]);
        }
        if index <= next.saturating_sub(1).saturating_sub(most as i64) {
            return None;
        }
        while index < self.first {
            self.cells.push_front([0, 0]);
            self.first -= 1;
        }
        while self.cells.len() as i64 <= index - self.first {
            self.cells.push_back([0, 0]);
        }
        while self.cells.len() > most {
            self.cells.pop_front();
            self.first += 1;
        }
        let at = usize::try_from(index - self.first).ok()?;
        self.cells.get_mut(at).map(|known| std::mem::replace(known, cell))
    }

    fn get(&self, index: i64) -> [u32; 2] {
        let at = usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.cells.get(at).copied().unwrap_or_default()
    }

    fn range(&self, from: i64, to: i64) -> impl Iterator<Item = &[u32; 2]> + '_ {
        let place = |index: i64| index.saturating_sub(self.first).clamp(0, self.cells.len() as i64) as usize;
        self.cells.range(place(from)..place(to).max(place(from)))
    }
}
