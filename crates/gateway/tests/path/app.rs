//! The app path: who is let in, what is sent on, who answers.

use http::{Method, StatusCode};
use mainstay_base::record::{Outcome, StageName, StageOutcome};
use mainstay_testkit::{HttpServer, http_server::whole};

use crate::rig::{APP_KEY, FakeEngine, Setup, embedded, json, nobody, upstream};

async fn echo() -> HttpServer {
    HttpServer::start(|request| async move { whole(200, "application/json", request.into_body()) }).await
}

#[tokio::test]
async fn keys_are_refused_in_difys_words() {
    let rig = Setup::app(vec![]).start().await;
    for (authorization, message) in [
        (None, "Authorization header must be provided and start with 'Bearer'"),
        (Some("app-KNOWN"), "Authorization header must be provided and start with 'Bearer'"),
        (Some("Basic app-KNOWN"), "Authorization scheme must be 'Bearer'"),
        (Some("Bearer app-nope"), "Access token is invalid"),
    ] {
        let mut request = rig.app_request(Method::GET, "/v1/info", "");
        request.headers_mut().remove("authorization");
        if let Some(value) = authorization {
            request.headers_mut().insert("authorization", value.parse().unwrap());
        }
        let got = rig.got(request).await;
        let expected = format!("{{\"code\":\"unauthorized\",\"message\":\"{message}\",\"status\":401}}\n");
        assert_eq!((got.status, got.text()), (401, expected.as_str()));
        assert_eq!(got.headers["www-authenticate"], "Bearer realm=\"api\"");
        assert_eq!(got.headers["content-type"], "application/json");
    }
}

#[tokio::test]
async fn an_unknown_key_goes_to_the_dify_that_checks_keys() {
    let dify = echo().await;
    let mut setup = Setup::app(vec![]);
    setup.snapshot.app.unknown_keys_to = Some(upstream("dify", &dify.url()));
    let mut rig = setup.start().await;
    for authorization in [Some("Bearer dataset-x"), None] {
        let mut request = rig.app_request(Method::POST, "/v1/datasets", "{}");
        request.headers_mut().remove("authorization");
        if let Some(value) = authorization {
            request.headers_mut().insert("authorization", value.parse().unwrap());
        }
        assert_eq!(rig.got(request).await.text(), "{}");
        let record = rig.only_record().await;
        assert_eq!((record.outcome, record.app_id), (Outcome::Ok, None));
        assert_eq!(record.upstream.as_deref(), Some("dify"));
    }
    assert_eq!(dify.requests()[0].headers()["authorization"], "Bearer dataset-x");
}

#[tokio::test]
async fn what_is_sent_on_is_what_came() {
    let dify = HttpServer::start(|_| async {
        let mut reply = whole(418, "text/plain; odd", &b"\x00\xff teapot"[..]);
        reply.headers_mut().insert("x-version", "1.12.1".parse().unwrap());
        reply.headers_mut().insert("content-encoding", "x-odd".parse().unwrap());
        reply.headers_mut().insert("connection", "x-one-hop".parse().unwrap());
        reply.headers_mut().insert("x-one-hop", "1".parse().unwrap());
        reply
    })
    .await;
    let rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
    // Spaces, an escape and a repeated key: nothing is re-written.
    let body = "{ \"inputs\": {\"a\": 1.0, \"a\": \"\\u00e9\"},\n \"user\":\"u\" }";
    let mut request = rig.app_request(Method::POST, "/v1/workflows/run?a=%2F&b", body);
    for (name, value) in [
        ("te", "trailers"),
        ("connection", "x-secret"),
        ("x-secret", "1"),
        ("x-custom", "kept"),
        ("x-forwarded-for", "198.51.100.9"),
        ("mainstay-callback-url", "http://a.example/"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "a=b"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let got = rig.got(request).await;
    assert_eq!((got.status, got.body.as_ref()), (418, &b"\x00\xff teapot"[..]));
    assert_eq!(got.headers["x-version"], "1.12.1");
    assert_eq!(got.headers["content-encoding"], "x-odd");
    assert_eq!(got.headers["content-type"], "text/plain; odd");
    assert!(!got.headers.contains_key("x-one-hop"));

    let seen = &dify.requests()[0];
    assert_eq!(
        (seen.body().as_ref(), seen.uri().to_string().as_str()),
        (body.as_bytes(), "/v1/workflows/run?a=%2F&b")
    );
    let header = |name: &str| seen.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    for absent in ["te", "x-secret", "connection", "mainstay-callback-url"] {
        assert_eq!(header(absent), None, "{absent}");
    }
    assert_eq!(header("x-custom").as_deref(), Some("kept"));
    assert_eq!(header("authorization"), Some(format!("Bearer {APP_KEY}")));
    assert_eq!(header("host"), Some(dify.address.to_string()));
    assert_eq!(header("x-forwarded-for").as_deref(), Some("198.51.100.9, 127.0.0.1"));
    assert_eq!(header("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(header("tracestate").as_deref(), Some("a=b"));
    assert_eq!(header("x-request-id"), Some(got.headers["x-request-id"].to_str().unwrap().to_owned()));
    let trace = header("traceparent").unwrap();
    assert!(
        trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && !trace.contains("00f067aa0ba902b7"),
        "{trace}"
    );
}

#[tokio::test]
async fn a_broken_traceparent_starts_a_trace_of_our_own() {
    let dify = echo().await;
    let mut rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
    let mut request = rig.app_request(Method::GET, "/v1/info", "");
    request.headers_mut().insert("traceparent", "00-nonsense".parse().unwrap());
    request.headers_mut().insert("tracestate", "a=b".parse().unwrap());
    request.headers_mut().insert("x-request-id", "chosen-by-the-caller".parse().unwrap());
    let got = rig.got(request).await;
    let record = rig.only_record().await;
    let seen = &dify.requests()[0];
    assert!(seen.headers()["traceparent"].to_str().unwrap().contains(&record.trace_id));
    assert!(!seen.headers().contains_key("tracestate"));
    assert_eq!(got.headers["x-request-id"], record.request_id.as_str());
    assert_ne!(record.request_id, "chosen-by-the-caller");
}

#[tokio::test]
async fn the_next_candidate_is_asked_when_the_first_cannot_be_reached() {
    let dify = echo().await;
    let candidates = vec![upstream("gone", &nobody().await), upstream("twin", &dify.url())];
    let mut rig = Setup::app(candidates).start().await;
    for (path, body) in
        [("/v1/workflows/run", "{\"user\":\"u\"}"), ("/v1/files/upload", "streamed, not held")]
    {
        let got = rig.got(rig.app_request(Method::POST, path, body)).await;
        assert_eq!((got.status, got.text()), (200, body), "{path}");
        let record = rig.only_record().await;
        assert_eq!(record.upstream.as_deref(), Some("twin"));
        assert_eq!(record.attempts.len(), 2);
        assert!(record.attempts[0].error.as_ref().unwrap().contains("gone"), "{:?}", record.attempts);
    }
}

#[tokio::test]
async fn a_run_that_may_have_begun_is_not_given_to_another() {
    let broken = mainstay_testkit::raw::RawServer::start(vec![mainstay_testkit::raw::Step::Close]).await;
    let twin = echo().await;
    let candidates = vec![upstream("broken", &broken.url()), upstream("twin", &twin.url())];
    let mut rig = Setup::app(candidates).start().await;
    let got = rig.run("{}").await;
    assert_eq!(got.status, 502);
    assert_eq!(got.json()["code"], "bad_gateway");
    assert!(twin.requests().is_empty());
    assert_eq!(rig.only_record().await.attempts.len(), 1);

    // A question may be repeated.
    let got = rig.got(rig.app_request(Method::GET, "/v1/info", "")).await;
    assert_eq!(got.status, 200);
    assert_eq!(twin.requests().len(), 1);
}

#[tokio::test]
async fn nobody_to_ask_is_a_503_in_difys_shape() {
    for candidates in [vec![], vec![upstream("gone", &nobody().await)], vec![embedded()]] {
        let mut rig = Setup::app(candidates).start().await;
        let got = rig.run("{}").await;
        assert_eq!((got.status, got.json()["code"].as_str()), (503, Some("service_unavailable")));
        assert_eq!(got.headers["retry-after"], "5");
        let record = rig.only_record().await;
        assert_eq!((record.outcome, record.kind.unwrap().as_str()), (Outcome::Failed, "unavailable"));
        let execute = record.stages.iter().find(|stage| stage.name == StageName::Execute).unwrap();
        assert_eq!(execute.outcome, StageOutcome::Failed);
    }
}

#[tokio::test]
async fn the_embedded_engine_gets_the_call_as_it_came() {
    let engine = FakeEngine::new(|| json(201, "{\"id\":\"f\"}"));
    let mut setup = Setup::app(vec![embedded()]);
    setup.embedded = Some(engine.clone());
    let mut rig = setup.start().await;
    let got = rig.got(rig.app_request(Method::POST, "/v1/files/upload?x=1", "not json")).await;
    assert_eq!((got.status, got.text()), (201, "{\"id\":\"f\"}"));
    let record = rig.only_record().await;
    let call = engine.calls.lock().pop().unwrap();
    assert_eq!((call.path.as_str(), call.query.as_deref()), ("/v1/files/upload", Some("x=1")));
    assert_eq!((call.body.as_ref(), call.route.name.as_str()), (&b"not json"[..], "orders"));
    assert_eq!(call.request_id, record.request_id);
    assert_eq!(format!("{:032x}", call.trace.trace_id), record.trace_id);
    assert_eq!((record.bytes_in, record.bytes_out, record.status), (8, 10, 201));
}

#[tokio::test]
async fn only_v1_is_served_and_no_way_around_it() {
    let dify = echo().await;
    let rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
    for (path, status, code) in [
        ("/console/api/apps", 404, "not_found"),
        ("/v1/../console/api", 400, "bad_request"),
        ("/v1/%2e%2E/console", 400, "bad_request"),
    ] {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {APP_KEY}\r\nconnection: close\r\n\r\n"
        );
        let mut stream = rig.raw(&head).await;
        let text = crate::rig::read_until(&mut stream, |_| false).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")) && text.contains(code), "{path}: {text}");
    }
    assert!(dify.requests().is_empty());
    let got = rig.got(rig.app_request(Method::TRACE, "/v1/info", "")).await;
    assert_eq!(got.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_failed_run_is_told_from_a_good_one_although_both_are_200() {
    let body = r#"{"task_id": "t1", "workflow_run_id": "r1", "data": {"id": "r1", "status": "failed", "outputs": {}, "error": "boom", "total_tokens": 12}}"#;
    let dify =
        HttpServer::start(move |_| async move { whole(200, "application/json; charset=utf-8", body) }).await;
    let mut rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
    assert_eq!(rig.run("{}").await.text(), body);
    let record = rig.only_record().await;
    assert_eq!(record.outcome, Outcome::Ok);
    assert_eq!(record.run_status.as_deref(), Some("failed"));
    assert_eq!((record.run_id.as_deref(), record.task_id.as_deref()), (Some("r1"), Some("t1")));
    assert_eq!((record.total_tokens, record.error.as_deref()), (Some(12), Some("boom")));
}

#[tokio::test]
async fn head_and_empty_answers_end_at_once() {
    let dify = HttpServer::start(|_| async { whole(204, "text/plain", "") }).await;
    let mut rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
    assert_eq!(rig.got(rig.app_request(Method::DELETE, "/v1/conversations/1", "{}")).await.status, 204);
    assert_eq!(rig.only_record().await.outcome, Outcome::Ok);
    assert_eq!(rig.got(rig.app_request(Method::HEAD, "/v1/info", "")).await.status, 204);
    assert_eq!(rig.only_record().await.outcome, Outcome::Ok);
}

#[tokio::test]
async fn an_upload_reaches_the_standby_when_dify_is_gone() {
    let engine = FakeEngine::new(|| json(201, "{}"));
    let mut setup = Setup::app(vec![upstream("gone", &nobody().await), embedded()]);
    setup.embedded = Some(engine.clone());
    setup.limits.max_embedded_body_bytes = 100;
    let mut rig = setup.start().await;
    let got = rig.got(rig.app_request(Method::POST, "/v1/files/upload", vec![b'x'; 100])).await;
    assert_eq!(got.status, 201);
    assert_eq!(engine.calls.lock()[0].body.len(), 100);
    assert_eq!(rig.only_record().await.attempts.len(), 2);
    let got = rig.got(rig.app_request(Method::POST, "/v1/files/upload", vec![b'x'; 101])).await;
    assert_eq!(got.status, 413);
}

#[tokio::test]
async fn a_new_snapshot_routes_the_next_request() {
    let dify = echo().await;
    let mut rig = Setup::app(vec![]).start().await;
    assert_eq!(rig.run("{}").await.status, 503);
    let mut next = Setup::app(vec![upstream("dify", &dify.url())]).snapshot;
    next.generation = 7;
    rig.snapshot.store(std::sync::Arc::new(next));
    assert_eq!(rig.run("{}").await.status, 200);
    assert_eq!(rig.record().await.snapshot_generation, 0);
    assert_eq!(rig.only_record().await.snapshot_generation, 7);
}
