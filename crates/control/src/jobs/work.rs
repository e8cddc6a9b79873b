//! The loop itself: one task that owns all bookkeeping, and one task for each job.

use std::{
    collections::{BTreeMap, HashMap},
    future::pending,
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use mainstay_base::{Clock, Micros};
use mainstay_store::{
    StoreError,
    model::{self, Finish, Finished, Held, Job},
};
use tokio::{
    sync::{Notify, watch},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    fence::Fence,
    handler::{Handler, JobOutcome, Progress, Stop, StopCell},
    queue::Queue,
    worker::{CANCEL_GRACE, Stats, WorkerOptions},
};

/// Pauses between claims that found nothing grow from the first to the second.
pub(super) const POLL_FIRST: Duration = Duration::from_millis(50);
const POLL_LONGEST: Duration = Duration::from_millis(250);
/// Before a store that failed is asked again.
pub(super) const STORE_PAUSE: Duration = Duration::from_millis(200);
/// What is still unstored when the drain is over may take this long.
const LAST_STORES: Duration = Duration::from_secs(3);

/// Something asked of the store, at most one of a kind at a time.
pub(super) struct Ask<T> {
    answer: BoxFuture<'static, T>,
    under_way: bool,
}

impl<T: 'static> Ask<T> {
    fn idle() -> Ask<T> {
        Ask { answer: Box::pin(pending()), under_way: false }
    }

    pub(super) fn start(&mut self, ask: impl Future<Output = T> + Send + 'static) {
        *self = Ask { answer: Box::pin(ask), under_way: true };
    }
}

/// A job in hand, from its claim until its end is stored or the lease is lost.
pub(super) struct Running {
    pub(super) epoch: i64,
    pub(super) failures: BTreeMap<String, i64>,
    fence: Fence,
    stop: CancellationToken,
    pub(super) stopped: Arc<StopCell>,
    /// Set when it was asked to stop: then it is dropped.
    abort_at: Option<Instant>,
    pub(super) task: AbortHandle,
    /// It has ended; its end is being stored.
    pub(super) ended: bool,
}

type Claimed = (Instant, Result<Vec<Job>, StoreError>);
type Renewed = (Instant, Vec<String>, Result<Vec<Held>, StoreError>);
pub(super) type Stored = (Vec<(String, i64, Finish)>, Result<Vec<Finished>, StoreError>);

pub(super) struct Work {
    pub(super) queue: Arc<dyn Queue>,
    handler: Arc<dyn Handler>,
    clock: Clock,
    options: WorkerOptions,
    started_at: Micros,
    stats: watch::Sender<Stats>,
    pub(super) running: HashMap<String, Running>,
    pub(super) tasks: JoinSet<(String, i64, JobOutcome)>,
    /// Ends that wait to be stored. At most as many as jobs in hand.
    pub(super) unstored: Vec<(String, i64, Finish)>,
    claim: Ask<Claimed>,
    renew: Ask<Renewed>,
    pub(super) store: Ask<Stored>,
    beat: Ask<Result<(), StoreError>>,
    pub(super) next_claim_at: Instant,
    next_beat_at: Instant,
    pub(super) next_store_at: Instant,
    poll: Duration,
    takes_jobs: bool,
}

impl Work {
    pub(super) fn new(
        queue: Arc<dyn Queue>,
        handler: Arc<dyn Handler>,
        clock: Clock,
        options: WorkerOptions,
        stats: watch::Sender<Stats>,
    ) -> Work {
        let now = Instant::now();
        Work {
            queue,
            handler,
            started_at: clock.now(),
            clock,
            options,
            stats,
            running: HashMap::new(),
            tasks: JoinSet::new(),
            unstored: Vec::new(),
            claim: Ask::idle(),
            renew: Ask::idle(),
            store: Ask::idle(),
            beat: Ask::idle(),
            next_claim_at: now,
            next_beat_at: now,
            next_store_at: now,
            poll: POLL_FIRST,
            takes_jobs: true,
        }
    }

    pub(super) async fn run(mut self, wake: &Notify, shutdown: &CancellationToken) -> Stats {
        self.work(wake, shutdown).await;
        self.drain().await;
        self.leave().await
    }

    async fn work(&mut self, wake: &Notify, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            self.ask();
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = wake.notified() => self.next_claim_at = Instant::now(),
                () = self.turn() => {}
            }
        }
    }

    /// Nothing new is taken. A claim that is under way is waited for: its jobs are ours already.
    async fn drain(&mut self) {
        self.takes_jobs = false;
        let over_at = Instant::now() + self.options.drain;
        while self.is_busy() && Instant::now() < over_at {
            self.ask();
            tokio::select! {
                () = sleep_until(over_at) => {}
                () = self.turn() => {}
            }
        }
        for id in self.running.keys().cloned().collect::<Vec<_>>() {
            self.stop(&id, Stop::Shutdown);
        }
        let over_at = Instant::now() + CANCEL_GRACE + LAST_STORES;
        while self.is_busy() && Instant::now() < over_at {
            self.ask();
            tokio::select! {
                () = sleep_until(over_at) => {}
                () = self.turn() => {}
            }
        }
    }

    fn is_busy(&self) -> bool {
        !self.running.is_empty() || !self.unstored.is_empty() || self.claim.under_way || self.store.under_way
    }

    async fn leave(mut self) -> Stats {
        self.tasks.shutdown().await;
        let gone = tokio::time::timeout(LAST_STORES, self.queue.leave(self.options.id.clone())).await;
        if !matches!(gone, Ok(Ok(_))) {
            debug!(worker.id = %self.options.id, "the worker's row stays until it is swept");
        }
        self.publish(|stats| stats.running = 0);
        *self.stats.borrow()
    }

    /// Starts whatever is due and not under way.
    fn ask(&mut self) {
        let now = Instant::now();
        let free = self.options.concurrency.saturating_sub(self.running.len());
        if self.takes_jobs && free > 0 && !self.claim.under_way && now >= self.next_claim_at {
            let claimed = self.queue.claim(self.options.id.clone(), free, self.options.lease);
            self.claim.start(async move { (now, claimed.await) });
        }
        if now >= self.next_beat_at {
            self.next_beat_at = now + self.options.beat;
            self.ask_beat(now);
        }
        if !self.unstored.is_empty() && !self.store.under_way && now >= self.next_store_at {
            let ends = std::mem::take(&mut self.unstored);
            let answer = self.queue.finish_batch(ends.clone());
            self.store.start(async move { (ends, answer.await) });
        }
    }

    /// A heartbeat: the worker's row, and all leases. One that the store still chews on is not repeated.
    fn ask_beat(&mut self, now: Instant) {
        if !self.beat.under_way {
            self.beat.start(self.queue.beat(self.row()));
        }
        if !self.renew.under_way && !self.running.is_empty() {
            let held: Vec<(String, i64)> =
                self.running.iter().map(|(id, running)| (id.clone(), running.epoch)).collect();
            let ids = held.iter().map(|(id, _)| id.clone()).collect();
            let renewed = self.queue.renew(self.options.id.clone(), held, self.options.lease);
            self.renew.start(async move { (now, ids, renewed.await) });
        }
    }

    fn row(&self) -> model::Worker {
        model::Worker {
            id: self.options.id.clone(),
            slot: self.options.slot,
            pid: self.options.pid,
            host: self.options.host.clone(),
            started_at: self.started_at,
            beat_at: self.clock.now(),
            jobs: i64::try_from(self.running.len()).unwrap_or(i64::MAX),
        }
    }

    /// Waits for the next thing to happen, and deals with it.
    async fn turn(&mut self) {
        let wake_at = self.next_deadline();
        tokio::select! {
            biased;
            () = sleep_until(wake_at) => {}
            renewed = &mut self.renew.answer => {
                self.renew = Ask::idle();
                self.renewed(renewed);
            }
            ended = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                if let Some(ended) = ended {
                    self.ended(ended.map(|(_, ended)| ended));
                }
            }
            stored = &mut self.store.answer => {
                self.store = Ask::idle();
                self.stored(stored);
            }
            claimed = &mut self.claim.answer => {
                self.claim = Ask::idle();
                self.claimed(claimed);
            }
            beaten = &mut self.beat.answer => {
                self.beat = Ask::idle();
                if let Err(error) = beaten {
                    warn!(%error, "cannot store a heartbeat");
                }
            }
        }
        self.enforce(Instant::now());
    }

    fn next_deadline(&self) -> Instant {
        let mut next = self.next_beat_at;
        if self.takes_jobs && !self.claim.under_way && self.running.len() < self.options.concurrency {
            next = next.min(self.next_claim_at);
        }
        if !self.unstored.is_empty() && !self.store.under_way {
            next = next.min(self.next_store_at);
        }
        for running in self.running.values() {
            let abort_at = running.abort_at.filter(|_| !running.ended);
            next = next.min(abort_at.unwrap_or_else(|| self.stop_at(running)));
        }
        next
    }

    fn stop_at(&self, running: &Running) -> Instant {
        running.fence.stop_at(self.options.lease, self.options.margin)
    }

    /// Stops what must not go on: leases about to end first, then what did not end when asked.
    fn enforce(&mut self, now: Instant) {
        let is_told = |running: &Running| running.stopped.get() == Some(Stop::LeaseLost) && !running.ended;
        let late = |running: &Running| now >= self.stop_at(running) && !is_told(running);
        let losing: Vec<String> = self.ids_where(late);
        for id in losing {
            warn!(run.id = %id, "the lease could not be renewed in time; the work is stopped before it ends");
            self.stop(&id, Stop::LeaseLost);
        }
        let overdue =
            self.ids_where(|running| running.abort_at.is_some_and(|at| now >= at) && !running.ended);
        for id in overdue {
            self.abort(&id);
        }
    }

    fn ids_where(&self, condition: impl Fn(&Running) -> bool) -> Vec<String> {
        let found = self.running.iter().filter(|(_, running)| condition(running));
        found.map(|(id, _)| id.clone()).collect()
    }

    /// Asks an attempt to stop. One whose lease is lost is forgotten once it has ended: nothing of it is stored.
    fn stop(&mut self, id: &str, why: Stop) {
        let Some(running) = self.running.get_mut(id) else { return };
        running.stopped.set(why);
        running.stop.cancel();
        if running.ended && why == Stop::LeaseLost {
            // Its end may be on the way to the store, which will refuse it if the lease is lost in fact.
            self.forget(id);
            return;
        }
        // A process that was stopped itself (SIGSTOP, a frozen host) finds out late: then there is no grace left.
        let latest = running.fence.stop_at(self.options.lease, self.options.margin) + CANCEL_GRACE;
        let abort_at = (Instant::now() + CANCEL_GRACE).min(latest);
        running.abort_at = Some(running.abort_at.map_or(abort_at, |before| before.min(abort_at)));
    }

    fn abort(&mut self, id: &str) {
        let Some(running) = self.running.get_mut(id) else { return };
        running.task.abort();
        let (epoch, stopped) = (running.epoch, running.stopped.get());
        warn!(run.id = %id, ?stopped, "an attempt did not end when asked to; it is dropped");
        self.end(id, epoch, JobOutcome::Stopped(None));
    }

    fn claimed(&mut self, (asked_at, answer): Claimed) {
        match answer {
            Ok(jobs) if jobs.is_empty() => {
                self.next_claim_at = Instant::now() + self.poll;
                self.poll = (self.poll * 2).min(POLL_LONGEST);
            }
            Ok(jobs) => {
                self.poll = POLL_FIRST;
                // Where one job was, more may be.
                self.next_claim_at = Instant::now();
                self.publish(|stats| stats.claimed += jobs.len() as u64);
                let fence = Fence { asked_at };
                let is_late = Instant::now() >= fence.stop_at(self.options.lease, self.options.margin);
                for job in jobs {
                    if is_late {
                        // The answer took as long as the lease: what it gave may be somebody else's by now.
                        warn!(run.id = %job.id, "a claim was answered too late; the job is given back unbegun");
                        self.unstored.push((job.id, job.epoch, Finish::Release));
                    } else {
                        self.begin(job, fence);
                    }
                }
            }
            Err(error) => {
                warn!(%error, "cannot take jobs");
                self.next_claim_at = Instant::now() + STORE_PAUSE;
            }
        }
    }

    fn begin(&mut self, job: Job, fence: Fence) {
        let (stop, stopped) = (CancellationToken::new(), Arc::<StopCell>::default());
        let (id, epoch, failures) = (job.id.clone(), job.epoch, job.failures.clone());
        debug!(run.id = %id, epoch, attempt = job.attempt, "job begins");
        // An older attempt of the same job in this process has lost its lease without knowing.
        if self.running.contains_key(&id) {
            self.stop(&id, Stop::LeaseLost);
            self.abort(&id);
        }
        let progress =
            Progress { queue: self.queue.clone(), job_id: id.clone(), epoch, stopped: stopped.clone() };
        let (handler, stop_job, task_id) = (self.handler.clone(), stop.clone(), id.clone());
        let task = self.tasks.spawn(async move {
            let outcome = handler.run(job, stop_job, progress).await;
            (task_id, epoch, outcome)
        });
        let running = Running { epoch, failures, fence, stop, stopped, abort_at: None, task, ended: false };
        self.running.insert(id, running);
        self.publish(|_| {});
    }

    fn renewed(&mut self, (asked_at, ids, answer): Renewed) {
        let held = match answer {
            Ok(held) => held,
            Err(error) => {
                warn!(%error, "cannot renew leases");
                return;
            }
        };
        let held: HashMap<&str, &Held> = held.iter().map(|held| (held.job_id.as_str(), held)).collect();
        for id in &ids {
            match held.get(id.as_str()) {
                Some(held) => {
                    if let Some(running) = self.running.get_mut(id) {
                        running.fence = running.fence.renewed(asked_at);
                    }
                    if held.cancel_requested {
                        self.stop(id, Stop::Cancelled);
                    }
                }
                // What has ended meanwhile is not held any more, and rightly so.
                None if self.running.get(id).is_some_and(|running| !running.ended) => {
                    warn!(run.id = %id, "the lease is lost; the work is stopped");
                    self.stop(id, Stop::LeaseLost);
                }
                None => {}
            }
        }
    }

    pub(super) fn publish(&self, change: impl FnOnce(&mut Stats)) {
        self.stats.send_modify(|stats| {
            change(stats);
            stats.running = self.running.len() as u64;
        });
    }
}
