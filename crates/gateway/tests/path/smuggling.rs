//! Requests over raw sockets that two readers could take for two different things, and unusual ones that are in order.

use mainstay_testkit::{HttpServer, model};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::rig::{MODEL_KEY, Rig, Setup, provider, read_until};

const CHAT: &str = "/v1/chat/completions";
const ASK: &str = r#"{"model":"small","messages":[{"role":"user","content":"hi"}]}"#;

async fn rig() -> (HttpServer, Rig) {
    let one = model::start().await;
    let rig = Setup::model(&[provider("one", &one.url())]).start().await;
    (one, rig)
}

/// Everything that comes back on one connection for these bytes, up to its end or so many heads.
async fn said(rig: &Rig, bytes: &str, heads: usize) -> String {
    let mut stream = TcpStream::connect(rig.model).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    read_until(&mut stream, |text| text.matches("HTTP/1.").count() >= heads && text.contains("\r\n\r\n"))
        .await
}

fn statuses(answer: &str) -> Vec<&str> {
    answer.match_indices("HTTP/1.").filter_map(|(at, _)| answer.get(at + 9..at + 12)).collect()
}

fn call(line: &str, head: &str, body: &str) -> String {
    format!(
        "{line}\r\nhost: x\r\nauthorization: Bearer {MODEL_KEY}\r\ncontent-type: application/json\r\n{head}\r\n{body}"
    )
}

#[tokio::test]
async fn an_ambiguous_length_is_refused_and_nothing_is_sent_on() {
    let (one, rig) = rig().await;
    let length = ASK.len();
    for head in [
        "content-length: -1\r\n".to_owned(),
        format!("content-length: 0x{length:x}\r\n"),
        format!("content-length: {length}, 1\r\n"),
        format!("content-length: {length}\r\ncontent-length: 0\r\n"),
        format!("content-length: {length}\r\n\tfolded: x\r\n"),
        format!("content-length : {length}\r\n"),
        "transfer-encoding: xchunked\r\n".to_owned(),
        "transfer-encoding: chunked, identity\r\n".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n".to_owned(),
        "transfer-encoding:\u{b}chunked\r\n".to_owned(),
    ] {
        let answer = said(&rig, &call(&format!("POST {CHAT} HTTP/1.1"), &head, ASK), 1).await;
        assert_eq!(statuses(&answer), ["400"], "{head:?}\n{answer}");
    }
    let bare = call(&format!("POST {CHAT} HTTP/1.1"), &format!("content-length: {length}\r\n"), ASK);
    let answer = said(&rig, &bare.replace("host: x\r\n", "host: x\rx: y\r\n"), 1).await;
    assert_eq!(statuses(&answer), ["400"], "a bare carriage return\n{answer}");
    assert!(one.requests().is_empty(), "nothing was sent upstream");
}

#[tokio::test]
async fn paths_are_read_as_they_stand() {
    let (one, rig) = rig().await;
    let head = format!("content-length: {}\r\nconnection: close\r\n", ASK.len());
    for (target, status) in [
        ("//v1//chat/completions", "404"),
        ("/v1//chat/completions", "404"),
        ("/v1/%63hat/completions", "404"),
        ("/v1/chat/completions/", "404"),
        ("/V1/chat/completions", "404"),
        ("/v1/chat/completions;x=1", "404"),
        ("/apps/a%2Fb/v1/chat/completions", "404"),
        ("http://elsewhere.example/v1/chat/completions", "200"),
        ("/v1/chat/completions?", "200"),
    ] {
        let answer = said(&rig, &call(&format!("POST {target} HTTP/1.1"), &head, ASK), 1).await;
        assert_eq!(statuses(&answer), [status], "{target}\n{answer}");
    }
    assert_eq!(one.requests().len(), 2);
    assert!(one.requests().iter().all(|seen| seen.uri().path() == CHAT && seen.headers()["host"] != "x"));
}

#[tokio::test]
async fn a_refused_call_leaves_the_next_one_of_its_connection_alone() {
    let (one, rig) = rig().await;
    let line = format!("POST {CHAT} HTTP/1.1");
    let head = format!("content-length: {}\r\n", ASK.len());
    let good = call(&line, &head, ASK);
    for bad in [good.replace(MODEL_KEY, "vk-nobody"), good.replace(CHAT, "/v1/none/completions")] {
        let before = one.requests().len();
        let answer = said(&rig, &format!("{bad}{good}"), 2).await;
        let statuses = statuses(&answer);
        assert!(matches!(statuses[..], ["401" | "404", "200"]), "{answer}");
        assert_eq!(
            one.requests().len(),
            before + 1,
            "the second one was sent, the body of the first was not"
        );
    }
}

#[tokio::test]
async fn other_methods_and_versions_are_answered_in_order() {
    let (one, rig) = rig().await;
    let none = "content-length: 0\r\nconnection: close\r\n";
    for (line, status) in [
        ("HEAD /v1/models HTTP/1.1", "200"),
        ("OPTIONS /v1/chat/completions HTTP/1.1", "405"),
        ("PUT /v1/chat/completions HTTP/1.1", "405"),
        ("DELETE /v1/models/small HTTP/1.1", "405"),
        ("TRACE /v1/models HTTP/1.1", "405"),
        ("GET /v1/chat/completions HTTP/1.1", "404"),
        ("GET /v1/models HTTP/1.0", "200"),
        ("GET /v1/models HTTP/3.0", "400"),
    ] {
        let answer = said(&rig, &call(line, none, ""), 1).await;
        assert_eq!(statuses(&answer), [status], "{line}\n{answer}");
        let is_allowed = !answer.contains("allow: ") || answer.contains("allow: GET, HEAD, POST\r\n");
        assert!(is_allowed, "{line}\n{answer}");
        assert!(!answer.contains("access-control-"), "nobody asks from a browser\n{answer}");
    }
    let head = format!("content-length: {}\r\n", ASK.len());
    let answer = said(&rig, &call(&format!("POST {CHAT} HTTP/1.0"), &head, ASK), 1).await;
    assert_eq!(statuses(&answer), ["200"], "{answer}");
    assert_eq!(one.requests().len(), 1);
}
