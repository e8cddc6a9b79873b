//! All objectives that are judged, in memory: takes what was counted, minute by minute, and says how each stands. Pure:
//! rows, documents and times come in as values.

use std::collections::{BTreeMap, HashMap, HashSet};

use mainstay_base::Micros;
use mainstay_store::model::{DifyCounted, DifySeries, SliRow, SliSeries};

use super::{
    admin::Held,
    document::{Document, Sli, Source},
    figures::{self, Figures},
    tell,
    tracked::{Heard, Remembered, Sum, Tracked},
};
use crate::health::Component;

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
                Some(mut tracked) => {
                    tracked.held = held;
                    tracked
                }
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
            if only.contains(&tracked.held.document.name) {
                tracked.put_hour(hour, figures, now);
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

/// Whether what was counted for one holds for the other.
fn counts_the_same(one: &Document, other: &Document) -> bool {
    let Document { name: _, description: _, sli, source, selector, target, window, owner: _, alerting: _ } =
        one;
    (sli, source, selector, target, window)
        == (&other.sli, &other.source, &other.selector, &other.target, &other.window)
}

#[cfg(test)]
mod tests;
