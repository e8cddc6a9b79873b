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

const CHAT: &str = "/v1/chat/completions";
const ASK: &str = "{\"model\":\"small\",\"messages\":[]}";
const ASK_STREAM: &str = "{\"model\":\"small\",\"stream\":true}";

async fn counting() -> HttpServer {
    HttpServer::start(|request: Request<Bytes>| async move {
        whole(200, "text/plain", request.body().len().to_string())
    })
    .await
}

/// Says these pieces and then nothing more, without an end.
async fn then_silence(pieces: &'static [&'static str]) -> HttpServer {
    HttpServer::start(move |_| async move {
        let said = stream::iter(pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))));
        streamed(200, "text/event-stream", said.chain(stream::pending()))
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
async fn a_provider_that_refuses_our_key_is_not_the_callers_doing() {
    let twin = model::start().await;
    for status in [401, 403] {
        let refusing =
            HttpServer::start(move |_| async move { whole(status, "application/json", "{}") }).await;
        let both = [provider("refusing", &refusing.url()), provider("twin", &twin.url())];
        let mut rig = Setup::model(&both).start().await;
        assert_eq!(rig.got(rig.model_request(Method::POST, CHAT, ASK)).await.status, 200);
        assert_eq!(rig.only_record().await.upstream.as_deref(), Some("twin"));
        let mut rig = Setup::model(&both[..1]).start().await;
        assert_eq!(rig.got(rig.model_request(Method::POST, CHAT, ASK)).await.status, 502);
        assert_eq!(rig.only_record().await.kind, Some(Kind::Upstream));
    }
}

#[tokio::test]
async fn two_lengths_of_an_answer_are_not_passed_on() {
    let both = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 3\r\n\
                transfer-encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n";
    let peer = RawServer::start(vec![Step::Send(both.into()), Step::Hang]).await;
    let mut rig = Setup::app(vec![upstream("dify", &peer.url())]).start().await;
    let got = rig.run("{}").await;
    assert_eq!(got.text(), "{\"a\":1}");
    assert_eq!(rig.only_record().await.outcome, Outcome::Ok);
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
async fn a_protocol_nobody_asked_for_is_a_broken_answer() {
    let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let peer = RawServer::start(vec![Step::Send(switched.into()), Step::Hang]).await;
    let mut rig = Setup::app(vec![upstream("dify", &peer.url())]).start().await;
    let got = rig.run("{}").await;
    assert_eq!((got.status, got.json()["code"].as_str()), (502, Some("bad_gateway")));
    assert_eq!(rig.only_record().await.kind, Some(Kind::Upstream));
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
    let mut announcing = Box::pin(rig.gateway.app(Request::from_parts(head, Announced(60 * 1024))));
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

/// A store that hangs.
struct HungRuns;

impl Durable for HungRuns {
    fn submit(&self, _: Submission) -> BoxFuture<'static, Response<Body>> {
        Box::pin(std::future::pending())
    }

    fn find(&self, _: std::sync::Arc<AppRoute>, _: String) -> BoxFuture<'static, Option<Response<Body>>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_store_that_hangs_holds_no_request() {
    let mut setup = Setup::durable_app(vec![], std::sync::Arc::new(HungRuns));
    setup.limits.durable_wait = Duration::from_millis(50);
    let mut rig = setup.start().await;
    let mut submit = rig.app_request(Method::POST, "/v1/workflows/run", "{}");
    submit.headers_mut().insert("prefer", "respond-async".parse().unwrap());
    let find = rig.app_request(Method::GET, "/v1/workflows/run/abc", "");
    for request in [submit, find] {
        let got = rig.got(request).await;
        assert_eq!((got.status, got.json()["code"].as_str()), (504, Some("gateway_timeout")));
        assert_eq!(rig.only_record().await.kind, Some(Kind::Unavailable));
    }
}

// Dify says 400 for whatever a model provider does wrong, so its code tells more than its status.
#[tokio::test]
async fn a_400_of_difys_for_a_models_failure_is_not_the_callers_doing() {
    for (body, kind) in [
        (r#"{"code":"completion_request_error","message":"m","status":400}"#, Kind::Upstream),
        (r#"{"code": "provider_quota_exceeded", "message": "m", "status": 400}"#, Kind::Upstream),
        (r#"{"code":"invalid_param","message":"m","status":400}"#, Kind::Caller),
        ("not JSON", Kind::Caller),
    ] {
        let dify = HttpServer::start(move |_| async move { whole(400, "application/json", body) }).await;
        let mut rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
        assert_eq!(rig.run("{}").await.text(), body);
        assert_eq!(rig.only_record().await.kind, Some(kind), "{body}");
    }
}

#[tokio::test]
async fn an_error_in_band_is_judged_by_difys_code() {
    for (code, kind) in [
        ("completion_request_error", Kind::Upstream),
        ("provider_not_initialize", Kind::Upstream),
        ("invalid_param", Kind::Caller),
    ] {
        let event = format!(
            "data: {{\"event\":\"error\",\"message_id\":\"m\",\"code\":\"{code}\",\"status\":400,\"message\":\"m\"}}\n\n"
        );
        let dify = HttpServer::start(move |_| {
            let event = event.clone();
            async move { whole(200, "text/event-stream", event) }
        })
        .await;
        let mut rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
        rig.run("{}").await;
        assert_eq!(rig.only_record().await.kind, Some(kind), "{code}");
    }
}

#[tokio::test]
async fn a_gateways_error_is_the_answer_when_the_body_is_spent() {
    let failing = HttpServer::start(|_| async { whole(502, "text/plain", "from the first") }).await;
    let twin = counting().await;
    let mut rig =
        Setup::app(vec![upstream("failing", &failing.url()), upstream("twin", &twin.url())]).start().await;
    let got = rig.got(rig.app_request(Method::GET, "/v1/info", "spent")).await;
    assert_eq!((got.status, got.text()), (502, "from the first"));
    assert_eq!(rig.only_record().await.attempts.len(), 1);
}

#[tokio::test]
async fn line_ends_become_line_feeds_wherever_the_pieces_are_cut() {
    let pieces: &[&str] = &[
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\n\r",
        "\ndata: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\r",
        "\n\r\n",
        "data: [DONE]\r",
        "\n",
    ];
    let expected = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n\
         data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\ndata: [DONE]\n\n";
    // Below the size of an event, they pass in parts.
    for max_event_bytes in [16, 4096] {
        let one = HttpServer::start(move |_| async move {
            let pieces = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
            streamed(200, "text/event-stream", stream::iter(pieces))
        })
        .await;
        let mut setup = Setup::model(&[provider("one", &one.url())]);
        setup.limits.max_event_bytes = max_event_bytes;
        let mut rig = setup.start().await;
        let got = rig.got(rig.model_request(Method::POST, CHAT, ASK_STREAM)).await;
        assert_eq!(got.text(), expected, "{max_event_bytes}");
        assert_eq!(rig.only_record().await.outcome, Outcome::Ok);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_after_the_last_event_had_everything() {
    let one = then_silence(&[
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n",
        "data: [DONE]\n\n",
    ])
    .await;
    let dify =
        then_silence(&["data: {\"event\":\"workflow_finished\",\"task_id\":\"t\",\"data\":{}}\n\n"]).await;
    let chat = then_silence(&[
        "data: {\"event\":\"workflow_finished\",\"conversation_id\":\"c\",\"task_id\":\"t\",\"data\":{}}\n\n",
    ])
    .await;
    let on_model = Setup::model(&[provider("one", &one.url())]).start().await;
    let on_app = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
    let on_chat = Setup::app(vec![upstream("dify", &chat.url())]).start().await;
    for (mut rig, last, outcome) in [
        (on_model, "[DONE]", Outcome::Ok),
        (on_app, "workflow_finished", Outcome::Ok),
        // What a chatflow used comes in its `message_end`.
        (on_chat, "workflow_finished", Outcome::CallerGone),
    ] {
        let request = match last {
            "[DONE]" => rig.model_request(Method::POST, CHAT, ASK_STREAM),
            _ => rig.app_request(Method::POST, "/v1/workflows/run", "{}"),
        };
        let mut body = rig.send(request).await.into_body();
        let mut text = String::new();
        while !text.contains(last) {
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
        drop(body);
        assert_eq!(rig.only_record().await.outcome, outcome, "{last}");
    }
}

#[tokio::test]
async fn a_peer_that_hangs_up_rudely_after_the_last_event_has_said_everything() {
    const STREAM: &[u8] =
        b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n";
    let one = cut_after(STREAM).await;
    let mut rig = Setup::model(&[provider("one", &one.url())]).start().await;
    assert_eq!(rig.got(rig.model_request(Method::POST, CHAT, ASK_STREAM)).await.body, STREAM);
    assert_eq!(rig.only_record().await.outcome, Outcome::Ok);
}

#[tokio::test]
async fn an_embedded_engine_that_falls_silent_is_given_up_as_a_dify_would_be() {
    let engine = FakeEngine::new(|| {
        let said = stream::iter([Ok::<_, BodyError>(Bytes::from_static(b"event: ping\n\n"))]);
        let mut answer = Response::new(mainstay_net::stream(said.chain(stream::pending())));
        answer.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
        answer
    });
    let mut upstream = (*embedded()).clone();
    upstream.timeouts.idle = Duration::from_millis(50);
    let mut setup = Setup::app(vec![upstream.into()]);
    setup.embedded = Some(engine);
    let mut rig = setup.start().await;
    let got = rig.run("{}").await;
    assert!(got.text().contains("\"code\":\"gateway_timeout\",\"status\":504"), "{}", got.text());
    assert_eq!(rig.only_record().await.outcome, Outcome::Cut);
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
