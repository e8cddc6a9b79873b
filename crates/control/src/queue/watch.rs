//! Looks at Dify's queues every few seconds, keeps what was seen last, and does what operators ask.

use std::{path::PathBuf, sync::Arc, time::Duration};

use mainstay_base::{Clock, Evidence, Finding, Severity, finding::Subject};
use mainstay_dify::{
    Deployment,
    celery::{
        Observer, Options, Seen,
        act::{self, Action, Done, Plan, Refused, Terms},
    },
    redis::Error,
};
use mainstay_store::StoreError;
use serde_json::json;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::{Judge, Limits, Rows, Verdicts};
use crate::facade::Facade;

/// Between two looks.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Cheap to clone.
#[derive(Clone)]
pub struct Watch {
    shared: Arc<Shared>,
}

struct Shared {
    observer: Mutex<Observer>,
    latest: watch::Sender<Arc<Latest>>,
    rows: watch::Sender<Arc<Rows>>,
    /// Counts actions that were done.
    acted: watch::Sender<u64>,
    limits: Limits,
    clock: Clock,
    /// Where purges write; `None`: nowhere, so they are refused.
    folder: Option<PathBuf>,
}

/// What was seen last, and what was said of it.
#[derive(Clone, Debug, Default)]
pub struct Latest {
    /// `None`: nothing yet, or the broker cannot be asked; a finding says why.
    pub seen: Option<Seen>,
    pub verdicts: Verdicts,
}

/// What came of an action: a plan that was only shown, or one that was done.
#[derive(Clone, Debug)]
pub struct Acted {
    pub plan: Plan,
    pub done: Option<Done>,
}

#[derive(Debug, thiserror::Error)]
pub enum NotActed {
    #[error(transparent)]
    Refused(#[from] Refused),
    /// What cannot be written down is not done.
    #[error("the action cannot be written into the timeline, so it is not done")]
    Store(#[from] StoreError),
}

impl Watch {
    /// `None` when the deployment names no broker. Looks at nothing before [`Watch::run`].
    pub fn new(deployment: &Deployment, clock: Clock, folder: Option<PathBuf>) -> Option<Watch> {
        let observer = Observer::new(deployment, Options::default())?;
        let mut limits = Limits::default();
        if let Some(longest_s) = deployment.sizes.longest_run_secs {
            limits.longest_task =
                limits.longest_task.max(Duration::from_secs(longest_s) + Duration::from_secs(600));
        }
        let shared = Shared {
            observer: Mutex::new(observer),
            latest: watch::Sender::new(Arc::default()),
            rows: watch::Sender::new(Arc::default()),
            acted: watch::Sender::new(0),
            limits,
            clock,
            folder,
        };
        Some(Watch { shared: Arc::new(shared) })
    }

    /// Looks until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut judge = Judge::new(self.shared.limits);
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                latest = self.look(&mut judge) => drop(self.shared.latest.send_replace(Arc::new(latest))),
                () = stop.cancelled() => return,
            }
        }
    }

    pub fn latest(&self) -> Arc<Latest> {
        self.shared.latest.borrow().clone()
    }

    /// Follows what is seen.
    pub fn follow(&self) -> watch::Receiver<Arc<Latest>> {
        self.shared.latest.subscribe()
    }

    /// Changes when an action was done, so that what it changed is looked at again at once.
    pub(super) fn acted(&self) -> watch::Receiver<u64> {
        self.shared.acted.subscribe()
    }

    /// What the database tells, for the verdicts that need it.
    pub fn tell(&self, rows: Rows) {
        self.shared.rows.send_replace(Arc::new(rows));
    }

    async fn look(&self, judge: &mut Judge) -> Latest {
        let mut observer = self.shared.observer.lock().await;
        let now = self.shared.clock.now();
        let seen = observer.observe(now).await;
        drop(observer);
        match seen {
            Ok(seen) => {
                let verdicts = judge.step(&seen, &self.shared.rows.borrow());
                Latest { seen: Some(seen), verdicts }
            }
            Err(error) => blind(&error.to_string(), error_id(&error), error.remedy()),
        }
    }
}

impl Facade {
    /// Plans an action, and does it unless it is a dry run. What is done stands in the timeline before it is done.
    pub async fn act_on_queues(
        &self,
        watch: &Watch,
        action: Action,
        change: &crate::Change,
    ) -> Result<Acted, NotActed> {
        let terms = Terms { force: change.force, folder: watch.shared.folder.clone() };
        let mut observer = watch.shared.observer.lock().await;
        let now = self.shared.clock.now();
        let plan = act::plan(&mut observer, action, &terms, now).await?;
        if change.dry_run {
            return Ok(Acted { plan, done: None });
        }
        let what = plan.steps.iter().map(|step| step.changes.as_str()).collect::<Vec<_>>().join("; ");
        let detail = json!({ "plan": plan, "forced": change.force });
        self.note(SUBJECT, "queue.asked", &change.actor, &format!("{what}: {}", change.why), detail).await?;
        let now = self.shared.clock.now();
        let done = act::perform(&mut observer, plan.clone(), &terms, now).await;
        watch.shared.acted.send_modify(|count| *count += 1);
        let (kind, text, detail) = match &done {
            Ok(done) => ("queue.done", done.text.clone(), json!({ "done": done })),
            Err(refused) => ("queue.failed", format!("{what}: {refused}"), json!({ "next": refused.next() })),
        };
        let noted = self.note(SUBJECT, kind, &change.actor, &text, detail).await;
        let done = done?;
        // It is done: the caller must hear that, even when its second line could not be written.
        if let Err(error) = noted {
            tracing::warn!(%error, "the end of an action on queues could not be written into the timeline");
        }
        Ok(Acted { plan, done: Some(done) })
    }
}

/// Under which the timeline keeps actions on queues.
const SUBJECT: &str = "queues";

fn blind(what: &str, id: &str, remedy: &str) -> Latest {
    let finding = Finding {
        id: id.to_owned(),
        severity: Severity::Critical,
        component: "broker".to_owned(),
        subject: Subject::default(),
        what: what.to_owned(),
        cause: "while the broker cannot be asked, nothing is known of queues and workers".to_owned(),
        remedy: remedy.to_owned(),
        evidence: vec![Evidence::new("PING", what)],
    };
    Latest { seen: None, verdicts: Verdicts { findings: vec![finding], queues: Vec::new() } }
}

/// The finding's id for each trouble with the broker.
fn error_id(error: &Error) -> &'static str {
    match error {
        Error::WrongPassword { .. } => "broker-password",
        Error::Unreachable { .. } => "broker-unreachable",
        Error::TimedOut { .. } => "broker-slow",
        Error::Loading { .. } => "broker-loading",
        Error::ReadOnly { .. } => "broker-read-only",
        Error::OutOfMemory { .. } => "broker-out-of-memory",
        Error::CannotSave { .. } => "broker-cannot-save",
        Error::NotPermitted { .. } => "broker-not-permitted",
        Error::NoMaster { .. } => "broker-no-master",
        Error::Answered { .. } => "broker-error",
    }
}
