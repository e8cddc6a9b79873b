//! Apps of the Dify: what they did lately, how it failed, what it cost.

use std::{collections::BTreeMap, time::Duration};

use askama::Template;
use mainstay_base::Micros;
use mainstay_control::{
    ingest::{
        Reading,
        view::{self, AppView},
    },
    queue::MARKED_FAILED,
};
use mainstay_store::model::{DifyFilter, DifyListed};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::dify;
use crate::{
    App, Dify, Failure,
    page::{Chrome, Page},
    pages::word,
    show,
};

/// Apps that one page shows.
const APPS_SHOWN: usize = 200;
/// Apps of which the last failure is looked up, those with most failures first.
const FAILURES_LOOKED_UP: usize = 30;

/// Spans of time by the word of the filter; the first unless told.
pub(crate) const SPANS: [(&str, &str, Duration); 4] = [
    ("hour", "the last hour", Duration::from_secs(3_600)),
    ("quarter", "the last 6 hours", Duration::from_secs(6 * 3_600)),
    ("day", "the last 24 hours", Duration::from_secs(24 * 3_600)),
    ("week", "the last 7 days", Duration::from_secs(7 * 24 * 3_600)),
];

#[derive(Deserialize)]
pub(crate) struct Query {
    span: Option<String>,
}

impl Query {
    /// The place in [`SPANS`].
    pub(super) fn span(self) -> Result<usize, Failure> {
        let known = SPANS.map(|(name, ..)| name);
        let place = |text: &str| known.iter().position(|name| *name == text);
        Ok(word("span", self.span, place, &known)?.unwrap_or(0))
    }
}

#[derive(Serialize)]
pub(crate) struct Apps {
    pub(crate) span: &'static str,
    /// Those with most failures first.
    pub(crate) apps: Vec<Row>,
    /// Of which those shown are the first.
    pub(crate) total: usize,
    pub(crate) reading: Option<Read>,
    #[serde(skip)]
    place: usize,
}

#[derive(Serialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) view: AppView,
    pub(crate) last_failure: Option<Item>,
}

/// How the reading of the database goes.
#[derive(Serialize)]
pub(crate) struct Read {
    /// When it was told.
    pub(crate) told_at: Micros,
    #[serde(flatten)]
    pub(crate) reading: Reading,
}

/// One run, or one answer of an app without runs.
#[derive(Serialize)]
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) at: Micros,
    pub(crate) status: String,
    /// What kind of failure; empty for none.
    pub(crate) class: String,
    pub(crate) error: Option<String>,
    /// The row of the catalogue that knows the error.
    pub(crate) signature: Option<String>,
    pub(crate) cause: Option<String>,
    pub(crate) remedy: Option<String>,
    pub(crate) took_us: Option<i64>,
    pub(crate) wait_us: Option<i64>,
    pub(crate) tokens: Option<i64>,
    pub(crate) origin: Option<String>,
}

#[derive(Template)]
#[template(path = "dify/apps.html")]
struct AppsHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Apps,
}

impl Page for Apps {
    const SECTION: &'static str = "dify/apps";
    const TOPICS: &'static str = "dify-apps";
    type Query = Query;

    async fn load(app: &App, _: &str, query: Query) -> Result<Apps, Failure> {
        let dify = dify(app)?;
        let source = dify.name();
        let place = query.span()?;
        let (now, (name, _, span)) = (app.ports.clock.now(), SPANS[place]);
        let mut views = view::apps(&app.ports.store, &source, now - span, now).await?;
        let total = views.len();
        views.truncate(APPS_SHOWN);
        let item = |listed| Item::of(listed, &**dify);
        let mut apps = Vec::with_capacity(views.len());
        for (index, view) in views.into_iter().enumerate() {
            let is_asked = view.failed > 0 && index < FAILURES_LOOKED_UP;
            let last_failure = if is_asked {
                let filter = DifyFilter { failed_only: true, since: Some(now - span), limit: 1, ..of(&view) };
                view::latest(&app.ports.store, &source, filter).await?.into_iter().next().map(item)
            } else {
                None
            };
            apps.push(Row { view, last_failure });
        }
        Ok(Apps { span: name, apps, total, reading: reading(app, &source).await?, place })
    }

    fn title(&self) -> String {
        "Dify apps".to_owned()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        AppsHtml { chrome, page: self }.render()
    }
}

impl Apps {
    pub(crate) fn is_span(&self, name: &str) -> bool {
        SPANS[self.place].0 == name
    }

    pub(crate) fn span_words(&self) -> &'static str {
        SPANS[self.place].1
    }
}

pub(super) async fn reading(app: &App, source: &str) -> Result<Option<Read>, Failure> {
    let reading = view::reading(&app.ports.store, source).await?;
    Ok(reading.map(|(told_at, reading)| Read { told_at, reading }))
}

impl Read {
    /// How far behind the slowest table is.
    pub(crate) fn behind(&self) -> Option<String> {
        let lags = self.reading.tables.iter().filter_map(|table| table.lag_seconds);
        lags.reduce(f64::max).map(|lag| super::words::seconds(&lag))
    }
}

/// What an app does: runs, or answers where it has no runs.
pub(super) fn of(view: &AppView) -> DifyFilter {
    let kind = match view.mode.as_str() {
        "chat" | "agent-chat" | "completion" => "message",
        _ => "run",
    };
    DifyFilter { kind: kind.to_owned(), app_id: Some(view.app_id.clone()), ..DifyFilter::default() }
}

impl Item {
    pub(super) fn of(listed: DifyListed, dify: &dyn Dify) -> Item {
        let body: Value = serde_json::from_str(&listed.body).unwrap_or_default();
        let text = |name: &str| body[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let signature = text("signature");
        let (cause, remedy) = signature.as_deref().and_then(|signature| dify.meaning(signature)).unzip();
        Item {
            id: listed.id,
            at: listed.created_at,
            status: listed.status,
            class: listed.class,
            error: text("error"),
            cause,
            remedy,
            signature,
            took_us: body["took_us"].as_i64(),
            wait_us: body["wait_us"].as_i64(),
            tokens: body["tokens"].as_i64(),
            origin: text("origin"),
        }
    }
}

impl Item {
    /// Marked failed by hand, which can be taken back.
    pub(crate) fn was_marked(&self) -> bool {
        self.error.as_deref() == Some(MARKED_FAILED)
    }
}

/// The name of an app, or its id where nobody told its name.
pub(crate) fn named(view: &AppView) -> &str {
    if view.name.is_empty() { &view.app_id } else { &view.name }
}

/// The commonest failures, for a line.
pub(crate) fn failures(failures: &BTreeMap<String, i64>) -> String {
    let mut failures: Vec<_> = failures.iter().collect();
    failures.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let word = |(class, count): &(&String, &i64)| format!("{} × {}", show::count(count), show::words(class));
    failures.iter().take(4).map(word).collect::<Vec<_>>().join(", ")
}

/// Of all runs, in percent.
pub(crate) fn failed_percent(view: &AppView) -> i64 {
    view.failed * 100 / view.runs.max(1)
}

/// `0.0123 USD`; a dash where no model has a price.
pub(crate) fn cost(cost_micros: &BTreeMap<String, i64>) -> String {
    let word = |(currency, micros): (&String, &i64)| {
        let unit = if currency.is_empty() { "" } else { " " };
        format!("{}.{:04}{unit}{currency}", show::count(&(micros / 1_000_000)), micros % 1_000_000 / 100)
    };
    let words: Vec<String> = cost_micros.iter().map(word).collect();
    if words.is_empty() { "–".to_owned() } else { words.join(", ") }
}
