//! Reads a Dify of 1,000,000 runs and 5,000,000 nodes until everything is read: rows a second, the slowest query on its
//! database as the server itself has measured it, and connections used.
//!
//! Run by `cargo xtask bench ingest`, which starts the PostgreSQL.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use mainstay_base::{Clock, Micros};
use mainstay_control::{
    doctor,
    ingest::{Ingest, IngestError, Options, view},
};
use mainstay_dify::{
    Deployment,
    db::Reader,
    deployment::{Database, Tls},
    probe::{Prober, State},
    signature::Catalogue,
};
use mainstay_net::{Client as Http, ClientOptions};
use mainstay_store::Store;
use tokio_postgres::{Client, Config, NoTls, config::Host};

/// The product's allocator, so that its figures are the product's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TABLES: &str = include_str!("../../../crates/dify/tests/tables.sql");
const GENERATE: &str = include_str!("../../../crates/dify/tests/generate.sql");
const QUESTIONS: &str = include_str!("../../ingest.sql");
/// Runs of one transaction of the generator.
const TOGETHER: i64 = 20_000;
/// The runs lie so close together that all of them are of the last day.
const SPAN_SECONDS: f64 = 22.0 * 3600.0;
const AIM_ROWS_PER_SECOND: f64 = 20_000.0;
const AIM_SLOWEST_MS: f64 = 250.0;
/// Failures that a run may have, on a machine that does something else too.
const MAX_BREAKS: u32 = 10;
const AIM_DOCTOR: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Cli {
    /// A PostgreSQL that may be filled, as its superuser, with pg_stat_statements loaded.
    #[arg(long)]
    database_url: String,
    #[arg(long, default_value_t = 1_000_000)]
    runs: i64,
    /// Where our own store is: a file beside the benchmark, or the same PostgreSQL.
    #[arg(long, default_value = "sqlite")]
    store: String,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(&cli))
}

async fn measure(cli: &Cli) -> anyhow::Result<()> {
    let config: Config = cli.database_url.parse().context("--database-url is no URL of a PostgreSQL")?;
    let owner = Arc::new(fill(&config, cli.runs).await?);
    let reader = Reader::new(&database(&config)?);
    let folder = tempfile::tempdir()?;
    let url = match cli.store.as_str() {
        "sqlite" => format!("sqlite:{}", folder.path().join("store.db").display()),
        "postgres" => {
            connect(&config).await?.batch_execute("CREATE DATABASE ours").await?;
            let (before, _) = cli.database_url.rsplit_once('/').context("the URL names no database")?;
            format!("{before}/ours")
        }
        other => bail!("--store is sqlite or postgres, not {other}"),
    };
    let options = mainstay_store::Options { url, clock: Clock::System };
    Store::migrate(&options).await?;
    let store = Store::open(options).await?;
    let most = Arc::new(AtomicI64::new(0));
    let watch = tokio::spawn(watch(owner.clone(), most.clone()));

    let mut ingest = Ingest::new(reader.clone(), store.clone(), Options::new("bench", "bench"));
    let began = Instant::now();
    let (mut rows, mut told, mut breaks) = (0, began, 0);
    loop {
        let round = match ingest.round().await {
            // As `serve` does it: said, and begun again where it ended.
            Err(IngestError::Dify(failure)) if breaks < MAX_BREAKS => {
                breaks += 1;
                println!("  {failure}");
                continue;
            }
            round => round?,
        };
        rows += round.rows;
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            println!("  {rows:>10} rows read after {:.0} s", began.elapsed().as_secs_f64());
        }
        if round.is_caught_up {
            break;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let doctor_took = doctor(database(&config)?, &reader).await?;
    watch.abort();

    let counted = |kind: &'static str| {
        let dify = store.dify();
        async move {
            let totals = dify.totals("bench", kind, Micros(0), Micros(i64::MAX / 2)).await?;
            anyhow::Ok(totals.iter().map(|total| total.count).sum::<i64>())
        }
    };
    let (runs, nodes) = (counted("run").await?, counted("node").await?);
    let asked_at = Instant::now();
    let apps = view::apps(&store, "bench", Micros(0), Clock::System.now()).await?;
    let view_ms = asked_at.elapsed().as_millis();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = rows as f64 / seconds;
    println!("\nread {rows} rows in {seconds:.1} s: {rate:.0} rows/s (at least {AIM_ROWS_PER_SECOND:.0})");
    println!("counted {runs} runs and {nodes} nodes of {} apps; told by app in {view_ms} ms", apps.len());
    println!("doctor took {:.1} s (at most {} s)", doctor_took.as_secs_f64(), AIM_DOCTOR.as_secs());
    let slowest = slowest(&owner).await?;
    let connections = most.load(Ordering::Relaxed);
    let asked = reader.asked();
    println!(
        "connections at a time: {connections}; opened: {}; queries: {}",
        asked.connections, asked.queries
    );
    println!("slowest as seen from here: {:.1} ms", asked.slowest.as_secs_f64() * 1000.0);
    let writable: i64 = owner.query_one("TABLE rights", &[]).await?.get(0);
    ensure!(writable == 0, "the reader may write {writable} tables");
    ensure!((runs, nodes) == (cli.runs, cli.runs * 5), "not everything was counted once");
    ensure!(connections == 1, "more than one connection was open");
    ensure!(doctor_took <= AIM_DOCTOR, "doctor took {doctor_took:?}");
    ensure!(slowest <= AIM_SLOWEST_MS, "a query took {slowest} ms");
    ensure!(rate >= AIM_ROWS_PER_SECOND, "reading is too slow");
    Ok(())
}

/// One whole diagnosis of a Dify that has this database alone, over the connection that reads.
async fn doctor(database: Database, reader: &Reader) -> anyhow::Result<Duration> {
    let mut deployment = Deployment::named("bench");
    deployment.database = Some(database);
    let prober = Prober::with(deployment, Http::new(ClientOptions::default())?, Some(reader.clone()), None);
    let began = Instant::now();
    let facts = Box::pin(doctor::gather(&prober, &Clock::System, doctor::Asked::default(), |_| {})).await;
    let diagnosis = doctor::judge(facts, Catalogue::built_in());
    let took = began.elapsed();
    let looked = diagnosis.reports.iter().find(|report| report.component == "database");
    ensure!(looked.is_some_and(|report| report.state != State::Down), "doctor: {:?}", diagnosis.findings);
    Ok(took)
}

/// As the server has measured them. Gives the slowest.
async fn slowest(owner: &Client) -> anyhow::Result<f64> {
    let mut slowest: f64 = 0.0;
    println!("slowest queries on the database (at most {AIM_SLOWEST_MS} ms):");
    for row in owner.query("TABLE slowest", &[]).await? {
        let (most, mean, calls, rows, query): (f64, f64, i64, i64, String) =
            (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
        println!("  {most:>7.1} ms  mean {mean:>6.2} ms  {calls:>6} calls  {rows:>8} rows  {query}");
        slowest = slowest.max(most);
    }
    Ok(slowest)
}

async fn watch(owner: Arc<Client>, most: Arc<AtomicI64>) {
    loop {
        if let Ok(row) = owner.query_one("TABLE reader_connections", &[]).await {
            most.fetch_max(row.get(0), Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn fill(config: &Config, runs: i64) -> anyhow::Result<Client> {
    let began = Instant::now();
    connect(config).await?.batch_execute("CREATE DATABASE dify; ").await?;
    let mut own = config.clone();
    own.dbname("dify");
    let owner = connect(&own).await?;
    for sql in [TABLES, GENERATE, QUESTIONS] {
        owner.batch_execute(sql).await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a step in seconds")]
    let step = SPAN_SECONDS / runs as f64;
    let start = "(date_trunc('hour', now() AT TIME ZONE 'utc') - interval '22 hours 30 minutes')::timestamp";
    let mut first = 1;
    while first <= runs {
        let last = (first + TOGETHER - 1).min(runs);
        let sql = format!("SET synchronous_commit = off; CALL generate({first}, {last}, {start}, {step})");
        owner.batch_execute(&sql).await?;
        first = last + 1;
    }
    owner.batch_execute("VACUUM ANALYZE").await?;
    owner.batch_execute("CHECKPOINT").await?;
    let role = "CREATE ROLE bench_reader LOGIN; GRANT select ON ALL TABLES IN SCHEMA public TO bench_reader";
    owner.batch_execute(role).await?;
    let size: String = owner.query_one("TABLE size", &[]).await?.get(0);
    println!("made {runs} runs and {} nodes in {:.0} s: {size}", runs * 5, began.elapsed().as_secs_f64());
    Ok(owner)
}

async fn connect(config: &Config) -> anyhow::Result<Client> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn database(config: &Config) -> anyhow::Result<Database> {
    let Some(Host::Tcp(host)) = config.get_hosts().first() else { bail!("the server must be on TCP") };
    Ok(Database {
        host: host.clone(),
        port: config.get_ports().first().copied().unwrap_or(5432),
        user: "bench_reader".to_owned(),
        password: None,
        name: "dify".to_owned(),
        tls: Tls::Off,
    })
}
