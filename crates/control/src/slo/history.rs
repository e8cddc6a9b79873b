//! The past of objectives, minute by minute: for replaying, for the linter and for charts.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::Micros;
use mainstay_signal::slo::{self as judge, Choice, Detectors, Lint, Objective, Paged, Settings, Slot};
use mainstay_store::{
    Store, StoreError,
    model::{SLI_SLOT_US, SliRow, SliSeries},
};
use serde::Serialize;

use super::{
    MINUTE_US,
    document::{Document, Sli, Source},
    figures::{self, Figures},
    terms::{objective, settings},
};

/// Minutes are kept for so long.
pub const MOST: Duration = Duration::from_secs(31 * 86_400);
/// Minutes that are read at once.
const CHUNK: i64 = 360;

/// When one would have paged.
#[derive(Clone, Debug, Serialize)]
pub struct Replayed {
    pub name: String,
    pub since: Micros,
    pub until: Micros,
    /// Spans (five seconds or a minute) in which something was seen.
    pub slots: usize,
    pub good: u64,
    pub total: u64,
    pub pages: Vec<Paged>,
    pub choice: Choice,
    /// Why there is nothing to replay.
    pub blind: Option<String>,
}

/// What is to be expected of one.
#[derive(Clone, Debug, Serialize)]
pub struct Linted {
    pub name: String,
    /// `None`: nothing was seen of it; [`Linted::notes`] say why.
    pub lint: Option<Lint>,
    /// In sentences, the worst first.
    pub notes: Vec<String>,
}

/// Runs each over what was recorded.
pub async fn replay(
    store: &Store,
    dify: Option<&str>,
    documents: &[Document],
    since: Micros,
    until: Micros,
) -> Result<Vec<Replayed>, StoreError> {
    each(store, dify, documents, since, until, move |past| {
        let Past { document, slots, source, settings, objective } = past;
        Replayed {
            name: document.name,
            since,
            until,
            slots: slots.len(),
            good: slots.iter().map(|slot| u64::from(slot.good)).sum(),
            total: slots.iter().map(|slot| u64::from(slot.good) + u64::from(slot.bad)).sum(),
            pages: judge::replay(&slots, &objective, &settings),
            choice: judge::choose(&slots, &objective, &settings),
            blind: source.err(),
        }
    })
    .await
}

/// Who is to page for each.
pub(super) async fn choices(
    store: &Store,
    dify: Option<&str>,
    documents: &[Document],
    since: Micros,
    until: Micros,
) -> Result<Vec<Choice>, StoreError> {
    each(store, dify, documents, since, until, |past| {
        judge::choose(&past.slots, &past.objective, &past.settings)
    })
    .await
}

/// What was recorded of one, and how it is judged.
struct Past {
    document: Document,
    slots: Vec<Slot>,
    source: Result<Source, String>,
    settings: Settings,
    objective: Objective,
}

/// Looks at the past of each, beside the runtime.
async fn each<T: Send + 'static>(
    store: &Store,
    dify: Option<&str>,
    documents: &[Document],
    since: Micros,
    until: Micros,
    look: impl Fn(Past) -> T + Send + 'static,
) -> Result<Vec<T>, StoreError> {
    let slots = slots(store, dify, documents, since, until).await?;
    let work = documents.iter().cloned().zip(slots).collect::<Vec<_>>();
    let has_dify = dify.is_some();
    let past = move |(document, slots): (Document, Vec<Slot>)| {
        let source = figures::source(&document, has_dify);
        let settings = settings(&document, source.as_ref().ok().copied(), Detectors::ALL);
        let objective = objective(&document, until);
        Past { document, slots, source, settings, objective }
    };
    blocking(move || work.into_iter().map(past).map(look).collect()).await
}

/// Says of each what is to be expected of it.
pub async fn lint(
    store: &Store,
    dify: Option<&str>,
    documents: &[Document],
    since: Micros,
    until: Micros,
) -> Result<Vec<Linted>, StoreError> {
    each(store, dify, documents, since, until, |past| {
        let Past { document, slots, source, settings, objective } = past;
            let lint = (!slots.is_empty()).then(|| judge::lint(&slots, &objective, &settings));
            let mut notes = Vec::new();
            if let Err(why) = &source {
                notes.push(format!("it is blind: {why}"));
            } else if slots.is_empty() {
                notes.push("nothing was seen of it in this time: only what must be can be said".to_owned());
            }
            for rule in judge::burn::RULES.iter().filter(|rule| rule.is_unreachable(&objective)) {
                notes.push(format!(
                    "the usual rule of {:.1} times the allowed failures over {} h can never fire at {} %; it fires at {:.1} here",
                    rule.factor,
                    rule.long.as_secs() / 3_600,
                    document.target,
                    rule.reachable_factor(&objective),
                ));
            }
            if let Some(lint) = &lint {
                notes.extend(remarks(lint));
            }
            Linted { name: document.name, lint, notes }
    })
    .await
}

fn remarks(lint: &Lint) -> Vec<String> {
    let mut notes = Vec::new();
    if lint.false_pages_a_month >= 0.34 {
        notes.push(format!("it would page for nothing {:.1} times a month", lint.false_pages_a_month));
    }
    if lint.burn > 1.0 {
        notes.push(format!("it fails {:.1} times as often as allowed: the target is not kept", lint.burn));
    }
    if lint.days < 1.0 {
        notes.push("less than a day is known of it: the figures are rough".to_owned());
        return notes;
    }
    if lint.outage_p95.is_none() {
        notes.push("a total outage may go unseen for a day: too few runs come".to_owned());
    }
    if lint.smallest_outage.is_none() {
        notes.push("no partial outage is seen within an hour".to_owned());
    }
    for rule in &lint.too_few_runs {
        notes.push(format!(
            "too few runs come in {} h for that rule to prove anything",
            rule.long.as_secs() / 3_600
        ));
    }
    notes
}

/// Good and bad of each document as its judge eats them: of five seconds where they are known, else of a minute. Those without
/// either are left out.
pub async fn slots(
    store: &Store,
    dify: Option<&str>,
    documents: &[Document],
    since: Micros,
    until: Micros,
) -> Result<Vec<Vec<Slot>>, StoreError> {
    let sources: Vec<_> =
        documents.iter().map(|document| figures::source(document, dify.is_some())).collect();
    let mut sums: Vec<BTreeMap<i64, Figures>> = vec![BTreeMap::new(); documents.len()];
    let (first, end) = (since.0.div_euclid(MINUTE_US), until.0.div_euclid(MINUTE_US) + 1);
    if sources.contains(&Ok(Source::Gateway)) {
        let series = store.slis().series().await?;
        let chosen = |series: &SliSeries| -> Vec<usize> {
            let is_meant = |index: &usize| {
                sources[*index] == Ok(Source::Gateway)
                    && figures::selects(&documents[*index].selector, series)
            };
            (0..documents.len()).filter(is_meant).collect()
        };
        let about: BTreeMap<i64, Vec<usize>> =
            series.iter().map(|series| (series.id, chosen(series))).collect();
        let mut from = first;
        while from < end {
            let to = (from + CHUNK).min(end);
            for row in store.slis().minutes(from, to).await? {
                for index in about.get(&row.series).into_iter().flatten() {
                    put(&mut sums[*index], documents[*index].sli, &row);
                }
            }
            from = to;
        }
    }
    if let Some(dify) = dify.filter(|_| sources.contains(&Ok(Source::Dify))) {
        let series: BTreeMap<i64, _> =
            store.dify().series(dify).await?.into_iter().map(|series| (series.id, series)).collect();
        let mut from = first;
        while from < end {
            let to = (from + CHUNK).min(end);
            for row in store.dify().counted(dify, false, (from, to), figures::KINDS).await? {
                let Some(series) = series.get(&row.series) else { continue };
                for (index, document) in documents.iter().enumerate() {
                    let is_meant = sources[index] == Ok(Source::Dify)
                        && figures::selects_dify(document.sli, &document.selector, series);
                    if is_meant {
                        let figures = figures::of_dify(document.sli, series, &row);
                        sums[index].entry(row.time * MINUTE_US).or_default().add(figures);
                    }
                }
            }
            from = to;
        }
    }
    let slots = documents.iter().zip(sums).map(|(document, sums)| match document.sli {
        Sli::RunFreshness { max_age } => fresh(&sums, max_age, end),
        _ => sums.into_iter().filter(|(_, figures)| figures.total > 0).map(slot).collect(),
    });
    Ok(slots.collect())
}

/// By when it began.
fn put(sums: &mut BTreeMap<i64, Figures>, sli: Sli, row: &SliRow) {
    let minute = row.time * MINUTE_US;
    if sli != Sli::Availability {
        sums.entry(minute).or_default().add(figures::of_gateway(sli, &row.counts));
        return;
    }
    for (place, (good, bad)) in (0_i64..).zip(row.slots) {
        let (good, bad) = (u64::from(good), u64::from(bad));
        if good + bad > 0 {
            sums.entry(minute + place * SLI_SLOT_US).or_default().add(Figures { good, total: good + bad });
        }
    }
}

fn slot((at, figures): (i64, Figures)) -> Slot {
    let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    Slot { at: Micros(at), good: count(figures.good), bad: count(figures.bad()) }
}

/// A minute is good when the last success was not too old at its end.
fn fresh(sums: &BTreeMap<i64, Figures>, max_age: Duration, end: i64) -> Vec<Slot> {
    let most = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
    let mut succeeded =
        sums.iter().filter(|(_, figures)| figures.good > 0).map(|(at, _)| at / MINUTE_US).peekable();
    let Some(began) = succeeded.next() else { return Vec::new() };
    let (mut slots, mut last) = (Vec::new(), began);
    for minute in began..end - 1 {
        while let Some(next) = succeeded.next_if(|next| *next <= minute) {
            last = next;
        }
        let is_good = (minute + 1 - last).saturating_mul(60) <= most;
        slots.push(Slot {
            at: Micros(minute * MINUTE_US),
            good: u32::from(is_good),
            bad: u32::from(!is_good),
        });
    }
    slots
}

/// Arithmetic of seconds, away from what answers requests.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::Bug(format!("a replay ended badly: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness_goes_bad_when_nothing_succeeds_and_good_again_with_the_next_success() {
        let one = Figures { good: 1, total: 1 };
        let failed = Figures { good: 0, total: 5 };
        let sums = BTreeMap::from(
            [(10, one), (13, failed), (16, one)].map(|(minute, figures)| (minute * MINUTE_US, figures)),
        );
        let slots = fresh(&sums, Duration::from_secs(180), 21);
        let bad: Vec<i64> =
            slots.iter().filter(|slot| slot.bad > 0).map(|slot| slot.at.0 / MINUTE_US).collect();
        assert_eq!((slots.len(), bad), (10, vec![13, 14, 15, 19]));
    }
}
