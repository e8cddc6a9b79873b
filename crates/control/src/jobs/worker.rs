//! The loop itself: one task that owns all bookkeeping, and one task for each job.

use std::{
    collections::{BTreeMap, HashMap},
    future::pending,
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use mainstay_base::{Clock, Kind};
use mainstay_store::{
    Store, StoreError,
    model::{self, Finish, Finished, Held, Job},
};
use tokio::{
    sync::{Notify, watch},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    fence::Fence,
    finish::finish_for,
    handler::{Handler, JobOutcome, Progress, Stop, StopCell},
};

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

/// Pauses between claims that found nothing grow from the first to the second.
const POLL_FIRST: Duration = Duration::from_millis(50);
const POLL_LONGEST: Duration = Duration::from_millis(250);
/// Before a store that failed is asked again.
const STORE_PAUSE: Duration = Duration::from_millis(200);
/// What is still unstored when the drain is over may take this long.
const LAST_STORES: Duration = Duration::from_secs(3);

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
    ports: WorkerPorts,
    options: WorkerOptions,
    wake: Arc<Notify>,
    stats: watch::Sender<Stats>,
}

impl Worker {
    pub fn new(ports: WorkerPorts, options: WorkerOptions) -> Worker {
        Worker { ports, options, wake: Arc::default(), stats: watch::Sender::default() }
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
        let Worker { ports, options, wake, stats } = self;
        info!(worker.id = %options.id, worker.slot = options.slot, "worker takes jobs");
        let started_at = ports.clock.now();
        let mut state = Loop {
            ports,
            options,
            started_at,
            stats,
            running: HashMap::new(),
            tasks: JoinSet::new(),
            unstored: Vec::new(),
            claim: Ask::idle(),
            renew: Ask::idle(),
            store: Ask::idle(),
            beat: Ask::idle(),
            next_claim_at: Instant::now(),
            next_beat_at: Instant::now(),
            next_store_at: Instant::now(),
            poll: POLL_FIRST,
        };
        state.work(&wake, &shutdown).await;
        state.drain().await;
        state.leave().await
    }
}

/// Something asked of the store, at most one of a kind at a time.
struct Ask<T> {
    answer: BoxFuture<'static, T>,
    under_way: bool,
}

impl<T: 'static> Ask<T> {
    fn idle() -> Ask<T> {
        Ask { answer: Box::pin(pending()), under_way: false }
    }

    fn start(&mut self, ask: impl Future<Output = T> + Send + 'static) {
        *self = Ask { answer: Box::pin(ask), under_way: true };
    }
}

/// A job in hand, from its claim until its end is stored or the lease is lost.
struct Running {
    epoch: i64,
    failures: BTreeMap<String, i64>,
    fence: Fence,
    stop: CancellationToken,
    stopped: Arc<StopCell>,
    /// Set when it was asked to stop: then it is dropped.
    abort_at: Option<Instant>,
    task: AbortHandle,
    /// It has ended; its end is being stored.
    ended: bool,
}

type Claimed = (Instant, Result<Vec<Job>, StoreError>);
type Renewed = (Instant, Vec<String>, Result<Vec<Held>, StoreError>);
type Stored = (Vec<(String, i64, Finish)>, Result<Vec<Finished>, StoreError>);

struct Loop {
    ports: WorkerPorts,
    options: WorkerOptions,
    started_at: mainstay_base::Micros,
    stats: watch::Sender<Stats>,
    running: HashMap<String, Running>,
    tasks: JoinSet<(String, i64, JobOutcome)>,
    /// Ends that wait to be stored. At most as many as jobs in hand.
    unstored: Vec<(String, i64, Finish)>,
    claim: Ask<Claimed>,
    renew: Ask<Renewed>,
    store: Ask<Stored>,
    beat: Ask<Result<(), StoreError>>,
    next_claim_at: Instant,
    next_beat_at: Instant,
    next_store_at: Instant,
    poll: Duration,
}

impl Loop {
    async fn work(&mut self, wake: &Notify, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            self.ask(true);
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = wake.notified() => self.next_claim_at = Instant::now(),
                () = self.turn() => {}
            }
        }
    }

    /// Nothing new is taken. A claim that is under way is waited for: its jobs are ours already.
    async fn drain(&mut self) {
        let over_at = Instant::now() + self.options.drain;
        while (!self.running.is_empty() || self.claim.under_way) && Instant::now() < over_at {
            self.ask(false);
            tokio::select! {
                () = sleep_until(over_at) => {}
                () = self.turn() => {}
            }
        }
        for id in self.running.keys().cloned().collect::<Vec<_>>() {
            self.stop(&id, Stop::Shutdown);
        }
        let over_at = Instant::now() + CANCEL_GRACE + LAST_STORES;
        while !self.running.is_empty() && Instant::now() < over_at {
            self.ask(false);
            tokio::select! {
                () = sleep_until(over_at) => {}
                () = self.turn() => {}
            }
        }
    }

    async fn leave(mut self) -> Stats {
        self.tasks.shutdown().await;
        let gone =
            tokio::time::timeout(LAST_STORES, self.ports.store.workers().remove(&self.options.id)).await;
        if !matches!(gone, Ok(Ok(_))) {
            debug!(worker.id = %self.options.id, "the worker's row stays until it is swept");
        }
        self.publish(|stats| stats.running = 0);
        let stats = *self.stats.borrow();
        info!(worker.id = %self.options.id, ?stats, "worker has left");
        stats
    }

    /// Starts whatever is due and not under way.
    fn ask(&mut self, may_claim: bool) {
        let now = Instant::now();
        let free = self.options.concurrency.saturating_sub(self.running.len());
        if may_claim && free > 0 && !self.claim.under_way && now >= self.next_claim_at {
            let (jobs, id, lease) = (self.ports.store.jobs(), self.options.id.clone(), self.options.lease);
            let free = free.min(mainstay_store::MAX_CLAIM);
            self.claim.start(async move { (now, jobs.claim(&id, free, lease).await) });
        }
        if now >= self.next_beat_at {
            self.next_beat_at = now + self.options.beat;
            self.ask_beat(now);
        }
        if !self.unstored.is_empty() && !self.store.under_way && now >= self.next_store_at {
            let (jobs, ends) = (self.ports.store.jobs(), std::mem::take(&mut self.unstored));
            self.store.start(async move {
                let answer = jobs.finish_batch(ends.clone()).await;
                (ends, answer)
            });
        }
    }

    /// A heartbeat: the worker's row, and all leases. One that the store still chews on is not repeated.
    fn ask_beat(&mut self, now: Instant) {
        if !self.beat.under_way {
            let (workers, worker) = (self.ports.store.workers(), self.row());
            self.beat.start(async move { workers.beat(worker).await });
        }
        if !self.renew.under_way && !self.running.is_empty() {
            let held: Vec<(String, i64)> =
                self.running.iter().map(|(id, running)| (id.clone(), running.epoch)).collect();
            let (jobs, id, lease) = (self.ports.store.jobs(), self.options.id.clone(), self.options.lease);
            self.renew.start(async move {
                let ids = held.iter().map(|(id, _)| id.clone()).collect();
                (now, ids, jobs.renew(&id, held, lease).await)
            });
        }
    }

    fn row(&self) -> model::Worker {
        model::Worker {
            id: self.options.id.clone(),
            slot: self.options.slot,
            pid: self.options.pid,
            host: self.options.host.clone(),
            started_at: self.started_at,
            beat_at: self.ports.clock.now(),
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
        if !self.claim.under_way && self.running.len() < self.options.concurrency {
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
        running.abort_at.get_or_insert(Instant::now() + CANCEL_GRACE);
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
                for job in jobs {
                    self.begin(job, asked_at);
                }
            }
            Err(error) => {
                warn!(%error, "cannot take jobs");
                self.next_claim_at = Instant::now() + STORE_PAUSE;
            }
        }
    }

    fn begin(&mut self, job: Job, asked_at: Instant) {
        let (stop, stopped) = (CancellationToken::new(), Arc::<StopCell>::default());
        let (id, epoch, failures) = (job.id.clone(), job.epoch, job.failures.clone());
        debug!(run.id = %id, epoch, attempt = job.attempt, "job begins");
        // An older attempt of the same job in this process has lost its lease without knowing.
        if self.running.contains_key(&id) {
            self.stop(&id, Stop::LeaseLost);
            self.abort(&id);
        }
        let progress =
            Progress { store: self.ports.store.clone(), job_id: id.clone(), epoch, stopped: stopped.clone() };
        let (handler, stop_job, task_id) = (self.ports.handler.clone(), stop.clone(), id.clone());
        let task = self.tasks.spawn(async move {
            let outcome = handler.run(job, stop_job, progress).await;
            (task_id, epoch, outcome)
        });
        let running = Running {
            epoch,
            failures,
            fence: Fence { asked_at },
            stop,
            stopped,
            abort_at: None,
            task,
            ended: false,
        };
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

    fn ended(&mut self, ended: Result<(String, i64, JobOutcome), tokio::task::JoinError>) {
        match ended {
            Ok((id, epoch, outcome)) => self.end(&id, epoch, outcome),
            Err(error) if error.is_cancelled() => {}
            Err(error) => {
                let task = error.id();
                let found = self.running.iter().find(|(_, running)| running.task.id() == task);
                let Some((id, epoch)) = found.map(|(id, running)| (id.clone(), running.epoch)) else {
                    return;
                };
                let message = "the attempt panicked".to_owned();
                warn!(run.id = %id, %error, "an attempt panicked");
                self.end(&id, epoch, JobOutcome::Failed { kind: Kind::Bug, message, result: None });
            }
        }
    }

    /// An attempt is over: its end is put in line to be stored, if it may be.
    fn end(&mut self, id: &str, epoch: i64, outcome: JobOutcome) {
        let Some(running) =
            self.running.get_mut(id).filter(|running| running.epoch == epoch && !running.ended)
        else {
            return;
        };
        let random = uuid::Uuid::new_v4().as_u64_pair().1;
        match finish_for(outcome, running.stopped.get(), &running.failures, random) {
            Some(finish) => {
                running.ended = true;
                self.unstored.push((id.to_owned(), epoch, finish));
            }
            None => self.forget(id),
        }
    }

    fn forget(&mut self, id: &str) {
        self.running.remove(id);
        self.unstored.retain(|(unstored, _, _)| unstored != id);
        self.publish(|stats| stats.fenced += 1);
        self.next_claim_at = self.next_claim_at.min(Instant::now() + POLL_FIRST);
    }

    fn stored(&mut self, (ends, answer): Stored) {
        match answer {
            Ok(finished) => {
                for ((id, epoch, _), finished) in ends.iter().zip(finished) {
                    self.settle(id, *epoch, finished);
                }
                self.next_claim_at = Instant::now();
            }
            Err(error) if ends.len() > 1 && !matches!(error, StoreError::Unavailable(_)) => {
                // One of them is at fault; alone, each shows which.
                warn!(%error, "cannot store ends of jobs together; each is stored alone");
                self.store_alone(ends);
            }
            Err(error) => self.store_again(ends, &error),
        }
    }

    fn store_alone(&mut self, ends: Vec<(String, i64, Finish)>) {
        let jobs = self.ports.store.jobs();
        self.store.start(async move {
            let mut answers = Vec::with_capacity(ends.len());
            for (id, epoch, finish) in &ends {
                let answer = match jobs.finish(id, *epoch, finish.clone()).await {
                    Err(error @ (StoreError::TooLarge { .. } | StoreError::Bug(_))) => {
                        jobs.finish(id, *epoch, unstorable(&error)).await
                    }
                    other => other,
                };
                match answer {
                    Ok(finished) => answers.push(finished),
                    Err(error) => return (ends, Err(error)),
                }
            }
            (ends, Ok(answers))
        });
    }

    fn store_again(&mut self, ends: Vec<(String, i64, Finish)>, error: &StoreError) {
        warn!(%error, "cannot store the end of a job; it is tried again while the lease is held");
        self.next_store_at = Instant::now() + STORE_PAUSE;
        let hopeless = !matches!(error, StoreError::Unavailable(_));
        for (id, epoch, finish) in ends {
            if self.running.contains_key(&id) {
                let finish = if hopeless { unstorable(error) } else { finish };
                self.unstored.push((id, epoch, finish));
            }
        }
    }

    fn settle(&mut self, id: &str, epoch: i64, finished: Finished) {
        if self.running.get(id).is_some_and(|running| running.epoch == epoch) {
            self.running.remove(id);
        }
        debug!(run.id = %id, epoch, ?finished, "job ends");
        self.publish(|stats| match finished {
            Finished::Stored => stats.stored += 1,
            Finished::Requeued => stats.requeued += 1,
            Finished::Dead => stats.dead += 1,
            Finished::Fenced => stats.fenced += 1,
        });
    }

    fn publish(&self, change: impl FnOnce(&mut Stats)) {
        self.stats.send_modify(|stats| {
            change(stats);
            stats.running = self.running.len() as u64;
        });
    }
}

/// A result that the store refuses must not be run again and again: the run fails, and says why.
fn unstorable(error: &StoreError) -> Finish {
    let (class, message) = ("bug".to_owned(), format!("the result could not be stored: {error}"));
    Finish::Dead { class, message, kind: error.kind(), result: None }
}
