//! The overview: is everything well, what waits, who works, what ran.

use std::time::Duration;

use askama::Template;
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use mainstay_base::Micros;
use mainstay_control::{Report, State as Health, slo};
use mainstay_store::model::{AlertFilter, QueueStats, RunFilter, RunStatus, RunSummary, Worker};
use serde::Serialize;

use super::promises::Promises;
use crate::{
    App, Failure, live,
    page::{Chrome, NoQuery, Page},
    show::{self, Html},
    svg,
};

/// Runs that the small chart counts: the longest list the store gives.
const RUNS_CHARTED: u32 = 200;
const RUNS_SHOWN: usize = 10;
const ALERTS_SHOWN: u32 = 20;
const CHART_STEPS: usize = 30;
/// A heartbeat older than this is shown as late. Workers beat each second.
const BEAT_LATE: Duration = Duration::from_secs(4);

#[derive(Serialize)]
pub(crate) struct Overview {
    pub(crate) health: Report,
    pub(crate) frozen: bool,
    /// Why there is nothing below: the database is away. Health, which is in memory, is shown all the same.
    pub(crate) problem: Option<String>,
    #[serde(flatten)]
    pub(crate) work: Work,
}

/// What the store says.
#[derive(Default, Serialize)]
pub(crate) struct Work {
    pub(crate) queue: QueueStats,
    pub(crate) workers: Vec<Worker>,
    pub(crate) open_alerts: Vec<super::quiet_why::Row>,
    pub(crate) runs: Vec<RunSummary>,
    pub(crate) chart: Chart,
    pub(crate) service_levels: Promises,
}

/// Recent runs by when they were asked for.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Chart {
    pub(crate) step_us: u64,
    pub(crate) steps: Vec<svg::Step>,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Overview,
}

impl Page for Overview {
    const SECTION: &'static str = "overview";
    const TOPICS: &'static str = "health queue alerts runs runbooks beat";
    type Query = NoQuery;

    async fn load(app: &App, _: &str, _: NoQuery) -> Result<Overview, Failure> {
        let (work, problem) = match work(app).await {
            Ok(work) => (work, None),
            Err(failure) => (Work::default(), Some(failure.message)),
        };
        Ok(Overview { health: report(app), frozen: app.ports.control.freeze_state().frozen, problem, work })
    }

    fn title(&self) -> String {
        match self.health.state {
            Health::Ok => "All well".to_owned(),
            state => format!("{}: overview", capital(state.as_str())),
        }
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        OverviewHtml { chrome, page: self }.render()
    }
}

async fn work(app: &App) -> Result<Work, Failure> {
    let store = &app.ports.store;
    let mut runs = store.runs().list(RunFilter { limit: RUNS_CHARTED, ..RunFilter::default() }).await?;
    let chart = Chart::of(&runs, app.ports.clock.now());
    runs.truncate(RUNS_SHOWN);
    let open = AlertFilter { open_only: true, limit: ALERTS_SHOWN, ..AlertFilter::default() };
    let mut workers = store.workers().list().await?;
    workers.sort_by(|one, other| (&one.host, one.slot).cmp(&(&other.host, other.slot)));
    let queue = store.jobs().stats().await?;
    let open_alerts = super::quiet_why::rows(app, store.alerts().list(open).await?).await?;
    let service_levels = Promises::of(&slo::view::list(store).await?);
    Ok(Work { queue, workers, open_alerts, runs, chart, service_levels })
}

impl Overview {
    pub(crate) fn verdict(&self) -> &'static str {
        match self.health.state {
            Health::Ok => "All is well",
            Health::Unknown => "Not checked yet",
            Health::Degraded => "Degraded, still serving",
            Health::Down => "Down",
        }
    }

    pub(crate) fn worker_word(&self, worker: &Worker, now: &Micros) -> &'static str {
        if now.since(worker.beat_at) > BEAT_LATE { "late" } else { "live" }
    }

    pub(crate) fn oldest_us(&self) -> u64 {
        u64::try_from(self.work.queue.oldest_queued_us).unwrap_or(0)
    }

    pub(crate) fn spark(&self) -> Html {
        svg::sparkline(&self.work.chart.steps, &self.work.chart.words())
    }
}

impl Chart {
    fn of(runs: &[RunSummary], now: Micros) -> Chart {
        let Some(oldest) = runs.last() else { return Chart::default() };
        let whole = u64::try_from(now.since(oldest.created_at).as_micros()).unwrap_or(u64::MAX);
        let step_us = (whole / CHART_STEPS as u64 + 1).max(1_000_000);
        let mut steps = vec![svg::Step::default(); CHART_STEPS];
        for run in runs {
            let age = u64::try_from(now.since(run.created_at).as_micros()).unwrap_or(u64::MAX);
            let back = usize::try_from(age / step_us).unwrap_or(usize::MAX).min(CHART_STEPS - 1);
            let step = &mut steps[CHART_STEPS - 1 - back];
            match run.status {
                RunStatus::Failed => step.bad += 1,
                _ => step.good += 1,
            }
        }
        Chart { step_us, steps }
    }

    pub(crate) fn words(&self) -> String {
        let (good, bad) =
            self.steps.iter().fold((0, 0), |(good, bad), step| (good + step.good, bad + step.bad));
        let span = self.step_us.saturating_mul(self.steps.len() as u64);
        format!("{} runs in {}, {bad} failed", show::count(&(good + bad)), show::took(&span))
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

pub(crate) fn report(app: &App) -> Report {
    Report::clone(&app.ports.control.report())
}

/// What changes when health does; times of checks, which always change, left out.
pub(crate) fn health_mark(app: &App) -> String {
    let report = report(app);
    let components = report.components.iter();
    let seen: Vec<_> = components.map(|one| (&one.id, one.state.as_str(), &one.reason, one.since)).collect();
    live::mark(&(report.state.as_str(), report.since, seen))
}

/// `GET /api/health`: the same body as the open `/health`, behind the door; always 200.
pub(crate) async fn health(State(app): State<App>) -> Response {
    Json(report(&app)).into_response()
}
