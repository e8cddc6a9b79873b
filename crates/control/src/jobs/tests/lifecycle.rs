//! What becomes of one job, of many, and of a worker that leaves.

use std::{sync::atomic::AtomicBool, time::Duration};

use mainstay_base::Kind;
use mainstay_store::model::Finish;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::*;
use crate::jobs::{CLASSES, Stop, class_of};

const LIMIT: Duration = Duration::from_secs(3600);

fn done() -> JobOutcome {
    JobOutcome::Done(result())
}

/// Runs one worker until every job has ended; gives its statistics.
async fn until_all_ended(queue: &Arc<FakeQueue>, handler: impl Handler) -> crate::jobs::Stats {
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(worker(queue, handler, options("a")).run(shutdown.clone()));
    within(LIMIT, queue.all_ended()).await;
    shutdown.cancel();
    within(LIMIT, running).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_job_runs_once_and_no_more_at_a_time_than_there_are_slots() {
    let queue = FakeQueue::new(100);
    let gauge = Gauge::default();
    let seen = gauge.clone();
    let handler = Does(move |_, _, _| {
        let guard = gauge.enter();
        async move {
            sleep(Duration::from_millis(30)).await;
            drop(guard);
            done()
        }
    });
    let stats = until_all_ended(&queue, handler).await;
    assert_eq!((stats.claimed, stats.stored, stats.fenced), (100, 100, 0));
    assert_eq!(seen.most.load(Ordering::SeqCst), crate::jobs::DEFAULT_CONCURRENCY);
    assert!(queue.rows.lock().values().all(|row| matches!(row.ends[..], [Finish::Done(_)])));
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_by_class_and_then_the_job_is_a_dead_letter() {
    for (kind, attempts) in [
        (Kind::Caller, 1),
        (Kind::Denied, 1),
        (Kind::Bug, 2),
        (Kind::Upstream, 3),
        (Kind::OverBudget, 3),
        (Kind::Unavailable, 5),
    ] {
        let queue = FakeQueue::new(1);
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = tries.clone();
        let handler = Does(move |_, _, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move { JobOutcome::Failed { kind, message: "no".to_owned(), result: Some(result()) } }
        });
        let stats = until_all_ended(&queue, handler).await;
        assert_eq!(tries.load(Ordering::SeqCst), attempts, "{kind:?}");
        assert_eq!(stats.dead, 1, "{kind:?}");
        let end = queue.row("job-0").ends.pop();
        assert!(
            matches!(end, Some(Finish::Dead { result: Some(_), .. })),
            "the last result is kept: {end:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_is_run_again_after_a_pause() {
    let queue = FakeQueue::new(1);
    let failed = AtomicBool::new(false);
    let handler = Does(move |_, _, _| {
        let first = !failed.swap(true, Ordering::SeqCst);
        async move {
            match first {
                true => {
                    JobOutcome::Failed { kind: Kind::Unavailable, message: "away".to_owned(), result: None }
                }
                false => done(),
            }
        }
    });
    let stats = until_all_ended(&queue, handler).await;
    assert_eq!((stats.requeued, stats.stored), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_panics_is_a_bug_and_takes_nobody_with_it() {
    let queue = FakeQueue::new(3);
    let handler = Does(|job: Job, _, _| async move {
        assert_ne!(job.id, "job-1", "on purpose");
        done()
    });
    let stats = until_all_ended(&queue, handler).await;
    assert_eq!((stats.stored, stats.dead), (2, 1));
    assert_eq!(queue.row("job-1").failures["bug"], 1, "it was tried once more before it was given up");
}

#[tokio::test(start_paused = true)]
async fn a_result_that_cannot_be_stored_fails_the_run_and_is_not_run_again() {
    let queue = FakeQueue::new(3);
    *queue.refuse_results.lock() = true;
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let handler = Does(move |_, _, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { done() }
    });
    let stats = until_all_ended(&queue, handler).await;
    assert_eq!((stats.dead, tries.load(Ordering::SeqCst)), (3, 3));
    let Some(Finish::Dead { message, .. }) = queue.row("job-0").ends.pop() else { panic!("a dead letter") };
    assert!(message.contains("could not be stored"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_is_stopped_by_the_next_heartbeat_and_says_why() {
    let queue = FakeQueue::new(1);
    let why = Arc::new(Mutex::new(None));
    let told = why.clone();
    let handler = Does(move |_, stop: CancellationToken, progress: Progress| {
        let told = told.clone();
        async move {
            stop.cancelled().await;
            *told.lock() = progress.why_stopped();
            JobOutcome::Stopped(None)
        }
    });
    queue.set("job-0", |row| row.cancel_requested = true);
    let started = Instant::now();
    until_all_ended(&queue, handler).await;
    assert_eq!(*why.lock(), Some(Stop::Cancelled));
    assert!(matches!(queue.row("job-0").ends[..], [Finish::Cancelled(None)]));
    assert!(started.elapsed() <= Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_new_job_is_taken_within_the_longest_poll_and_at_once_when_woken() {
    for (wakes, at_most) in [(false, Duration::from_millis(250)), (true, Duration::from_millis(5))] {
        let queue = FakeQueue::new(0);
        let begun = Arc::new(Mutex::new(None));
        let noted = begun.clone();
        let handler = Does(move |_, _, _| {
            *noted.lock() = Some(Instant::now());
            async { done() }
        });
        let shutdown = CancellationToken::new();
        let idle = worker(&queue, handler, options("a"));
        let wake = idle.wake();
        let running = tokio::spawn(idle.run(shutdown.clone()));
        sleep(Duration::from_millis(10_007)).await;
        let added = Instant::now();
        queue.add("late");
        if wakes {
            wake.notify_one();
        }
        within(LIMIT, queue.all_ended()).await;
        let waited = begun.lock().unwrap().saturating_duration_since(added);
        assert!(waited <= at_most, "woken: {wakes}, waited {waited:?}");
        shutdown.cancel();
        running.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_jobs_end_and_takes_no_new_ones() {
    let queue = FakeQueue::new(40);
    let handler = Does(|_, _, _| async {
        sleep(Duration::from_secs(5)).await;
        done()
    });
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(worker(&queue, handler, options("a")).run(shutdown.clone()));
    sleep(Duration::from_secs(1)).await;
    shutdown.cancel();
    let stats = within(Duration::from_secs(10), running).await.unwrap();
    assert_eq!((stats.claimed, stats.stored, stats.requeued), (32, 32, 0));
    assert!(queue.workers.lock().is_empty(), "a worker that left says so");
}

#[tokio::test(start_paused = true)]
async fn jobs_that_outlast_the_drain_go_back_to_the_queue_whether_they_listen_or_not() {
    for listens in [true, false] {
        let queue = FakeQueue::new(3);
        let handler = Does(move |_, stop: CancellationToken, _| async move {
            if listens {
                stop.cancelled().await;
            } else {
                std::future::pending::<()>().await;
            }
            JobOutcome::Stopped(None)
        });
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(worker(&queue, handler, options("a")).run(shutdown.clone()));
        sleep(Duration::from_secs(1)).await;
        shutdown.cancel();
        let started = Instant::now();
        let stats = within(LIMIT, running).await.unwrap();
        assert_eq!((stats.requeued, stats.stored), (3, 0), "listens: {listens}");
        assert!(started.elapsed() <= crate::jobs::DRAIN + Duration::from_secs(4), "{:?}", started.elapsed());
        let rows = queue.rows.lock();
        assert!(
            rows.values()
                .all(|row| row.lease_until.is_none() && row.ends.is_empty() && row.failures["shutdown"] == 1)
        );
    }
}

#[test]
fn every_kind_has_a_class_and_every_pause_lies_within_its_bound() {
    for kind in Kind::ALL {
        let class = class_of(kind);
        assert!(CLASSES.contains(&class), "{kind:?}");
        for failures in [0, 1, 2, 3, 10, 1_000, i64::MAX] {
            for random in [0, 1, u64::MAX / 3, u64::MAX] {
                assert!(class.pause(failures, random) <= class.longest_pause);
            }
        }
    }
    let unavailable = class_of(Kind::Unavailable);
    let widest =
        |failures| (0..5_000u64).map(|random| unavailable.pause(failures, random * 997)).max().unwrap();
    assert!(widest(2) > unavailable.first_pause, "pauses grow with failures");
}
