//! All objectives that are judged, in memory: takes what was counted, minute by minute, and says how each stands. Pure:
//! rows, documents and times come in as values.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use mainstay_base::Micros;
use mainstay_signal::slo::{self as judge, Counts, Judge, Look, Objective, Series, Settings, Slot};
use mainstay_store::model::{DifyCounted, DifySeries, SLI_SLOT_US, SLI_SLOTS, SliRow, SliSeries};

use super::{
    admin::Held,
    document::{Alerting, Calendar, Document, Sli, Source, Window},
    fault::{Fault, Faults, Tally},
    figures::{self, Figures},
    tell,
};
use crate::health::Component;

pub(super) const MINUTE_US: i64 = 60_000_000;
pub(super) const HOUR_US: i64 = 60 * MINUTE_US;
/// Slots that wait to be eaten; a judge that was away for longer begins with the newest.
const MAX_SLOTS: usize = 2_000;
/// How long after a run has begun a Dify's minute may still grow before it is taken for settled. What comes later counts
/// in the budget only.
const DIFY_SETTLES: Duration = Duration::from_secs(600);
const DIFY_EVERY: Duration = Duration::from_secs(20);
const MINUTE: Duration = Duration::from_secs(60);

/// Everything that is judged.
#[derive(Default)]
pub(super) struct Engine {
    all: Vec<Tracked>,
    gateway: Known<SliSeries>,
    dify: Known<DifySeries>,
}

/// Series that are known, and which objectives each is about.
struct Known<T> {
    about: HashMap<i64, Vec<usize>>,
    series: HashMap<i64, T>,
}

impl<T> Default for Known<T> {
    fn default() -> Known<T> {
        Known { about: HashMap::new(), series: HashMap::new() }
    }
}

/// One objective.
pub(super) struct Tracked {
    pub(super) held: Held,
    pub(super) source: Result<Source, String>,
    series: Series,
    /// Whose fault the failures were, where the SLI is of failures.
    faults: Faults,
    /// What explains its page, if one thing does.
    pub(super) fault: Option<Fault>,
    pub(super) judge: Judge,
    /// By their beginning, from the first that the judge has not eaten.
    slots: BTreeMap<i64, (u32, u32)>,
    /// Of freshness: minutes of which something succeeded, the newest.
    succeeded_at: Option<i64>,
    /// Of freshness: the last minute that was judged.
    judged_to: Option<i64>,
    pub(super) detectors: judge::Detectors,
    pub(super) look: Option<Look>,
    /// Since when its state is what it is, for people and for the alert step.
    pub(super) since: Micros,
    pub(super) health_since: Micros,
}

/// Figures of one minute of one objective.
#[derive(Clone, Default)]
struct Sum {
    figures: Figures,
    faults: Tally,
    slots: [(u32, u32); SLI_SLOTS],
}

/// What was remembered of one by the control that judged before.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub(super) judge: Judge,
    pub(super) detectors: judge::Detectors,
    pub(super) since: Micros,
    pub(super) health_since: Micros,
}

/// When sources said last what they saw.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    pub(super) gateway: Option<Micros>,
    pub(super) dify: Option<Micros>,
}

impl Engine {
    /// What is the same keeps what is known of it; the names of those that have to be loaded.
    pub(super) fn adopt(
        &mut self,
        documents: Vec<Held>,
        has_dify: bool,
        remembered: &mut HashMap<String, Remembered>,
        now: Micros,
    ) -> HashSet<String> {
        let mut before: HashMap<String, Tracked> =
            self.all.drain(..).map(|tracked| (tracked.held.document.name.clone(), tracked)).collect();
        let mut new = HashSet::new();
        for held in documents {
            let name = held.document.name.clone();
            let source = figures::source(&held.document, has_dify);
            let known = before.remove(&name).filter(|tracked| {
                counts_the_same(&tracked.held.document, &held.document) && tracked.source == source
            });
            let tracked = match known {
                Some(tracked) => Tracked { held, ..tracked },
                None => {
                    new.insert(name.clone());
                    Tracked::new(held, source, remembered.remove(&name), now)
                }
            };
            self.all.push(tracked);
        }
        self.relate();
        new
    }

    pub(super) fn learn(&mut self, series: Vec<SliSeries>) {
        if series.len() != self.gateway.series.len() {
            self.gateway.series = series.into_iter().map(|series| (series.id, series)).collect();
            self.relate();
        }
    }

    pub(super) fn learn_dify(&mut self, series: Vec<DifySeries>) {
        if series.len() != self.dify.series.len() {
            self.dify.series = series.into_iter().map(|series| (series.id, series)).collect();
            self.relate();
        }
    }

    fn relate(&mut self) {
        self.gateway.about.clear();
        self.dify.about.clear();
        for (index, Tracked { held, source, .. }) in self.all.iter().enumerate() {
            let Document { sli, selector, .. } = &held.document;
            match source {
                Ok(Source::Gateway) => {
                    let chosen =
                        self.gateway.series.values().filter(|series| figures::selects(selector, series));
                    for series in chosen {
                        self.gateway.about.entry(series.id).or_default().push(index);
                    }
                }
                Ok(_) => {
                    let chosen = self.dify.series.values();
                    for series in chosen.filter(|series| figures::selects_dify(*sli, selector, series)) {
                        self.dify.about.entry(series.id).or_default().push(index);
                    }
                }
                Err(_) => {}
            }
        }
    }

    /// All rows of these minutes, of all processes; `only`: for these objectives.
    pub(super) fn take_minutes(&mut self, rows: &[SliRow], only: Option<&HashSet<String>>, now: Micros) {
        let mut sums: BTreeMap<(i64, usize), Sum> = BTreeMap::new();
        for row in rows {
            let Some(series) = self.gateway.series.get(&row.series) else { continue };
            for index in self.gateway.about.get(&row.series).into_iter().flatten() {
                let sli = self.all[*index].held.document.sli;
                let sum = sums.entry((row.time, *index)).or_default();
                sum.figures.add(figures::of_gateway(sli, &row.counts));
                if sli == Sli::Availability {
                    sum.faults.add_gateway(series, &row.counts);
                }
                for (mine, more) in sum.slots.iter_mut().zip(row.slots) {
                    mine.0 = mine.0.saturating_add(more.0);
                    mine.1 = mine.1.saturating_add(more.1);
                }
            }
        }
        self.put_minutes(sums, only, now);
    }

    /// The same of what was read of a Dify.
    pub(super) fn take_dify_minutes(
        &mut self,
        rows: &[DifyCounted],
        only: Option<&HashSet<String>>,
        now: Micros,
    ) {
        let mut sums: BTreeMap<(i64, usize), Sum> = BTreeMap::new();
        for row in rows {
            let Some(series) = self.dify.series.get(&row.series) else { continue };
            for index in self.dify.about.get(&row.series).into_iter().flatten() {
                let sli = self.all[*index].held.document.sli;
                let sum = sums.entry((row.time, *index)).or_default();
                sum.figures.add(figures::of_dify(sli, series, row));
                if sli == Sli::Availability {
                    sum.faults.add_dify(series, row);
                }
            }
        }
        self.put_minutes(sums, only, now);
    }

    fn put_minutes(
        &mut self,
        sums: BTreeMap<(i64, usize), Sum>,
        only: Option<&HashSet<String>>,
        now: Micros,
    ) {
        for ((minute, index), sum) in sums {
            let tracked = &mut self.all[index];
            if only.is_none_or(|only| only.contains(&tracked.held.document.name)) {
                tracked.put(minute, sum, now);
            }
        }
    }

    /// There is a series in it that was not learnt yet.
    pub(super) fn has_unknown(&self, rows: &[SliRow]) -> bool {
        rows.iter().any(|row| !self.gateway.series.contains_key(&row.series))
    }

    /// Whole hours from before the minutes that are kept.
    pub(super) fn take_hours(&mut self, rows: &[SliRow], only: &HashSet<String>, now: Micros) {
        let mut sums: BTreeMap<(i64, usize), Figures> = BTreeMap::new();
        for row in rows {
            for index in self.gateway.about.get(&row.series).into_iter().flatten() {
                let sli = self.all[*index].held.document.sli;
                sums.entry((row.time, *index)).or_default().add(figures::of_gateway(sli, &row.counts));
            }
        }
        self.put_hours(sums, only, now);
    }

    pub(super) fn take_dify_hours(&mut self, rows: &[DifyCounted], only: &HashSet<String>, now: Micros) {
        let mut sums: BTreeMap<(i64, usize), Figures> = BTreeMap::new();
        for row in rows {
            let Some(series) = self.dify.series.get(&row.series) else { continue };
            for index in self.dify.about.get(&row.series).into_iter().flatten() {
                let sli = self.all[*index].held.document.sli;
                sums.entry((row.time, *index)).or_default().add(figures::of_dify(sli, series, row));
            }
        }
        self.put_hours(sums, only, now);
    }

    fn put_hours(&mut self, sums: BTreeMap<(i64, usize), Figures>, only: &HashSet<String>, now: Micros) {
        for ((hour, index), figures) in sums {
            let tracked = &mut self.all[index];
            let is_fresh = matches!(tracked.held.document.sli, Sli::RunFreshness { .. });
            if only.contains(&tracked.held.document.name) && !is_fresh {
                tracked.series.set_hour(Micros(hour * HOUR_US), counts(figures), now);
            }
        }
    }

    /// Judges all.
    pub(super) fn look(&mut self, heard: Heard, now: Micros) {
        for tracked in &mut self.all {
            tracked.look(heard, now);
        }
    }

    pub(super) fn all(&self) -> &[Tracked] {
        &self.all
    }

    pub(super) fn all_mut(&mut self) -> &mut [Tracked] {
        &mut self.all
    }

    /// What the alert step is given.
    pub(super) fn components(&self, now: Micros) -> Vec<Component> {
        self.all.iter().filter_map(|tracked| tell::component(tracked, now)).collect()
    }
}

impl Tracked {
    fn new(held: Held, source: Result<Source, String>, before: Option<Remembered>, now: Micros) -> Tracked {
        let Remembered { judge, detectors, since, health_since } = before.unwrap_or_else(|| Remembered {
            judge: Judge::default(),
            detectors: judge::Detectors::ALL,
            since: now,
            health_since: now,
        });
        Tracked {
            held,
            source,
            series: Series::default(),
            faults: Faults::default(),
            fault: None,
            judge,
            slots: BTreeMap::new(),
            succeeded_at: None,
            judged_to: None,
            detectors,
            look: None,
            since,
            health_since,
        }
    }

    /// Whether what is counted comes in slots of a few seconds.
    fn is_fine(&self) -> bool {
        self.source == Ok(Source::Gateway) && self.held.document.sli == Sli::Availability
    }

    pub(super) fn settings(&self) -> Settings {
        settings(&self.held.document, self.source.as_ref().ok().copied(), self.detectors)
    }

    fn put(&mut self, minute: i64, sum: Sum, now: Micros) {
        let at = minute * MINUTE_US;
        if let Sli::RunFreshness { .. } = self.held.document.sli {
            if sum.figures.good > 0 {
                self.succeeded_at = self.succeeded_at.max(Some(minute));
            }
            return;
        }
        self.series.set_minute(Micros(at), counts(sum.figures), now);
        self.faults.put(minute, sum.faults);
        if self.is_fine() {
            for (place, slot) in sum.slots.into_iter().enumerate() {
                self.put_slot(at + i64::try_from(place).unwrap_or(0) * SLI_SLOT_US, slot);
            }
        } else {
            let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
            self.put_slot(at, (count(sum.figures.good), count(sum.figures.bad())));
        }
    }

    fn put_slot(&mut self, at: i64, slot: (u32, u32)) {
        if at >= self.judge.next().0 && slot != (0, 0) {
            self.slots.insert(at, slot);
            while self.slots.len() > MAX_SLOTS {
                self.slots.pop_first();
            }
        }
    }

    /// Of freshness: each minute that has ended is good when the last success was not too old then.
    fn pass_minutes(&mut self, max_age: Duration, now: Micros) {
        let Some(succeeded_at) = self.succeeded_at else { return };
        let ended = now.0.div_euclid(MINUTE_US) - 1;
        let first = self.judged_to.map_or(ended, |last| last + 1).max(ended - 180);
        for minute in first..=ended {
            let age = (minute + 1 - succeeded_at.min(minute + 1)).saturating_mul(60);
            let is_good = age <= i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
            let (good, bad) = (u32::from(is_good), u32::from(!is_good));
            let at = Micros(minute * MINUTE_US);
            self.series.set_minute(at, Counts::new(u64::from(good), u64::from(bad)), now);
            self.put_slot(at.0, (good, bad));
        }
        self.judged_to = Some(ended.max(self.judged_to.unwrap_or(ended)));
    }

    fn look(&mut self, heard: Heard, now: Micros) {
        if let Sli::RunFreshness { max_age } = self.held.document.sli {
            self.pass_minutes(max_age, now);
        }
        let heard = match &self.source {
            Ok(Source::Gateway) => heard.gateway,
            Ok(_) => heard.dify,
            Err(_) => None,
        };
        let slots: Vec<Slot> = self
            .slots
            .range(self.judge.next().0..)
            .map(|(at, (good, bad))| Slot { at: Micros(*at), good: *good, bad: *bad })
            .collect();
        let fed = judge::Fed { series: &self.series, slots: &slots, heard };
        let objective = objective(&self.held.document, now);
        let settings = self.settings();
        let look = judge::look(&fed, &mut self.judge, &objective, &settings, now);
        let next = self.judge.next().0;
        while self.slots.first_key_value().is_some_and(|(at, _)| *at < next) {
            self.slots.pop_first();
        }
        let before = self.look.as_ref().map(|look| (tell::word(look), tell::health(look)));
        if before.is_some_and(|(word, _)| word != tell::word(&look)) {
            self.since = now;
        }
        if before.is_some_and(|(_, health)| health != tell::health(&look)) {
            self.health_since = now;
        }
        let explained = |page: &judge::Page| {
            self.faults.of_page(page.since, &self.series, 1.0 - self.held.document.share(), now)
        };
        self.fault = look.page.as_ref().and_then(explained);
        self.look = Some(look);
    }

    /// Chooses who pages by its own last three days, as far as they are in memory.
    pub(super) fn choose(&mut self, now: Micros) {
        let minutes = self.series.minutes(now - Duration::from_secs(73 * 3_600), now);
        let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let slots: Vec<Slot> = minutes
            .filter(|(_, counts)| counts.total > 0)
            .map(|(at, counts)| Slot { at, good: count(counts.good), bad: count(counts.bad()) })
            .collect();
        let settings = Settings { slot: MINUTE, ..self.settings() };
        self.detectors = judge::choose(&slots, &objective(&self.held.document, now), &settings).detectors;
    }
}

fn counts(figures: Figures) -> Counts {
    Counts { good: figures.good, total: figures.total }
}

/// Whether what was counted for one holds for the other.
fn counts_the_same(one: &Document, other: &Document) -> bool {
    let Document { name: _, description: _, sli, source, selector, target, window, owner: _, alerting: _ } =
        one;
    (sli, source, selector, target, window)
        == (&other.sli, &other.source, &other.selector, &other.target, &other.window)
}

/// How a document is judged.
pub(super) fn settings(document: &Document, source: Option<Source>, detectors: judge::Detectors) -> Settings {
    let base = Settings { detectors, ..Settings::default() };
    match source {
        Some(Source::Dify) => {
            let (settle, every) = (DIFY_SETTLES, DIFY_EVERY);
            Settings { slot: MINUTE, settle, told: settle, every, ..base }
        }
        Some(_) if document.sli != Sli::Availability => Settings { slot: MINUTE, told: MINUTE, ..base },
        _ => base,
    }
}

pub(super) fn objective(document: &Document, now: Micros) -> Objective {
    let began = match document.window {
        Window::Rolling { .. } => None,
        Window::Calendar(calendar) => began(calendar, now),
    };
    Objective { target: document.share(), period: document.window.length(), began }
}

/// When the week, month or quarter of `now` began, UTC.
fn began(calendar: Calendar, now: Micros) -> Option<Micros> {
    let date = jiff::Timestamp::from_microsecond(now.0).ok()?.to_zoned(jiff::tz::TimeZone::UTC).date();
    let first = match calendar {
        Calendar::Week => {
            let days = date.weekday().to_monday_zero_offset();
            date.checked_sub(jiff::Span::new().days(i64::from(days))).ok()?
        }
        Calendar::Month => date.first_of_month(),
        Calendar::Quarter => jiff::civil::date(date.year(), (date.month() - 1) / 3 * 3 + 1, 1),
    };
    let midnight = first.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Micros(midnight.timestamp().as_microsecond()))
}

/// Whether somebody may be told of it.
pub(super) fn is_told(document: &Document) -> bool {
    document.alerting != Alerting::Off
}

#[cfg(test)]
mod tests;
