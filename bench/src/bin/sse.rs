//! 10,000 concurrent streams of one event a second through the app path, next to nginx and to no proxy at all.
//!
//! Three kinds of process, so that each has its own files and its own processor time: an upstream that streams, the
//! proxy, and clients that measure how late each event arrives. Run by `cargo xtask bench sse`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use mainstay_bench::{
    delays::Delays,
    process, row,
    spawned::{Spawned, expect_line, free_port},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Starts everything and prints the table.
    Compare {
        #[arg(long)]
        mainstay: PathBuf,
        #[arg(long, default_value_t = 10_000)]
        streams: usize,
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// Each stream costs a gateway two files; a process may hold 20,000 here.
        #[arg(long, default_value_t = 2)]
        processes: usize,
    },
    /// Streams one event a second to everyone who asks.
    Upstream,
    /// Opens streams on these addresses in turn and measures.
    Clients { addresses: String, streams: usize, seconds: u64 },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().role {
        Role::Compare { mainstay, streams, seconds, processes } => {
            compare(&mainstay, streams, seconds, processes)
        }
        Role::Upstream => runtime()?.block_on(upstream()),
        Role::Clients { addresses, streams, seconds } => {
            runtime()?.block_on(clients(&addresses, streams, seconds))
        }
    }
}

fn compare(mainstay: &Path, streams: usize, seconds: u64, processes: usize) -> anyhow::Result<()> {
    println!(
        "{streams} streams, one event a second each, measured for {seconds} s; delays from upstream's write to client's read"
    );
    let upstream = Spawned::start(Command::new(std::env::current_exe()?).arg("upstream"), "upstream ", None)?;
    measure("direct (no proxy)", std::slice::from_ref(&upstream.address), &[], streams, seconds)?;
    let folder = tempfile::tempdir()?;
    let gateways = (0..processes)
        .map(|index| start_mainstay(mainstay, folder.path(), index, &upstream.address))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let addresses: Vec<String> = gateways.iter().map(|gateway| gateway.address.clone()).collect();
    let pids: Vec<u32> = gateways.iter().map(|gateway| gateway.child.id()).collect();
    measure(&format!("mainstay ({processes} processes)"), &addresses, &pids, streams, seconds)?;
    drop(gateways);
    match start_nginx(folder.path(), &upstream.address, processes) {
        Ok(nginx) => measure(
            &format!("nginx ({processes} workers)"),
            std::slice::from_ref(&nginx.address),
            &[nginx.child.id()],
            streams,
            seconds,
        ),
        Err(error) => {
            println!("nginx                        not measured: {error:#}");
            Ok(())
        }
    }
}

/// One row: memory before and during, processor time, and what the clients saw.
fn measure(
    name: &str,
    addresses: &[String],
    pids: &[u32],
    streams: usize,
    seconds: u64,
) -> anyhow::Result<()> {
    let before_kib = resident(pids)?;
    let mut clients = Command::new(std::env::current_exe()?);
    clients.args(["clients", &addresses.join(","), &streams.to_string(), &seconds.to_string()]);
    let mut child = clients.stdout(Stdio::piped()).spawn().context("cannot start the clients")?;
    let mut lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
    expect_line(&mut lines, "open")?;
    let (during_kib, cpu) = (resident(pids)?, cpu(pids)?);
    let result = expect_line(&mut lines, "result ")?;
    let cpu = cpu_since(pids, cpu)?;
    let peak_kib = during_kib.max(resident(pids)?);
    child.wait()?;
    let mut figures = vec![("", result)];
    if !pids.is_empty() {
        let kib = peak_kib.saturating_sub(before_kib) as f64 / streams as f64;
        figures.push(("| memory", format!("{kib:.1} KiB/stream ({} MiB in all)", peak_kib / 1024)));
        figures.push(("cpu", format!("{:.2} of a core", cpu / seconds as f64)));
    }
    row(name, &figures);
    Ok(())
}

fn resident(pids: &[u32]) -> anyhow::Result<u64> {
    pids.iter().flat_map(|pid| process::tree(*pid)).map(process::resident_kib).sum()
}

fn cpu(pids: &[u32]) -> anyhow::Result<f64> {
    pids.iter().flat_map(|pid| process::tree(*pid)).map(process::cpu_seconds).sum()
}

fn cpu_since(pids: &[u32], before: f64) -> anyhow::Result<f64> {
    Ok(cpu(pids)? - before)
}

fn start_mainstay(binary: &Path, folder: &Path, index: usize, upstream: &str) -> anyhow::Result<Spawned> {
    let config = folder.join(format!("mainstay-{index}.toml"));
    std::fs::write(&config, gateway_config(folder, index, upstream))?;
    let migrated = Command::new(binary).args(["migrate", "--config"]).arg(&config).output()?;
    anyhow::ensure!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let mut command = Command::new(binary);
    command.args(["serve", "--role", "gateway", "--config"]).arg(&config);
    Spawned::start(&mut command, "mainstay ready ", Some("app=http://"))
}

fn gateway_config(folder: &Path, index: usize, upstream: &str) -> String {
    let store = folder.join(format!("store-{index}.db"));
    format!(
        "[listeners]\nadmin = \"127.0.0.1:0\"\napp = \"127.0.0.1:0\"\nmodel = \"127.0.0.1:0\"\n\n\
         [store]\nurl = \"sqlite:{}\"\n\n[engine]\nenabled = false\n\n\
         [app_path]\nunknown_keys_to = \"dify\"\n\n[[upstream]]\nname = \"dify\"\nbase_url = \"http://{upstream}\"\n",
        store.display()
    )
}

fn start_nginx(folder: &Path, upstream: &str, workers: usize) -> anyhow::Result<Spawned> {
    let port = free_port()?;
    let config = folder.join("nginx.conf");
    // As Dify's own nginx template proxies /v1: no buffering, long timeouts.
    let text = format!(
        "daemon off; pid {0}/nginx.pid; error_log {0}/nginx.log; worker_processes {workers}; worker_rlimit_nofile 20000;\n\
         events {{ worker_connections 19000; }}\n\
         http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
         server {{ listen 127.0.0.1:{port} reuseport; location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_buffering off; proxy_read_timeout 3600s; proxy_send_timeout 3600s; }} }} }}\n",
        folder.display()
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&config);
    Spawned::listening(&mut command, port, &folder.join("nginx.out"), Duration::from_secs(10))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")
}

async fn upstream() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("upstream {}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let mut streams = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        streams.spawn(async move {
            let _ = stream_events(stream).await;
        });
        while streams.try_join_next().is_some() {}
    }
}

async fn stream_events(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = Vec::with_capacity(1024);
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n").await?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        let event = format!(
            "data: {{\"event\":\"text_chunk\",\"workflow_run_id\":\"63b53e70-0e0d-44a9-95f8-ab6addcbb32a\",\"task_id\":\"84a4fb76-be5f-4f22-9cc5-fb7ddacd05e2\",\"data\":{{\"text\":\"t={:020}\",\"from_variable_selector\":[\"llm\",\"text\"]}}}}\n\n",
            now_us()
        );
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
    }
}

async fn clients(addresses: &str, streams: usize, seconds: u64) -> anyhow::Result<()> {
    /// Slow enough that no listen queue overflows.
    const OPENED_EACH_10_MS: usize = 20;
    let addresses: Vec<&str> = addresses.split(',').collect();
    let (measuring, state) = tokio::sync::watch::channel(Phase::Opening);
    let (opened, mut opened_count) = tokio::sync::mpsc::channel(streams.max(1));
    let mut tasks = JoinSet::new();
    for index in 0..streams {
        let address = addresses[index % addresses.len()].to_owned();
        tasks.spawn(read_events(address, state.clone(), opened.clone()));
        if index % OPENED_EACH_10_MS == OPENED_EACH_10_MS - 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    drop(opened);
    for index in 0..streams {
        let first = tokio::time::timeout(Duration::from_secs(60), opened_count.recv()).await;
        anyhow::ensure!(matches!(first, Ok(Some(()))), "only {index} of {streams} streams gave an event");
    }
    println!("open");
    std::io::stdout().flush()?;
    measuring.send(Phase::Measuring)?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    measuring.send(Phase::Done)?;
    let (mut delays, mut cut) = (Delays::default(), 0);
    while let Some(result) = tasks.join_next().await {
        match result? {
            Ok(theirs) => delays.merge(&theirs),
            Err(_) => cut += 1,
        }
    }
    let millis = |us: u64| us as f64 / 1000.0;
    println!(
        "result {:.0} events/s  delay p50 {:.2} ms  p99 {:.2} ms  max {:.0} ms  streams cut {cut}",
        delays.count() as f64 / seconds as f64,
        millis(delays.percentile_us(0.5)),
        millis(delays.percentile_us(0.99)),
        millis(delays.max_us()),
    );
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Opening,
    Measuring,
    Done,
}

async fn read_events(
    address: String,
    mut phase: tokio::sync::watch::Receiver<Phase>,
    opened: tokio::sync::mpsc::Sender<()>,
) -> anyhow::Result<Delays> {
    let mut stream = TcpStream::connect(&address).await?;
    let body = r#"{"inputs": {}, "response_mode": "streaming", "user": "bench"}"#;
    let head = format!(
        "POST /v1/workflows/run HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer app-bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut delays = Delays::default();
    let (mut buffer, mut first) = (Vec::with_capacity(2048), true);
    loop {
        tokio::select! {
            _ = phase.wait_for(|phase| *phase == Phase::Done) => return Ok(delays),
            read = stream.read_buf(&mut buffer) => anyhow::ensure!(read? > 0, "cut"),
        }
        let now = now_us();
        while let Some(sent) = take_time(&mut buffer) {
            if *phase.borrow() == Phase::Measuring {
                delays.add(now.saturating_sub(sent));
            }
            if std::mem::take(&mut first) {
                opened.send(()).await?;
            }
        }
    }
}

/// Takes the next `"t=…` of twenty digits out of the buffer.
fn take_time(buffer: &mut Vec<u8>) -> Option<u64> {
    const DIGITS: usize = 20;
    let at = buffer.windows(3).position(|window| window == b"\"t=")? + 3;
    let time = std::str::from_utf8(buffer.get(at..at + DIGITS)?).ok()?.parse().ok()?;
    buffer.drain(..at + DIGITS);
    Some(time)
}

#[expect(clippy::disallowed_methods, reason = "both processes compare the machine's clock")]
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
