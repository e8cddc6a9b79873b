//! The hot path of the model gateway, alone in one thread, for counting instructions: a client, the gateway with every
//! policy on, and a provider that answers at once, over loopback sockets.
//!
//! `hotpath CALLS [stream]` makes so many calls and ends. The cost of one call is the difference of two runs, so that
//! starting up does not count. `cargo xtask test` counts under callgrind and compares with a bound.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run should fail")]

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use mainstay_base::{
    Clock, Secret, Snapshot, Usd,
    id::KeyHash,
    snapshot::{
        CallPolicy, Dialect, Hedge, KeyBudget, LogicalModel, ModelKey, ModelTarget, OnStoreGone, Price,
        Provider, ProviderKey, Strategy, TargetLimits, Timeouts,
    },
};
use mainstay_gateway::{Gateway, Limits, ListenLimits, Ports, listen, records};
use mainstay_net::{Client, ClientOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEY: &str = "sk-virtual";
const CHUNKS: usize = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    // Without a number (`cargo test --benches`) it only shows that it works.
    let calls: usize = arguments.next().map_or(2, |text| text.parse().unwrap());
    let streams = arguments.next().as_deref() == Some("stream");
    let provider = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (upstream, address) = (provider.local_addr().unwrap(), gateway.local_addr().unwrap());
    tokio::spawn(provide(provider));
    let (sender, mut received) = records::channel(records::QUEUE);
    let handler = Gateway::new(Ports {
        snapshot: Arc::new(ArcSwap::from_pointee(snapshot(&format!("http://{upstream}/v1")))),
        client: Client::new(ClientOptions::default()).unwrap(),
        embedded: None,
        durable: None,
        allowance: None,
        records: sender,
        clock: Clock::System,
        limits: Limits::default(),
    });
    tokio::spawn(async move { while received.recv().await.is_some() {} });
    let serve = move |request, _peer| {
        let handler = handler.clone();
        async move { handler.model(request).await }
    };
    tokio::spawn(listen(gateway, serve, CancellationToken::new(), watch::channel(ListenLimits::default()).1));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = request(streams);
    let mut answer = Vec::with_capacity(64 * 1024);
    for _ in 0..calls {
        stream.write_all(&request).await.unwrap();
        read(&mut stream, &mut answer).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
}

fn snapshot(base_url: &str) -> Snapshot {
    let provider = |name: &str| {
        Arc::new(Provider {
            name: name.to_owned(),
            dialect: Dialect::OpenAi,
            base_url: base_url.to_owned(),
            keys: vec![
                ProviderKey::token("a", Secret::new("sk-a")),
                ProviderKey::token("b", Secret::new("sk-b")),
            ],
            timeouts: Timeouts::default(),
            first_token: Duration::from_secs(30),
            speaks_responses: true,
        })
    };
    let plenty = u64::from(u32::MAX);
    let target = |name: &str| ModelTarget {
        limits: TargetLimits {
            concurrency: Some(1000),
            requests_a_minute: Some(u32::MAX),
            tokens_a_minute: Some(plenty * 1000),
        },
        price: Some(Price { input: Usd(150_000), output: Usd(600_000), cached_input: Some(Usd(75_000)) }),
        ..ModelTarget::new(provider(name), "mock")
    };
    let model = LogicalModel {
        name: "mock".to_owned(),
        app: None,
        strategy: Strategy::Ordered,
        targets: vec![target("first"), target("second")],
        policy: CallPolicy {
            max_cost: Usd::from_dollars(10.0),
            hedge: Some(Hedge { at_least: Duration::from_secs(2), ..Hedge::default() }),
            ..CallPolicy::default()
        },
    };
    let key = ModelKey {
        models: Some(vec!["mock".to_owned()]),
        requests_a_minute: Some(u32::MAX),
        tokens_a_minute: Some(plenty * 1000),
        concurrency: Some(1000),
        budget: Some(KeyBudget {
            limit: Usd(i64::MAX / 4),
            window: Duration::from_secs(86_400),
            when_store_gone: OnStoreGone::Open,
        }),
        ..ModelKey::named("bench")
    };
    let mut snapshot = Snapshot { generation: 1, ..Snapshot::default() };
    snapshot.model.models.insert("mock".to_owned(), Arc::new(model));
    snapshot.model.keys.insert(KeyHash::of(KEY), Arc::new(key));
    snapshot
}

fn request(streams: bool) -> Vec<u8> {
    let stream = if streams { r#""stream":true,"stream_options":{"include_usage":true},"# } else { "" };
    let body = format!(
        r#"{{"model":"mock",{stream}"messages":[{{"role":"user","content":"{}"}}],"temperature":0.7,"max_tokens":400,"user":"b7a3c0de-0000-4000-8000-000000000001"}}"#,
        "x ".repeat(900)
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\naccept: */*\r\nuser-agent: hotpath\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn read(stream: &mut TcpStream, answer: &mut Vec<u8>) {
    answer.clear();
    // Looked at once: what the client does is counted too.
    let mut head: Option<(usize, Option<usize>)> = None;
    loop {
        assert!(stream.read_buf(answer).await.unwrap() > 0, "closed");
        if head.is_none() {
            head = find(answer, b"\r\n\r\n").map(|end| (end + 4, length(&answer[..end])));
        }
        let is_whole = match head {
            Some((start, Some(length))) => answer.len() >= start + length,
            Some((_, None)) => answer.ends_with(b"\r\n0\r\n\r\n"),
            None => false,
        };
        if is_whole {
            return;
        }
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, part)
}

fn length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).unwrap();
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    })
}

async fn provide(listener: TcpListener) {
    let (whole, events) = (whole(), events());
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (whole, events) = (whole.clone(), events.clone());
        tokio::spawn(async move {
            stream.set_nodelay(true).unwrap();
            let mut request = Vec::with_capacity(16 * 1024);
            loop {
                request.clear();
                loop {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        return;
                    }
                    let Some(end) = find(&request, b"\r\n\r\n") else { continue };
                    if request.len() >= end + 4 + length(&request[..end]).unwrap_or(0) {
                        break;
                    }
                }
                if find(&request, b"\"stream\":true").is_none() {
                    stream.write_all(&whole).await.unwrap();
                    continue;
                }
                for event in &events {
                    stream.write_all(event).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
    }
}

fn whole() -> Vec<u8> {
    let body = format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"mock","choices":[{{"index":0,"message":{{"role":"assistant","content":"{}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":400,"completion_tokens":300,"total_tokens":700}}}}"#,
        "All work and no play. ".repeat(60)
    );
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn events() -> Vec<Vec<u8>> {
    let chunk = |choices: &str, rest: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\",\"choices\":[{choices}]{rest}}}\n\n"
        )
    };
    let word = |number: usize| {
        chunk(
            &format!("{{\"index\":0,\"delta\":{{\"content\":\"word{number} \"}},\"finish_reason\":null}}"),
            "",
        )
    };
    let mut events: Vec<String> = (0..CHUNKS).map(word).collect();
    events.push(chunk(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#, ""));
    let usage = r#","usage":{"prompt_tokens":400,"completion_tokens":100,"total_tokens":500}"#;
    events.push(chunk("", usage));
    events.push("data: [DONE]\n\n".to_owned());
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut frames = vec![head.as_bytes().to_vec()];
    frames.extend(events.iter().map(|event| format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()));
    frames.push(b"0\r\n\r\n".to_vec());
    frames
}
