//! Requests through the gateways, and the walk of one: what `mainstay explain` prints.

use askama::Template;
use mainstay_base::{
    Micros, Record,
    record::{self, StageOutcome},
};
use mainstay_store::model::RecordFilter;
use serde::{Deserialize, Serialize};

use super::{given, query, word};
use crate::{
    App, Failure,
    page::{Chrome, NoQuery, Page},
    show::Html,
    svg, tone,
};

const REQUESTS_SHOWN: u32 = 50;
const REQUESTS_SHOWN_MAX: u32 = 199;
pub(crate) const PATHS: [&str; 2] = ["app", "model"];
pub(crate) const OUTCOMES: [&str; 4] = ["ok", "failed", "caller_gone", "cut"];

#[derive(Serialize)]
pub(crate) struct Requests {
    pub(crate) requests: Vec<Record>,
    /// The cursor of the next page: give it as `before`.
    pub(crate) next_before: Option<Micros>,
    pub(crate) filter: Filter,
    #[serde(skip)]
    pub(crate) older: Option<String>,
}

#[derive(Clone, Serialize)]
pub(crate) struct Filter {
    path: Option<record::Path>,
    outcome: Option<record::Outcome>,
    app: Option<String>,
    run: Option<String>,
}

impl Filter {
    pub(crate) fn is_set(&self) -> bool {
        self.path.is_some() || self.outcome.is_some() || self.app.is_some() || self.run.is_some()
    }

    pub(crate) fn is_path(&self, word: &str) -> bool {
        self.path.is_some_and(|path| path_word(&path) == word)
    }

    pub(crate) fn is_outcome(&self, word: &str) -> bool {
        self.outcome.is_some_and(|outcome| outcome.as_str() == word)
    }
}

#[derive(Deserialize)]
pub(crate) struct RequestsQuery {
    path: Option<String>,
    outcome: Option<String>,
    app: Option<String>,
    run: Option<String>,
    before: Option<String>,
    limit: Option<u32>,
}

#[derive(Template)]
#[template(path = "requests.html")]
struct RequestsHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Requests,
}

impl Page for Requests {
    const SECTION: &'static str = "requests";
    const TOPICS: &'static str = "requests";
    type Query = RequestsQuery;

    async fn load(app: &App, _: &str, asked: RequestsQuery) -> Result<Requests, Failure> {
        let filter = Filter {
            path: word("path", asked.path, parse_path, &PATHS)?,
            outcome: word("outcome", asked.outcome, parse_outcome, &OUTCOMES)?,
            app: given(asked.app),
            run: given(asked.run),
        };
        let before = word("before", asked.before, |text| text.parse().ok().map(Micros), &["microseconds"])?;
        let shown = asked.limit.unwrap_or(REQUESTS_SHOWN).clamp(1, REQUESTS_SHOWN_MAX);
        let wanted = RecordFilter {
            app_id: filter.app.clone(),
            path: filter.path,
            outcome: filter.outcome,
            run_id: filter.run.clone(),
            before,
            limit: shown + 1,
        };
        let mut requests = app.ports.store.records().list(wanted).await?;
        let more = requests.len() > shown as usize;
        requests.truncate(shown as usize);
        let next_before = requests.last().filter(|_| more).map(|record| record.opened_at);
        let older = next_before.map(|before| older(&filter, before, asked.limit));
        Ok(Requests { requests, next_before, filter, older })
    }

    fn title(&self) -> String {
        "Requests".to_owned()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        RequestsHtml { chrome, page: self }.render()
    }
}

fn older(filter: &Filter, before: Micros, limit: Option<u32>) -> String {
    let (before, limit) = (before.0.to_string(), limit.map(|limit| limit.to_string()));
    let pairs = [
        ("path", filter.path.as_ref().map(path_word)),
        ("outcome", filter.outcome.map(record::Outcome::as_str)),
        ("app", filter.app.as_deref()),
        ("run", filter.run.as_deref()),
        ("limit", limit.as_deref()),
        ("before", Some(before.as_str())),
    ];
    format!("/requests{}", query(&pairs))
}

pub(crate) fn path_word(path: &record::Path) -> &'static str {
    match path {
        record::Path::App => "app",
        record::Path::Model => "model",
    }
}

fn parse_path(word: &str) -> Option<record::Path> {
    [record::Path::App, record::Path::Model].into_iter().find(|path| path_word(path) == word)
}

fn parse_outcome(word: &str) -> Option<record::Outcome> {
    use record::Outcome::{CallerGone, Cut, Failed, Ok};
    [Ok, Failed, CallerGone, Cut].into_iter().find(|outcome| outcome.as_str() == word)
}

pub(crate) fn stage_word(outcome: &StageOutcome) -> &'static str {
    match outcome {
        StageOutcome::Passed => "passed",
        StageOutcome::Refused => "refused",
        StageOutcome::Failed => "failed",
    }
}

pub(crate) fn role_word(role: &record::AttemptRole) -> &'static str {
    match role {
        record::AttemptRole::First => "first",
        record::AttemptRole::Retry => "retry",
        record::AttemptRole::Fallback => "fallback",
        record::AttemptRole::Hedge => "hedge",
        record::AttemptRole::Continuation => "continuation",
    }
}

/// Input and output of an attempt.
pub(crate) fn tokens(attempt: &record::Attempt) -> String {
    match (attempt.input_tokens, attempt.output_tokens) {
        (None, None) => "–".to_owned(),
        (input, output) => format!("{} + {}", input.unwrap_or(0), output.unwrap_or(0)),
    }
}

/// The walk of one request.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Walk {
    pub(crate) record: Record,
}

#[derive(Template)]
#[template(path = "request.html")]
struct WalkHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Walk,
}

impl Page for Walk {
    const SECTION: &'static str = "requests";
    const TOPICS: &'static str = "";
    type Query = NoQuery;

    async fn load(app: &App, id: &str, _: NoQuery) -> Result<Walk, Failure> {
        let record = app.ports.store.records().get(id).await?;
        record.map(|record| Walk { record }).ok_or_else(|| Failure::not_found("request", id))
    }

    fn title(&self) -> String {
        format!("{} {}", self.record.method, self.record.target)
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        WalkHtml { chrome, page: self }.render()
    }
}

impl Walk {
    pub(crate) fn lane(&self, stage: &record::Stage) -> Html {
        let ends = self.record.stages.iter().map(|stage| stage.started_us.saturating_add(stage.took_us));
        let whole = ends.chain([self.record.took_us]).max().unwrap_or(0);
        svg::lane(whole, stage.started_us, stage.took_us, tone::of(stage_word(&stage.outcome)))
    }
}
