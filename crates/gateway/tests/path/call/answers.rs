//! Answers as no provider should give them: each is classified, none reaches a caller, and somebody else is asked.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::{BodyExt, Full};
use mainstay_base::{
    Usd,
    snapshot::{Dialect, ModelTarget, Provider},
};
use mainstay_testkit::{
    HttpServer, Reply,
    raw::{RawServer, Step},
};

use super::{ask, course, faulty, policy, provider, setup, target};
use crate::rig::{Got, Rig};

const ANSWER: &str = r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;

/// `hi` as gzip writes it.
const COMPRESSED: &[u8] =
    &[0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0x03, 0xcb, 0xc8, 0x04, 0, 0xac, 0x2a, 0x93, 0xd8, 0x02, 0, 0, 0];

/// A target at a peer that is no faulty provider, and a sound one behind it.
async fn beside(base_url: &str) -> (mainstay_faulty::Provider, ModelTarget, ModelTarget) {
    let sound = faulty().await;
    let odd = Provider { base_url: format!("{base_url}/v1"), ..provider("odd", &sound, 1) };
    let second = target(provider("two", &sound, 1));
    (sound, target(odd), second)
}

async fn raw(answer: impl Into<Vec<u8>>) -> RawServer {
    RawServer::start(vec![Step::Send(answer.into()), Step::Close]).await
}

fn with_length(status: &str, headers: &str, length: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

/// What a peer says, and the class of it.
fn odd_answers() -> Vec<(Vec<u8>, &'static str)> {
    let length = ANSWER.len().to_string();
    let gzip = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        COMPRESSED.len()
    );
    let sound = with_length("200 OK", "", &length, ANSWER);
    vec![
        (with_length("301 Moved", "location: https://example.com/\r\n", "0", "").into(), "not_an_answer"),
        (with_length("307 Later", "location: /v1/elsewhere\r\n", "0", "").into(), "not_an_answer"),
        (with_length("304 Not Modified", "", "0", "").into(), "not_an_answer"),
        (b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), "empty"),
        (with_length("200 OK", "", "0", "").into(), "empty"),
        (b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n".to_vec(), "closed"),
        (with_length("999 What", "", "2", "{}").into(), "not_an_answer"),
        // A length that is no number, two that differ, more than comes, less than comes.
        (with_length("200 OK", "", "many", ANSWER).into(), "closed"),
        (with_length("200 OK", "content-length: 7\r\n", &length, ANSWER).into(), "closed"),
        (with_length("200 OK", "", "99999", ANSWER).into(), "cut"),
        (with_length("200 OK", "", "40", ANSWER).into(), "truncated_json"),
        ([gzip.as_bytes(), COMPRESSED].concat(), "not_an_answer"),
        (
            sound.replace("application/json\r\n", "application/json\r\ncontent-encoding: br\r\n").into(),
            "not_an_answer",
        ),
        (b"not http at all\r\n\r\n".to_vec(), "closed"),
        // Sound after all: an interim answer, and a coding that is none.
        (format!("HTTP/1.1 103 Early Hints\r\n\r\n{sound}").into(), "ok"),
        (
            sound
                .replace("application/json\r\n", "application/json\r\ncontent-encoding: identity\r\n")
                .into(),
            "ok",
        ),
        (sound.into(), "ok"),
    ]
}

#[tokio::test]
async fn odd_answers_are_classified_and_somebody_else_is_asked() {
    for (answer, class) in odd_answers() {
        for stream in [false, true] {
            let shown = String::from_utf8_lossy(&answer[..answer.len().min(70)]).into_owned();
            let odd = raw(answer.clone()).await;
            let (_sound, odd_target, second) = beside(&odd.url()).await;
            let mut rig = setup(vec![odd_target, second], policy()).start().await;
            let got = ask(&rig, stream).await;
            assert_eq!(got.status, 200, "{shown}: {}", got.text());
            let record = rig.only_record().await;
            let first = course(&record)[0].replace("odd/key-0 first ", "");
            // What is cut of a document that came instead of a stream is a cut all the same.
            let is_cut =
                stream && matches!(first.as_str(), "cut" | "truncated_json" | "empty" | "not_an_answer");
            assert!(
                first == class || class != "ok" && is_cut,
                "{shown:?} stream {stream}: {first}, not {class}"
            );
            assert_eq!(got.text().contains("hello"), class != "ok", "{shown}: {}", got.text());
        }
    }
}

/// A status says enough: the words behind it are not waited for as long as an answer is.
#[tokio::test]
async fn an_error_whose_words_never_come_delays_nobody() {
    let head = "HTTP/1.1 500 No\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{\"error\"";
    let odd = RawServer::start(vec![Step::Send(head.into()), Step::Hang]).await;
    for stream in [false, true] {
        let (_sound, odd_target, second) = beside(&odd.url()).await;
        let mut rig = setup(vec![odd_target, second], policy()).start().await;
        let began = Instant::now();
        assert_eq!(ask(&rig, stream).await.status, 200);
        assert!(began.elapsed() < Duration::from_secs(4), "5 s is what an answer may be silent");
        assert_eq!(
            course(&rig.only_record().await),
            ["odd/key-0 first server_error", "two/key-0 fallback ok"]
        );
    }
}

fn reply(status: u16, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).header("content-type", kind).body(body).unwrap()
}

async fn post(rig: &Rig, path: &str, body: &str) -> Got {
    rig.got(rig.model_request(Method::POST, path, body.to_owned())).await
}

#[tokio::test]
async fn an_answer_too_large_to_be_held_passes_in_its_own_dialect_and_in_no_other() {
    let large = format!("{{\"data\":[{{\"embedding\":[{}0]}}]}}", "0.125,".repeat(1_500_000));
    assert!(large.len() > 8 << 20);
    let body = Bytes::from(large.clone());
    let odd = HttpServer::start(move |_| {
        let body = body.clone();
        async move { reply(200, "application/json", body) }
    })
    .await;
    for (dialect, passes) in [(Dialect::OpenAi, true), (Dialect::Gemini, false), (Dialect::Cohere, false)] {
        let (_sound, mut first, _) = beside(&odd.url()).await;
        first.provider = std::sync::Arc::new(Provider { dialect, ..Provider::clone(&first.provider) });
        let mut rig = setup(vec![first], policy()).start().await;
        let got = post(&rig, "/v1/embeddings", r#"{"model":"small","input":"hi"}"#).await;
        assert_eq!((got.status == 200, got.text() == large), (passes, passes), "{}", got.status);
        let record = rig.record().await;
        assert!(record.attempts[0].cost.is_some_and(|cost| cost > Usd::ZERO), "{:?}", record.attempts);
        rig.nothing_is_out().await;
        let standing = &rig.gateway.standing().targets[0];
        assert_eq!(standing.in_flight, 0);
        assert_eq!(standing.last_success_at.is_some(), passes, "its end was told");
    }
}

#[tokio::test]
async fn sound_passes_and_an_error_instead_of_sound_does_not() {
    let ask = r#"{"model":"small","input":"hi","voice":"alloy"}"#;
    for (kind, body, status) in [
        ("audio/mpeg", &b"\xff\xfb\x90\x00sound"[..], 200),
        ("application/json", &br#"{"error":{"message":"no voice today","type":"server_error"}}"#[..], 502),
        ("text/html", &b"<html>hello</html>"[..], 502),
        ("audio/mpeg", &b""[..], 502),
    ] {
        let odd = HttpServer::start(move |_| async move { reply(200, kind, body) }).await;
        let (_sound, first, _) = beside(&odd.url()).await;
        let rig = setup(vec![first], policy()).start().await;
        let got = post(&rig, "/v1/audio/speech", ask).await;
        assert_eq!(got.status, status, "{kind}: {:?}", got.body);
        assert_eq!(got.body == body, status == 200, "{kind}");
        let sent = &odd.requests()[0];
        assert_eq!(sent.uri().path(), "/v1/audio/speech");
        assert!(String::from_utf8_lossy(sent.body()).contains("\"real-small\""));
    }
}

#[tokio::test]
async fn a_forms_model_is_replaced_and_its_file_stays() {
    let odd = HttpServer::start(|_| async { reply(200, "application/json", r#"{"text":"hello"}"#) }).await;
    let (_sound, first, _) = beside(&odd.url()).await;
    let rig = setup(vec![first], policy()).start().await;
    let file = "\r\nname=\"model\"\r\n\r\nsmall\u{1}";
    let body = format!(
        "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nsmall\r\n--b\r\ncontent-disposition: form-data; \
         name=\"file\"; filename=\"a.mp3\"\r\ncontent-type: audio/mpeg\r\n\r\n{file}\r\n--b--\r\n"
    );
    let mut request = rig.model_request(Method::POST, "/v1/audio/transcriptions", body.clone());
    request.headers_mut().insert("content-type", "multipart/form-data; boundary=b".parse().unwrap());
    let got = rig.got(request).await;
    assert_eq!((got.status, got.text()), (200, r#"{"text":"hello"}"#));
    let sent = &odd.requests()[0];
    let expected = body.replacen("\r\n\r\nsmall\r\n", "\r\n\r\nreal-small\r\n", 1);
    assert_eq!(String::from_utf8_lossy(sent.body()), expected);
}

/// What a provider asks for is kept within a second and a minute, and the caller is told when the key is back.
#[tokio::test]
async fn a_wait_that_a_provider_asks_for_is_kept_within_bounds() {
    let past = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (asked, told_s) in [("0", 1), ("-7", 1), (past, 1), ("864000", 60), ("soon", 5), ("7", 7)] {
        for keys in [0, 1] {
            let limited = move |_| async move {
                let mut reply = reply(429, "application/json", r#"{"error":{"message":"slow down"}}"#);
                reply.headers_mut().insert("retry-after", asked.parse().unwrap());
                reply
            };
            let odd = HttpServer::start(limited).await;
            let (_sound, mut first, second) = beside(&odd.url()).await;
            let known = provider("odd", &faulty().await, keys);
            first.provider =
                std::sync::Arc::new(Provider { keys: known.keys, ..Provider::clone(&first.provider) });
            let mut alone = policy();
            alone.retry.same_target = 0;
            let mut rig = setup(vec![first.clone()], alone).start().await;
            let got = ask(&rig, false).await;
            let told: u64 = got.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert_eq!((got.status, told), (429, told_s), "{asked:?} with {keys} keys");
            assert_eq!(rig.record().await.attempts.len(), 1);
            // With somebody else there, the limited one is not asked again while it rests, key or no key.
            let mut rig = setup(vec![first, second], policy()).start().await;
            let before = odd.requests().len();
            for _ in 0..5 {
                assert_eq!(ask(&rig, false).await.status, 200);
                rig.record().await;
            }
            assert_eq!(odd.requests().len() - before, 1, "{asked:?} with {keys} keys");
        }
    }
}
