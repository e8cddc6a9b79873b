//! Peers and callers that do what the specifications forbid, or the worst that they allow.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, poll, stream};
use http::{Method, Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use mainstay_base::{Kind, record::Outcome, snapshot::AppRoute};
use mainstay_gateway::{BoxFuture, Durable, Submission};
use mainstay_net::{Body, BodyError};
use mainstay_testkit::{
    HttpServer,
    http_server::{streamed, whole},
    model,
    raw::{RawServer, Step},
};
use tokio::io::AsyncWriteExt;

use crate::rig::{APP_KEY, FakeEngine, Setup, cut_after, embedded, provider, read_until, upstream};

mod upstreams;

const CHAT: &str = "/v1/chat/completions";
const ASK: &str = "{\"model\":\"small\",\"messages\":[]}";
const ASK_STREAM: &str = "{\"model\":\"small\",\"stream\":true}";

async fn counting() -> HttpServer {
    HttpServer::start(|request: Request<Bytes>| async move {
        whole(200, "text/plain", request.body().len().to_string())
    })
    .await
}

#[tokio::test]
async fn a_virtual_key_opens_the_endpoints_of_models_and_no_other() {
    let one = counting().await;
    let mut rig = Setup::model(&[provider("one", &one.url())]).start().await;
    for path in ["/v1/fine_tuning/jobs", "/v1/assistants", "/v1/chat/completions/x", "/v1/x/chat/completions"]
    {
        let got = rig.got(rig.model_request(Method::POST, path, ASK)).await;
        assert_eq!((got.status, got.json()["error"]["code"].as_str()), (404, Some("unknown_url")), "{path}");
        assert_eq!(rig.only_record().await.kind, Some(Kind::Caller));
    }
    assert!(one.requests().is_empty(), "the provider's key was lent to a caller");
}

#[tokio::test]
async fn two_lengths_of_a_request_are_not_passed_on() {
    let dify = counting().await;
    let rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
    for path in ["/v1/files/upload", "/v1/workflows/run"] {
        for lengths in [
            "content-length: 3\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 3",
        ] {
            let mut stream = rig
                .raw(&format!(
                    "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {APP_KEY}\r\n{lengths}\r\n\r\n\
                     7\r\n{{\"a\":1}}\r\n0\r\n\r\n"
                ))
                .await;
            let text = read_until(&mut stream, |text| text.ends_with("\r\n\r\n7")).await;
            assert!(text.starts_with("HTTP/1.1 200"), "{path} {lengths}: {text}");
        }
    }
    for seen in dify.requests() {
        let both =
            seen.headers().contains_key("content-length") && seen.headers().contains_key("transfer-encoding");
        assert!(!both, "{seen:?}");
    }
}

#[tokio::test]
async fn two_keys_are_no_key() {
    let dify = counting().await;
    let rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
    let mut request = rig.app_request(Method::POST, "/v1/workflows/run", "{}");
    request.headers_mut().append("authorization", "Bearer app-OTHER".parse().unwrap());
    assert_eq!(rig.got(request).await.status, 401);
    assert!(dify.requests().is_empty());
}

#[tokio::test]
async fn a_caller_that_waits_to_be_told_to_go_on_is_told() {
    let dify = counting().await;
    let rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
    for path in ["/v1/workflows/run", "/v1/files/upload"] {
        let mut stream = rig
            .raw(&format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {APP_KEY}\r\n\
                 expect: 100-continue\r\ncontent-length: 2\r\n\r\n"
            ))
            .await;
        let text = read_until(&mut stream, |text| text.contains("\r\n\r\n")).await;
        assert!(text.starts_with("HTTP/1.1 100"), "{path}: {text}");
        stream.write_all(b"{}").await.unwrap();
        let text = read_until(&mut stream, |text| text.ends_with("\r\n\r\n2")).await;
        assert!(text.starts_with("HTTP/1.1 200"), "{path}: {text}");
    }
}

#[tokio::test]
async fn a_caller_that_sends_all_of_a_body_too_large_still_reads_why() {
    let dify = counting().await;
    let rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
    let size = 32 << 20;
    let mut stream = rig
        .raw(&format!(
            "POST /v1/workflows/run HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {APP_KEY}\r\n\
             content-length: {size}\r\n\r\n"
        ))
        .await;
    // Like a simple client: everything is written before anything is read.
    stream.write_all(&vec![b' '; size]).await.unwrap();
    let text = read_until(&mut stream, |text| text.contains("\r\n\r\n{")).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
}

/// A body that announces its length and never comes.
struct Announced(u64);

impl http_body::Body for Announced {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

#[tokio::test]
async fn an_announced_body_takes_no_memory_from_others_before_it_comes() {
    let dify = counting().await;
    let mut setup = Setup::app(vec![upstream("dify", &dify.url())]);
    setup.limits.max_held_bodies_bytes = 64 * 1024;
    let rig = setup.start().await;
    let (head, _) = rig.app_request(Method::POST, "/v1/workflows/run", "").into_parts();
    let mut announcing = Box::pin(rig.gateway.app(Request::from_parts(head, Announced(60 * 1024)), None));
    assert!(poll!(announcing.as_mut()).is_pending());
    let got = rig.got(rig.app_request(Method::POST, "/v1/workflows/run", vec![b' '; 20 * 1024])).await;
    assert_eq!(got.status, 200, "{}", got.text());
}

#[tokio::test]
async fn an_upload_that_stalls_is_refused_as_the_callers_doing() {
    let dify = counting().await;
    let mut setup = Setup::app(vec![upstream("dify", &dify.url())]);
    setup.limits.body_read = Duration::from_millis(50);
    let mut rig = setup.start().await;
    let mut stream = rig
        .raw(&format!(
            "POST /v1/files/upload HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {APP_KEY}\r\n\
             content-length: 10\r\n\r\n1"
        ))
        .await;
    let text = read_until(&mut stream, |text| text.contains("request_timeout")).await;
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    let record = rig.only_record().await;
    assert_eq!((record.status, record.kind), (408, Some(Kind::Caller)));
}

#[tokio::test]
async fn a_virtual_key_does_not_leave_in_another_header() {
    let one = model::start().await;
    let rig = Setup::model(&[provider("one", &one.url())]).start().await;
    let mut request = rig.model_request(Method::POST, CHAT, ASK);
    for name in ["api-key", "x-api-key", "x-goog-api-key"] {
        request.headers_mut().insert(name, crate::rig::MODEL_KEY.parse().unwrap());
    }
    assert_eq!(rig.got(request).await.status, 200);
    let seen = format!("{:?}", one.requests()[0].headers());
    assert!(!seen.contains(crate::rig::MODEL_KEY), "{seen}");
}

#[tokio::test]
async fn a_record_stays_small_whatever_it_is_told() {
    let long = "é".repeat(60_000);
    let told = format!("{{\"code\":\"x\",\"message\":\"{long}\",\"status\":400,\"task_id\":\"{long}\"}}");
    let dify = HttpServer::start(move |_| {
        let told = told.clone();
        async move { whole(400, "application/json", told) }
    })
    .await;
    let mut rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
    rig.run("{}").await;
    let on_app = rig.only_record().await;
    let mut rig = Setup::model(&[]).start().await;
    let got = rig.got(rig.model_request(Method::POST, CHAT, format!("{{\"model\":\"{long}\"}}"))).await;
    assert_eq!((got.status, got.json()["error"]["code"].as_str()), (404, Some("model_not_found")));
    assert!(got.body.len() < 1000);
    for record in [on_app, rig.only_record().await] {
        assert!(format!("{record:?}").len() < 10_000);
        assert!(record.error.is_some());
    }
}
