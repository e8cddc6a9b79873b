//! The worker loop on a real database. Real processes and real signals are the server's end-to-end tests.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use mainstay_base::{AppMode, Clock, Micros, id};
use mainstay_control::jobs::{Handler, JobOutcome, Progress, Worker, WorkerOptions, WorkerPorts};
use mainstay_store::{
    Store,
    model::{Job, JobKind, NewJob, NewRun, RunResult, RunStatus},
};
use mainstay_testkit::wait_until;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(60);

async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    let options = mainstay_store::Options { url, clock: Clock::System };
    Store::migrate(&options).await.unwrap();
    let store = Store::open(options).await.unwrap();
    (folder, store)
}

fn new_job() -> NewJob {
    let run = NewRun {
        id: id::new(),
        app_id: "app".to_owned(),
        app_name: "App".to_owned(),
        mode: AppMode::Workflow,
        kind: JobKind::Embedded,
        upstream: None,
        version_id: "v".to_owned(),
        version: "1".to_owned(),
        end_user_id: None,
        session_id: "user".to_owned(),
        task_id: None,
        conversation_id: None,
        request_id: None,
        trace_id: None,
        inputs: Value::Null,
        created_at: Clock::System.now(),
    };
    NewJob { run, payload: Value::Null, repeatable: true, idempotency: None, callback_url: None }
}

/// Succeeds after a while, or never.
struct Takes(Option<Duration>);

impl Handler for Takes {
    fn run(&self, _: Job, _: CancellationToken, _: Progress) -> BoxFuture<'static, JobOutcome> {
        let takes = self.0;
        Box::pin(async move {
            match takes {
                Some(takes) => tokio::time::sleep(takes).await,
                None => std::future::pending().await,
            }
            JobOutcome::Done(RunResult {
                status: RunStatus::Succeeded,
                outputs: None,
                error: None,
                error_kind: None,
                total_tokens: 0,
                total_steps: 1,
                exceptions_count: 0,
                started_at: Micros(1),
                finished_at: Micros(2),
                elapsed_us: 1,
                nodes: Vec::new(),
                upstream_run_id: None,
                usage: None,
                chat: None,
            })
        })
    }
}

fn worker(store: &Store, slot: i64, takes: Option<Duration>) -> Worker {
    let ports = WorkerPorts { store: store.clone(), handler: Arc::new(Takes(takes)), clock: Clock::System };
    Worker::new(ports, WorkerOptions::new(id::new(), slot, slot, "here"))
}

async fn all_done(store: &Store, runs: &[String]) {
    wait_until("every run has its result", LIMIT, || async {
        for run in runs {
            if store.runs().get(run).await.unwrap().unwrap().summary.status != RunStatus::Succeeded {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_runs_are_done_and_stored_and_the_worker_shows_itself() {
    let (_folder, store) = store().await;
    let jobs: Vec<NewJob> = (0..200).map(|_| new_job()).collect();
    let runs: Vec<String> = jobs.iter().map(|job| job.run.id.clone()).collect();
    store.jobs().submit_batch(jobs).await.unwrap();
    let shutdown = CancellationToken::new();
    let first = worker(&store, 0, Some(Duration::from_millis(5)));
    let stats = first.stats();
    let running = [
        tokio::spawn(first.run(shutdown.clone())),
        tokio::spawn(worker(&store, 1, Some(Duration::from_millis(5))).run(shutdown.clone())),
    ];
    all_done(&store, &runs).await;
    assert_eq!(store.workers().list().await.unwrap().len(), 2);
    assert!(stats.borrow().claimed > 0);
    shutdown.cancel();
    let mut stored = 0;
    for worker in running {
        stored += worker.await.unwrap().stored;
    }
    assert_eq!(stored, 200, "each run was stored once");
    assert!(store.workers().list().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_worker_vanished_is_done_by_another_within_five_seconds_of_it() {
    let (_folder, store) = store().await;
    let job = new_job();
    let run = job.run.id.clone();
    store.jobs().submit(job).await.unwrap();
    let vanishing = tokio::spawn(worker(&store, 0, None).run(CancellationToken::new()));
    wait_until("it is taken", LIMIT, || async {
        (store.jobs().stats().await.unwrap().leased == 1).then_some(())
    })
    .await;
    let shutdown = CancellationToken::new();
    let other = tokio::spawn(worker(&store, 1, Some(Duration::from_millis(1))).run(shutdown.clone()));
    // Long enough for the lease to have been renewed: it is the last renewal that counts.
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    vanishing.abort();
    let vanished = Instant::now();
    all_done(&store, &[run]).await;
    assert!(vanished.elapsed() < Duration::from_secs(5), "{:?}", vanished.elapsed());
    shutdown.cancel();
    other.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_is_stopped_where_it_runs() {
    let (_folder, store) = store().await;
    let job = new_job();
    let run = job.run.id.clone();
    store.jobs().submit(job).await.unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(worker(&store, 0, None).run(shutdown.clone()));
    wait_until("it is taken", LIMIT, || async {
        (store.jobs().stats().await.unwrap().leased == 1).then_some(())
    })
    .await;
    store.jobs().cancel(&run).await.unwrap();
    wait_until("it is stopped", LIMIT, || async {
        let found = store.runs().get(&run).await.unwrap().unwrap();
        (found.summary.status == RunStatus::Stopped).then_some(())
    })
    .await;
    shutdown.cancel();
    running.await.unwrap();
}
