//! Calls of which something is wrong: told in the caller's dialect, and sent to nobody.

use std::time::Duration;

use http::Method;
use mainstay_base::snapshot::ModelKey;
use mainstay_testkit::{HttpServer, http_server::whole, model};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{ASK, CHAT, code, priced};
use crate::rig::{MODEL_KEY, read_until};

#[tokio::test]
async fn what_is_wrong_with_a_call_is_told_in_the_dialect_and_sent_to_nobody() {
    let one = model::start().await;
    let mut rig = priced(&one, ModelKey::named("k")).start().await;
    let json = "application/json";
    let form = "multipart/form-data; boundary=b";
    let deep = format!(r#"{{"model":"small","x":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
    for (path, content_type, body, status, param) in [
        (CHAT, json, "{\"model\":\"small\"", 400, None),
        (CHAT, json, "[]", 400, None),
        (CHAT, json, deep.as_str(), 400, None),
        (CHAT, json, "{\"model\":\"small\",\"x\":\"\u{0}\"}", 400, None),
        (CHAT, json, r#"{"model":"small","x":1e999}"#, 400, None),
        (CHAT, json, r#"{"model":{"a":1}}"#, 400, Some("model")),
        (CHAT, json, r#"{"model":"small","model":"other"}"#, 400, Some("model")),
        (CHAT, json, r#"{"model":"small","stream":"true"}"#, 400, Some("stream")),
        (CHAT, json, r#"{"model":"small","max_tokens":-1}"#, 400, Some("max_tokens")),
        (CHAT, json, r#"{"model":"small","messages":"hi"}"#, 400, Some("messages")),
        (CHAT, json, r#"{"messages":[]}"#, 400, Some("model")),
        (CHAT, json, r#"{"model":"none"}"#, 404, Some("model")),
        (CHAT, "text/plain", ASK, 415, None),
        (CHAT, "application/jsonx", ASK, 415, None),
        ("/v1/embeddings", json, r#"{"model":"small","input":true}"#, 400, Some("input")),
        ("/v1/audio/transcriptions", json, ASK, 415, None),
        ("/v1/audio/transcriptions", form, "--b\r\nx", 400, None),
        (
            "/v1/images/edits",
            form,
            "--b\r\nContent-Disposition: form-data; name=x\r\n\r\n\r\n--b--",
            400,
            Some("model"),
        ),
        ("/apps/a/v2/chat/completions", json, ASK, 404, None),
        ("/apps//v1/chat/completions", json, ASK, 404, None),
        ("/apps/../v1/chat/completions", json, ASK, 404, None),
    ] {
        let mut request = rig.model_request(Method::POST, path, body.to_owned());
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        let got = rig.got(request).await;
        let error = &got.json()["error"];
        let shown: String = body.chars().take(60).collect();
        assert_eq!((got.status, error["param"].as_str()), (status, param), "{path} {shown} {error}");
        assert_eq!(error["type"], "invalid_request_error", "{path} {shown}");
        assert!(rig.record().await.kind.is_some_and(|kind| !kind.is_our_fault()), "{path} {shown}");
    }
    assert!(one.requests().is_empty(), "nothing was sent upstream");
}

#[tokio::test]
async fn headers_that_two_readers_could_read_differently_are_refused() {
    let one = model::start().await;
    let rig = priced(&one, ModelKey::named("k")).start().await;
    let good = format!("authorization: Bearer {MODEL_KEY}\r\ncontent-type: application/json\r\n");
    let length = ASK.len();
    for (head, status) in [
        (format!("{good}authorization: Bearer {MODEL_KEY}\r\ncontent-length: {length}\r\n"), 401),
        (format!("{good}api-key: vk-other\r\ncontent-length: {length}\r\n"), 401),
        (format!("{good}content-type: text/plain\r\ncontent-length: {length}\r\n"), 400),
        (format!("{good}content-encoding: gzip\r\ncontent-length: {length}\r\n"), 400),
        (format!("{good}mainstay-deadline: 1\r\nmainstay-deadline: 2\r\ncontent-length: {length}\r\n"), 400),
        (format!("{good}mainstay-max-cost: cheap\r\ncontent-length: {length}\r\n"), 400),
        (format!("{good}content-length: {length}\r\ncontent-length: 1\r\n"), 400),
        (format!("{good}content-length: +{length}\r\n"), 400),
        (format!("{good}transfer-encoding: xchunked\r\n"), 400),
        (format!("{good}transfer-encoding : chunked\r\n"), 400),
    ] {
        let mut stream = TcpStream::connect(rig.model).await.unwrap();
        let request = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\n{head}\r\n{ASK}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, |text| text.contains("\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}\n{answer}");
    }
    assert!(one.requests().is_empty(), "nothing was sent upstream");
}

#[tokio::test]
async fn a_length_beside_a_transfer_coding_smuggles_nothing() {
    let one = model::start().await;
    let rig = priced(&one, ModelKey::named("k")).start().await;
    let mut stream = TcpStream::connect(rig.model).await.unwrap();
    let smuggled = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {MODEL_KEY}\r\ncontent-type: application/json\r\n\
         content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{ASK}\r\n0\r\n\r\n{smuggled}",
        ASK.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stream, |text| text.contains("\r\n\r\n")).await;
    rig.nothing_is_out().await;
    let seen = one.requests();
    assert!(seen.len() <= 1, "the second request had no key");
    for request in seen {
        assert!(!request.headers().contains_key("transfer-encoding"));
        let parsed: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(parsed["model"], "real-small");
    }
}

#[tokio::test]
async fn a_huge_or_slow_body_of_a_model_call_is_sent_to_nobody() {
    let one = model::start().await;
    let mut setup = priced(&one, ModelKey::named("k"));
    setup.limits.max_model_body_bytes = 1000;
    setup.limits.body_read = Duration::from_millis(50);
    let rig = setup.start().await;
    let big = format!(r#"{{"model":"small","x":"{}"}}"#, "x".repeat(1000));
    let got = rig.got(rig.model_request(Method::POST, CHAT, big)).await;
    assert_eq!((got.status, code(&got)), (413, "request_too_large".to_owned()));
    let mut stream = TcpStream::connect(rig.model).await.unwrap();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {MODEL_KEY}\r\ncontent-type: application/json\r\n\
         content-length: 100\r\n\r\n{{\"model\":"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, |text| text.contains("request_timeout")).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(one.requests().is_empty());
}

#[tokio::test]
async fn a_form_reaches_the_provider_with_its_model_and_every_other_byte() {
    let one = HttpServer::start(|_| async { whole(200, "application/json", r#"{"text":"hi"}"#) }).await;
    let mut rig = priced(&one, ModelKey::named("k")).start().await;
    let form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\0\r\n\
                --b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nsmall\r\n--b--\r\n";
    for path in ["/v1/audio/transcriptions", "/v1/audio/translations", "/v1/images/variations"] {
        let mut request = rig.model_request(Method::POST, path, form);
        request.headers_mut().insert("content-type", "multipart/form-data; boundary=b".parse().unwrap());
        let got = rig.got(request).await;
        assert_eq!(got.status, 200, "{path}: {}", got.text());
        assert_eq!(rig.record().await.model.as_deref(), Some("small"));
        let seen = one.requests().pop().unwrap();
        assert_eq!(
            (seen.uri().path(), seen.headers()["content-type"].to_str().unwrap()),
            (path, "multipart/form-data; boundary=b")
        );
        assert_eq!(seen.body(), &form.replace("small", "real-small"));
    }
}
