//! How many durable runs a second the store carries: submit, claim, finish with four nodes and a result.
//!
//! `cargo run --release -p mainstay-store --example throughput -- sqlite:/path/new.db [RUNS]`

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::{
    env, error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use mainstay_base::{AppMode, Clock, Micros, id};
use mainstay_store::{
    Options, Store, StoreError,
    model::{Finish, JobKind, NewJob, NewRun, NodeExecution, RunResult, RunStatus},
};
use serde_json::json;
use tokio::task::JoinSet;

/// Callers that submit at the same time, each waiting for its own answer.
const CALLERS: usize = 256;
/// Worker processes, and how much each takes at once.
const WORKERS: usize = 2;
const CLAIM: usize = 128;
const LEASE: Duration = Duration::from_secs(30);
const DEFAULT_RUNS: usize = 20_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn error::Error>> {
    let mut arguments = env::args().skip(1);
    let url = arguments.next().ok_or("usage: throughput URL [RUNS]")?;
    let runs = arguments.next().map_or(Ok(DEFAULT_RUNS), |runs| runs.parse())?;
    let options = Options { url, clock: Clock::System };
    Store::migrate(&options).await?;
    let store = Store::open(options.clone()).await?;

    let began = Instant::now();
    submit(&store, runs).await?;
    report("submit, one by one", runs, began);

    let began = Instant::now();
    work(&options, runs).await?;
    report("claim and finish", runs, began);

    let began = Instant::now();
    tokio::try_join!(submit(&store, runs), work(&options, runs))?;
    report("submit, claim and finish at once", runs, began);

    let began = Instant::now();
    for _ in 0..runs / CALLERS {
        store.jobs().submit_batch((0..CALLERS).map(|_| new_job()).collect()).await?;
    }
    report("submit, in batches", runs, began);
    Ok(())
}

fn report(what: &str, runs: usize, began: Instant) {
    let took = began.elapsed().as_secs_f64();
    println!("{what:34} {:>8.0} runs/s", runs as f64 / took);
}

async fn submit(store: &Store, runs: usize) -> Result<(), StoreError> {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let jobs = store.jobs();
        let share = runs / CALLERS + usize::from(caller < runs % CALLERS);
        callers.spawn(async move {
            for _ in 0..share {
                jobs.submit(new_job()).await?;
            }
            Ok(())
        });
    }
    callers.join_all().await.into_iter().collect()
}

/// Workers with stores of their own, as processes have, until all runs have ended.
async fn work(options: &Options, runs: usize) -> Result<(), StoreError> {
    let ended = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for number in 0..WORKERS {
        let store = Store::open(options.clone()).await.map_err(|error| StoreError::Bug(error.to_string()))?;
        let ended = ended.clone();
        workers.spawn(async move {
            let worker = format!("worker-{number}");
            while ended.load(Ordering::Relaxed) < runs {
                let jobs = store.jobs().claim(&worker, CLAIM, LEASE).await?;
                let count = jobs.len();
                let finishes = jobs.into_iter().map(|job| (job.id, job.epoch, Finish::Done(result())));
                store.jobs().finish_batch(finishes.collect()).await?;
                ended.fetch_add(count, Ordering::Relaxed);
                if count == 0 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            Ok(())
        });
    }
    workers.join_all().await.into_iter().collect()
}

fn new_job() -> NewJob {
    let inputs = json!({"name": "Ann", "n": 10, "sys.user_id": "bench", "sys.files": []});
    NewJob {
        payload: json!({"inputs": inputs, "user": "bench", "response_mode": "blocking"}),
        run: NewRun {
            id: id::new(),
            app_id: "0199a3f0-0000-7000-8000-000000000001".to_owned(),
            app_name: "Bench".to_owned(),
            mode: AppMode::Workflow,
            kind: JobKind::Embedded,
            upstream: None,
            version_id: "0199a3f0-0000-7000-8000-000000000002".to_owned(),
            version: "2026-11-23 00:22:47.633368".to_owned(),
            end_user_id: None,
            session_id: "bench".to_owned(),
            task_id: None,
            conversation_id: None,
            request_id: None,
            trace_id: None,
            inputs,
            created_at: Clock::System.now(),
        },
        repeatable: true,
        idempotency: None,
        callback_url: None,
    }
}

fn result() -> RunResult {
    let now = Clock::System.now();
    RunResult {
        status: RunStatus::Succeeded,
        outputs: Some(json!({"text": "Hello Ann! sum=45"})),
        error: None,
        error_kind: None,
        total_tokens: 0,
        total_steps: 4,
        exceptions_count: 0,
        started_at: now,
        finished_at: now,
        elapsed_us: 100,
        nodes: ["start", "template-transform", "if-else", "end"].iter().zip(1..).map(node(now)).collect(),
        upstream_run_id: None,
        usage: None,
        chat: None,
    }
}

fn node(now: Micros) -> impl Fn((&&str, i64)) -> NodeExecution {
    move |(node_type, index)| NodeExecution {
        id: id::new(),
        node_id: format!("node-{index}"),
        node_type: (*node_type).to_owned(),
        title: "A node".to_owned(),
        index,
        predecessor_node_id: None,
        iteration_id: None,
        status: "succeeded".to_owned(),
        inputs: Some(json!({"name": "Ann", "n": 10})),
        process_data: None,
        outputs: Some(json!({"output": "Hello Ann! sum=45"})),
        error: None,
        metadata: None,
        started_at: now,
        finished_at: now,
        elapsed_us: 25,
    }
}
