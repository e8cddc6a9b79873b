//! One of two providers fails wholly, half the time, or stalls: what callers of `mainstay serve` notice of it, how soon
//! the breaker opens, how many calls are made in vain, and how soon the provider's return is found.
//!
//! Calls are streams at a fixed rate, over real sockets. Run by `cargo xtask bench failover`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use mainstay_bench::{delays::Delays, row, spawned::Spawned};
use mainstay_faulty::{Fault, Options, Pace, Plan, Provider};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// The wait for a first token that the gateway is told, and so the most that a caller may wait in vain.
const FIRST_TOKEN: Duration = Duration::from_millis(700);
const PACE: Pace = Pace { first: Duration::from_millis(20), next: Duration::from_millis(1) };
/// Quiet time before each fault.
const BEFORE: Duration = Duration::from_secs(3);
/// What is watched after the fault has ended.
const AFTER: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Cli {
    #[arg(long)]
    mainstay: PathBuf,
    /// Calls a second.
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// How long each fault lasts.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// One call as its caller saw it.
struct Seen {
    sent: Instant,
    is_whole: bool,
    first_token: Option<Duration>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> anyhow::Result<()> {
    let options = Cli::parse();
    println!(
        "{} streams a second; the first of two providers fails for {} s; first-token timeout {FIRST_TOKEN:?}",
        options.rate, options.seconds
    );
    let half = |fault| Plan { share: 0.5, ..Plan::from(fault) };
    for (name, plan) in [
        ("503 to every call", Plan::from(Fault::Status { status: 503 })),
        ("503 to every second call", half(Fault::Status { status: 503 })),
        ("stalls before the first token", Plan::from(Fault::Stall { after_events: 0 })),
        ("hangs before the head", Plan::from(Fault::Hang)),
        ("resets connections", Plan::from(Fault::Reset)),
        ("rate limited", Plan::from(Fault::RateLimited { retry_after_s: Some(2) })),
    ] {
        scenario(&options, name, plan).await?;
    }
    Ok(())
}

async fn scenario(options: &Cli, name: &str, plan: Plan) -> anyhow::Result<()> {
    let start = || Provider::start(Options { pace: PACE, ..Options::default() });
    let (first, second) = (start().await?, start().await?);
    let folder = tempfile::tempdir()?;
    let gateway = mainstay(&options.mainstay, folder.path(), &first, &second)?;
    let fault_for = Duration::from_secs(options.seconds);
    let calls = load(gateway.address.clone(), options.rate, BEFORE + fault_for + AFTER);
    let (broke, mended, seen) = {
        let (first, calls) = (first.clone(), tokio::spawn(calls));
        tokio::time::sleep(BEFORE).await;
        let broke = Instant::now();
        first.set(plan);
        tokio::time::sleep(fault_for).await;
        first.set(Fault::None);
        (broke, Instant::now(), calls.await??)
    };
    let in_fault = |at: Instant| at >= broke && at < mended;
    let during: Vec<&Seen> = seen.iter().filter(|seen| in_fault(seen.sent)).collect();
    let whole = during.iter().filter(|seen| seen.is_whole).count();
    let (before, with) =
        (first_tokens(seen.iter().filter(|seen| seen.sent < broke)), first_tokens(during.iter().copied()));
    let failed: Vec<Instant> = first
        .calls()
        .iter()
        .filter(|call| call.fault != Fault::None && in_fault(call.at))
        .map(|call| call.at)
        .collect();
    let attempts = first.calls().iter().chain(&second.calls()).filter(|call| in_fault(call.at)).count();
    let back = first
        .calls()
        .iter()
        .filter(|call| call.at >= mended && call.fault == Fault::None)
        .map(|call| call.at)
        .min();
    let steady = seen.iter().filter(|seen| seen.sent >= mended).all(|seen| seen.is_whole);
    row(
        name,
        &[
            (
                "whole",
                format!(
                    "{whole} of {} ({:.3} %)",
                    during.len(),
                    whole as f64 * 100.0 / during.len().max(1) as f64
                ),
            ),
            ("first token p99", format!("{} ms, before {} ms", with / 1000, before / 1000)),
            ("calls in vain", format!("{}", failed.len())),
            ("breaker", opened(&failed, broke)),
            ("attempts a call", format!("{:.3}", attempts as f64 / during.len().max(1) as f64)),
            (
                "found again",
                back.map_or("never".to_owned(), |at| format!("{:.1} s", (at - mended).as_secs_f64())),
            ),
            ("after it all whole", format!("{steady}")),
        ],
    );
    Ok(())
}

/// When the first provider was first left alone for half a second, and after how many calls.
fn opened(failed: &[Instant], broke: Instant) -> String {
    const LEFT_ALONE: Duration = Duration::from_millis(500);
    let gap = failed.windows(2).position(|pair| pair[1] - pair[0] > LEFT_ALONE);
    let index = gap.unwrap_or(failed.len().saturating_sub(1));
    match failed.get(index) {
        Some(at) => format!("open after {} calls, {:.2} s", index + 1, (*at - broke).as_secs_f64()),
        None => "never asked".to_owned(),
    }
}

fn first_tokens<'a>(seen: impl Iterator<Item = &'a Seen>) -> u64 {
    let mut delays = Delays::default();
    for took in seen.filter_map(|seen| seen.first_token) {
        delays.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
    delays.percentile_us(0.99)
}

async fn load(address: String, rate: f64, lasting: Duration) -> anyhow::Result<Vec<Seen>> {
    let mut calls = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    let end = Instant::now() + lasting;
    let address = Arc::new(address);
    while Instant::now() < end {
        ticks.tick().await;
        let address = Arc::clone(&address);
        calls.spawn(async move { call(&address).await });
    }
    Ok(calls.join_all().await)
}

async fn call(address: &str) -> Seen {
    let sent = Instant::now();
    let mut seen = Seen { sent, is_whole: false, first_token: None };
    let _ = tokio::time::timeout(PATIENCE, exchange(address, &mut seen)).await;
    seen
}

async fn exchange(address: &str, seen: &mut Seen) -> std::io::Result<()> {
    let body = r#"{"model":"chat","stream":true,"messages":[{"role":"user","content":"[[words:10]]"}]}"#;
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nconnection: close\r\nauthorization: Bearer sk-bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await? > 0 {
        if seen.first_token.is_none() && bytes.windows(5).any(|window| window == b"word0") {
            seen.first_token = Some(seen.sent.elapsed());
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    seen.is_whole = text.contains("word9") && text.contains("[DONE]") && !text.contains("\"error\"");
    Ok(())
}

fn mainstay(binary: &Path, folder: &Path, first: &Provider, second: &Provider) -> anyhow::Result<Spawned> {
    let config = folder.join("mainstay.toml");
    let provider = |name: &str, provider: &Provider| {
        format!(
            "[[provider]]\nname = \"{name}\"\nbase_url = \"{}/v1\"\nkey = \"env:BENCH_PROVIDER_KEY\"\nmodels = [\"chat\"]\n\
             first_token_timeout = \"{}ms\"\nfirst_byte_timeout = \"{}ms\"\n",
            provider.url(),
            FIRST_TOKEN.as_millis(),
            FIRST_TOKEN.as_millis()
        )
    };
    let text = format!(
        "[listeners]\nadmin = \"127.0.0.1:0\"\napp = \"127.0.0.1:0\"\nmodel = \"127.0.0.1:0\"\n[log]\nfilter = \"error\"\n\
         [store]\nurl = \"sqlite:{}\"\n[engine]\nenabled = false\n{}{}[[model.key]]\nname = \"bench\"\nkey = \"env:BENCH_VIRTUAL_KEY\"\n",
        folder.join("mainstay.db").display(),
        provider("first", first),
        provider("second", second),
    );
    std::fs::write(&config, text)?;
    let environment = [("BENCH_VIRTUAL_KEY", "sk-bench"), ("BENCH_PROVIDER_KEY", "sk-provider")];
    let migrated =
        Command::new(binary).args(["migrate", "--config"]).arg(&config).envs(environment).output()?;
    anyhow::ensure!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let mut command = Command::new(binary);
    command.args(["serve", "--role", "gateway", "--config"]).arg(&config).envs(environment);
    Spawned::start(&mut command, "mainstay ready ", Some("model=http://"))
}
