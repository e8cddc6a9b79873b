//! Whose fault the failures of a page are: kept minute by minute for as long as a page looks back, so that what explains a
//! page can keep it quiet. Pure.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_base::{Blame, Micros};
use mainstay_signal::slo::{Counts, Series};
use mainstay_store::model::{DifyCounted, DifySeries, SliCounts, SliSeries};
use serde::Serialize;

use super::{MINUTE_US, blame};
use crate::alert::{self, Labels};

/// Minutes with failures that are remembered: the long window of the rules that page.
const KEPT_MINUTES: i64 = 360;
/// The share of the failures that has to have one fault.
const MOST: f64 = 0.9;
/// Providers told apart in one minute; failures at others are nobody's that is known.
const MAX_PROVIDERS: usize = 16;
const OTHERS: &str = "other";
/// More than this many times the allowed share is what the detectors page for, at the least.
const BEARABLE: f64 = 2.0;
/// Fewer failures prove nothing.
const PROVES: u64 = 3;
/// Trouble passes when this many runs, and all of so many minutes, were as good as they have to be.
const ENOUGH_RUNS: u64 = 5;
const ENOUGH_MINUTES: i64 = 5;

/// Failures by whose fault they were and, of providers, by name where it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally(BTreeMap<(Blame, String), u64>);

/// Failures of one objective, by minutes since 1970.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(BTreeMap<i64, Tally>);

/// One fault that explains a page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Fault {
    pub(super) blame: Blame,
    /// Of the failures.
    pub(super) share: f64,
    /// Each has a part in it. Empty: nobody saw which.
    pub(super) providers: BTreeSet<String>,
    /// The failures are over, and the page goes on because its windows still have them.
    pub(super) is_passing: bool,
}

impl Tally {
    pub(super) fn add_gateway(&mut self, series: &SliSeries, counts: &SliCounts) {
        for blame in Blame::ALL {
            self.add(blame, &series.provider, u64::try_from(counts.blamed[blame.index()]).unwrap_or(0));
        }
    }

    /// Dify has its own names of providers, which no component of ours has.
    pub(super) fn add_dify(&mut self, series: &DifySeries, counted: &DifyCounted) {
        if let Some(blame) = blame::of_dify(&series.status, &series.class) {
            self.add(blame, "", u64::try_from(counted.count).unwrap_or(0));
        }
    }

    fn add(&mut self, blame: Blame, provider: &str, count: u64) {
        if count == 0 || blame == Blame::Client {
            return;
        }
        let provider = if blame == Blame::Provider { provider } else { "" };
        let key = (blame, provider.to_owned());
        let is_known = self.0.contains_key(&key) || self.0.len() < MAX_PROVIDERS;
        let key = if is_known { key } else { (blame, OTHERS.to_owned()) };
        *self.0.entry(key).or_default() += count;
    }

    fn bad(&self) -> u64 {
        self.0.values().sum()
    }

    fn of(&self, blame: Blame) -> u64 {
        self.0.iter().filter(|((of, _), _)| *of == blame).map(|(_, count)| count).sum()
    }

    /// Names without which no [`MOST`] of the failures is explained; none, where that much has no name.
    fn providers(&self) -> BTreeSet<String> {
        let named = self.0.iter().filter(|((blame, name), _)| *blame == Blame::Provider && !name.is_empty());
        let mut named: Vec<(&String, u64)> = named.map(|((_, name), count)| (name, *count)).collect();
        named.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let (all, mut explained) = (self.of(Blame::Provider) as f64, 0);
        let mut names = BTreeSet::new();
        for (name, count) in named {
            if explained as f64 >= MOST * all {
                break;
            }
            explained += count;
            names.insert(name.clone());
        }
        names
    }
}

impl Fault {
    /// `fault`, and where it is known `fault_provider` (names with commas between) and `passing`.
    pub(super) fn labels(&self) -> Labels {
        let Fault { blame, share: _, providers, is_passing } = self;
        let names = providers.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let passing = if *is_passing { "yes" } else { "" };
        let labels =
            [(alert::FAULT, blame.as_str()), (alert::FAULT_PROVIDER, &names), (alert::PASSING, passing)];
        let known = labels.into_iter().filter(|(_, value)| !value.is_empty());
        known.map(|(label, value)| (label.to_owned(), value.to_owned())).collect()
    }

    /// `98 % of it is blamed on provider (openai)`.
    pub(super) fn words(&self) -> String {
        let Fault { blame, share, providers, is_passing: _ } = self;
        let names = providers.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let names = if names.is_empty() { names } else { format!(" ({names})") };
        format!("{:.0} % of it is blamed on {}{names}", share * 100.0, blame.as_str())
    }
}

impl Faults {
    /// What is known of a minute now, in the place of what was known of it.
    pub(super) fn put(&mut self, minute: i64, tally: Tally) {
        if tally.0.is_empty() {
            self.0.remove(&minute);
            return;
        }
        self.0.insert(minute, tally);
        while self.0.len() as i64 > KEPT_MINUTES {
            self.0.pop_first();
        }
    }

    /// The one fault that explains a page about what happened since then, if one does: it has most of the failures, and
    /// the others alone are nothing to be woken for. `allowed`: the share that may fail.
    pub(super) fn of_page(&self, since: Micros, series: &Series, allowed: f64, now: Micros) -> Option<Fault> {
        let first = since.0.max(now.0 - KEPT_MINUTES * MINUTE_US).div_euclid(MINUTE_US);
        let mut tally = Tally::default();
        for part in self.0.range(first..).map(|(_, part)| part) {
            part.0.iter().for_each(|((blame, name), count)| tally.add(*blame, name, *count));
        }
        let bad = tally.bad();
        let (most, blame) = Blame::ALL.into_iter().map(|blame| (tally.of(blame), blame)).max()?;
        let share = most as f64 / (bad.max(1)) as f64;
        // The present minute is in the tally, so it is in the runs.
        let until = Micros((now.0.div_euclid(MINUTE_US) + 1) * MINUTE_US);
        let runs = series.sum(Micros(first * MINUTE_US), until).total.max(bad);
        let others = bad - most;
        let others_page = others >= PROVES && others as f64 > BEARABLE * allowed * runs as f64;
        (most > 0 && share >= MOST && !others_page).then(|| Fault {
            blame,
            share,
            providers: tally.providers(),
            is_passing: passes(series, allowed, now),
        })
    }
}

/// Whether the last runs were as good as they have to be.
fn passes(series: &Series, allowed: f64, now: Micros) -> bool {
    let end = now.0.div_euclid(MINUTE_US) + 1;
    let since = Micros((end - KEPT_MINUTES) * MINUTE_US);
    let minutes: Vec<Counts> =
        series.minutes(since, Micros(end * MINUTE_US)).map(|(_, counts)| counts).collect();
    let mut last = Counts::default();
    for (back, counts) in (1..).zip(minutes.iter().rev()) {
        last = last.plus(*counts);
        if back >= ENOUGH_MINUTES && last.total >= ENOUGH_RUNS {
            break;
        }
    }
    last.total >= ENOUGH_RUNS && last.share() <= BEARABLE * allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_800_000_000_000_000);

    fn series(good: u64, bad: u64) -> Series {
        let mut series = Series::default();
        series.set_minute(Micros(NOW.0 - MINUTE_US), Counts::new(good, bad), NOW);
        series
    }

    fn found(good: u64, failures: &[(Blame, &str, u64)]) -> Option<(Blame, Vec<String>)> {
        let mut tally = Tally::default();
        failures.iter().for_each(|(blame, name, count)| tally.add(*blame, name, *count));
        let bad = tally.bad();
        let mut faults = Faults::default();
        faults.put(NOW.0 / MINUTE_US - 1, tally);
        let since = Micros(NOW.0 - 10 * MINUTE_US);
        let fault = faults.of_page(since, &series(good, bad), 0.01, NOW)?;
        Some((fault.blame, fault.providers.into_iter().collect()))
    }

    #[test]
    fn a_page_has_one_fault_when_most_is_blamed_on_it_and_the_rest_would_wake_nobody() {
        use Blame::{Dify, Provider};
        let provider = |names: &[&str]| Some((Provider, names.iter().map(|&name| name.to_owned()).collect()));
        for (what, good, failures, expected) in [
            ("nothing failed", 9, vec![], None),
            ("one provider", 9, vec![(Provider, "a", 100)], provider(&["a"])),
            ("nobody saw which", 9, vec![(Provider, "", 100)], provider(&[])),
            ("both", 9, vec![(Provider, "a", 50), (Provider, "b", 50)], provider(&["a", "b"])),
            ("a few at another", 9, vec![(Provider, "a", 95), (Provider, "b", 5)], provider(&["a"])),
            ("a fifth is Dify's", 9, vec![(Provider, "a", 80), (Dify, "", 20)], None),
            // Eight of a hundred would page by themselves.
            ("a twelfth is Dify's", 0, vec![(Provider, "a", 92), (Dify, "", 8)], None),
            ("so it is among many", 900, vec![(Provider, "a", 92), (Dify, "", 8)], provider(&["a"])),
            ("two prove nothing", 0, vec![(Provider, "a", 50), (Dify, "", 2)], provider(&["a"])),
            ("of another", 0, vec![(Dify, "", 50)], Some((Dify, vec![]))),
        ] {
            assert_eq!(found(good, &failures), expected, "{what}");
        }
    }

    #[test]
    fn callers_are_not_told_apart_and_a_minute_that_is_told_again_is_not_counted_twice() {
        let mut tally = Tally::default();
        (0..100).for_each(|number| tally.add(Blame::Provider, &format!("p{number}"), 1));
        tally.add(Blame::Client, "", 1_000);
        assert_eq!((tally.bad(), tally.0.len()), (100, MAX_PROVIDERS + 1));
        let mut faults = Faults::default();
        for minute in 0..1_000 {
            faults.put(minute, tally.clone());
            faults.put(minute, tally.clone());
        }
        assert_eq!(faults.0.len() as i64, KEPT_MINUTES);
        faults.put(999, Tally::default());
        assert!(!faults.0.contains_key(&999));
    }

    #[test]
    fn trouble_passes_when_the_last_runs_were_good() {
        let at = |ago: i64| Micros(NOW.0 - ago * MINUTE_US);
        for (what, minutes, expected) in [
            ("all failed", vec![(10, 0, 50), (1, 0, 50)], false),
            ("all went well for five minutes", vec![(10, 0, 50), (5, 50, 0), (1, 50, 0)], true),
            ("for three", vec![(3, 0, 50), (2, 50, 0), (1, 50, 0)], false),
            ("nothing came since", vec![(20, 0, 50)], false),
            ("a few, since long", vec![(60, 0, 9), (50, 2, 0), (30, 2, 0), (9, 1, 0)], true),
            ("nothing at all", vec![], false),
        ] {
            let mut series = Series::default();
            for (ago, good, bad) in minutes {
                series.set_minute(at(ago), Counts::new(good, bad), NOW);
            }
            assert_eq!(passes(&series, 0.01, NOW), expected, "{what}");
        }
    }
}
