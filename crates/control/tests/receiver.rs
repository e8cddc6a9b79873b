//! A receiver that fails is an alert, and the alert reaches those who can be told. Everything is real but the clock, which
//! goes on with each look.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mainstay_base::{Clock, Micros};
use mainstay_control::{
    CallbackBody, Control, EngineProbe, Observer, Options, Peers, Ports, Receiver, UpstreamPeer,
};
use mainstay_net::{Client, ClientOptions};
use mainstay_store::{Store, StoreError};
use mainstay_testkit::{HttpServer, http_server::whole};
use serde_json::Value;
use tokio::sync::watch;

const LIMIT: Duration = Duration::from_secs(240);
/// The clock goes on by so much with each look: less than the lease of who acts, while an alert is pending.
const STEP: Duration = Duration::from_secs(1);
/// Once all have fired, pauses between tries are all that is waited for.
const LONG_STEP: Duration = Duration::from_secs(5);

struct Engine;

impl EngineProbe for Engine {
    fn probe(&self) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}

struct NoBodies;

impl CallbackBody for NoBodies {
    fn body(&self, _: String) -> BoxFuture<'static, Result<Option<Bytes>, StoreError>> {
        Box::pin(async { Ok(None) })
    }
}

/// `alert.firing receiver:broken`, in their order.
fn told(server: &HttpServer) -> Vec<String> {
    let line = |body: Value| {
        format!(
            "{} {}",
            body["type"].as_str().unwrap_or_default(),
            body["data"]["component"].as_str().unwrap_or_default()
        )
    };
    let bodies = server.requests().into_iter().map(|request| serde_json::from_slice(request.body()));
    bodies.map(|body| line(body.unwrap_or_default())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_receiver_fails_is_told_to_the_others_and_never_to_itself() {
    let status = Arc::new(AtomicU16::new(500));
    let answers = status.clone();
    let broken = HttpServer::start(move |_| {
        let status = answers.load(Ordering::SeqCst);
        async move { whole(status, "text/plain", "") }
    })
    .await;
    let well = HttpServer::start(|_| async { whole(200, "text/plain", "") }).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    let clock = Clock::manual(Micros(1_800_000_000_000_000));
    let options = mainstay_store::Options { url, clock: clock.clone() };
    Store::migrate(&options).await.unwrap();
    let store = Store::open(options).await.unwrap();
    // Nobody listens there: what both are told of first.
    let gone = UpstreamPeer { name: "gone".to_owned(), base_url: Some("http://127.0.0.1:1".to_owned()) };
    let (_peers, peers) = watch::channel(Arc::new(Peers { upstreams: vec![gone], providers: Vec::new() }));
    let receivers =
        vec![Receiver::webhook("broken", &broken.url(), None), Receiver::webhook("well", &well.url(), None)];
    let (_options, options) = watch::channel(Arc::new(Options { receivers, ..Options::new("a", "here") }));
    let control = Control::start(Ports {
        store,
        client: Client::new(ClientOptions::default()).unwrap(),
        clock: clock.clone(),
        supervisor: None,
        engine: Some(Arc::new(Engine)),
        dify: None,
        peers,
        observer: Observer::default(),
        callbacks: Arc::new(NoBodies),
        options,
    });
    let mut reports = control.facade().reports();
    let mut until = async |server: &HttpServer, wanted: &str, step: Duration| {
        let all = async {
            while !told(server).iter().any(|line| line == wanted) {
                reports.changed().await.unwrap();
                clock.advance(step);
            }
        };
        let said = tokio::time::timeout(LIMIT, all).await;
        assert!(said.is_ok(), "{wanted} was not told: {:?}", told(server));
    };
    until(&well, "alert.firing receiver:broken", STEP).await;
    assert!(told(&broken).contains(&"alert.firing upstream:gone".to_owned()), "it was tried");
    status.store(200, Ordering::SeqCst);
    until(&well, "alert.resolved receiver:broken", LONG_STEP).await;
    let about_itself: Vec<String> =
        told(&broken).into_iter().filter(|line| line.ends_with("receiver:broken")).collect();
    assert!(about_itself.is_empty(), "{about_itself:?}");
    control.shutdown(LIMIT).await;
}
