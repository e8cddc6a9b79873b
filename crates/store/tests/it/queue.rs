//! Jobs: who holds them, who may finish them, and how they end.

use std::{collections::BTreeSet, time::Duration};

use mainstay_base::Kind;
use mainstay_store::{
    CRASH, MAX_CRASHES, Store,
    model::{
        Cancelled, DeliveryKind, DeliveryState, Finish, Finished, Job, JobKind, JobState, NewJob, Replayed,
        RunEvent, RunStatus,
    },
};
use tokio::task::JoinSet;

use crate::fixture::{LEASE, START, new_job, on_each, result};

async fn submit(store: &Store, job: NewJob) -> String {
    let id = job.run.id.clone();
    store.jobs().submit(job).await.unwrap();
    id
}

async fn claim_one(store: &Store, worker: &str) -> Job {
    let mut jobs = store.jobs().claim(worker, 1, LEASE).await.unwrap();
    assert_eq!(jobs.len(), 1, "{worker} finds a job");
    jobs.remove(0)
}

async fn status(store: &Store, run_id: &str) -> RunStatus {
    store.runs().get(run_id).await.unwrap().unwrap().summary.status
}

fn retry(class: &str, limit: i64) -> Finish {
    Finish::Retry {
        class: class.to_owned(),
        message: format!("{class} is broken"),
        after: Duration::from_secs(5),
        limit,
    }
}

#[tokio::test]
async fn a_job_goes_from_queued_to_running_to_its_result() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        let mut job = new_job();
        job.callback_url = Some("https://receiver.example/hook".to_owned());
        let payload = job.payload.clone();
        let id = submit(&store, job).await;
        assert_eq!(status(&store, &id).await, RunStatus::Queued);

        let job = claim_one(&store, "worker-1").await;
        assert_eq!((&job.id, job.epoch, job.attempt, &job.payload), (&id, 1, 1, &payload));
        assert_eq!(job.lease_until, START + LEASE);
        let run = store.runs().get(&id).await.unwrap().unwrap();
        assert_eq!(run.summary.status, RunStatus::Running);
        assert_eq!(run.summary.started_at, Some(START));
        assert_eq!(run.summary.job.unwrap().worker_id.as_deref(), Some("worker-1"));
        assert!(store.jobs().claim("worker-2", 9, LEASE).await.unwrap().is_empty(), "it is taken");

        let done = Finish::Done(result(RunStatus::Succeeded));
        assert_eq!(store.jobs().finish(&id, job.epoch, done.clone()).await.unwrap(), Finished::Stored);
        assert_eq!(store.jobs().finish(&id, job.epoch, done).await.unwrap(), Finished::Fenced, "only once");
        let run = store.runs().get(&id).await.unwrap().unwrap();
        assert_eq!(run.summary.status, RunStatus::Succeeded);
        assert_eq!(run.summary.total_tokens, 7);
        assert_eq!(run.outputs, result(RunStatus::Succeeded).outputs);
        assert_eq!(run.summary.job, None);

        let deliveries = store.outbox().list(&id).await.unwrap();
        assert_eq!(deliveries.len(), 1, "the callback once");
        assert_eq!(deliveries[0].id, format!("msg_{id}"));
        assert_eq!(
            (deliveries[0].kind, deliveries[0].state),
            (DeliveryKind::Callback, DeliveryState::Pending)
        );
    })
    .await;
}

#[tokio::test]
async fn jobs_are_taken_in_the_order_of_their_submission() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        let mut submitted = Vec::new();
        for _ in 0..5 {
            submitted.push(submit(&store, new_job()).await);
            fixture.clock.advance(Duration::from_millis(1));
        }
        let first = store.jobs().claim("worker-1", 2, LEASE).await.unwrap();
        let rest = store.jobs().claim("worker-1", 9, LEASE).await.unwrap();
        let taken: Vec<String> = first.into_iter().chain(rest).map(|job| job.id).collect();
        assert_eq!(taken, submitted);
    })
    .await;
}

#[tokio::test]
async fn two_claimers_never_get_the_same_job() {
    on_each(|fixture| async move {
        const JOBS: usize = 300;
        let jobs: Vec<NewJob> = (0..JOBS).map(|_| new_job()).collect();
        fixture.store.jobs().submit_batch(jobs).await.unwrap();
        let mut claimers = JoinSet::new();
        for number in 0..6 {
            // Some share a store, as tasks do; some have their own, as processes do.
            let store = if number % 2 == 0 { fixture.store.clone() } else { fixture.another().await };
            claimers.spawn(async move {
                let mut mine = Vec::new();
                // A claim may find all due rows locked by others on PostgreSQL, so an empty one is not the end.
                while store.jobs().stats().await.unwrap().queued > 0 {
                    mine.extend(store.jobs().claim(&format!("worker-{number}"), 7, LEASE).await.unwrap());
                }
                mine
            });
        }
        let taken: Vec<Job> = claimers.join_all().await.into_iter().flatten().collect();
        let distinct: BTreeSet<&str> = taken.iter().map(|job| job.id.as_str()).collect();
        assert_eq!((taken.len(), distinct.len()), (JOBS, JOBS));
        assert!(taken.iter().all(|job| job.epoch == 1));
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_is_fenced_off() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        let id = submit(&store, new_job()).await;
        let first = claim_one(&store, "worker-1").await;
        fixture.clock.advance(LEASE);
        let second = claim_one(&store, "worker-2").await;
        assert_eq!((second.epoch, second.attempt), (2, 2));
        assert_eq!(second.failures.get(CRASH), Some(&1));

        let jobs = store.jobs();
        for finish in [
            Finish::Done(result(RunStatus::Succeeded)),
            Finish::Cancelled(None),
            Finish::Release,
            retry("upstream", 9),
            Finish::Dead { class: "x".into(), message: "y".into(), kind: Kind::Bug, result: None },
        ] {
            let outcome = jobs.finish(&id, first.epoch, finish.clone()).await.unwrap();
            assert_eq!(outcome, Finished::Fenced, "{finish:?}");
        }
        assert!(jobs.renew("worker-1", vec![(id.clone(), first.epoch)], LEASE).await.unwrap().is_empty());
        assert!(!jobs.mark_started(&id, first.epoch, "u", "t").await.unwrap());
        let event = RunEvent { seq: 1, at: START, body: "{}".to_owned() };
        assert!(!store.runs().append_events(&id, first.epoch, vec![event.clone()]).await.unwrap());
        assert!(store.runs().events(&id, 0, 9).await.unwrap().is_empty());
        assert_eq!(status(&store, &id).await, RunStatus::Running);

        assert!(store.runs().append_events(&id, second.epoch, vec![event]).await.unwrap());
        let done = Finish::Done(result(RunStatus::Succeeded));
        assert_eq!(jobs.finish(&id, second.epoch, done).await.unwrap(), Finished::Stored);
        assert_eq!(store.runs().events(&id, 0, 9).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_heartbeat_keeps_a_job_until_its_lease_has_run_out() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        let id = submit(&store, new_job()).await;
        let job = claim_one(&store, "worker-1").await;
        let mine = || vec![(id.clone(), job.epoch)];
        for _ in 0..3 {
            fixture.clock.advance(LEASE - Duration::from_secs(1));
            let held = store.jobs().renew("worker-1", mine(), LEASE).await.unwrap();
            assert_eq!(held.len(), 1);
            assert_eq!(held[0].lease_until, fixture.clock.now() + LEASE);
            assert!(store.jobs().claim("worker-2", 9, LEASE).await.unwrap().is_empty());
        }
        assert!(store.jobs().renew("worker-2", mine(), LEASE).await.unwrap().is_empty(), "another's job");
        fixture.clock.advance(LEASE);
        assert!(store.jobs().renew("worker-1", mine(), LEASE).await.unwrap().is_empty(), "too late");
        assert_eq!(store.jobs().stats().await.unwrap().expired, 1);
    })
    .await;
}

#[tokio::test]
async fn a_dead_workers_jobs_can_be_taken_at_once() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        submit(&store, new_job()).await;
        submit(&store, new_job()).await;
        assert_eq!(store.jobs().claim("worker-1", 9, LEASE).await.unwrap().len(), 2);
        assert_eq!(store.jobs().release_owner("worker-2").await.unwrap(), 0);
        assert_eq!(store.jobs().release_owner("worker-1").await.unwrap(), 2);
        let taken = store.jobs().claim("worker-2", 9, LEASE).await.unwrap();
        assert_eq!(taken.len(), 2);
        assert!(taken.iter().all(|job| job.failures.get(CRASH) == Some(&1)));
    })
    .await;
}

#[tokio::test]
async fn a_job_that_loses_too_many_workers_becomes_a_dead_letter() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        let mut job = new_job();
        job.callback_url = Some("https://receiver.example/hook".to_owned());
        let id = submit(&store, job).await;
        for attempt in 1..=MAX_CRASHES {
            assert_eq!(claim_one(&store, "worker-1").await.attempt, attempt);
            fixture.clock.advance(LEASE);
        }
        assert!(store.jobs().claim("worker-1", 9, LEASE).await.unwrap().is_empty());
        let run = store.runs().get(&id).await.unwrap().unwrap().summary;
        assert_eq!(run.status, RunStatus::Failed);
        assert_eq!(
            run.error,
            Some(format!(
                "the run's worker was lost {MAX_CRASHES} times: the lease of worker worker-1 ran out"
            ))
        );
        assert_eq!(run.job.unwrap().state, JobState::Dead);
        let dead = store.jobs().dead(9).await.unwrap();
        assert_eq!((dead.len(), dead[0].class.as_str()), (1, CRASH));
        assert_eq!(store.outbox().list(&id).await.unwrap().len(), 1, "its caller is told");
    })
    .await;
}

#[tokio::test]
async fn attempts_are_counted_for_each_class_of_error() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        let id = submit(&store, new_job()).await;
        let mut outcomes = Vec::new();
        for class in ["upstream", "timeout", "upstream", "upstream"] {
            let job = claim_one(&store, "worker-1").await;
            outcomes.push(store.jobs().finish(&id, job.epoch, retry(class, 3)).await.unwrap());
            assert!(store.jobs().claim("worker-1", 9, LEASE).await.unwrap().is_empty(), "it waits");
            fixture.clock.advance(Duration::from_secs(5));
        }
        use Finished::{Dead, Requeued};
        assert_eq!(outcomes, [Requeued, Requeued, Requeued, Dead]);
        let run = store.runs().get(&id).await.unwrap().unwrap().summary;
        assert_eq!((run.status, run.error.as_deref()), (RunStatus::Failed, Some("upstream is broken")));
        let dead = store.jobs().dead(9).await.unwrap();
        assert_eq!(dead[0].failures.get("timeout"), Some(&1));
    })
    .await;
}

#[tokio::test]
async fn a_run_that_must_not_be_repeated_is_not_once_its_upstream_has_started_it() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        let mut job = new_job();
        (job.repeatable, job.run.kind, job.run.upstream) = (false, JobKind::Upstream, Some("dify".into()));
        let id = submit(&store, job).await;

        claim_one(&store, "worker-1").await;
        fixture.clock.advance(LEASE);
        let second = claim_one(&store, "worker-2").await;
        assert!(store.jobs().mark_started(&id, second.epoch, "dify-run", "dify-task").await.unwrap());
        fixture.clock.advance(LEASE);
        assert!(store.jobs().claim("worker-3", 9, LEASE).await.unwrap().is_empty(), "no second run");
        let run = store.runs().get(&id).await.unwrap().unwrap().summary;
        assert_eq!(run.status, RunStatus::Failed);
        assert_eq!(run.upstream_run_id.as_deref(), Some("dify-run"));
        assert!(run.error.unwrap().starts_with("the upstream had started the run"));

        // An operator may decide otherwise.
        assert_eq!(store.jobs().replay(&id).await.unwrap(), Replayed::Queued);
        let third = claim_one(&store, "worker-3").await;
        store.jobs().mark_started(&id, third.epoch, "dify-run-2", "dify-task-2").await.unwrap();
        let outcome = store.jobs().finish(&id, third.epoch, retry("upstream", 9)).await.unwrap();
        assert_eq!(outcome, Finished::Dead, "a retry would be a second run too");
    })
    .await;
}

#[tokio::test]
async fn a_dead_letter_can_be_replayed_and_its_new_result_has_a_new_webhook_id() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        let mut job = new_job();
        job.callback_url = Some("https://receiver.example/hook".to_owned());
        let id = submit(&store, job).await;
        let job = claim_one(&store, "worker-1").await;
        assert_eq!(store.jobs().replay(&id).await.unwrap(), Replayed::NotDead);
        let dead =
            Finish::Dead { class: "input".into(), message: "no".into(), kind: Kind::Caller, result: None };
        assert_eq!(store.jobs().finish(&id, job.epoch, dead).await.unwrap(), Finished::Dead);
        let run = store.runs().get(&id).await.unwrap().unwrap().summary;
        assert_eq!((run.status, run.error_kind), (RunStatus::Failed, Some(Kind::Caller)));

        assert_eq!(store.jobs().replay(&id).await.unwrap(), Replayed::Queued);
        assert_eq!(status(&store, &id).await, RunStatus::Queued);
        let again = claim_one(&store, "worker-1").await;
        assert_eq!((again.attempt, again.failures.len()), (1, 0));
        assert!(again.epoch > job.epoch, "the fence stays");
        let done = Finish::Done(result(RunStatus::Succeeded));
        store.jobs().finish(&id, again.epoch, done).await.unwrap();
        assert_eq!(status(&store, &id).await, RunStatus::Succeeded);
        let ids: Vec<String> =
            store.outbox().list(&id).await.unwrap().into_iter().map(|delivery| delivery.id).collect();
        assert_eq!(ids, [format!("msg_{id}"), format!("msg_{id}_1")]);
        assert_eq!(store.jobs().replay("nothing").await.unwrap(), Replayed::NotFound);
    })
    .await;
}

#[tokio::test]
async fn a_queued_run_is_cancelled_at_once_and_a_running_one_through_its_worker() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        let jobs = store.jobs();
        let queued = submit(&store, new_job()).await;
        assert_eq!(jobs.cancel(&queued).await.unwrap(), Cancelled::Stopped);
        assert_eq!(status(&store, &queued).await, RunStatus::Stopped);
        assert_eq!(jobs.cancel(&queued).await.unwrap(), Cancelled::AlreadyEnded);
        assert_eq!(jobs.cancel("nothing").await.unwrap(), Cancelled::NotFound);

        let running = submit(&store, new_job()).await;
        let job = claim_one(&store, "worker-1").await;
        let mine = || vec![(running.clone(), job.epoch)];
        assert!(!jobs.renew("worker-1", mine(), LEASE).await.unwrap()[0].cancel_requested);
        assert_eq!(jobs.cancel(&running).await.unwrap(), Cancelled::Requested);
        assert!(jobs.renew("worker-1", mine(), LEASE).await.unwrap()[0].cancel_requested);
        assert_eq!(
            jobs.finish(&running, job.epoch, Finish::Cancelled(None)).await.unwrap(),
            Finished::Stored
        );
        assert_eq!(status(&store, &running).await, RunStatus::Stopped);
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_run_whose_worker_is_lost_is_not_run_again() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        let crashed = submit(&store, new_job()).await;
        claim_one(&store, "worker-1").await;
        store.jobs().cancel(&crashed).await.unwrap();
        fixture.clock.advance(LEASE);
        assert!(store.jobs().claim("worker-2", 9, LEASE).await.unwrap().is_empty());
        assert_eq!(status(&store, &crashed).await, RunStatus::Stopped);

        let failed = submit(&store, new_job()).await;
        let job = claim_one(&store, "worker-1").await;
        store.jobs().cancel(&failed).await.unwrap();
        let outcome = store.jobs().finish(&failed, job.epoch, retry("upstream", 9)).await.unwrap();
        assert_eq!(outcome, Finished::Stored);
        assert_eq!(status(&store, &failed).await, RunStatus::Stopped);
    })
    .await;
}

#[tokio::test]
async fn a_job_given_back_counts_as_no_attempt() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        let id = submit(&store, new_job()).await;
        let job = claim_one(&store, "worker-1").await;
        let outcome = store.jobs().finish(&id, job.epoch, Finish::Release).await.unwrap();
        assert_eq!(outcome, Finished::Requeued);
        let again = claim_one(&store, "worker-2").await;
        assert_eq!((again.attempt, again.failures.len()), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn a_batch_of_finishes_is_fenced_one_by_one() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        for _ in 0..3 {
            submit(&store, new_job()).await;
        }
        let jobs = store.jobs().claim("worker-1", 9, LEASE).await.unwrap();
        let finishes = jobs.iter().enumerate().map(|(number, job)| {
            let epoch = if number == 1 { job.epoch - 1 } else { job.epoch };
            (job.id.clone(), epoch, Finish::Done(result(RunStatus::Succeeded)))
        });
        let outcomes = store.jobs().finish_batch(finishes.collect()).await.unwrap();
        assert_eq!(outcomes, [Finished::Stored, Finished::Fenced, Finished::Stored]);
    })
    .await;
}

#[tokio::test]
async fn the_figures_of_the_queue_add_up() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        for _ in 0..5 {
            submit(&store, new_job()).await;
        }
        let jobs = store.jobs().claim("worker-1", 4, LEASE).await.unwrap();
        let finish = async |number: usize, finish: Finish| {
            store.jobs().finish(&jobs[number].id, jobs[number].epoch, finish).await.unwrap()
        };
        finish(0, Finish::Done(result(RunStatus::Succeeded))).await;
        finish(1, retry("upstream", 9)).await;
        let dead = Finish::Dead { class: "x".into(), message: "y".into(), kind: Kind::Bug, result: None };
        finish(2, dead).await;
        fixture.clock.advance(Duration::from_secs(2));
        let stats = store.jobs().stats().await.unwrap();
        assert_eq!((stats.queued, stats.delayed, stats.leased, stats.dead), (1, 1, 1, 1));
        assert_eq!(stats.oldest_queued_us, 2_000_000);
        assert_eq!((stats.done_last_minute, stats.failed_last_minute), (2, 1));
        assert_eq!(stats.expired, 0);
    })
    .await;
}
