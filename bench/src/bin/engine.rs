//! Workflows a second for start → template-transform → if-else → end: the plan alone, blocking through the Service API
//! (stored), and through the durable queue (stored), next to Dify's own Python engine `graphon` running the same file.
//!
//! Run by `cargo xtask bench engine`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Parser;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use mainstay_base::{Clock, Secret, TraceParent, id};
use mainstay_bench::row;
use mainstay_control::jobs::{Handler, JobOutcome, Progress, Worker, WorkerOptions, WorkerPorts};
use mainstay_engine::{Engine, Limits, ModelEndpoint, Plan, RunInput, RunStatus, Sink};
use mainstay_net::{AddressRule, Client, ClientOptions};
use mainstay_standby::{Endpoint, ServiceCall, Standby, Submission, Target, apps::AppFile};
use mainstay_store::{Store, model::Job};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The product's allocator, so that its figures are the product's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const APP: &str = include_str!("../../apps/engine.yml");
/// Callers at a time where the way allows several.
const CALLERS: usize = 256;
/// What the queue holds at most before submitters wait for the worker.
const MAX_BEHIND: u64 = 2_000;
/// Dify's engine, times this, is the aim.
const AIM: f64 = 50.0;

#[derive(Parser)]
struct Cli {
    /// A Python in which graphon is installed.
    #[arg(long)]
    python: PathBuf,
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let peer = graphon(&cli)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(compare(Duration::from_secs(cli.seconds), peer))
}

async fn compare(time: Duration, peer: f64) -> anyhow::Result<()> {
    println!("start → template-transform → if-else → end, workflows a second, on {} cores", cores());
    print("graphon 0.1.2, best of 1–64 threads", peer, peer);
    let plan = plan_alone(time).await?;
    print("plan alone, one task", plan, peer);
    let folder = tempfile::tempdir()?;
    let world = World::open(&folder.path().join("store.db")).await?;
    let blocking = blocking(&world, time).await?;
    print("Service API, blocking, stored", blocking, peer);
    let queue = through_the_queue(&world, time).await?;
    print("durable queue, stored", queue, peer);
    Ok(())
}

fn print(name: &str, per_second: f64, peer: f64) {
    let times = per_second / peer;
    let verdict = if times >= AIM || times == 1.0 { "" } else { " (aim: 50 times)" };
    row(name, &[("", format!("{per_second:>9.0} /s")), ("", format!("{times:>7.1} × graphon{verdict}"))]);
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The peer's own figure, and the proof that it computes the same.
fn graphon(cli: &Cli) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let app = folder.path().join("engine.yml");
    std::fs::write(&app, APP)?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/graphon_peer.py");
    let mut command = Command::new(&cli.python);
    let output = command.arg(script).arg(&app).arg(cli.seconds.to_string()).output();
    let output = output.with_context(|| format!("cannot start {}", cli.python.display()))?;
    ensure!(output.status.success(), "graphon failed: {}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).context("graphon printed no JSON")?;
    ensure!(result["outputs"] == expected(), "graphon computed {}", result["outputs"]);
    result["per_second"].as_f64().context("graphon gave no figure")
}

fn inputs() -> Value {
    json!({"name": "Ann", "n": 5})
}

fn expected() -> Value {
    json!({"text": "Hello Ann! 0 1 2 3 4 "})
}

async fn plan_alone(time: Duration) -> anyhow::Result<f64> {
    let (engine, plan) = (engine()?, plan()?);
    let started = Instant::now();
    let mut runs = 0_u64;
    while started.elapsed() < time {
        let outcome = engine.run(&plan, input(), Sink::Nobody, CancellationToken::new()).await;
        ensure!(outcome.status == RunStatus::Succeeded, "the run failed: {:?}", outcome.error);
        runs += 1;
    }
    Ok(runs as f64 / started.elapsed().as_secs_f64())
}

fn engine() -> anyhow::Result<Engine> {
    let ports = mainstay_engine::Ports {
        client: Client::new(ClientOptions::default())?,
        model: ModelEndpoint { base_url: "http://127.0.0.1:9/v1".to_owned(), key: Secret::new("") },
        http_rule: AddressRule::Any,
        limits: Limits::default(),
        clock: Clock::System,
    };
    Ok(Engine::new(ports))
}

fn plan() -> anyhow::Result<Arc<Plan>> {
    let app = mainstay_wire::dsl::parse(APP).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    Ok(Arc::new(mainstay_engine::check(&app).map_err(|problems| anyhow::anyhow!("{problems:?}"))?))
}

fn input() -> RunInput {
    let Value::Object(inputs) = inputs() else { unreachable!("inputs are an object") };
    RunInput {
        run_id: id::new(),
        app_id: id::new(),
        workflow_id: id::new(),
        user_id: "bench".to_owned(),
        inputs,
        files: Vec::new(),
        chat: None,
        conversation_variables: Map::new(),
        trace: TraceParent::new_root(),
        started_at: Clock::System.now(),
    }
}

/// An embedded Dify over a SQLite file with one app in it.
struct World {
    store: Store,
    standby: Standby,
    app_id: String,
}

impl World {
    async fn open(path: &std::path::Path) -> anyhow::Result<World> {
        let options =
            mainstay_store::Options { url: format!("sqlite:{}", path.display()), clock: Clock::System };
        Store::migrate(&options).await?;
        let store = Store::open(options).await?;
        let ports = mainstay_standby::Ports {
            store: store.clone(),
            engine: engine()?,
            client: Client::new(ClientOptions::default())?,
            clock: Clock::System,
        };
        let standby = Standby::new(ports, mainstay_standby::Options::default());
        let file = AppFile { path: "engine.yml".to_owned(), text: APP.to_owned() };
        let imported = standby.import(vec![file]).await?;
        let app_id = imported.first().context("nothing was imported")?.app.id.clone();
        Ok(World { store, standby, app_id })
    }

    fn call(&self) -> ServiceCall {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        ServiceCall {
            app_id: self.app_id.clone(),
            method: Method::POST,
            path: "/v1/workflows/run".to_owned(),
            query: None,
            headers,
            body: Bytes::from(body().to_string()),
            request_id: id::new(),
            trace: TraceParent::new_root(),
        }
    }

    fn submission(&self) -> Submission {
        Submission {
            app_id: self.app_id.clone(),
            target: Target::Embedded,
            endpoint: Endpoint::Workflow,
            body: body(),
            body_hash: String::new(),
            idempotency_key: None,
            callback_url: None,
            request_id: id::new(),
            trace: TraceParent::new_root(),
        }
    }
}

fn body() -> Value {
    json!({"inputs": inputs(), "response_mode": "blocking", "user": "bench"})
}

async fn blocking(world: &World, time: Duration) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (standby, call) = (world.standby.clone(), world.call());
        callers.spawn(async move {
            let mut runs = 0_u64;
            while started.elapsed() < time {
                let response = standby.call(call.clone()).await;
                ensure!(response.status() == StatusCode::OK, "answered {}", response.status());
                let body =
                    response.into_body().collect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
                let body: Value = serde_json::from_slice(&body.to_bytes())?;
                ensure!(body["data"]["outputs"] == expected(), "computed {body}");
                runs += 1;
            }
            Ok(runs)
        });
    }
    let mut runs = 0;
    while let Some(counted) = callers.join_next().await {
        runs += counted??;
    }
    Ok(runs as f64 / started.elapsed().as_secs_f64())
}

/// Submitters and a worker at the same time; the clock stops when the last submitted run is stored.
async fn through_the_queue(world: &World, time: Duration) -> anyhow::Result<f64> {
    let handler = Arc::new(Execute { standby: world.standby.clone(), executed: AtomicU64::new(0) });
    let ports = WorkerPorts { store: world.store.clone(), handler: handler.clone(), clock: Clock::System };
    let mut options = WorkerOptions::new(id::new(), 0, i64::from(std::process::id()), "bench");
    options.concurrency = 256;
    let worker = Worker::new(ports, options);
    let (wake, stats, shutdown) = (worker.wake(), worker.stats(), CancellationToken::new());
    let working = tokio::spawn(worker.run(shutdown.clone()));
    let started = Instant::now();
    let submitted = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (standby, submission) = (world.standby.clone(), world.submission());
        let (submitted, handler, wake) = (submitted.clone(), handler.clone(), wake.clone());
        callers.spawn(async move {
            while started.elapsed() < time {
                let behind = submitted
                    .load(Ordering::Relaxed)
                    .saturating_sub(handler.executed.load(Ordering::Relaxed));
                if behind > MAX_BEHIND {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
                submitted.fetch_add(1, Ordering::Relaxed);
                let response = standby.submit(submission.clone()).await;
                ensure!(response.status() == StatusCode::ACCEPTED, "answered {}", response.status());
                wake.notify_one();
            }
            Ok(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    let runs = submitted.load(Ordering::Relaxed);
    let mut stats = stats;
    stats.wait_for(|stats| stats.stored >= runs).await?;
    let elapsed = started.elapsed();
    shutdown.cancel();
    let stats = working.await?;
    ensure!(
        stats.stored == runs && stats.dead == 0 && stats.fenced == 0,
        "not every run was stored once: {stats:?}"
    );
    Ok(runs as f64 / elapsed.as_secs_f64())
}

struct Execute {
    standby: Standby,
    executed: AtomicU64,
}

impl Handler for Execute {
    fn run(&self, job: Job, stop: CancellationToken, _progress: Progress) -> BoxFuture<'static, JobOutcome> {
        self.executed.fetch_add(1, Ordering::Relaxed);
        let standby = self.standby.clone();
        Box::pin(async move { JobOutcome::Decided(standby.execute(&job, stop).await) })
    }
}
