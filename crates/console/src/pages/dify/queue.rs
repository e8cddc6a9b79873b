//! One queue: what waits in it, who takes it, and what can be done about it.

use askama::Template;
use mainstay_base::{Finding, Micros};
use mainstay_control::queue::{Peek, Running};
use serde::Serialize;

use super::{
    latest,
    queues::{self, QueueRow, WorkerRow},
};
use crate::{
    App, Failure,
    page::{Chrome, NoQuery, Page},
};

#[derive(Serialize)]
pub(crate) struct QueuePage {
    #[serde(flatten)]
    pub(crate) row: QueueRow,
    pub(crate) at: Option<Micros>,
    pub(crate) findings: Vec<Finding>,
    /// Those that are taken next, then those that came last, as far as they were looked at.
    pub(crate) oldest: Vec<Peek>,
    pub(crate) newest: Vec<Peek>,
    /// What workers have of it.
    pub(crate) held: Vec<Held>,
    /// Workers that answer and do not consume it.
    pub(crate) others: Vec<String>,
}

#[derive(Clone, Serialize)]
pub(crate) struct Held {
    pub(crate) worker: String,
    /// `active` or `reserved`.
    pub(crate) state: &'static str,
    #[serde(flatten)]
    pub(crate) task: Running,
}

#[derive(Template)]
#[template(path = "dify/queue.html")]
struct QueueHtml<'a> {
    chrome: &'a Chrome,
    page: &'a QueuePage,
}

impl Page for QueuePage {
    const SECTION: &'static str = "queues";
    const TOPICS: &'static str = "queues";
    type Query = NoQuery;

    async fn load(app: &App, name: &str, _: NoQuery) -> Result<QueuePage, Failure> {
        let latest = latest(app)?;
        let views = &latest.verdicts.queues;
        let Some(view) = views.iter().find(|view| view.name == name) else {
            let known: Vec<&str> = views.iter().map(|view| view.name.as_str()).take(30).collect();
            let next = format!(
                "in use are: {}",
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            );
            return Err(Failure { next, ..Failure::not_found("queue in use", name) });
        };
        let queue = latest.seen.iter().flat_map(|seen| &seen.queues).find(|queue| queue.name == name);
        let is_about = |finding: &&Finding| finding.subject.queue.as_deref() == Some(name);
        let workers = queues::workers(&latest);
        let others = workers.iter().filter(|row| row.answers() && !view.consumers.contains(&row.worker.name));
        Ok(QueuePage {
            row: queues::queue_row(&latest, view),
            at: latest.seen.as_ref().map(|seen| seen.at),
            findings: latest.verdicts.findings.iter().filter(is_about).cloned().collect(),
            oldest: queue.map(|queue| queue.oldest.clone()).unwrap_or_default(),
            newest: queue.map(|queue| queue.newest.clone()).unwrap_or_default(),
            held: workers.iter().flat_map(|row| held(row, name)).collect(),
            others: others.map(|row| row.worker.name.clone()).collect(),
        })
    }

    fn title(&self) -> String {
        format!("Queue {}", self.row.view.name)
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        QueueHtml { chrome, page: self }.render()
    }
}

fn held(row: &WorkerRow, queue: &str) -> Vec<Held> {
    let of = |tasks: &[Running], state| {
        let ours = tasks.iter().filter(|task| task.queue.as_deref() == Some(queue));
        ours.map(|task| Held { worker: row.worker.name.clone(), state, task: task.clone() })
            .collect::<Vec<_>>()
    };
    [of(row.active(), "active"), of(row.reserved(), "reserved")].concat()
}
