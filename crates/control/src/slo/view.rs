//! What is shown of service levels, from the store: the same in every process.

use std::collections::BTreeMap;

use mainstay_base::{Blame, Micros};
use mainstay_signal::slo::{Paged, Slot};
use mainstay_store::{
    Store, StoreError,
    model::{SliCounts, SloChange},
};
use serde::Serialize;
use serde_json::Value;

use super::{
    HOUR_US, MINUTE_US,
    admin::{self, Held},
    document::{Document, Source},
    figures, history,
    read::Problem,
    tell,
};

/// What a page shows of the past.
const CHART_MINUTES: i64 = 180;
const DAY_US: i64 = 24 * HOUR_US;

/// One in a list.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    pub name: String,
    /// As [`Document::json`] has it.
    pub document: Value,
    pub revision: i64,
    pub is_default: bool,
    /// `ok`, `at_risk`, `exhausted`, `blind`, `no_data`; `unknown` until it was judged.
    pub state: String,
    pub reason: String,
    pub since: Option<Micros>,
    /// When it was judged; one that nobody judges any more is `unknown`.
    pub judged_at: Option<Micros>,
    /// Percent that was good in the window.
    pub achieved: Option<f64>,
    pub good: u64,
    pub total: u64,
    /// Share of the error budget that is left, negative when more failed than may.
    pub budget_left: Option<f64>,
    /// What the error budget policy offers to runbooks and people in this state; nothing of it is done by itself.
    pub offers: &'static [&'static str],
    pub burns: Value,
    pub page: Value,
    pub ticket: Value,
    /// Where the figures come from.
    pub source: Option<String>,
    /// Who pages, as chosen by replaying its own last days.
    pub detectors: Value,
}

/// All of them.
#[derive(Clone, Debug, Serialize)]
pub struct List {
    pub slos: Vec<View>,
    /// Documents in the store that this version cannot read.
    pub problems: Vec<Problem>,
}

/// One with its past.
#[derive(Clone, Debug, Serialize)]
pub struct Detail {
    #[serde(flatten)]
    pub view: View,
    /// Good and bad by ten seconds or by minute, the last three hours; those without either are left out.
    pub minutes: Vec<Slot>,
    /// Failures of the last day by whose fault they were, the caller's own among them, which never count.
    pub faults: BTreeMap<&'static str, i64>,
    /// When it would have paged in the last day.
    pub paged: Vec<Paged>,
    pub history: Vec<SloChange>,
}

pub async fn list(store: &Store) -> Result<List, StoreError> {
    let (held, problems) = admin::documents(store).await?;
    let states: BTreeMap<String, (Micros, Value)> =
        store.slos().states().await?.into_iter().map(|state| (state.name, (state.at, state.body))).collect();
    let slos = held.iter().map(|held| view(held, states.get(&held.document.name))).collect();
    Ok(List { slos, problems })
}

/// `None`: there is none of this name.
pub async fn one(
    store: &Store,
    dify: Option<&str>,
    name: &str,
    now: Micros,
) -> Result<Option<Detail>, StoreError> {
    let (held, _) = admin::documents(store).await?;
    let Some(held) = held.into_iter().find(|held| held.document.name == name) else { return Ok(None) };
    let states = store.slos().states().await?;
    let state = states.into_iter().find(|state| state.name == name).map(|state| (state.at, state.body));
    // One that is configured, and whose database nobody reads, has no figures.
    let is_of_dify = state.as_ref().is_some_and(|(_, body)| body["source"] == Source::Dify.as_str());
    let dify = dify.filter(|_| is_of_dify);
    let documents = [held.document.clone()];
    let since = Micros(now.0 - DAY_US);
    let mut replayed = history::replay(store, dify, &documents, since, now).await?;
    let mut slots =
        history::slots(store, dify, &documents, Micros(now.0 - CHART_MINUTES * MINUTE_US), now).await?;
    Ok(Some(Detail {
        view: view(&held, state.as_ref()),
        minutes: slots.pop().unwrap_or_default(),
        faults: faults(store, dify, &held.document, now).await?,
        paged: replayed.pop().map(|replayed| replayed.pages).unwrap_or_default(),
        history: admin::history(store, Some(name)).await?,
    }))
}

fn view(held: &Held, state: Option<&(Micros, Value)>) -> View {
    let Held { document, revision, is_default } = held;
    let body = state.map(|(_, body)| body).unwrap_or(&Value::Null);
    let text = |key: &str| body[key].as_str().map(str::to_owned);
    let count = |key: &str| body[key].as_u64().unwrap_or(0);
    let judged_at = state.map(|(at, _)| *at);
    let state = text("state").unwrap_or_else(|| "unknown".to_owned());
    View {
        name: document.name.clone(),
        document: document.json(),
        revision: *revision,
        is_default: *is_default,
        reason: text("reason").unwrap_or_else(|| "nobody judged it yet".to_owned()),
        since: body["since"].as_i64().map(Micros),
        judged_at,
        achieved: body["achieved"].as_f64(),
        good: count("good"),
        total: count("total"),
        budget_left: body["budget_left"].as_f64(),
        offers: tell::offers(&state),
        state,
        burns: body["burns"].clone(),
        page: body["page"].clone(),
        ticket: body["ticket"].clone(),
        source: text("source"),
        detectors: body["detectors"].clone(),
    }
}

/// Of the last day, by hours.
async fn faults(
    store: &Store,
    dify: Option<&str>,
    document: &Document,
    now: Micros,
) -> Result<BTreeMap<&'static str, i64>, StoreError> {
    let (first, end) = (now.0.div_euclid(HOUR_US) - 23, now.0.div_euclid(HOUR_US) + 1);
    let mut blamed = [0_i64; Blame::ALL.len()];
    match (figures::source(document, dify.is_some()), dify) {
        (Ok(Source::Gateway), _) => {
            let series = store.slis().series().await?;
            let chosen: std::collections::HashSet<i64> = series
                .iter()
                .filter(|series| figures::selects(&document.selector, series))
                .map(|series| series.id)
                .collect();
            let mut sum = SliCounts::default();
            for row in store.slis().hours(first, end).await?.iter().filter(|row| chosen.contains(&row.series))
            {
                sum.add(&row.counts);
            }
            blamed = sum.blamed;
        }
        (Ok(_), Some(dify)) => {
            let series = store.dify().series(dify).await?;
            let chosen: BTreeMap<i64, Option<Blame>> = series
                .iter()
                .filter(|series| figures::selects_dify(document.sli, &document.selector, series))
                .map(|series| (series.id, super::blame::of_dify(&series.status, &series.class)))
                .collect();
            for row in store.dify().counted(dify, true, (first, end), figures::KINDS).await? {
                if let Some(Some(blame)) = chosen.get(&row.series) {
                    blamed[blame.index()] += row.count;
                }
            }
        }
        _ => {}
    }
    let told = Blame::ALL.into_iter().map(|blame| (blame.as_str(), blamed[blame.index()]));
    Ok(told.filter(|(_, count)| *count > 0).collect())
}
