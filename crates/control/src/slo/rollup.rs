//! Counts records into minutes and hours of series.
//!
//! Promises: a record of a known series costs one look-up and no allocation; the number of series is bounded, and what
//! finds no place is counted together; what was counted is handed out until the store has it, up to a bound, and what is
//! beyond that is counted as lost. Times only go forward: what ended before the open minute counts in it.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use mainstay_base::{
    AppMode, Blame, Micros, Record,
    record::{Outcome, Path},
};
use mainstay_dify::signature::{self, Catalogue};
use mainstay_store::model::{SLI_SLOT_US, SLI_SLOTS, SliBatch, SliCounts, SliRow, SliSeries};

use super::{blame, endpoint};

/// Beyond this, a new series is counted with all others of its path and endpoint.
pub const MAX_SERIES: usize = 5_000;
/// Closed rows that wait for the store; the oldest are given up.
pub const MAX_WAITING: usize = 40_000;
/// Rows that one batch hands out.
const BATCH: usize = 2_000;
/// Longest label.
const LABEL_CHARS: usize = 120;
/// Texts of failed runs that are looked up in one minute; beyond it the upstream is blamed.
const LOOK_UPS_A_MINUTE: u32 = 600;
/// The answer to `Prefer: respond-async`.
const ACCEPTED: u16 = 202;
const OTHER: &str = "other";
const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;

/// Keys are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

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

/// One open minute or hour of all series, and the closed ones that the store does not have yet.
struct Span {
    length_us: i64,
    time: i64,
    /// By series.
    cells: Vec<Cell>,
    /// Series with something in their cell.
    active: Vec<u32>,
    closed: VecDeque<SliRow>,
    /// Closed rows that are in the batch that was handed out.
    handed: usize,
}

#[derive(Clone, Default)]
struct Cell {
    counts: SliCounts,
    slots: [(u32, u32); SLI_SLOTS],
    is_active: bool,
    /// Changed since it was handed out.
    is_dirty: bool,
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

/// What a record is counted by, borrowed from it.
#[derive(Clone, Copy)]
struct Labels<'a> {
    path: &'static str,
    app_id: &'a str,
    app: &'a str,
    endpoint: &'static str,
    model: &'a str,
    provider: &'a str,
    version: &'a str,
}

impl<'a> Labels<'a> {
    fn of(record: &'a Record, blame: Option<Blame>) -> Labels<'a> {
        let (endpoint, version) = endpoint::of(&record.method, &record.target);
        let text = |field: &'a Option<String>| label(field.as_deref().unwrap_or_default());
        let (path, model, provider) = match record.path {
            Path::App => ("app", "", ""),
            Path::Model => {
                let last = record.attempts.last().map(|attempt| attempt.upstream.as_str());
                let provider = label(record.upstream.as_deref().or(last).unwrap_or_default());
                // A name that nobody answered to is the caller's word.
                let is_word = provider.is_empty() && blame == Some(Blame::Client);
                ("model", if is_word { "" } else { text(&record.model) }, provider)
            }
        };
        let version = if blame == Some(Blame::Client) { "" } else { label(version) };
        Labels {
            path,
            app_id: text(&record.app_id),
            app: text(&record.app),
            endpoint,
            model,
            provider,
            version,
        }
    }

    /// FNV-1a of 64 bits; the name of an app goes with its id.
    fn hash(&self) -> u64 {
        let Labels { path, app_id, app: _, endpoint, model, provider, version } = *self;
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for label in [path, app_id, endpoint, model, provider, version] {
            for byte in label.bytes().chain([0xff]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        // The map takes the upper bits too.
        hash ^ (hash >> 29)
    }

    /// With what is open-ended left out.
    fn together(self) -> Labels<'static> {
        Labels {
            path: self.path,
            app_id: OTHER,
            app: OTHER,
            endpoint: self.endpoint,
            model: OTHER,
            provider: OTHER,
            version: "",
        }
    }

    fn series(&self, mode_of: &dyn Fn(&str) -> Option<AppMode>) -> SliSeries {
        let Labels { path, app_id, app, endpoint, model, provider, version } = *self;
        SliSeries {
            id: 0,
            path: path.to_owned(),
            app_id: app_id.to_owned(),
            app: app.to_owned(),
            mode: if path == "app" {
                mode_of(app_id).map_or("", AppMode::as_str).to_owned()
            } else {
                String::new()
            },
            endpoint: endpoint.to_owned(),
            model: model.to_owned(),
            provider: provider.to_owned(),
            version: version.to_owned(),
        }
    }

    /// The name of an app goes with its id, and so does its mode.
    fn are_of(&self, series: &SliSeries) -> bool {
        let Labels { path, app_id, app: _, endpoint, model, provider, version } = *self;
        let SliSeries { id: _, path: of_path, app_id: of_app, endpoint: of_endpoint, .. } = series;
        (path, app_id, endpoint) == (of_path, of_app, of_endpoint)
            && (model, provider, version) == (&*series.model, &*series.provider, &*series.version)
    }
}

/// What is kept of a word: PostgreSQL cannot keep a NUL.
fn label(text: &str) -> &str {
    if text.contains('\0') {
        return OTHER;
    }
    match text.char_indices().nth(LABEL_CHARS) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

impl Span {
    fn new(length_us: i64) -> Span {
        Span { length_us, time: 0, cells: Vec::new(), active: Vec::new(), closed: VecDeque::new(), handed: 0 }
    }

    /// Goes on to the span of `at`, when that is later. Rows of the one before get their series at [`Span::hand_out`].
    fn roll(&mut self, at: i64) -> bool {
        let time = at.div_euclid(self.length_us);
        if time <= self.time {
            return false;
        }
        for index in self.active.drain(..) {
            let cell = &mut self.cells[index as usize];
            let Cell { counts, slots, .. } = std::mem::take(cell);
            self.closed.push_back(SliRow { time: self.time, series: i64::from(index), counts, slots });
        }
        self.time = time;
        true
    }

    fn cell(&mut self, index: u32) -> &mut Cell {
        let at = index as usize;
        if self.cells.len() <= at {
            self.cells.resize_with(at + 1, Cell::default);
        }
        let cell = &mut self.cells[at];
        cell.is_dirty = true;
        if !cell.is_active {
            cell.is_active = true;
            self.active.push(index);
        }
        cell
    }

    /// Gives up the oldest of what is too much.
    fn shed(&mut self) -> u64 {
        let many = self.closed.len().saturating_sub(MAX_WAITING);
        self.closed.drain(..many);
        many as u64
    }

    fn hand_out(&mut self, id: impl Fn(u32) -> i64) -> Arc<[SliRow]> {
        self.handed = self.closed.len().min(BATCH);
        let named = |mut row: SliRow| {
            row.series = id(u32::try_from(row.series).unwrap_or(0));
            row
        };
        let mut rows: Vec<SliRow> = self.closed.iter().take(BATCH).cloned().map(named).collect();
        // Old ones first: what is open comes with the last batch.
        if self.handed == self.closed.len() {
            for index in &self.active {
                let cell = &mut self.cells[*index as usize];
                if std::mem::take(&mut cell.is_dirty) {
                    let (counts, slots) = (cell.counts.clone(), cell.slots);
                    rows.push(SliRow { time: self.time, series: id(*index), counts, slots });
                }
            }
        }
        rows.into()
    }

    fn written(&mut self, is_stored: bool) {
        let handed = std::mem::take(&mut self.handed);
        if is_stored {
            self.closed.drain(..handed.min(self.closed.len()));
        } else {
            for index in &self.active {
                self.cells[*index as usize].is_dirty = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;
