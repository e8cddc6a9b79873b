//! What was read, for whoever shows it.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::Micros;
use mainstay_dify::signature::Catalogue;
use mainstay_store::{
    Store, StoreError,
    model::{DifyFilter, DifyListed, DifyTotal},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    By, Figures,
    reading::{NAME, Reading},
    usage,
};
use crate::health::State;

/// What is older was not said by a reader that is alive.
const READING_KEPT: Duration = Duration::from_secs(365 * 24 * 3600);
/// A reader that is alive says something every few seconds.
pub const SILENT: Duration = Duration::from_secs(60);
const STATE_KEPT: Duration = Duration::from_secs(3600);

/// One app over a span of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AppView {
    pub app_id: String,
    pub name: String,
    pub mode: String,
    /// Runs, and answers of apps without runs.
    pub runs: i64,
    pub failed: i64,
    pub failures: BTreeMap<String, i64>,
    pub p50_ms: Option<i64>,
    pub p95_ms: Option<i64>,
    pub mean_wait_ms: Option<i64>,
    pub tokens: i64,
    /// Millionths, by currency; a model without a price adds nothing.
    pub cost_micros: BTreeMap<String, i64>,
    pub likes: i64,
    pub dislikes: i64,
}

/// A run that is past the longest time a run may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Zombie {
    pub run_id: String,
    pub app_id: String,
    pub created_at: Micros,
    pub origin: String,
}

/// A document on its way into an index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    pub id: String,
    pub name: String,
    pub status: String,
    pub since: Micros,
    #[serde(default)]
    pub tenant_id: String,
    #[serde(default)]
    pub dataset_id: String,
    #[serde(default)]
    pub dataset: String,
}

/// How the reading goes; `None`: nobody ever read.
pub async fn reading(store: &Store, source: &str) -> Result<Option<(Micros, Reading)>, StoreError> {
    let states = store.dify().states(source, NAME, READING_KEPT).await?;
    let read = |state: &mainstay_store::model::DifyState| {
        Some((state.at, serde_json::from_str::<Reading>(&state.body).ok()?))
    };
    Ok(states.first().and_then(read))
}

/// How far behind now reading is: the table that is furthest behind counts. `None`: nothing was read yet.
pub fn lag(reading: &Reading, now: Micros) -> Option<Duration> {
    let read_to = reading.tables.iter().filter_map(|table| table.read_to);
    read_to.map(|read_to| now.since(read_to)).max()
}

/// Whether reading is well, in one sentence. Pure; `told`: as [`reading`] gives it.
pub fn judge(told: Option<&(Micros, Reading)>, now: Micros) -> (State, String) {
    let Some((told_at, reading)) = told else {
        return (State::Unknown, "Dify's database was not read yet".to_owned());
    };
    let lag = lag(reading, now);
    let behind = lag.map_or_else(String::new, |lag| format!("; what is known is {} s old", lag.as_secs()));
    if let Some(failure) = &reading.last_failure {
        let remedy = reading.remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        return (State::Degraded, format!("{failure}{behind}{remedy}"));
    }
    let silent = now.since(*told_at);
    if silent > SILENT {
        return (State::Degraded, format!("nobody has read Dify's database for {} s", silent.as_secs()));
    }
    if let Some(missing) = reading.missing.first() {
        return (State::Degraded, format!("not everything can be read: {missing}"));
    }
    let Reading { release, revision, rows_per_second, .. } = reading;
    let version = release.as_deref().or(revision.as_deref()).unwrap_or("an unknown version");
    let lag_s = lag.map_or(0, |lag| lag.as_secs());
    (State::Ok, format!("reads Dify {version}, {lag_s} s behind now, {rows_per_second:.0} rows/s"))
}

/// Each app that did something, those with most failures first.
pub async fn apps(
    store: &Store,
    source: &str,
    since: Micros,
    until: Micros,
) -> Result<Vec<AppView>, StoreError> {
    let names = store.dify().states(source, "app:", READING_KEPT).await?;
    let names: BTreeMap<&str, Value> = names
        .iter()
        .filter_map(|state| Some((state.name.strip_prefix("app:")?, serde_json::from_str(&state.body).ok()?)))
        .collect();
    let mut ratings: BTreeMap<(String, String), i64> = BTreeMap::new();
    for DifyTotal { series, count, .. } in store.dify().totals(source, "feedback", since, until).await? {
        *ratings.entry((series.app_id, series.status)).or_default() += count;
    }
    let view = |figures: Figures| {
        let word = |key: &str| names.get(figures.value.as_str()).and_then(|app| app[key].as_str());
        let rated = |word: &str| ratings.get(&(figures.value.clone(), word.to_owned())).copied().unwrap_or(0);
        AppView {
            name: word("name").unwrap_or_default().to_owned(),
            mode: word("mode").map_or(figures.mode, str::to_owned),
            likes: rated("like"),
            dislikes: rated("dislike"),
            runs: figures.count,
            failed: figures.failed,
            failures: figures.failures,
            p50_ms: figures.p50_ms,
            p95_ms: figures.p95_ms,
            mean_wait_ms: figures.mean_wait_ms,
            tokens: figures.tokens,
            cost_micros: figures.cost_micros,
            app_id: figures.value,
        }
    };
    Ok(usage(store, source, By::App, None, since, until).await?.into_iter().map(view).collect())
}

/// The newest items of a kind (`run`, `message`, `trigger`), of one app and one class of failure if given.
pub async fn latest(store: &Store, source: &str, filter: DifyFilter) -> Result<Vec<DifyListed>, StoreError> {
    store.dify().list(source, filter).await
}

/// What the catalogue says of a row that an item names: its cause, and what to do.
pub fn meaning<'a>(catalogue: &'a Catalogue, signature: &str) -> Option<(&'a str, &'a str)> {
    let row = catalogue.get(signature)?;
    Some((row.cause.as_str(), row.remedy.as_str()))
}

/// Runs that are `running` for longer than a run may take, oldest first. Whether one of them still gets on is asked of
/// Dify's database ([`last_progress`](mainstay_dify::read::Source::last_progress)).
pub async fn zombies(
    store: &Store,
    source: &str,
    now: Micros,
    longest_run: Duration,
    limit: u32,
) -> Result<Vec<Zombie>, StoreError> {
    let open = store.dify().open_since(source, "run", now - longest_run, limit).await?;
    let running = open.into_iter().filter(|item| item.status == "running");
    let zombie = |item: DifyListed| {
        let body: Value = serde_json::from_str(&item.body).unwrap_or_default();
        let origin = body["origin"].as_str().unwrap_or_default().to_owned();
        Zombie { run_id: item.id, app_id: item.app_id, created_at: item.created_at, origin }
    };
    Ok(running.map(zombie).collect())
}

/// Documents that are on their way for longer than this, oldest first.
pub async fn documents_stuck(
    store: &Store,
    source: &str,
    now: Micros,
    longer_than: Duration,
) -> Result<Vec<UnderWay>, StoreError> {
    let mut stuck = Vec::new();
    for state in store.dify().states(source, "documents:", STATE_KEPT).await? {
        let body: Value = serde_json::from_str(&state.body).unwrap_or_default();
        let documents: Vec<UnderWay> = serde_json::from_value(body["under_way"].clone()).unwrap_or_default();
        let dataset_id = state.name.trim_start_matches("documents:");
        stuck.extend(documents.into_iter().filter(|document| now.since(document.since) > longer_than).map(
            |document| UnderWay {
                tenant_id: body["tenant"].as_str().unwrap_or_default().to_owned(),
                dataset_id: dataset_id.to_owned(),
                dataset: body["name"].as_str().unwrap_or_default().to_owned(),
                ..document
            },
        ));
    }
    stuck.sort_by_key(|document| document.since);
    Ok(stuck)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::Table;

    const NOW: Micros = Micros(1_000_000_000_000);

    fn told(change: impl FnOnce(&mut Reading)) -> (Micros, Reading) {
        let table = |kind: &str, ago_s| Table {
            kind: kind.to_owned(),
            lag_seconds: Some(0.0),
            read_to: Some(NOW - Duration::from_secs(ago_s)),
        };
        let mut reading = Reading {
            release: Some("1.12.1".to_owned()),
            tables: vec![table("run", 3), table("message", 40)],
            ..Reading::default()
        };
        change(&mut reading);
        (NOW - Duration::from_secs(5), reading)
    }

    #[test]
    fn reading_is_judged_by_its_failure_its_silence_and_what_is_missing() {
        let judged = |told: Option<(Micros, Reading)>| judge(told.as_ref(), NOW);
        assert_eq!(judged(None).0, State::Unknown);
        let well = judged(Some(told(|_| {})));
        assert_eq!(well, (State::Ok, "reads Dify 1.12.1, 40 s behind now, 0 rows/s".to_owned()));
        let failed = judged(Some(told(|reading| {
            reading.last_failure = Some("it is away".to_owned());
            reading.remedy = Some("bring it back".to_owned());
        })));
        let words = "it is away; what is known is 40 s old; bring it back".to_owned();
        assert_eq!(failed, (State::Degraded, words));
        let missing = judged(Some(told(|reading| reading.missing.push("no index".to_owned()))));
        assert_eq!(missing, (State::Degraded, "not everything can be read: no index".to_owned()));
        let (_, silent) = told(|_| {});
        assert_eq!(judged(Some((NOW - Duration::from_secs(61), silent))).0, State::Degraded);
    }
}
