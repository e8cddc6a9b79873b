//! Who runs a job, and what passes between it and the loop.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use futures_util::future::BoxFuture;
use mainstay_base::Kind;
use mainstay_store::{
    StoreError,
    model::{Finish, Job, RunResult},
};
use tokio_util::sync::CancellationToken;

use super::queue::Queue;

/// Executes jobs. The loop never looks into a payload.
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt. When `stop` is cancelled it ends soon ([`super::CANCEL_GRACE`]); after that it is dropped.
    fn run(&self, job: Job, stop: CancellationToken, progress: Progress) -> BoxFuture<'static, JobOutcome>;
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum JobOutcome {
    /// The run has ended, well or badly; the result is final.
    Done(RunResult),
    /// The attempt failed. Whether it is tried again is decided by the table of attempts; `result` is what is stored
    /// when it is not.
    Failed { kind: Kind, message: String, result: Option<RunResult> },
    /// It was stopped, as `stop` asked.
    Stopped(Option<RunResult>),
    /// The attempt failed, and the handler, which knows more than a kind can say (whether an upstream may have
    /// started the run), has decided itself how it goes on.
    Decided(Finish),
}

/// Why an attempt has to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Somebody cancelled the run.
    Cancelled,
    /// The lease is lost or about to be: another worker has the job, or will. Change nothing any more.
    LeaseLost,
    /// This process is shutting down; the job will be run by another.
    Shutdown,
}

/// What a running attempt can say and ask.
#[derive(Clone)]
pub struct Progress {
    pub(super) queue: Arc<dyn Queue>,
    pub(super) job_id: String,
    pub(super) epoch: i64,
    pub(super) stopped: Arc<StopCell>,
}

impl Progress {
    /// An upstream has started the run, so that it must not be started again unless it is repeatable. False when
    /// the lease is lost: stop.
    pub async fn started_upstream(&self, upstream_run_id: &str, task_id: &str) -> Result<bool, StoreError> {
        self.queue
            .mark_started(self.job_id.clone(), self.epoch, upstream_run_id.to_owned(), task_id.to_owned())
            .await
    }

    /// Why `stop` was cancelled; `None` while it is not.
    pub fn why_stopped(&self) -> Option<Stop> {
        self.stopped.get()
    }
}

/// The first reason stays.
#[derive(Debug, Default)]
pub(super) struct StopCell(AtomicU8);

impl StopCell {
    pub(super) fn set(&self, stop: Stop) {
        let value = match stop {
            Stop::Cancelled => 1,
            Stop::LeaseLost => 2,
            Stop::Shutdown => 3,
        };
        // A lost lease overrides everything: nothing may be stored any more.
        if stop == Stop::LeaseLost {
            self.0.store(value, Ordering::SeqCst);
            return;
        }
        let _ = self.0.compare_exchange(0, value, Ordering::SeqCst, Ordering::SeqCst);
    }

    pub(super) fn get(&self) -> Option<Stop> {
        match self.0.load(Ordering::SeqCst) {
            1 => Some(Stop::Cancelled),
            2 => Some(Stop::LeaseLost),
            3 => Some(Stop::Shutdown),
            _ => None,
        }
    }
}
