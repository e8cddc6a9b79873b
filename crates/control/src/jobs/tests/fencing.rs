//! Nobody works without a lease, whatever happens to the questions on their way.

use mainstay_signal::simulate::Chance;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::{
    queue::{Fault, Operation},
    *,
};
use crate::jobs::{LEASE, Stop};

const SEEDS: u64 = 120;
const JOBS: usize = 8;

/// Works in small steps and looks each time whether the database agrees that it may. Some listen when they are
/// asked to stop, some have to be dropped.
fn suspicious(
    queue: &Arc<FakeQueue>,
    violations: &Arc<Mutex<Vec<String>>>,
    seed: u64,
) -> impl Handler + use<> {
    let (queue, violations) = (queue.clone(), violations.clone());
    let chance = Mutex::new(Chance::new(seed));
    Does(move |job: Job, stop: CancellationToken, _: Progress| {
        let (queue, violations) = (queue.clone(), violations.clone());
        let (steps, listens) = {
            let mut chance = chance.lock();
            (chance.below(900), chance.one_in(2))
        };
        async move {
            for _ in 0..steps {
                sleep(Duration::from_millis(10)).await;
                if listens && stop.is_cancelled() {
                    return JobOutcome::Stopped(None);
                }
                if !queue.holds(&job.id, job.epoch) {
                    violations.lock().push(format!(
                        "{} epoch {} works at {:?}",
                        job.id,
                        job.epoch,
                        Instant::now()
                    ));
                }
            }
            JobOutcome::Done(result())
        }
    })
}

/// Questions that are slow, lost, or answered to nobody, until the trouble is over.
fn trouble(seed: u64) -> impl FnMut(Operation, &str) -> Fault + Send + 'static {
    let mut chance = Chance::new(seed);
    let calm_at = Instant::now() + Duration::from_secs(60);
    move |_, _| {
        if Instant::now() >= calm_at {
            return Fault::default();
        }
        let longest_ms = if chance.one_in(5) { 6_000 } else { 60 };
        Fault {
            before: Duration::from_millis(chance.below(longest_ms)),
            after: Duration::from_millis(chance.below(longest_ms)),
            lost_before: chance.one_in(7),
            lost_after: chance.one_in(7),
        }
    }
}

/// Two workers and a seed's trouble; gives the violations, and how often jobs ended.
async fn schedule(seed: u64, believed_lease: Duration) -> (Vec<String>, Vec<usize>) {
    let queue = FakeQueue::with_plan(JOBS, Some(LEASE), trouble(seed));
    let violations = Arc::<Mutex<Vec<String>>>::default();
    let shutdown = CancellationToken::new();
    let mut workers = tokio::task::JoinSet::new();
    for name in ["a", "b"] {
        let options = WorkerOptions { lease: believed_lease, concurrency: 4, ..options(name) };
        let handler = suspicious(&queue, &violations, seed);
        workers.spawn(worker(&queue, handler, options).run(shutdown.clone()));
    }
    within(Duration::from_secs(1_000), queue.all_ended()).await;
    shutdown.cancel();
    while workers.join_next().await.is_some() {}
    let ends = queue.rows.lock().values().map(|row| row.ends.len()).collect();
    (std::mem::take(&mut *violations.lock()), ends)
}

#[tokio::test(start_paused = true)]
async fn no_schedule_lets_a_worker_work_without_its_lease_or_store_a_result_twice() {
    for seed in 0..SEEDS {
        let (violations, ends) = schedule(seed, LEASE).await;
        assert!(violations.is_empty(), "seed {seed}: {violations:?}");
        assert_eq!(ends, vec![1; JOBS], "seed {seed}: each job ends exactly once");
    }
}

/// The same schedules with a worker that believes its leases to be longer than they are: if this found nothing, the
/// test above would prove nothing.
#[tokio::test(start_paused = true)]
async fn a_worker_that_trusts_its_lease_for_too_long_is_found_out() {
    let mut found = 0;
    for seed in 0..20 {
        let (violations, _) = schedule(seed, LEASE * 10).await;
        found += usize::from(!violations.is_empty());
    }
    assert!(found >= 10, "only {found} of 20 schedules showed it");
}

#[tokio::test(start_paused = true)]
async fn work_ends_before_its_lease_when_renewals_fail_or_hang() {
    for hangs in [false, true] {
        let plan = move |operation, _: &str| match operation {
            Operation::Renew if hangs => Fault { before: Duration::from_secs(3600), ..Fault::default() },
            Operation::Renew => Fault { lost_before: true, ..Fault::default() },
            _ => Fault::default(),
        };
        let queue = FakeQueue::with_plan(1, None, plan);
        let stops = Arc::<Mutex<Vec<(Duration, Option<Stop>)>>>::default();
        let noted = stops.clone();
        let started = Instant::now();
        let handler = Does(move |_, stop: CancellationToken, progress: Progress| {
            let noted = noted.clone();
            async move {
                stop.cancelled().await;
                noted.lock().push((started.elapsed(), progress.why_stopped()));
                JobOutcome::Stopped(None)
            }
        });
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(worker(&queue, handler, options("a")).run(shutdown.clone()));
        sleep(Duration::from_millis(3_900)).await;
        let (stopped_after, why) = stops.lock()[0];
        assert!(stopped_after < LEASE, "{stopped_after:?}");
        assert_eq!(why, Some(Stop::LeaseLost), "hangs: {hangs}");
        assert_eq!(queue.row("job-0").epoch, 1, "nobody else had it in the meantime");
        shutdown.cancel();
        running.await.unwrap();
        assert!(queue.row("job-0").ends.is_empty(), "nothing of it was stored");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_of_a_vanished_worker_is_run_by_another_within_five_seconds() {
    let queue = FakeQueue::new(1);
    let vanishing = tokio::spawn(
        worker(&queue, Does(|_, _, _| std::future::pending()), options("a")).run(CancellationToken::new()),
    );
    sleep(Duration::from_millis(2_345)).await;
    vanishing.abort();
    let vanished = Instant::now();
    let shutdown = CancellationToken::new();
    let handler = Does(|_, _, _| async { JobOutcome::Done(result()) });
    let other = tokio::spawn(worker(&queue, handler, options("b")).run(shutdown.clone()));
    within(Duration::from_secs(60), queue.all_ended()).await;
    assert!(vanished.elapsed() < Duration::from_secs(5), "{:?}", vanished.elapsed());
    shutdown.cancel();
    other.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_job_that_a_renewal_does_not_confirm_is_stopped_at_once() {
    let queue = FakeQueue::new(1);
    let stopped_at = Arc::new(Mutex::new(None));
    let noted = stopped_at.clone();
    let handler = Does(move |job: Job, stop: CancellationToken, _| {
        let noted = noted.clone();
        async move {
            if job.epoch == 1 {
                stop.cancelled().await;
                *noted.lock() = Some(Instant::now());
            }
            JobOutcome::Done(result())
        }
    });
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(worker(&queue, handler, options("a")).run(shutdown.clone()));
    sleep(Duration::from_millis(500)).await;
    // An operator, or a control that restarted us, gave the job to somebody else.
    queue.set("job-0", |row| {
        row.epoch = 9;
        row.owner = Some("b".to_owned());
    });
    sleep(Duration::from_millis(1_500)).await;
    assert!(stopped_at.lock().is_some(), "the next heartbeat finds out");
    assert!(queue.row("job-0").ends.is_empty(), "what it made is not stored");
    shutdown.cancel();
    let stats = running.await.unwrap();
    assert_eq!((stats.stored, stats.fenced), (0, 1));
}
