//! One record for each request, however it ends.

use http::{Method, Response};
use mainstay_base::record::{Outcome, StageName, StageOutcome};
use mainstay_gateway::{BoxFuture, Embedded, EmbeddedCall};
use mainstay_net::{Body, BodyError};
use mainstay_testkit::{HttpServer, http_server::whole};
use std::{sync::Arc, time::Duration};

use crate::rig::{FakeEngine, Setup, embedded, json, upstream};

fn with_engine(engine: Arc<dyn Embedded>) -> Setup {
    Setup { embedded: Some(engine), ..Setup::app(vec![embedded()]) }
}

#[tokio::test]
async fn the_stages_of_a_good_request_stand_in_order_with_their_conditions() {
    let mut rig = with_engine(FakeEngine::new(|| json(200, "{}"))).start().await;
    rig.run("{}").await;
    let record = rig.only_record().await;
    let names: Vec<StageName> = record.stages.iter().map(|stage| stage.name).collect();
    assert_eq!(names, StageName::ALL);
    assert!(
        record
            .stages
            .iter()
            .all(|stage| stage.outcome == StageOutcome::Passed && !stage.condition.is_empty())
    );
    for pair in record.stages.windows(2) {
        assert_eq!(pair[1].started_us, pair[0].started_us + pair[0].took_us, "{:?}", record.stages);
    }
    assert_eq!((record.outcome, record.status), (Outcome::Ok, 200));
    assert_eq!(record.app.as_deref(), Some("orders"));
}

#[tokio::test]
async fn a_refusal_is_recorded_with_the_condition_that_decided() {
    let mut rig = Setup::app(vec![]).start().await;
    let mut request = rig.app_request(Method::GET, "/v1/info", "");
    request.headers_mut().insert("authorization", "Bearer wrong".parse().unwrap());
    rig.got(request).await;
    let record = rig.only_record().await;
    assert_eq!((record.outcome, record.kind.unwrap().as_str()), (Outcome::Failed, "denied"));
    assert_eq!(
        (record.stages[0].name, record.stages[0].outcome),
        (StageName::Bootstrap, StageOutcome::Refused)
    );
    assert!(record.stages[0].condition.contains("no app"));
    assert_eq!(record.stages.len(), 3, "bootstrap, compose, telemetry");
}

struct Panics;

impl Embedded for Panics {
    fn call(&self, _: EmbeddedCall) -> BoxFuture<'static, Response<Body>> {
        Box::pin(async { panic!("a bug behind the port") })
    }
}

#[tokio::test]
async fn a_panic_behind_a_port_is_a_500_and_one_record() {
    let mut rig = with_engine(Arc::new(Panics)).start().await;
    let got = rig.run("{}").await;
    assert_eq!((got.status, got.json()["code"].as_str()), (500, Some("internal_server_error")));
    assert!(!got.text().contains("behind the port"), "the internal message leaked");
    let record = rig.only_record().await;
    assert_eq!((record.outcome, record.kind.unwrap().as_str()), (Outcome::Failed, "bug"));
    assert!(record.error.unwrap().contains("behind the port"));
    let execute = record.stages.iter().find(|stage| stage.name == StageName::Execute).unwrap();
    assert_eq!(execute.outcome, StageOutcome::Failed);
}

#[tokio::test]
async fn a_panic_in_the_middle_of_a_body_is_recorded_as_a_bug() {
    let engine = FakeEngine::new(|| {
        let pieces =
            futures_util::stream::poll_fn(|_| -> std::task::Poll<Option<Result<bytes::Bytes, BodyError>>> {
                panic!("a bug in a body")
            });
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(mainstay_net::stream(pieces))
            .unwrap()
    });
    let mut rig = with_engine(engine).start().await;
    let mut stream = rig.raw_run().await;
    crate::rig::read_until(&mut stream, |_| false).await;
    let record = rig.only_record().await;
    assert_eq!((record.outcome, record.kind.unwrap().as_str()), (Outcome::Failed, "bug"));
}

struct Never;

impl Embedded for Never {
    fn call(&self, _: EmbeddedCall) -> BoxFuture<'static, Response<Body>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_answer_is_recorded() {
    let mut rig = with_engine(Arc::new(Never)).start().await;
    let stream = rig.raw_run().await;
    mainstay_testkit::wait_until("the call is under way", crate::rig::PATIENCE, || async {
        (rig.gateway.stats().in_flight == 1).then_some(())
    })
    .await;
    drop(stream);
    let record = rig.only_record().await;
    assert_eq!((record.outcome, record.status), (Outcome::CallerGone, 0));
    let last = &record.stages[record.stages.len() - 2];
    assert_eq!((last.name, last.outcome), (StageName::Execute, StageOutcome::Failed));
    assert_eq!(last.condition, "the caller left during this stage");
}

#[tokio::test]
async fn a_dropped_future_leaves_its_record_and_its_permit() {
    let mut rig = with_engine(Arc::new(Never)).start().await;
    let gateway = rig.gateway.clone();
    let request = rig.app_request(Method::POST, "/v1/workflows/run", "{}");
    let call = async move { gateway.app(request, None).await };
    assert!(tokio::time::timeout(Duration::from_millis(20), call).await.is_err());
    assert_eq!(rig.only_record().await.outcome, Outcome::CallerGone);
    assert_eq!(rig.gateway.stats().settled_early, 1);
}

#[tokio::test]
async fn an_answer_nobody_reads_leaves_its_record_and_its_permit() {
    let mut rig = with_engine(FakeEngine::new(|| json(200, "{}"))).start().await;
    let response = rig.gateway.app(rig.app_request(Method::POST, "/v1/workflows/run", "{}"), None).await;
    drop(response);
    let record = rig.only_record().await;
    assert_eq!((record.outcome, record.status, record.bytes_out), (Outcome::CallerGone, 200, 0));
}

#[tokio::test]
async fn records_that_find_no_room_are_counted_and_hold_nothing_up() {
    let dify = HttpServer::start(|_| async { whole(200, "application/json", "{}") }).await;
    let mut setup = Setup::app(vec![upstream("dify", &dify.url())]);
    setup.records = 2;
    let mut rig = setup.start().await;
    for _ in 0..5 {
        assert_eq!(rig.run("{}").await.status, 200);
    }
    rig.nothing_is_out().await;
    assert_eq!(rig.gateway.stats().records_lost, 3);
    assert!(rig.records.try_recv().is_some() && rig.records.try_recv().is_some());
    assert!(rig.records.try_recv().is_none());
}

#[tokio::test]
async fn the_query_of_a_url_is_not_recorded() {
    let mut rig = with_engine(FakeEngine::new(|| json(200, "{}"))).start().await;
    rig.got(rig.app_request(Method::GET, "/v1/conversations?user=somebody", "")).await;
    assert_eq!(rig.only_record().await.target, "/v1/conversations");
}
