//! Runs: the list, one run with its nodes, and what can be done with it.

use std::collections::BTreeMap;

use askama::Template;
use http::StatusCode;
use mainstay_base::Micros;
use mainstay_store::model::{
    Cancelled, Delivery, JobKind, JobState, NodeExecution, Replayed, Run, RunFilter, RunStatus, RunSummary,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{given, query, word};
use crate::{
    App, Failure,
    action::{self, Action, Done, NoInput},
    auth::Actor,
    page::{Chrome, NoQuery, Page},
    show::Html,
    svg, tone,
};

const RUNS_SHOWN: u32 = 50;
const RUNS_SHOWN_MAX: u32 = 199;
pub(crate) const STATUSES: [&str; 6] =
    ["queued", "running", "succeeded", "partial-succeeded", "failed", "stopped"];
pub(crate) const KINDS: [&str; 2] = ["embedded", "upstream"];

#[derive(Serialize)]
pub(crate) struct Runs {
    pub(crate) runs: Vec<RunSummary>,
    /// The cursor of the next page: give it as `before`.
    pub(crate) next_before: Option<String>,
    pub(crate) filter: Filter,
    #[serde(skip)]
    pub(crate) apps: Vec<mainstay_store::model::App>,
    #[serde(skip)]
    pub(crate) older: Option<String>,
}

#[derive(Clone, Serialize)]
pub(crate) struct Filter {
    status: Option<RunStatus>,
    app: Option<String>,
    kind: Option<JobKind>,
}

impl Filter {
    pub(crate) fn is_set(&self) -> bool {
        self.status.is_some() || self.app.is_some() || self.kind.is_some()
    }

    pub(crate) fn is_status(&self, word: &str) -> bool {
        self.status.is_some_and(|status| status.as_str() == word)
    }

    pub(crate) fn is_app(&self, id: &str) -> bool {
        self.app.as_deref() == Some(id)
    }

    pub(crate) fn is_kind(&self, word: &str) -> bool {
        self.kind.is_some_and(|kind| kind.as_str() == word)
    }
}

#[derive(Deserialize)]
pub(crate) struct RunsQuery {
    status: Option<String>,
    app: Option<String>,
    kind: Option<String>,
    before: Option<String>,
    limit: Option<u32>,
}

#[derive(Template)]
#[template(path = "runs.html")]
struct RunsHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Runs,
}

impl Page for Runs {
    const SECTION: &'static str = "runs";
    const TOPICS: &'static str = "runs";
    type Query = RunsQuery;

    async fn load(app: &App, _: &str, asked: RunsQuery) -> Result<Runs, Failure> {
        let filter = Filter {
            status: word("status", asked.status, RunStatus::parse, &STATUSES)?,
            app: given(asked.app),
            kind: word("kind", asked.kind, JobKind::parse, &KINDS)?,
        };
        let shown = asked.limit.unwrap_or(RUNS_SHOWN).clamp(1, RUNS_SHOWN_MAX);
        let wanted = RunFilter {
            app_id: filter.app.clone(),
            status: filter.status,
            kind: filter.kind,
            before: given(asked.before),
            // One more than is shown tells whether there is another page.
            limit: shown + 1,
            ..RunFilter::default()
        };
        let mut runs = app.ports.store.runs().list(wanted).await?;
        let more = runs.len() > shown as usize;
        runs.truncate(shown as usize);
        let next_before = runs.last().filter(|_| more).map(|run| run.id.clone());
        let older = next_before.as_deref().map(|before| older(&filter, before, asked.limit));
        let apps = app.ports.store.apps().list().await?;
        Ok(Runs { runs, next_before, filter, apps, older })
    }

    fn title(&self) -> String {
        "Runs".to_owned()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        RunsHtml { chrome, page: self }.render()
    }
}

fn older(filter: &Filter, before: &str, limit: Option<u32>) -> String {
    let limit = limit.map(|limit| limit.to_string());
    let pairs = [
        ("status", filter.status.map(RunStatus::as_str)),
        ("app", filter.app.as_deref()),
        ("kind", filter.kind.map(JobKind::as_str)),
        ("limit", limit.as_deref()),
        ("before", Some(before)),
    ];
    format!("/runs{}", query(&pairs))
}

/// One run.
#[derive(Serialize)]
pub(crate) struct RunPage {
    pub(crate) run: Run,
    pub(crate) nodes: Vec<NodeExecution>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) can_cancel: bool,
    pub(crate) can_retry: bool,
}

#[derive(Template)]
#[template(path = "run.html")]
struct RunHtml<'a> {
    chrome: &'a Chrome,
    page: &'a RunPage,
}

impl Page for RunPage {
    const SECTION: &'static str = "runs";
    const TOPICS: &'static str = "runs queue";
    type Query = NoQuery;

    async fn load(app: &App, id: &str, _: NoQuery) -> Result<RunPage, Failure> {
        let run = find(app, id).await?;
        let nodes = app.ports.store.runs().nodes(id).await?;
        let deliveries = app.ports.store.outbox().list(id).await?;
        let job = run.summary.job.as_ref();
        let can_retry = job.is_some_and(|job| job.state == JobState::Dead);
        let can_cancel = job.is_some_and(|job| job.state != JobState::Dead && !job.cancel_requested);
        Ok(RunPage { run, nodes, deliveries, can_cancel, can_retry })
    }

    fn title(&self) -> String {
        format!("{}, a run of {}", self.run.summary.status.as_str(), self.run.summary.app_name)
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        RunHtml { chrome, page: self }.render()
    }
}

impl RunPage {
    pub(crate) fn created(&self) -> Option<Micros> {
        Some(self.run.summary.created_at)
    }

    fn begin(&self) -> Micros {
        let nodes = self.nodes.iter().map(|node| node.started_at);
        nodes.chain(self.run.summary.started_at).min().unwrap_or(self.run.summary.created_at)
    }

    /// From the first thing that began to the last that ended: what the lanes are as wide as.
    pub(crate) fn span_us(&self) -> u64 {
        let nodes = self.nodes.iter().map(|node| node.finished_at);
        let end = nodes.chain(self.run.summary.finished_at).max().unwrap_or(self.begin());
        micros(end, self.begin())
    }

    pub(crate) fn offset_us(&self, node: &NodeExecution) -> u64 {
        micros(node.started_at, self.begin())
    }

    pub(crate) fn lane(&self, node: &NodeExecution) -> Html {
        svg::lane(
            self.span_us(),
            self.offset_us(node),
            u64::try_from(node.elapsed_us).unwrap_or(0),
            tone::of(&node.status),
        )
    }
}

fn micros(later: Micros, earlier: Micros) -> u64 {
    u64::try_from(later.since(earlier).as_micros()).unwrap_or(u64::MAX)
}

async fn find(app: &App, id: &str) -> Result<Run, Failure> {
    app.ports.store.runs().get(id).await?.ok_or_else(|| Failure::not_found("run", id))
}

/// Stops a run that waits or is held by a worker.
pub(crate) struct Cancel;

impl Action for Cancel {
    type Input = NoInput;

    async fn perform(app: &App, actor: &Actor, id: &str, _: NoInput) -> Result<Done, Failure> {
        let run = find(app, id).await?;
        if run.summary.status.is_final() {
            return Err(Failure::conflict("the run has ended", "there is nothing to stop"));
        }
        let text = format!("{} asked to stop a run of {}", actor.name, run.summary.app_name);
        action::audit(app, actor, format!("run:{id}"), "run.cancel", text, json!({})).await?;
        let cancelled = app.ports.store.jobs().cancel(id).await?;
        let notice = match cancelled {
            Cancelled::Stopped => "run-stopped",
            Cancelled::Requested => "run-stop-asked",
            Cancelled::AlreadyEnded => {
                return Err(Failure::conflict("the run has ended meanwhile", "there is nothing to stop"));
            }
            Cancelled::NotFound => {
                return Err(Failure::conflict(
                    "the run is not in the queue: it is answered at once by the process that took the request",
                    "its caller can stop it with Dify's own stop endpoint",
                ));
            }
        };
        done(app, id, notice, json!({ "id": id, "cancelled": cancelled })).await
    }
}

/// Puts a dead letter back into the queue.
pub(crate) struct Retry;

impl Action for Retry {
    type Input = NoInput;

    async fn perform(app: &App, actor: &Actor, id: &str, _: NoInput) -> Result<Done, Failure> {
        let run = find(app, id).await?;
        let dead = run.summary.job.as_ref().is_some_and(|job| job.state == JobState::Dead);
        if !dead {
            return Err(Failure::conflict("only a dead letter can be run again", "see /dead for those"));
        }
        let text = format!("{} asked to run a dead letter of {} again", actor.name, run.summary.app_name);
        action::audit(app, actor, format!("run:{id}"), "run.retry", text, json!({})).await?;
        match app.ports.store.jobs().replay(id).await? {
            Replayed::Queued => done(app, id, "run-queued", json!({ "id": id, "replayed": "queued" })).await,
            Replayed::NotDead => {
                Err(Failure::conflict("somebody was faster: it is no dead letter any more", "reload"))
            }
            Replayed::NotFound => Err(Failure::not_found("run", id)),
        }
    }
}

async fn done(app: &App, id: &str, notice: &'static str, body: serde_json::Value) -> Result<Done, Failure> {
    app.live.forget().await;
    Ok(Done { status: StatusCode::ACCEPTED, body, to: format!("/runs/{id}"), notice, page: None })
}

/// Runs, failures and tokens of a day, by app.
pub(crate) async fn day(app: &App) -> Result<BTreeMap<String, Day>, Failure> {
    const DAY: std::time::Duration = std::time::Duration::from_hours(24);
    let mut days: BTreeMap<String, Day> = BTreeMap::new();
    for tally in app.ports.store.runs().tally(app.ports.clock.now() - DAY).await? {
        let day = days.entry(tally.app_id).or_default();
        day.runs += tally.runs;
        day.tokens += tally.total_tokens;
        if tally.status == RunStatus::Failed {
            day.failed += tally.runs;
        }
    }
    Ok(days)
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Day {
    pub(crate) runs: i64,
    pub(crate) failed: i64,
    pub(crate) tokens: i64,
}
