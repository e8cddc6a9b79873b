//! The loop against a queue that fails as told, in virtual time.

mod fencing;
mod lifecycle;
mod pure;
mod queue;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use mainstay_base::{Clock, Micros};
use mainstay_store::model::{Job, RunResult, RunStatus};
use tokio_util::sync::CancellationToken;

use super::{Handler, JobOutcome, Progress, Worker, WorkerOptions};
use queue::FakeQueue;

fn options(name: &str) -> WorkerOptions {
    WorkerOptions::new(name, 0, 1, "host")
}

fn worker(queue: &Arc<FakeQueue>, handler: impl Handler, options: WorkerOptions) -> Worker {
    Worker::with_queue(Arc::new(queue.clone()), Arc::new(handler), Clock::manual(Micros(0)), options)
}

fn result() -> RunResult {
    RunResult {
        status: RunStatus::Succeeded,
        outputs: None,
        error: None,
        error_kind: None,
        total_tokens: 0,
        total_steps: 0,
        exceptions_count: 0,
        started_at: Micros(0),
        finished_at: Micros(0),
        elapsed_us: 0,
        nodes: Vec::new(),
        upstream_run_id: None,
        usage: None,
        chat: None,
    }
}

/// A handler from a function.
struct Does<F>(F);

impl<F, R> Handler for Does<F>
where
    F: Fn(Job, CancellationToken, Progress) -> R + Send + Sync + 'static,
    R: Future<Output = JobOutcome> + Send + 'static,
{
    fn run(&self, job: Job, stop: CancellationToken, progress: Progress) -> BoxFuture<'static, JobOutcome> {
        Box::pin((self.0)(job, stop, progress))
    }
}

/// Counts what runs at a time, and the most there were.
#[derive(Clone, Default)]
struct Gauge {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Gauge {
    fn enter(&self) -> GaugeGuard {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        GaugeGuard(self.clone())
    }
}

struct GaugeGuard(Gauge);

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Virtual time passes only while everybody waits, so this is no pause but a limit.
async fn within<T>(limit: Duration, what: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, what).await.expect("not in time")
}
