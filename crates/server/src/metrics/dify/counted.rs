//! What was counted of a Dify since this process began, from the store's minutes.
//!
//! Minutes still grow for as long as a run may take; then they are settled: added once, and never asked for again.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use mainstay_base::{Clock, Micros};
use mainstay_control::{
    doctor::Diagnosis,
    ingest::{Reading, view},
    queue::Latest,
};
use mainstay_store::{
    Store, StoreError,
    model::{DifyTotal, Sketch},
};
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, timeout},
};

use super::DifyNow;

/// A run is counted in the minute in which it began, when it ends: later than this none does that is counted here.
const SETTLED: Duration = Duration::from_secs(90 * 60);
/// How much is settled at a time.
const SETTLE: Duration = Duration::from_secs(10 * 60);
/// However many scrape, the store is asked no more often.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// A scrape does not wait longer for the store.
const WITHIN: Duration = Duration::from_secs(2);
/// What an app was called last; it is said again every few minutes while it is there.
const NAMES_KEPT: Duration = Duration::from_secs(365 * 24 * 3600);
const KINDS: [&str; 4] = ["run", "message", "node", "feedback"];

/// What is summed up under one set of words of Dify's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Count {
    pub(super) kind: &'static str,
    pub(super) app_id: String,
    /// Empty: not known.
    pub(super) app: String,
    pub(super) mode: String,
    pub(super) status: String,
    pub(super) class: String,
    pub(super) currency: String,
    pub(super) count: u64,
    pub(super) took_us: u64,
    pub(super) waits: u64,
    pub(super) wait_us: u64,
    pub(super) tokens: u64,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) price_nanos: u64,
    pub(super) sketch: Sketch,
}

impl Count {
    /// As in the API's view: a chatflow's answer is its run seen from the other side.
    pub(super) fn is_unit(&self) -> bool {
        self.kind == "run" || (self.kind == "message" && self.mode != "advanced-chat")
    }

    pub(super) fn is_spending(&self) -> bool {
        matches!(self.kind, "node" | "message")
    }

    fn add(&mut self, total: &DifyTotal) {
        let add = |to: &mut u64, number: i64| *to = to.saturating_add(super::unsigned(number));
        add(&mut self.count, total.count);
        add(&mut self.took_us, total.took_us);
        add(&mut self.waits, total.waits);
        add(&mut self.wait_us, total.wait_us);
        add(&mut self.tokens, total.tokens);
        add(&mut self.input_tokens, total.input_tokens);
        add(&mut self.output_tokens, total.output_tokens);
        add(&mut self.price_nanos, total.price_nanos);
        self.sketch.merge(&total.sketch);
    }
}

type Key = (&'static str, String, String, String, String, String);
type Counts = BTreeMap<Key, Count>;

/// The table that is furthest behind counts, and grows older while nobody says anything.
fn lag_s(told_at: Micros, reading: &Reading, now: Micros) -> Option<f64> {
    let lags = reading.tables.iter().filter_map(|table| table.lag_seconds);
    lags.reduce(f64::max).map(|lag_s| lag_s + now.since(told_at).as_secs_f64())
}

/// What Prometheus is told of one Dify.
pub(crate) struct Numbers {
    store: Store,
    clock: Clock,
    source: String,
    counted: Mutex<Counted>,
    /// Given once, when they are there.
    pub(crate) queues: OnceLock<watch::Receiver<Arc<Latest>>>,
    /// The last look at the components.
    pub(crate) diagnosis: OnceLock<Box<dyn Fn() -> Option<Arc<Diagnosis>> + Send + Sync>>,
}

struct Counted {
    /// Minutes before this one are in `settled`.
    until: Micros,
    settled: Counts,
    /// What was told last, and when.
    last: Option<(Instant, Vec<Count>)>,
}

impl Numbers {
    /// Counts from now on.
    pub(crate) fn new(store: Store, clock: Clock, source: String) -> Numbers {
        let counted = Counted { until: clock.now(), settled: Counts::new(), last: None };
        Numbers {
            store,
            clock,
            source,
            counted: Mutex::new(counted),
            queues: OnceLock::new(),
            diagnosis: OnceLock::new(),
        }
    }

    pub(crate) async fn now(&self) -> DifyNow {
        let now = self.clock.now();
        let (counts, reading) = tokio::join!(
            timeout(WITHIN, self.counts(now)),
            timeout(WITHIN, view::reading(&self.store, &self.source)),
        );
        let reading = reading.ok().and_then(Result::ok).flatten();
        let diagnosis = self.diagnosis.get().and_then(|last| last());
        DifyNow {
            counts: counts.ok().and_then(Result::ok),
            reading_lag_s: reading.and_then(|(told_at, reading)| lag_s(told_at, &reading, now)),
            queues: self.queues.get().map(|queues| queues.borrow().clone()),
            components: diagnosis.map(|diagnosis| diagnosis.reports.clone()).unwrap_or_default(),
        }
    }

    async fn counts(&self, now: Micros) -> Result<Vec<Count>, StoreError> {
        let mut counted = self.counted.lock().await;
        if let Some((asked_at, counts)) = &counted.last
            && asked_at.elapsed() < ASK_EVERY
        {
            return Ok(counts.clone());
        }
        let settle_to = now - SETTLED;
        if settle_to > counted.until + SETTLE {
            // The minute of `until` itself is not settled yet.
            let mut settled = counted.settled.clone();
            self.sum(&mut settled, counted.until, settle_to - Duration::from_secs(60)).await?;
            (counted.settled, counted.until) = (settled, settle_to);
        }
        let mut sums = counted.settled.clone();
        self.sum(&mut sums, counted.until, now).await?;
        let names = self.names().await?;
        let named = |mut count: Count| {
            count.app = names.get(&count.app_id).cloned().unwrap_or_default();
            count
        };
        let counts: Vec<Count> = sums.into_values().map(named).collect();
        counted.last = Some((Instant::now(), counts.clone()));
        Ok(counts)
    }

    async fn sum(&self, sums: &mut Counts, since: Micros, until: Micros) -> Result<(), StoreError> {
        for kind in KINDS {
            for total in self.store.dify().totals(&self.source, kind, since, until).await? {
                let series = &total.series;
                let key = (
                    kind,
                    series.app_id.clone(),
                    series.mode.clone(),
                    series.status.clone(),
                    series.class.clone(),
                    series.currency.clone(),
                );
                let first = || Count {
                    kind,
                    app_id: series.app_id.clone(),
                    mode: series.mode.clone(),
                    status: series.status.clone(),
                    class: series.class.clone(),
                    currency: series.currency.clone(),
                    ..Count::default()
                };
                sums.entry(key).or_insert_with(first).add(&total);
            }
        }
        Ok(())
    }

    /// By id.
    async fn names(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let states = self.store.dify().states(&self.source, "app:", NAMES_KEPT).await?;
        let named = states.into_iter().filter_map(|state| {
            let app: serde_json::Value = serde_json::from_str(&state.body).ok()?;
            Some((state.name.strip_prefix("app:")?.to_owned(), app["name"].as_str()?.to_owned()))
        });
        Ok(named.collect())
    }
}

#[cfg(test)]
mod tests {
    use mainstay_store::model::{DifyAdd, DifyBatch, DifyItem, DifySeries};

    use super::*;

    /// Runs in the minutes of these times.
    async fn take(store: &Store, after: i64, times: &[Micros]) {
        let labels = DifySeries { kind: "run".to_owned(), app_id: "a".to_owned(), ..DifySeries::default() };
        let series = Arc::new(labels.numbered());
        let item = |at: &Micros| DifyItem {
            id: at.0.to_string(),
            created_at: *at,
            app_id: "a".to_owned(),
            status: "succeeded".to_owned(),
            class: String::new(),
            look_at: None,
            body: "{}".to_owned(),
            adds: vec![DifyAdd {
                series: Arc::clone(&series),
                at: *at,
                took_us: Some(1_000_000),
                wait_us: None,
                tokens: 0,
                input_tokens: 0,
                output_tokens: 0,
                price_nanos: 0,
            }],
        };
        let batch = DifyBatch {
            source: "dify".to_owned(),
            kind: "run",
            after,
            next: None,
            items: times.iter().map(item).collect(),
            series: Arc::new([Arc::clone(&series)]),
        };
        assert!(store.dify().take(batch).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn each_run_since_the_start_is_told_once_however_long_ago_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        let options = mainstay_store::Options { url, clock: Clock::System };
        Store::migrate(&options).await.unwrap();
        let store = Store::open(options).await.unwrap();
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let start = Micros(1_795_000_020_000_000);
        let told = async |numbers: &Numbers, at: Micros| {
            // What was told a moment ago is told again without asking.
            numbers.counted.lock().await.last = None;
            numbers.counts(at).await.unwrap().iter().map(|count| count.count).sum::<u64>()
        };
        let numbers = Numbers::new(store.clone(), Clock::manual(start), "dify".to_owned());
        take(&store, 0, &[start - minutes(5), start + minutes(1), start + minutes(2)]).await;
        assert_eq!(told(&numbers, start + minutes(3)).await, 2, "what was before is not counted");
        // Each look settles what is old enough; runs come in between, some of them into minutes that are not settled.
        let mut expected = 2;
        for round in 1..40 {
            let now = start + minutes(3 + 7 * round);
            take(
                &store,
                round.try_into().unwrap(),
                &[now - minutes(1), now - minutes(2) + Duration::from_secs(1)],
            )
            .await;
            expected += 2;
            assert_eq!(told(&numbers, now).await, expected, "round {round}");
        }
        assert!(numbers.counted.lock().await.until > start + minutes(60));
        let again = numbers.counts(start + minutes(10_000)).await.unwrap();
        assert_eq!(again.iter().map(|count| count.count).sum::<u64>(), expected, "not asked again so soon");
    }
}
