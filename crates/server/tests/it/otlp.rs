//! What an OpenTelemetry collector is sent of calls that were made, read by the protocol's own generated types.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use mainstay_testkit::{HttpServer, http_server, wait_until};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    trace::v1::Span,
};
use prost::Message;
use rustix::process::Signal;
use tokio::sync::Semaphore;

use crate::{
    reload::{chat, configuration, provider, write_keys},
    support::{Caller, Home, Process, SOON, wait_for_instance},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Takes everything, but first of all says that it has no time: nothing is lost by that.
async fn collector() -> HttpServer {
    let was_busy = Arc::new(AtomicBool::new(false));
    HttpServer::start(move |_| {
        let status = if was_busy.swap(true, Ordering::SeqCst) { 200 } else { 503 };
        async move { http_server::whole(status, "application/x-protobuf", "") }
    })
    .await
}

fn spans(collector: &HttpServer) -> Vec<Span> {
    let told = collector.requests().into_iter().filter(|request| request.uri().path() == "/v1/traces");
    // The first try of each batch may have been refused.
    let mut spans: Vec<Span> = told
        .flat_map(|request| ExportTraceServiceRequest::decode(request.into_body()).unwrap().resource_spans)
        .flat_map(|resource| resource.scope_spans)
        .flat_map(|scope| scope.spans)
        .collect();
    spans.sort_by(|one, other| one.span_id.cmp(&other.span_id));
    spans.dedup_by(|one, other| one.span_id == other.span_id);
    spans
}

fn metrics(collector: &HttpServer) -> Vec<String> {
    let told = collector.requests().into_iter().filter(|request| request.uri().path() == "/v1/metrics");
    told.flat_map(|request| {
        ExportMetricsServiceRequest::decode(request.into_body()).unwrap().resource_metrics
    })
    .flat_map(|resource| resource.scope_metrics)
    .flat_map(|scope| scope.metrics)
    .map(|metric| metric.name)
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_told_to_a_collector_as_spans_and_metrics() {
    let collector = collector().await;
    let one = provider(Arc::new(Semaphore::new(1))).await;
    let home = Home::new();
    write_keys(&home);
    home.write("otlp.key", "secret-of-the-collector");
    let more = format!(
        "[otlp]\nendpoint = \"{}\"\nevery = \"1s\"\n[[otlp.header]]\nname = \"x-api-key\"\nvalue = \"file:{}\"\n",
        collector.url(),
        home.path("otlp.key").display()
    );
    home.write("mainstay.toml", &configuration(&home, &one.url(), "\"small\"", &more));
    let mut process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    let caller = Caller::new(&home.address("model"), "mk-caller");
    let kept = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let left_out = format!("00-{TRACE}-00f067aa0ba902b7-00");
    for parent in [&kept, &left_out] {
        let headers = [("traceparent", parent.as_str())];
        let answer = caller.send("POST", "/v1/chat/completions", Some(chat("small", false)), &headers).await;
        assert_eq!(answer.unwrap().status, 200);
    }
    let told = wait_until("spans and metrics arrive", SOON, || async {
        let (spans, metrics) = (spans(&collector), metrics(&collector));
        let is_there = |name: &str| metrics.iter().any(|metric| metric == name);
        let all = is_there("mainstay_requests") && is_there("gen_ai.client.operation.duration");
        (all && spans.len() == 2).then_some(spans)
    })
    .await;
    let request = told.iter().find(|span| span.name == "POST /v1/chat/completions").unwrap();
    let attempt = told.iter().find(|span| span.name.starts_with("chat ")).unwrap();
    assert_eq!(request.trace_id, u128::from_str_radix(TRACE, 16).unwrap().to_be_bytes());
    assert_eq!(request.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!(attempt.parent_span_id, request.span_id);
    // What the provider was sent names the same span as its parent.
    let sent = one.requests().into_iter().find_map(|request| request.headers().get("traceparent").cloned());
    let parent: String = request.span_id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(sent.unwrap().to_str().unwrap(), format!("00-{TRACE}-{parent}-01"));
    let requests = collector.requests();
    assert!(requests.iter().all(|request| request.headers()["x-api-key"] == "secret-of-the-collector"));
    assert!(!requests.iter().any(|request| String::from_utf8_lossy(request.body()).contains("mk-caller")));
    process.signal(Signal::TERM);
    assert_eq!(process.wait(SOON), 0);
}
