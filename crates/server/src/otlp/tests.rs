//! What a collector would read: spans of a call that fell over, and metrics that say what `/metrics` says.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use mainstay_base::{
    Class, Clock, Kind, Micros, Record,
    record::{Attempt, AttemptRole, Outcome, Path, Span, Stage, StageName, StageOutcome},
    snapshot::{Dialect, Snapshot},
};
use mainstay_testkit::{HttpServer, http_server};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{Metric, metric::Data},
    trace::v1::status::StatusCode,
};

use super::{
    WAITING, exposition,
    genai::{GenAi, Providers, operation},
    send::{Collector, Signal},
    spans, start,
};
use crate::config;

fn said(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

fn fell_over() -> Record {
    let failed = Attempt {
        upstream: "primary".to_owned(),
        status: Some(503),
        error: Some("overloaded".to_owned()),
        class: Some(Class::ServerError),
        model: Some("gpt".to_owned()),
        took_us: 1_000,
        ..Attempt::default()
    };
    let answered = Attempt {
        upstream: "reserve".to_owned(),
        status: Some(200),
        model: Some("claude".to_owned()),
        role: AttemptRole::Fallback,
        started_us: 1_500,
        took_us: 2_000_000,
        first_token_us: Some(300_000),
        input_tokens: Some(12),
        output_tokens: Some(5),
        ..Attempt::default()
    };
    Record {
        request_id: "r-1".to_owned(),
        method: "POST".to_owned(),
        target: "/v1/chat/completions".to_owned(),
        trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
        span: Span { id: u64::MAX, parent: Some(7), is_sampled: true },
        opened_at: Micros(1_000_000),
        took_us: 2_002_000,
        outcome: Outcome::Ok,
        status: 200,
        model: Some("demo-chat".to_owned()),
        attempts: vec![failed, answered],
        ..Record::blank(Path::Model)
    }
}

fn providers() -> Providers {
    let provider = |name: &str, dialect: Dialect| {
        Arc::new(mainstay_base::snapshot::Provider {
            name: name.to_owned(),
            dialect,
            base_url: "http://127.0.0.1:9/v1".to_owned(),
            keys: Vec::new(),
            timeouts: mainstay_base::snapshot::Timeouts::default(),
            first_token: std::time::Duration::from_secs(1),
            speaks_responses: false,
        })
    };
    let mut snapshot = Snapshot { generation: 3, ..Snapshot::default() };
    snapshot.model.other_models_to =
        vec![provider("primary", Dialect::OpenAi), provider("reserve", Dialect::Anthropic)];
    Providers::of(&snapshot)
}

#[test]
fn a_call_that_fell_over_is_one_span_with_one_for_each_attempt() {
    let spans = spans::of(&fell_over(), &providers());
    let [request, first, second] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(request.name, "POST /v1/chat/completions");
    assert_eq!(
        (request.span_id.as_slice(), request.parent_span_id.as_slice()),
        (&[0xff; 8][..], &7_u64.to_be_bytes()[..])
    );
    assert_eq!(request.status, None, "the caller was served");
    assert_eq!(request.end_time_unix_nano - request.start_time_unix_nano, 2_002_000_000);
    for attempt in [first, second] {
        assert_eq!((&attempt.trace_id, &attempt.parent_span_id), (&request.trace_id, &request.span_id));
        assert!(attempt.span_id.iter().any(|byte| *byte != 0), "an id of zeros is none");
    }
    assert_ne!(first.span_id, second.span_id);
    assert_eq!(first.status.as_ref().unwrap().code, StatusCode::Error as i32);
    assert_eq!(said(&first.attributes, "error.type").as_deref(), Some("server_error"));
    assert_eq!(second.name, "chat claude");
    assert_eq!(second.start_time_unix_nano, 1_001_500_000);
    for (name, expected) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "anthropic"),
        ("gen_ai.request.model", "claude"),
        ("gen_ai.usage.input_tokens", "12"),
        ("gen_ai.usage.output_tokens", "5"),
        ("mainstay.role", "fallback"),
    ] {
        assert_eq!(said(&second.attributes, name).as_deref(), Some(expected), "{name}");
    }
}

/// A caller's mistake is no error of the server; ours is, and says where the request ended.
#[test]
fn a_failed_request_says_whose_doing_it_was() {
    let refused = Stage {
        name: StageName::Admit,
        outcome: StageOutcome::Refused,
        condition: "the key may not use this model".into(),
        started_us: 10,
        took_us: 5,
    };
    for (kind, is_error) in [(Kind::Denied, false), (Kind::Upstream, true)] {
        let record = Record {
            outcome: Outcome::Failed,
            kind: Some(kind),
            error: Some("x".repeat(1000)),
            stages: vec![refused.clone()],
            ..fell_over()
        };
        let request = &spans::of(&record, &providers())[0];
        assert_eq!(request.status.is_some(), is_error, "{kind:?}");
        assert!(request.status.as_ref().is_none_or(|status| status.message.len() == 300));
        assert_eq!(request.events[0].name, "mainstay.stage.admit");
    }
}

#[test]
fn what_belongs_to_no_trace_is_not_told() {
    let old = Record { span: Span::default(), ..fell_over() };
    let nowhere = Record { trace_id: "0".repeat(32), ..fell_over() };
    assert!(spans::of(&old, &providers()).is_empty() && spans::of(&nowhere, &providers()).is_empty());
}

#[test]
fn names_of_spans_do_not_grow_with_ids() {
    for (target, expected) in [
        ("/v1/workflows/run/019f2b6e-0000-7000-8000-000000000000", "/v1/workflows/run/{id}"),
        ("/v1/chat-messages/019f2b6e-0000-7000-8000-000000000000/stop", "/v1/chat-messages/{id}/stop"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/responses/resp_68a1b2c3d4e5f607", "/v1/responses/{id}"),
    ] {
        assert_eq!(spans::route(target), expected);
    }
    assert_eq!(operation("/v1/completions"), "text_completion");
    assert_eq!(operation("/v1/audio/speech"), "audio");
}

fn points(metric: &Metric) -> Vec<String> {
    let texts = |attributes: &[KeyValue]| {
        attributes
            .iter()
            .map(|attribute| said(attributes, &attribute.key).unwrap())
            .collect::<Vec<_>>()
            .join(",")
    };
    match metric.data.as_ref().unwrap() {
        Data::Gauge(gauge) => gauge
            .data_points
            .iter()
            .map(|point| format!("{} {:?}", texts(&point.attributes), point.value))
            .collect(),
        Data::Sum(sum) => sum
            .data_points
            .iter()
            .map(|point| {
                format!("{} {:?} since {}", texts(&point.attributes), point.value, point.start_time_unix_nano)
            })
            .collect(),
        Data::Histogram(histogram) => histogram
            .data_points
            .iter()
            .map(|point| {
                format!(
                    "{} {:?} {:?} {:?} {}",
                    texts(&point.attributes),
                    point.bucket_counts,
                    point.explicit_bounds,
                    point.sum,
                    point.count
                )
            })
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn metrics_say_what_the_exposition_says() {
    let exposition = "\
# HELP mainstay_requests Requests.
# TYPE mainstay_requests counter
mainstay_requests_total{path=\"app\",odd=\"a \\\"b\\\", c}\\\\\"} 7
# HELP mainstay_request_seconds Time.
# TYPE mainstay_request_seconds histogram
mainstay_request_seconds_sum{path=\"app\"} 3.5
mainstay_request_seconds_count{path=\"app\"} 6
mainstay_request_seconds_bucket{le=\"0.5\",path=\"app\"} 1
mainstay_request_seconds_bucket{le=\"1.0\",path=\"app\"} 4
mainstay_request_seconds_bucket{le=\"+Inf\",path=\"app\"} 6
# HELP mainstay_none Nothing.
# TYPE mainstay_none gauge
# HELP mainstay_up Up.
# TYPE mainstay_up gauge
mainstay_up 1
mainstay_up{of=\"unknown\"} NaN
# EOF
";
    let metrics = exposition::metrics(exposition, Micros(1), Micros(2));
    let told: Vec<(&str, &str, Vec<String>)> = metrics
        .iter()
        .map(|metric| (metric.name.as_str(), metric.description.as_str(), points(metric)))
        .collect();
    let expected = [
        (
            "mainstay_requests",
            "Requests.",
            vec!["app,a \"b\", c}\\ Some(AsDouble(7.0)) since 1000".to_owned()],
        ),
        ("mainstay_request_seconds", "Time.", vec!["app [1, 3, 2] [0.5, 1.0] Some(3.5) 6".to_owned()]),
        ("mainstay_up", "Up.", vec![" Some(AsDouble(1.0))".to_owned()]),
    ];
    assert_eq!(told, expected);
}

#[test]
fn calls_of_models_are_counted_by_the_conventions() {
    let mut genai = GenAi::new(Micros(0));
    let snapshot = Snapshot::default();
    genai.observe(&fell_over(), &snapshot);
    genai.observe(&Record { path: Path::App, ..fell_over() }, &snapshot);
    let metrics = genai.metrics(Micros(1));
    let counts: Vec<(&str, usize)> =
        metrics.iter().map(|metric| (metric.name.as_str(), points(metric).len())).collect();
    assert_eq!(
        counts,
        [
            ("gen_ai.client.operation.duration", 2),
            ("gen_ai.client.token.usage", 2),
            ("gen_ai.server.time_to_first_token", 1)
        ]
    );
    // However many models callers invent.
    for number in 0..2_000 {
        let mut record = fell_over();
        record.attempts.truncate(1);
        record.attempts[0].model = Some(format!("model-{number}"));
        genai.observe(&record, &snapshot);
    }
    let durations = points(&genai.metrics(Micros(2))[0]);
    assert!(durations.len() <= 502, "{}", durations.len());
    assert!(durations.iter().any(|point| point.contains("other")));
}

fn configuration(endpoint: String) -> config::Otlp {
    config::Otlp {
        endpoint,
        headers: Vec::new(),
        service: "mainstay".to_owned(),
        traces: true,
        metrics: false,
        every: Duration::from_secs(60),
        keep_success: 0.0,
    }
}

fn client() -> mainstay_net::Client {
    mainstay_net::Client::new(mainstay_net::ClientOptions::default()).unwrap()
}

/// Nobody sends: what does not fit is dropped and counted, and what was not asked for takes no place.
#[tokio::test]
async fn what_finds_no_room_is_dropped_and_counted() {
    let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
    let configuration = configuration("http://127.0.0.1:9".to_owned());
    let (otlp, _exporter) = start(&configuration, client(), snapshot, Clock::System).unwrap();
    let failed = Record { outcome: Outcome::Failed, ..fell_over() };
    let unwanted = Record { span: Span { is_sampled: false, ..failed.span }, ..failed.clone() };
    for _ in 0..WAITING {
        otlp.offer(&unwanted);
        otlp.offer(&fell_over());
        otlp.offer(&failed);
    }
    assert_eq!(
        otlp.now().dropped,
        0,
        "of successes none is wanted, and of traces only those that are sampled"
    );
    (0..3).for_each(|_| otlp.offer(&failed));
    assert_eq!(otlp.now().dropped, 3);
}

/// Only what may pass is tried again.
#[tokio::test]
async fn a_refusal_is_not_repeated() {
    let refuses = HttpServer::start(|_| async { http_server::whole(400, "text/plain", "no") }).await;
    let collector = Collector::new(&configuration(refuses.url()), client());
    assert!(collector.send(Signal::Traces, &ExportTraceServiceRequest::default()).await.is_err());
    assert_eq!(refuses.requests().len(), 1);
}
