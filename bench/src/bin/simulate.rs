//! How long the simulator takes for a million recorded calls, and how much memory: reading them from a SQLite store in
//! pages, as `mainstay route simulate` does, and replaying them twice (under the policy in force and under a changed one).
//!
//! Run by `cargo xtask bench simulate`. Each step runs in a process of its own, so that each peak of memory is its own.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use mainstay_base::{
    Class, Clock, Micros, Record, Usd,
    record::{self, Attempt, AttemptRole, Needs, Outcome, Stage, StageName, StageOutcome},
    snapshot::{
        CallPolicy, Dialect, Hedge, LogicalModel, ModelRoutes, ModelTarget, Price, Provider, Strategy,
        Timeouts,
    },
};
use mainstay_signal::simulate::{Chance, Recording, compare};
use mainstay_store::{Options, Store, model::CallFilter};

/// The product's allocator, so that its figures are the product's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START: Micros = Micros(1_800_000_000_000_000);
/// Calls a second of the recorded time.
const RATE: u64 = 50;
/// Every so many seconds the first provider is ill for [`ILL`].
const EVERY: u64 = 600;
const ILL: u64 = 60;
const INSERTED_TOGETHER: usize = 1000;

#[derive(Parser)]
struct Cli {
    #[arg(long, default_value_t = 1_000_000)]
    calls: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One step alone, on this database file.
    #[arg(long, requires = "database")]
    step: Option<Step>,
    #[arg(long)]
    database: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Step {
    /// Generates the records and stores them.
    Fill,
    /// Generates the recording in memory and replays it.
    Replay,
    /// Reads the recording from the store and replays it.
    Read,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match (cli.step, &cli.database) {
        (Some(Step::Fill), Some(database)) => runtime.block_on(fill(&cli, database)),
        (Some(Step::Replay), _) => replay(&generated(&cli), "replayed from memory"),
        (Some(Step::Read), Some(database)) => {
            let recording = runtime.block_on(read(database))?;
            replay(&recording, "replayed from the store")
        }
        _ => all(&cli),
    }
}

/// Each step in a process of its own.
fn all(cli: &Cli) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("simulate.db");
    for step in ["replay", "fill", "read"] {
        let mut child = Command::new(std::env::current_exe()?);
        child.args(["--step", step, "--calls", &cli.calls.to_string(), "--seed", &cli.seed.to_string()]);
        let status = child.arg("--database").arg(&database).status()?;
        ensure!(status.success(), "step {step} ended with {status}");
    }
    Ok(())
}

fn generated(cli: &Cli) -> Recording {
    let mut chance = Chance::new(cli.seed);
    let mut recording = Recording::default();
    (0..cli.calls).for_each(|number| {
        recording.add(&record(number, &mut chance).into());
    });
    recording
}

fn replay(recording: &Recording, what: &str) -> anyhow::Result<()> {
    let (held, calls) = (memory("VmRSS")?, recording.calls().len());
    let begun = Instant::now();
    let report = compare(recording, &routes(&["a", "b"], false), &routes(&["b", "a"], true), 1);
    let took = begun.elapsed();
    println!(
        "{what}: {calls} calls under two policies in {:.2} s, {:.0} calls/s each; {held} MiB held before, at most {} MiB",
        took.as_secs_f64(),
        2.0 * calls as f64 / took.as_secs_f64(),
        memory("VmHWM")?
    );
    let share = |share: Option<f64>| share.map_or(f64::NAN, |share| share * 100.0);
    let (was, is) = (&report.baseline.whole, &report.changed.whole);
    println!(
        "  answered {:.3} % recorded, {:.3} % replayed, {:.3} % changed; p95 {:?} ms, {:?} ms; cost {}, {}",
        share(report.recorded.whole.success_share),
        share(was.success_share),
        share(is.success_share),
        was.total.p95_ms.unwrap_or_default(),
        is.total.p95_ms.unwrap_or_default(),
        was.cost,
        is.cost
    );
    Ok(())
}

async fn fill(cli: &Cli, database: &Path) -> anyhow::Result<()> {
    let options = options(database);
    Store::migrate(&options).await?;
    let store = Store::open(options).await?;
    let begun = Instant::now();
    let (mut chance, mut bytes) = (Chance::new(cli.seed), 0);
    let mut batch = Vec::with_capacity(INSERTED_TOGETHER);
    for number in 0..cli.calls {
        let record = record(number, &mut chance);
        if number < 1000 {
            bytes += serde_json::to_string(&record)?.len();
        }
        batch.push(record);
        if batch.len() == INSERTED_TOGETHER || number + 1 == cli.calls {
            store.records().insert_batch(std::mem::take(&mut batch)).await?;
        }
    }
    let took = begun.elapsed().as_secs_f64();
    println!("stored {} records of {} bytes in {took:.1} s", cli.calls, bytes / 1000);
    Ok(())
}

async fn read(database: &Path) -> anyhow::Result<Recording> {
    let store = Store::open(options(database)).await?;
    let begun = Instant::now();
    let mut recording = Recording::default();
    let mut filter = CallFilter { since: START, until: Micros(i64::MAX), ..CallFilter::default() };
    loop {
        let page = store.records().routed(filter.clone()).await?;
        for call in &page.calls {
            recording.add(call);
        }
        filter.after = page.next;
        if filter.after.is_none() {
            break;
        }
    }
    let (took, calls) = (begun.elapsed().as_secs_f64(), recording.calls().len());
    println!(
        "read {calls} calls from SQLite in {took:.2} s, {:.0} calls/s; at most {} MiB",
        calls as f64 / took,
        memory("VmHWM")?
    );
    Ok(recording)
}

fn options(database: &Path) -> Options {
    Options { url: format!("sqlite:{}", database.display()), clock: Clock::System }
}

/// A figure of this process in MiB, as Linux tells it.
fn memory(what: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(what)).context("no such figure")?;
    let kib = line.split_whitespace().nth(1).context("no number")?;
    Ok(kib.parse::<u64>()? / 1024)
}

/// One call, as a gateway records it.
fn record(number: u64, chance: &mut Chance) -> Record {
    let micros = number * 1_000_000 / RATE;
    let second = micros / 1_000_000;
    let is_ill = second % EVERY < ILL && chance.draw() < 0.5;
    let output_tokens = 50 + (chance.draw() * 400.0) as u64;
    let input_tokens = 200 + (chance.draw() * 3000.0) as u64;
    let first_token_us = 200_000 + (chance.draw() * 600_000.0) as u64;
    let good_took_us = first_token_us + output_tokens * 10_000;
    let failed_us = 80_000;
    let mut attempts = Vec::with_capacity(2);
    if is_ill {
        attempts.push(Attempt {
            upstream: "a".to_owned(),
            status: Some(503),
            error: Some("the provider answered 503 Service Unavailable".to_owned()),
            class: Some(Class::ServerError),
            took_us: failed_us,
            ..attempt("a", AttemptRole::First, 300)
        });
    }
    let (provider, role, started_us) = match is_ill {
        true => ("b", AttemptRole::Fallback, 300 + failed_us),
        false => ("a", AttemptRole::First, 300),
    };
    attempts.push(Attempt {
        status: Some(200),
        took_us: good_took_us,
        first_byte_us: Some(first_token_us - 100_000),
        first_token_us: Some(first_token_us),
        input_tokens: Some(input_tokens),
        output_tokens: Some(output_tokens),
        cost: Some(Usd(i64::try_from(input_tokens + 4 * output_tokens).unwrap_or_default())),
        ..attempt(provider, role, started_us)
    });
    let took_us = started_us + good_took_us;
    Record {
        request_id: format!("0192f0c1-0000-7000-8000-{number:012x}"),
        method: "POST".to_owned(),
        target: "/v1/chat/completions".to_owned(),
        trace_id: format!("{number:032x}"),
        snapshot_generation: 3,
        opened_at: START + Duration::from_micros(micros),
        took_us,
        outcome: Outcome::Ok,
        status: 200,
        upstream: Some(provider.to_owned()),
        model: Some("chat".to_owned()),
        streamed: true,
        first_byte_us: Some(started_us + first_token_us),
        first_token_us: Some(started_us + first_token_us),
        events: output_tokens,
        bytes_in: 4 * input_tokens,
        bytes_out: 200 * output_tokens,
        input_tokens: Some(input_tokens),
        output_tokens: Some(output_tokens),
        total_tokens: Some(input_tokens + output_tokens),
        key: Some(format!("team-{}", number % 20)),
        deadline_us: Some(300_000_000),
        needs: Some(Needs {
            input_tokens,
            tools: number.is_multiple_of(4),
            region: number.is_multiple_of(10).then(|| "eu".to_owned()),
            ..Needs::default()
        }),
        attempts,
        stages: StageName::ALL.map(stage).into(),
        ..Record::blank(record::Path::Model)
    }
}

fn attempt(provider: &str, role: AttemptRole, started_us: u64) -> Attempt {
    Attempt {
        upstream: provider.to_owned(),
        model: Some("gpt-4o-mini".to_owned()),
        key: Some("main".to_owned()),
        role,
        started_us,
        ..Attempt::default()
    }
}

fn stage(name: StageName) -> Stage {
    let condition = "a streamed call of a model".into();
    Stage { name, outcome: StageOutcome::Passed, condition, started_us: 120, took_us: 40 }
}

/// One model over these providers, in order or by latency.
fn routes(providers: &[&str], is_changed: bool) -> ModelRoutes {
    let price = Price { input: Usd(1_000_000), output: Usd(4_000_000), cached_input: None };
    let target = |name: &&str| {
        let mut target = ModelTarget::new(provider(name), "gpt-4o-mini");
        target.price = Some(price);
        target.offer.region = Some("eu".to_owned());
        target
    };
    let policy = match is_changed {
        true => CallPolicy { hedge: Some(Hedge::default()), ..CallPolicy::default() },
        false => CallPolicy::default(),
    };
    let strategy = if is_changed { Strategy::LeastLatency } else { Strategy::Ordered };
    let chain = LogicalModel::ordered("chat", providers.iter().map(target).collect());
    let model = LogicalModel { policy, strategy, ..chain };
    ModelRoutes { models: [("chat".to_owned(), Arc::new(model))].into(), ..ModelRoutes::default() }
}

fn provider(name: &str) -> Arc<Provider> {
    Arc::new(Provider {
        name: name.to_owned(),
        dialect: Dialect::OpenAi,
        base_url: String::new(),
        keys: Vec::new(),
        timeouts: Timeouts::default(),
        first_token: Duration::from_secs(30),
        speaks_responses: true,
    })
}
