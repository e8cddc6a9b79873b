//! A worker as a process starts it: who it is, what it may do at a time, and how it ends.

use std::{sync::Arc, time::Duration};

use mainstay_base::Clock;
use mainstay_store::Store;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{handler::Handler, queue::Queue, work::Work};

/// What a worker process runs at a time unless told otherwise. Most of a run is waiting for models.
pub const DEFAULT_CONCURRENCY: usize = 32;
/// A job whose worker is silent for so long belongs to whoever asks next.
pub const LEASE: Duration = Duration::from_secs(4);
/// Work is stopped so long before its lease ends.
pub const MARGIN: Duration = Duration::from_millis(1_000);
/// Between two heartbeats, each of which renews all leases.
pub const BEAT: Duration = Duration::from_secs(1);
/// What an attempt may take to end when asked to; then it is dropped. Well within [`MARGIN`].
pub const CANCEL_GRACE: Duration = Duration::from_millis(500);
/// How long running jobs may go on after a shutdown was asked for.
pub const DRAIN: Duration = Duration::from_secs(20);

pub struct WorkerPorts {
    pub store: Store,
    pub handler: Arc<dyn Handler>,
    pub clock: Clock,
}

/// Who the worker is and how much it does.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// New for each process: `base::id::new()`.
    pub id: String,
    pub slot: i64,
    pub pid: i64,
    pub host: String,
    pub concurrency: usize,
    pub lease: Duration,
    pub beat: Duration,
    pub margin: Duration,
    pub drain: Duration,
}

impl WorkerOptions {
    pub fn new(id: impl Into<String>, slot: i64, pid: i64, host: impl Into<String>) -> WorkerOptions {
        WorkerOptions {
            id: id.into(),
            slot,
            pid,
            host: host.into(),
            concurrency: DEFAULT_CONCURRENCY,
            lease: LEASE,
            beat: BEAT,
            margin: MARGIN,
            drain: DRAIN,
        }
    }
}

/// What the worker has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub claimed: u64,
    pub stored: u64,
    pub requeued: u64,
    pub dead: u64,
    /// Results that were refused or not even offered, because the lease was lost.
    pub fenced: u64,
    pub running: u64,
}

/// A worker that has not been started yet.
pub struct Worker {
    queue: Arc<dyn Queue>,
    handler: Arc<dyn Handler>,
    clock: Clock,
    options: WorkerOptions,
    wake: Arc<Notify>,
    stats: watch::Sender<Stats>,
}

impl Worker {
    pub fn new(ports: WorkerPorts, options: WorkerOptions) -> Worker {
        let WorkerPorts { store, handler, clock } = ports;
        Worker::with_queue(Arc::new(store), handler, clock, options)
    }

    pub(super) fn with_queue(
        queue: Arc<dyn Queue>,
        handler: Arc<dyn Handler>,
        clock: Clock,
        options: WorkerOptions,
    ) -> Worker {
        Worker { queue, handler, clock, options, wake: Arc::default(), stats: watch::Sender::default() }
    }

    /// Whoever submits a job in this process notifies this, and the job is taken at once.
    pub fn wake(&self) -> Arc<Notify> {
        self.wake.clone()
    }

    pub fn stats(&self) -> watch::Receiver<Stats> {
        self.stats.subscribe()
    }

    /// Works until `shutdown`, then drains: nothing new is taken, what runs may end within the drain time, and the
    /// rest goes back to the queue.
    pub async fn run(self, shutdown: CancellationToken) -> Stats {
        let Worker { queue, handler, clock, options, wake, stats } = self;
        info!(worker.id = %options.id, worker.slot = options.slot, "worker takes jobs");
        let id = options.id.clone();
        let stats = Work::new(queue, handler, clock, options, stats).run(&wake, &shutdown).await;
        info!(worker.id = %id, ?stats, "worker has left");
        stats
    }
}
