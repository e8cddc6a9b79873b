//! The load: as fast as the connections allow, or at a fixed rate with the delay counted from when a call was due.

use std::time::{Duration, Instant};

use anyhow::Context;
use mainstay_bench::delays::Delays;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// Calls before anything is measured.
const WARM_UP: Duration = Duration::from_millis(500);
const PROMPT_BYTES: usize = 1800;

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    pub(crate) address: String,
    #[arg(long, default_value = "/v1/chat/completions")]
    pub(crate) path: String,
    #[arg(long, default_value = "sk-bench")]
    pub(crate) key: String,
    #[arg(long, default_value = "mock")]
    pub(crate) model: String,
    /// Headers beyond the usual, as name:value.
    #[arg(long = "header")]
    pub(crate) headers: Vec<String>,
    #[arg(long)]
    pub(crate) stream: bool,
    #[arg(long, default_value_t = 16)]
    pub(crate) connections: usize,
    #[arg(long, default_value_t = 4)]
    pub(crate) seconds: u64,
    /// Calls a second in all; 0: as many as go.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rate: f64,
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    total: Delays,
    first: Delays,
    failed: u64,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let request = request(options);
    let begin = Instant::now() + WARM_UP;
    let end = begin + Duration::from_secs(options.seconds);
    let mut connections = JoinSet::new();
    for index in 0..options.connections {
        let (options, request) = (options.clone(), request.clone());
        connections.spawn(async move { call(&options, &request, index, begin, end).await });
    }
    // Whoever measures processor time begins now.
    tokio::time::sleep_until(begin.into()).await;
    println!("measuring");
    let mut all = Seen::default();
    while let Some(seen) = connections.join_next().await {
        let seen = seen?.context("a connection could not be used")?;
        all.total.merge(&seen.total);
        all.first.merge(&seen.first);
        all.failed += seen.failed;
    }
    println!(
        "result {} {} {} {} {} {}",
        all.total.count(),
        all.failed,
        all.total.percentile_us(0.5),
        all.total.percentile_us(0.99),
        all.first.percentile_us(0.5),
        all.first.percentile_us(0.99),
    );
    Ok(())
}

fn request(options: &Options) -> Vec<u8> {
    let prompt = "x ".repeat(PROMPT_BYTES / 2);
    let stream =
        if options.stream { r#""stream":true,"stream_options":{"include_usage":true},"# } else { "" };
    let body = format!(
        r#"{{"model":"{}",{stream}"messages":[{{"role":"system","content":"Be brief."}},{{"role":"user","content":"{prompt}"}}],"temperature":0.7,"max_tokens":400,"user":"b7a3c0de-0000-4000-8000-000000000001"}}"#,
        options.model
    );
    let mut head = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\naccept: */*\r\nuser-agent: bench\r\ncontent-length: {}\r\n",
        options.path,
        options.address,
        options.key,
        body.len()
    );
    for header in &options.headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    format!("{head}\r\n{body}").into_bytes()
}

async fn call(
    options: &Options,
    request: &[u8],
    index: usize,
    begin: Instant,
    end: Instant,
) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    let mut stream = connect(&options.address).await?;
    let mut buffer = Vec::with_capacity(64 * 1024);
    let gap =
        (options.rate > 0.0).then(|| Duration::from_secs_f64(options.connections as f64 / options.rate));
    let mut due = Instant::now() + gap.unwrap_or_default().mul_f64(index as f64 / options.connections as f64);
    while Instant::now() < end {
        let started = match gap {
            Some(gap) => {
                tokio::time::sleep_until(due.into()).await;
                let started = due;
                due += gap;
                started
            }
            None => Instant::now(),
        };
        let answer = exchange(&mut stream, request, &mut buffer, options.stream).await;
        let now = Instant::now();
        if started < begin || now > end {
            if answer.is_err() {
                stream = connect(&options.address).await?;
            }
            continue;
        }
        match answer {
            Ok(first) => {
                seen.total.add(micros(now - started));
                seen.first.add(micros(first.saturating_duration_since(started)));
            }
            Err(_) => {
                seen.failed += 1;
                stream = connect(&options.address).await?;
            }
        }
    }
    Ok(seen)
}

async fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// One call; gives when the first byte of its content came. Anything but a whole 200 is an error.
async fn exchange(
    stream: &mut TcpStream,
    request: &[u8],
    buffer: &mut Vec<u8>,
    streams: bool,
) -> anyhow::Result<Instant> {
    stream.write_all(request).await?;
    buffer.clear();
    let mut first = None;
    let mut body: Option<(usize, Option<usize>)> = None;
    loop {
        anyhow::ensure!(stream.read_buf(buffer).await? > 0, "closed");
        if body.is_none()
            && let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n")
        {
            let head = std::str::from_utf8(&buffer[..end])?;
            anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{}", head.lines().next().unwrap_or_default());
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            body = Some((end + 4, length));
        }
        let Some((start, length)) = body else { continue };
        if buffer.len() > start {
            first.get_or_insert_with(Instant::now);
        }
        let is_whole = match length {
            Some(length) => buffer.len() >= start + length,
            None => buffer.ends_with(b"\r\n0\r\n\r\n"),
        };
        if is_whole {
            let last = if streams { &b"[DONE]"[..] } else { b"\"usage\"" };
            anyhow::ensure!(
                buffer.windows(last.len()).any(|window| window == last),
                "the answer is not whole"
            );
            return Ok(first.unwrap_or_else(Instant::now));
        }
    }
}
