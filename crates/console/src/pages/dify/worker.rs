//! One worker: what it has, what it takes, and what can be done with it.

use askama::Template;
use mainstay_base::{Finding, Micros, listed};
use serde::Serialize;

use super::{
    latest,
    queues::{self, WorkerRow},
};
use crate::{
    App, Failure,
    page::{Chrome, NoQuery, Page},
};

#[derive(Serialize)]
pub(crate) struct WorkerPage {
    #[serde(flatten)]
    pub(crate) row: WorkerRow,
    pub(crate) at: Option<Micros>,
    pub(crate) findings: Vec<Finding>,
    /// Queues that it does not consume.
    pub(crate) other_queues: Vec<String>,
}

#[derive(Template)]
#[template(path = "dify/worker.html")]
struct WorkerHtml<'a> {
    chrome: &'a Chrome,
    page: &'a WorkerPage,
}

impl Page for WorkerPage {
    const SECTION: &'static str = "queues";
    const TOPICS: &'static str = "queues";
    type Query = NoQuery;

    async fn load(app: &App, name: &str, _: NoQuery) -> Result<WorkerPage, Failure> {
        let latest = latest(app)?;
        let mut rows = queues::workers(&latest);
        let Some(at) = rows.iter().position(|row| row.worker.name == name) else {
            let next = format!("there are: {}", listed(rows.iter().map(|row| row.worker.name.as_str())));
            return Err(Failure { next, ..Failure::not_found("worker", name) });
        };
        let row = rows.swap_remove(at);
        let is_about = |finding: &&Finding| finding.subject.worker.as_deref() == Some(name);
        let names = latest.verdicts.queues.iter().map(|view| view.name.clone());
        Ok(WorkerPage {
            other_queues: names.filter(|name| !row.queues().contains(name)).collect(),
            at: latest.seen.as_ref().map(|seen| seen.at),
            findings: latest.verdicts.findings.iter().filter(is_about).cloned().collect(),
            row,
        })
    }

    fn title(&self) -> String {
        format!("Worker {}", self.row.worker.name)
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        WorkerHtml { chrome, page: self }.render()
    }
}

impl WorkerPage {
    /// A pool that can change its size while it runs.
    pub(crate) fn can_resize(&self) -> bool {
        ["gevent", "eventlet", "prefork"].contains(&self.row.pool().as_str()) && self.autoscale().is_none()
    }

    /// The most and the fewest places, where it sizes its pool by itself.
    pub(crate) fn autoscale(&self) -> Option<(u64, u64)> {
        self.row.worker.answer.as_ref().and_then(|answer| answer.autoscale)
    }

    pub(crate) fn done(&self) -> &[(String, u64)] {
        self.row.worker.answer.as_ref().map_or(&[], |answer| &answer.done)
    }

    pub(crate) fn prefetch(&self) -> Option<u64> {
        self.row.worker.answer.as_ref().and_then(|answer| answer.prefetch)
    }

    pub(crate) fn uptime_s(&self) -> Option<f64> {
        let uptime = self.row.worker.answer.as_ref().and_then(|answer| answer.uptime_s);
        #[expect(clippy::cast_precision_loss, reason = "seconds, for people")]
        uptime.map(|uptime| uptime as f64)
    }
}
