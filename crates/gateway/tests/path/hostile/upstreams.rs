//! Upstreams and stores that do what no caller asked for.

use super::*;

/// Says these pieces and then nothing more, without an end.
async fn then_silence(pieces: &'static [&'static str]) -> HttpServer {
    HttpServer::start(move |_| async move {
        let said = stream::iter(pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))));
        streamed(200, "text/event-stream", said.chain(stream::pending()))
    })
    .await
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
async fn a_protocol_nobody_asked_for_is_a_broken_answer() {
    let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let peer = RawServer::start(vec![Step::Send(switched.into()), Step::Hang]).await;
    let mut rig = Setup::app(vec![upstream("dify", &peer.url())]).start().await;
    let got = rig.run("{}").await;
    assert_eq!((got.status, got.json()["code"].as_str()), (502, Some("bad_gateway")));
    assert_eq!(rig.only_record().await.kind, Some(Kind::Upstream));
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
