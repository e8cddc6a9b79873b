//! Runs that are stored now and executed later.

use std::sync::Arc;

use http::{Method, Request};
use mainstay_gateway::Endpoint;
use mainstay_net::Body;
use mainstay_testkit::{HttpServer, http_server::whole};

use crate::rig::{FakeRuns, Rig, Setup, upstream};

fn preferring(
    rig: &Rig,
    path: &str,
    body: &'static str,
    more: &[(&'static str, &'static str)],
) -> Request<Body> {
    let mut request = rig.app_request(Method::POST, path, body);
    request.headers_mut().insert("prefer", "wait=5, respond-async".parse().unwrap());
    for (name, value) in more {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn respond_async_becomes_a_stored_run() {
    let runs = Arc::new(FakeRuns::default());
    let mut rig = Setup::durable_app(vec![], runs.clone()).start().await;
    let headers = [("idempotency-key", "k-1"), ("mainstay-callback-url", "https://example.com/done")];
    for (path, endpoint) in [
        ("/v1/workflows/run", Endpoint::RunWorkflow),
        ("/v1/workflows/w-1/run", Endpoint::RunWorkflowVersion { workflow_id: "w-1".to_owned() }),
        ("/v1/chat-messages", Endpoint::ChatMessages),
    ] {
        let got = rig.got(preferring(&rig, path, "{\"inputs\":{\"a\":1},\"user\":\"u\"}", &headers)).await;
        assert_eq!((got.status, got.headers["preference-applied"].to_str().unwrap()), (202, "respond-async"));
        let record = rig.only_record().await;
        assert_eq!(record.run_id.as_deref(), Some("stored"));
        let submission = runs.submitted.lock().pop().unwrap();
        assert_eq!(submission.endpoint, endpoint);
        assert_eq!(submission.body["inputs"]["a"], 1);
        assert_eq!(submission.idempotency_key.as_deref(), Some("k-1"));
        assert_eq!(submission.callback_url.as_deref(), Some("https://example.com/done"));
        assert_eq!((submission.request_id, submission.body_hash.len()), (record.request_id, 64));
    }
}

#[tokio::test]
async fn the_hash_tells_the_same_body_from_another() {
    let runs = Arc::new(FakeRuns::default());
    let rig = Setup::durable_app(vec![], runs.clone()).start().await;
    for (path, body) in [
        ("/v1/workflows/run", "{\"user\":\"u\"}"),
        ("/v1/workflows/run", "{\"user\":\"u\"}"),
        ("/v1/workflows/run", "{\"user\":\"v\"}"),
        ("/v1/chat-messages", "{\"user\":\"u\"}"),
    ] {
        rig.got(preferring(&rig, path, body, &[])).await;
    }
    let hashes: Vec<String> = runs.submitted.lock().iter().map(|run| run.body_hash.clone()).collect();
    assert_eq!(hashes[0], hashes[1]);
    assert!(hashes[0] != hashes[2] && hashes[0] != hashes[3]);
}

#[tokio::test]
async fn the_preference_is_ignored_where_it_is_not_served() {
    let dify = HttpServer::start(|_| async { whole(200, "application/json", "{}") }).await;
    let runs = Arc::new(FakeRuns::default());
    let mut setup = Setup::app(vec![upstream("dify", &dify.url())]);
    setup.durable = Some(runs.clone());
    let rig = setup.start().await;
    let got = rig.got(preferring(&rig, "/v1/workflows/run", "{}", &[])).await;
    assert_eq!(got.status, 200);
    assert!(!got.headers.contains_key("preference-applied"));
    assert!(runs.submitted.lock().is_empty());
}

#[tokio::test]
async fn bad_submissions_are_refused_and_nothing_is_stored() {
    let runs = Arc::new(FakeRuns::default());
    let rig = Setup::durable_app(vec![], runs.clone()).start().await;
    const LONG: &str = concat!(
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
        "0123456789012345678901234567890123456789012345678901234567890123456789",
    );
    for (body, header, code) in [
        ("{\"user\":", None, "bad_request"),
        ("\"\\ud800\"", None, "bad_request"),
        ("{}", Some(("mainstay-callback-url", "ftp://example.com")), "invalid_param"),
        ("{}", Some(("idempotency-key", LONG)), "invalid_param"),
        ("{}", Some(("idempotency-key", "")), "invalid_param"),
    ] {
        let got = rig.got(preferring(&rig, "/v1/workflows/run", body, header.as_slice())).await;
        assert_eq!((got.status, got.json()["code"].as_str()), (400, Some(code)), "{body} {header:?}");
    }
    let mut request = preferring(&rig, "/v1/workflows/run", "", &[]);
    *request.body_mut() = mainstay_net::full(&b"{\"user\":\"\xff\"}"[..]);
    assert_eq!(rig.got(request).await.status, 400);
    assert!(runs.submitted.lock().is_empty());
}

#[tokio::test]
async fn a_stored_run_is_found_and_any_other_is_asked_for() {
    let dify = HttpServer::start(|_| async { whole(200, "application/json", "{\"id\":\"difys\"}") }).await;
    let runs = Arc::new(FakeRuns::default());
    let rig = Setup::durable_app(vec![upstream("dify", &dify.url())], runs).start().await;
    for (id, expected) in [("stored", "{\"id\":\"stored\"}"), ("other", "{\"id\":\"difys\"}")] {
        let got = rig.got(rig.app_request(Method::GET, &format!("/v1/workflows/run/{id}"), "")).await;
        assert_eq!(got.text(), expected);
    }
}
