//! Each fault shows on the wire as it should.
#![expect(clippy::unwrap_used, reason = "a test that cannot talk to its own server should fail")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use mainstay_faulty::{End, Fault, Moves, Options, Place, Plan, Provider};
use mainstay_testkit::wait_until;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_millis(400);

/// What comes back for a chat, and whether the connection ended in order.
async fn ask(provider: &Provider, path: &str, stream: bool) -> (String, bool) {
    let body = format!(
        r#"{{"model":"m","stream":{stream},"stream_options":{{"include_usage":true}},"messages":[{{"role":"user","content":"one two"}}],"input":"one two","query":"one","documents":["one","two"],"contents":[{{"role":"user","parts":[{{"text":"one two"}}]}}]}}"#
    );
    let mut connection = TcpStream::connect(provider.address()).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\nauthorization: Bearer sk-1\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let _ = connection.write_all(head.as_bytes()).await;
    let _ = connection.write_all(body.as_bytes()).await;
    let mut bytes = Vec::new();
    let ended = matches!(timeout(PATIENCE, connection.read_to_end(&mut bytes)).await, Ok(Ok(_)));
    (String::from_utf8_lossy(&bytes).into_owned(), ended)
}

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_healthy_provider_speaks_every_dialect() {
    let provider = Provider::start(Options::default()).await.unwrap();
    for (path, streams, expected) in [
        (CHAT, false, "Echo from m: one two"),
        (CHAT, true, "data: [DONE]"),
        ("/openai/deployments/d/chat/completions?api-version=1", false, "Echo from d"),
        ("/v1/messages", false, "\"stop_reason\":\"end_turn\""),
        ("/v1/messages", true, "event: message_stop"),
        ("/v1beta/models/g:generateContent", false, "\"finishReason\":\"STOP\""),
        ("/v1beta/models/g:streamGenerateContent?alt=sse", true, "usageMetadata"),
        ("/model/b/converse", false, "\"stopReason\":\"end_turn\""),
        ("/model/b/converse-stream", true, "messageStop"),
        ("/v1/embeddings", false, "\"embedding\":["),
        ("/v2/rerank", false, "\"results\":["),
        ("/v1/responses", false, "\"object\":\"response\""),
        ("/v1/responses", true, "event: response.completed"),
        ("/v1/audio/speech", false, "audio/mpeg"),
    ] {
        let (text, ended) = ask(&provider, path, streams).await;
        assert!(text.starts_with("HTTP/1.1 200") && text.contains(expected) && ended, "{path}: {text}");
    }
    assert_eq!(provider.count(), 14);
    assert!(provider.calls().iter().all(|call| call.end() == End::Complete && call.credential == "sk-1"));
}

#[tokio::test]
async fn each_fault_shows_on_the_wire() {
    let provider = Provider::start(Options::default()).await.unwrap();
    for (fault, streams, expected, ends) in [
        (Fault::Status { status: 503 }, false, "HTTP/1.1 503", true),
        (Fault::RateLimited { retry_after_s: Some(7) }, false, "retry-after: 7", true),
        (Fault::QuotaExhausted, false, "insufficient_quota", true),
        (Fault::BadKey, false, "Incorrect API key provided: sk-1.", true),
        (Fault::ContextOverflow, true, "context_length_exceeded", true),
        (Fault::FilteredAnswer, true, "\"finish_reason\":\"content_filter\"", true),
        (Fault::Stall { after_events: 1 }, true, "Echo ", false),
        (Fault::Cut { after_events: 2, and_bytes: 9 }, true, "from ", true),
        (Fault::EndEarly { after_events: 1 }, true, "Echo ", true),
        (Fault::ErrorInBand { after_events: 1 }, true, "overloaded", true),
        (Fault::Hang, false, "", false),
        (Fault::SlowFirstToken { delay_ms: 60_000 }, true, "\"role\":\"assistant\"", false),
        (Fault::Garbage, false, "surprise", true),
        (Fault::Html { status: 200 }, true, "<!DOCTYPE html>", true),
        (Fault::ErrorInside, true, "HTTP/1.1 200", true),
        (Fault::Empty, false, "\"choices\":[]", true),
        (Fault::NotStreamed, true, "\"object\":\"chat.completion\"", true),
        (Fault::CarriageReturns, true, ": still here\r\n\r\ndata: ", true),
    ] {
        provider.set(fault.clone());
        let (text, ended) = ask(&provider, CHAT, streams).await;
        assert!(text.contains(expected) && ended == ends, "{fault:?}: {ended} {text}");
    }
}

/// What is no chat is hit as well.
#[tokio::test]
async fn embeddings_ranks_and_speech_are_hit_as_chats_are() {
    let provider = Provider::start(Options::default()).await.unwrap();
    for (fault, path, expected, missing, ends) in [
        (Fault::Empty, "/v1/embeddings", "\"data\":[]", "\"embedding\":[", true),
        (Fault::Empty, "/v2/rerank", "\"results\":[]", "relevance_score", true),
        (Fault::Empty, "/v1/audio/speech", "content-length: 0", "Main", true),
        (Fault::Cut { after_events: 0, and_bytes: 0 }, "/v1/embeddings", "\"data\":[", "usage", true),
        (Fault::Cut { after_events: 0, and_bytes: 0 }, "/v1/audio/speech", "content-length: 8", "Main", true),
        (Fault::Stall { after_events: 0 }, "/v1/embeddings", "\"data\":[", "usage", false),
        (Fault::ErrorInside, "/v1/embeddings", "overloaded", "\"data\"", true),
    ] {
        provider.set(fault.clone());
        let (text, ended) = ask(&provider, path, false).await;
        assert!(
            text.contains(expected) && !text.contains(missing) && ended == ends,
            "{fault:?} {path}: {ended} {text}"
        );
    }
}

#[tokio::test]
async fn some_faults_leave_something_out() {
    let provider = Provider::start(Options::default()).await.unwrap();
    for (fault, streams, missing) in [
        (Fault::Cut { after_events: 1, and_bytes: 0 }, true, "\r\n0\r\n"),
        (Fault::EndEarly { after_events: 1 }, true, "[DONE]"),
        (Fault::NoUsage, true, "usage"),
        (Fault::NoDone, true, "[DONE]"),
        (Fault::TruncatedJson, false, "usage"),
        (Fault::Close, false, "HTTP"),
        (Fault::Reset, false, "HTTP"),
    ] {
        provider.set(fault.clone());
        let (text, _) = ask(&provider, CHAT, streams).await;
        assert!(!text.contains(missing), "{fault:?}: {text}");
    }
    provider.set(Fault::None);
    assert!(ask(&provider, CHAT, true).await.0.contains("[DONE]"), "and is well again");
}

#[tokio::test]
async fn faults_are_switched_over_http() {
    let provider = Provider::start(Options::default()).await.unwrap();
    let answer = switched(&provider, r#"{"share":0.5}"#).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let told: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let example = switched(&provider, &told["example"].to_string()).await;
    assert!(example.starts_with("HTTP/1.1 200"), "the example is none: {answer} {example}");
    for wrong in [
        r#"{"mode":"close","share":1.5}"#,
        r#"{"mode":"close","share":-1}"#,
        r#"{"mode":"status","status":7}"#,
        r#"{"mode":"status","status":200}"#,
        r#"{"mode":"html","status":99}"#,
        r#"{"mode":"status","status":500,"shar":0.5}"#,
        r#"{"mode":"stall","after":3}"#,
        r#"{"mode":"empty","after_events":3}"#,
        r#"{"mode":"reset","times":1}"#,
        r#"{"mode":"refuse","share":0.5}"#,
        "[]x",
    ] {
        let answer = switched(&provider, wrong).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{wrong}: {answer}");
    }
    assert_eq!(provider.calls().len(), 0, "faults are switched, not asked");
    let answer = switched(&provider, r#"{"mode":"rate_limited","share":0.5}"#).await;
    assert!(answer.contains("\"mode\":\"rate_limited\""), "{answer}");
    assert!(ask(&provider, CHAT, false).await.0.starts_with("HTTP/1.1 200"));
    assert!(ask(&provider, CHAT, false).await.0.starts_with("HTTP/1.1 429"));
    provider.set(Plan { key: Some("sk-2".to_owned()), ..Plan::from(Fault::Close) });
    assert!(ask(&provider, CHAT, false).await.0.starts_with("HTTP/1.1 200"), "another key is spared");
}

async fn switched(provider: &Provider, body: &str) -> String {
    let url = provider.switch_url();
    let address = url.trim_start_matches("http://").trim_end_matches("/faults");
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /faults HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Whoever rehearses can end every fault by the way it was begun.
#[tokio::test]
async fn a_provider_that_nobody_can_connect_to_is_mended_over_http() {
    let provider = Provider::start(Options::default()).await.unwrap();
    assert!(switched(&provider, r#"{"mode":"reset"}"#).await.starts_with("HTTP/1.1 200"));
    assert!(!ask(&provider, CHAT, false).await.0.contains("HTTP"), "it is reset");
    let mut before = TcpStream::connect(provider.address()).await.unwrap();
    assert!(switched(&provider, r#"{"mode":"refuse"}"#).await.starts_with("HTTP/1.1 200"));
    let refused = TcpStream::connect(provider.address()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(!matches!(before.read(&mut [0; 1]).await, Ok(1..)), "connections end with the listener");
    assert!(switched(&provider, r#"{"mode":"unreachable"}"#).await.starts_with("HTTP/1.1 200"));
    assert!(timeout(PATIENCE, TcpStream::connect(provider.address())).await.is_err(), "nobody answers");
    assert!(switched(&provider, r#"{"mode":"none"}"#).await.starts_with("HTTP/1.1 200"));
    assert!(ask(&provider, CHAT, false).await.0.starts_with("HTTP/1.1 200"));
}

/// What no listener can play is played by whoever tells callers where the provider is; else it is refused.
#[tokio::test]
async fn a_wrong_address_is_told_by_whoever_tells_addresses() {
    let alone = Provider::start(Options::default()).await.unwrap();
    assert!(switched(&alone, r#"{"mode":"dns"}"#).await.starts_with("HTTP/1.1 400"));
    let told = Arc::new(Mutex::new(Vec::new()));
    let moves: Moves = {
        let told = Arc::clone(&told);
        Arc::new(move |place| {
            told.lock().unwrap().push(place);
            Box::pin(std::future::ready(Ok(())))
        })
    };
    let provider = Provider::start(Options { moves: Some(moves), ..Options::default() }).await.unwrap();
    for fault in ["dns", "dns", "tls", "close", "none"] {
        let answer = switched(&provider, &format!(r#"{{"mode":"{fault}"}}"#)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(*told.lock().unwrap(), [Place::Unresolvable, Place::BehindTls, Place::Here]);
}

#[tokio::test]
async fn a_caller_that_leaves_is_noticed() {
    let provider = Provider::start(Options::default()).await.unwrap();
    provider.set(Fault::Stall { after_events: 1 });
    ask(&provider, CHAT, true).await;
    let is_abandoned = || async { (provider.calls()[0].end() == End::Abandoned).then_some(()) };
    wait_until("the provider notices", Duration::from_secs(10), is_abandoned).await;
}
