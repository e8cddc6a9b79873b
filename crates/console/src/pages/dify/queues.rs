//! Queues and workers: how much waits, who takes it, what is wrong with it.

use askama::Template;
use mainstay_base::{Finding, Micros};
use mainstay_control::queue::{Latest, QueueView, Running, TenantList, Unacked, Worker};
use serde::Serialize;

use super::{latest, words};
use crate::{
    App, Failure,
    page::{Chrome, NoQuery, Page},
};

#[derive(Serialize)]
pub(crate) struct Queues {
    /// When the broker was looked at; `None`: not yet, or it cannot be asked and a finding says why.
    pub(crate) at: Option<Micros>,
    /// When workers were asked last.
    pub(crate) asked_at: Option<Micros>,
    /// The worst first.
    pub(crate) findings: Vec<Finding>,
    /// The longest first.
    pub(crate) queues: Vec<QueueRow>,
    pub(crate) workers: Vec<WorkerRow>,
    pub(crate) unacked: Unacked,
    pub(crate) tenants: Vec<TenantList>,
}

#[derive(Serialize)]
pub(crate) struct QueueRow {
    #[serde(flatten)]
    pub(crate) view: QueueView,
    /// The worst that was found of it, or `unconsumed`.
    pub(crate) state: &'static str,
    /// Tasks of it that workers run.
    pub(crate) active: usize,
    /// Tasks of it that workers took ahead.
    pub(crate) reserved: usize,
    /// Of it among the oldest that nobody acknowledged.
    pub(crate) unacked: usize,
}

#[derive(Serialize)]
pub(crate) struct WorkerRow {
    #[serde(flatten)]
    pub(crate) worker: Worker,
    /// `ok`, `silent`, `ended`, `unknown`, or the worst that was found of it.
    pub(crate) state: &'static str,
}

#[derive(Template)]
#[template(path = "dify/queues.html")]
struct QueuesHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Queues,
}

impl Page for Queues {
    const SECTION: &'static str = "queues";
    const TOPICS: &'static str = "queues";
    type Query = NoQuery;

    async fn load(app: &App, _: &str, _: NoQuery) -> Result<Queues, Failure> {
        let latest = latest(app)?;
        let seen = latest.seen.as_ref();
        let views = latest.verdicts.queues.iter();
        Ok(Queues {
            at: seen.map(|seen| seen.at),
            asked_at: seen.and_then(|seen| seen.asked_at),
            findings: latest.verdicts.findings.clone(),
            queues: views.map(|view| queue_row(&latest, view)).collect(),
            workers: workers(&latest),
            unacked: seen.map(|seen| seen.unacked.clone()).unwrap_or_default(),
            tenants: seen.map(|seen| seen.tenants.clone()).unwrap_or_default(),
        })
    }

    fn title(&self) -> String {
        "Queues".to_owned()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        QueuesHtml { chrome, page: self }.render()
    }
}

pub(super) fn queue_row(latest: &Latest, view: &QueueView) -> QueueRow {
    let is_ours = |queue: &Option<String>| queue.as_deref() == Some(view.name.as_str());
    let seen = latest.seen.as_ref();
    let answers = || seen.iter().flat_map(|seen| &seen.workers).filter_map(|worker| worker.answer.as_ref());
    let count = |tasks: &[Running]| tasks.iter().filter(|task| is_ours(&task.queue)).count();
    let oldest = seen.iter().flat_map(|seen| &seen.unacked.oldest);
    let found = latest.verdicts.findings.iter().filter(|finding| is_ours(&finding.subject.queue));
    let state = match words::worst(found) {
        // A finding needs its cause to stand for a while.
        "ok" if view.waiting > 0 && view.consumers.is_empty() => "unconsumed",
        worst => worst,
    };
    QueueRow {
        view: view.clone(),
        state,
        active: answers().map(|answer| count(&answer.active)).sum(),
        reserved: answers().map(|answer| count(&answer.reserved)).sum(),
        unacked: oldest.filter(|message| is_ours(&message.queue)).count(),
    }
}

pub(super) fn workers(latest: &Latest) -> Vec<WorkerRow> {
    let seen = latest.seen.iter().flat_map(|seen| &seen.workers);
    let row = |worker: &Worker| WorkerRow { worker: worker.clone(), state: state(latest, worker) };
    seen.map(row).collect()
}

fn state(latest: &Latest, worker: &Worker) -> &'static str {
    let found = latest.verdicts.findings.iter();
    let found = words::worst(found.filter(|finding| finding.subject.worker.as_deref() == Some(&worker.name)));
    match worker {
        Worker { said_goodbye: true, .. } => "ended",
        Worker { silent_rounds: 1.., .. } => "silent",
        _ if found != "ok" => found,
        Worker { answer: None, .. } => "unknown",
        _ => "ok",
    }
}

impl Queues {
    pub(crate) fn waiting(&self) -> u64 {
        self.queues.iter().map(|row| row.view.waiting).sum()
    }

    pub(crate) fn active(&self) -> usize {
        self.workers.iter().map(|row| row.active().len()).sum()
    }

    pub(crate) fn answering(&self) -> usize {
        self.workers.iter().filter(|row| row.answers()).count()
    }

    /// The longest wait that is known of.
    pub(crate) fn oldest(&self) -> Option<f64> {
        self.queues.iter().filter_map(|row| row.view.oldest_s).reduce(f64::max)
    }
}

impl QueueRow {
    /// What is most of it.
    pub(crate) fn most(&self) -> Option<String> {
        let most = self.view.subjects.first().or(self.view.tasks.first())?;
        Some(most.name.clone())
    }
}

impl WorkerRow {
    pub(crate) fn answers(&self) -> bool {
        self.worker.answer.is_some() && self.worker.silent_rounds == 0 && !self.worker.said_goodbye
    }

    pub(crate) fn active(&self) -> &[Running] {
        self.worker.answer.as_ref().map_or(&[], |answer| &answer.active)
    }

    pub(crate) fn reserved(&self) -> &[Running] {
        self.worker.answer.as_ref().map_or(&[], |answer| &answer.reserved)
    }

    /// `gevent, 3 of 10 places`.
    pub(crate) fn pool(&self) -> String {
        self.worker.answer.as_ref().and_then(|answer| answer.pool.clone()).unwrap_or_else(|| "–".to_owned())
    }

    pub(crate) fn places(&self) -> String {
        let places = self.worker.answer.as_ref().and_then(|answer| answer.concurrency);
        places.map_or_else(
            || self.active().len().to_string(),
            |places| format!("{} of {places}", self.active().len()),
        )
    }

    pub(crate) fn queues(&self) -> &[String] {
        let queues = self.worker.answer.as_ref().and_then(|answer| answer.queues.as_ref());
        queues.map_or(&[], |queues| queues)
    }

    pub(crate) fn heard_at(&self) -> Option<Micros> {
        self.worker.heard.as_ref().map(|heard| heard.at)
    }

    pub(crate) fn answered_at(&self) -> Option<Micros> {
        self.worker.answer.as_ref().map(|answer| answer.at)
    }

    pub(crate) fn processed(&self) -> Option<u64> {
        self.worker.heard.as_ref().map(|heard| heard.processed)
    }
}
