//! Every limit, reached.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Method;
use mainstay_base::record::Outcome;
use mainstay_net::BodyError;
use mainstay_testkit::{
    HttpServer,
    http_server::{streamed, whole},
    wait_until,
};

use crate::rig::{APP_KEY, PATIENCE, Rig, Setup, read_until, upstream};

async fn small(upstream_url: &str) -> Rig {
    let mut setup = Setup::app(vec![upstream("dify", upstream_url)]);
    setup.limits.max_run_body_bytes = 1000;
    setup.limits.max_passing_body_bytes = 2000;
    setup.limits.max_held_bodies_bytes = 4096;
    setup.start().await
}

async fn counting() -> HttpServer {
    HttpServer::start(
        |request| async move { whole(200, "application/json", request.body().len().to_string()) },
    )
    .await
}

/// A body whose length is not announced.
fn unannounced(pieces: usize) -> mainstay_net::Body {
    let pieces = (0..pieces).map(|_| Ok::<_, BodyError>(Bytes::from(vec![b' '; 100])));
    mainstay_net::stream(stream::iter(pieces.collect::<Vec<_>>()))
}

#[tokio::test]
async fn a_body_over_its_limit_is_refused_in_difys_shape() {
    let dify = counting().await;
    let mut rig = small(&dify.url()).await;
    let expected = "{\"code\":\"request_entity_too_large\",\"message\":\"The data value transmitted exceeds the \
                    capacity limit.\",\"status\":413}\n";
    for (path, announced, unannounced_pieces) in
        [("/v1/workflows/run", 1001, 11), ("/v1/files/upload", 2001, 21)]
    {
        let got = rig.got(rig.app_request(Method::POST, path, vec![b' '; announced])).await;
        assert_eq!((got.status, got.text()), (413, expected), "{path}, announced");
        assert_eq!(rig.only_record().await.kind.unwrap().as_str(), "caller");
        let mut request = rig.app_request(Method::POST, path, "");
        *request.body_mut() = unannounced(unannounced_pieces);
        let got = rig.got(request).await;
        assert_eq!((got.status, got.text()), (413, expected), "{path}, unannounced");
        assert_eq!(rig.only_record().await.kind.unwrap().as_str(), "caller");
    }
}

#[tokio::test]
async fn a_body_at_its_limit_passes() {
    let dify = counting().await;
    let rig = small(&dify.url()).await;
    for (path, pieces) in [("/v1/workflows/run", 10), ("/v1/files/upload", 20)] {
        let mut request = rig.app_request(Method::POST, path, "");
        *request.body_mut() = unannounced(pieces);
        assert_eq!(rig.got(request).await.text(), (pieces * 100).to_string(), "{path}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for_long() {
    let dify = counting().await;
    let mut setup = Setup::app(vec![upstream("dify", &dify.url())]);
    setup.limits.body_read = Duration::from_millis(50);
    let mut rig = setup.start().await;
    let mut stream = rig
        .raw(&format!(
            "POST /v1/workflows/run HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {APP_KEY}\r\n\
             content-length: 10\r\n\r\n{{"
        ))
        .await;
    let text = read_until(&mut stream, |text| text.contains("request_timeout")).await;
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    assert_eq!(rig.only_record().await.status, 408);
    assert!(dify.requests().is_empty());
}

#[tokio::test]
async fn one_request_too_many_is_refused_and_told_to_come_back() {
    let dify = HttpServer::start(|_| async {
        let first = stream::iter([Ok(Bytes::from_static(b"event: ping\n\n"))]);
        streamed(200, "text/event-stream", futures_util::StreamExt::chain(first, stream::pending()))
    })
    .await;
    let mut setup = Setup::app(vec![upstream("dify", &dify.url())]);
    setup.limits.max_in_flight = 1;
    let mut rig = setup.start().await;
    let mut holder = rig.raw_run().await;
    read_until(&mut holder, |text| text.contains("event: ping")).await;
    let got = rig.run("{}").await;
    assert_eq!((got.status, got.json()["code"].as_str()), (503, Some("service_unavailable")));
    assert_eq!(got.headers["retry-after"], "1");
    assert_eq!(rig.record().await.status, 503);
    drop(holder);
    assert_eq!(rig.only_record().await.outcome, Outcome::CallerGone);
    assert_eq!(rig.got(rig.app_request(Method::HEAD, "/v1/info", "")).await.status, 200);
}

#[tokio::test]
async fn held_bodies_have_one_limit_together() {
    let dify = counting().await;
    let mut setup = Setup::app(vec![upstream("dify", &dify.url())]);
    setup.limits.max_held_bodies_bytes = 2048;
    let mut rig = setup.start().await;
    let got = rig.got(rig.app_request(Method::POST, "/v1/workflows/run", vec![b' '; 4000])).await;
    assert_eq!((got.status, got.json()["code"].as_str()), (503, Some("service_unavailable")));
    assert!(rig.only_record().await.error.unwrap().contains("max_held_bodies_bytes"));
    assert_eq!(rig.run("{}").await.status, 200);
}

#[tokio::test]
async fn a_head_over_its_limit_is_refused() {
    let rig = Setup::app(vec![]).start().await;
    let mut stream = rig.raw(&format!("GET /v1/info HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(17 * 1024))).await;
    let text = read_until(&mut stream, |text| text.contains("\r\n\r\n")).await;
    assert!(text.starts_with("HTTP/1.1 431"), "{text}");
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let mut setup = Setup::app(vec![]);
    setup.listen.header_read = Duration::from_millis(50);
    let rig = setup.start().await;
    let mut stream = rig.raw("GET /v1/info HT").await;
    let text = read_until(&mut stream, |_| false).await;
    assert!(!text.contains("200"), "{text}");
}

#[tokio::test]
async fn a_connection_too_many_waits_for_its_turn() {
    let mut setup = Setup::app(vec![]);
    setup.listen.max_connections = 1;
    let rig = setup.start().await;
    let head = format!("GET /v1/nowhere HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {APP_KEY}\r\n\r\n");
    let mut first = rig.raw(&head).await;
    read_until(&mut first, |text| text.contains("503")).await;
    let mut second = rig.raw(&head).await;
    let waited =
        tokio::time::timeout(Duration::from_millis(50), read_until(&mut second, |text| text.contains("503")));
    assert!(waited.await.is_err(), "the second was served beside the first");
    drop(first);
    read_until(&mut second, |text| text.contains("503")).await;
}

#[tokio::test]
async fn shutdown_lets_answers_end_and_then_cuts() {
    let dify = HttpServer::start(|_| async {
        let first = stream::iter([Ok(Bytes::from_static(b"event: ping\n\n"))]);
        streamed(200, "text/event-stream", futures_util::StreamExt::chain(first, stream::pending()))
    })
    .await;
    let mut rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
    let mut open = rig.raw_run().await;
    read_until(&mut open, |text| text.contains("event: ping")).await;
    rig.shutdown.cancel();
    wait_until("no new connection is taken", PATIENCE, || async {
        tokio::net::TcpStream::connect(rig.app).await.is_err().then_some(())
    })
    .await;
    assert_eq!(rig.only_record().await.outcome, Outcome::CallerGone);
}
