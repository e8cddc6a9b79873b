//! Graphs: forks, joins, skipped branches, failures, limits, and the order of streamed answers.

use std::time::Duration;

use mainstay_base::Kind;
use mainstay_engine::{Event, RunStatus, Sink};
use mainstay_testkit::{HttpServer, http_server, model};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::common::{Bench, app, case, chat, end, input, llm, plan, quiet, start, template, told, workflow};

fn streamed(events: &[Event]) -> String {
    let pieces = events.iter().filter_map(|event| match event {
        Event::Chunk { text, .. } => Some(&**text),
        _ => None,
    });
    pieces.collect()
}

#[tokio::test]
async fn branches_run_side_by_side_and_the_join_waits_for_all() {
    let peer = model::start().await;
    let app = workflow(
        &[
            start(&[]),
            ("a", "llm", llm(&[("user", "[[delay:0.5]] a")])),
            ("b", "llm", llm(&[("user", "[[delay:0.4]] b")])),
            ("c", "template-transform", template("c", &[])),
            (
                "join",
                "template-transform",
                template(
                    "{{ a }}|{{ b }}|{{ c }}",
                    &[("a", "a.finish_reason"), ("b", "b.finish_reason"), ("c", "c.output")],
                ),
            ),
            end(&[("text", "join.output")]),
        ],
        &["start -> a", "start -> b", "start -> c", "a -> join", "b -> join", "c -> join", "join -> end"],
    );
    let began = std::time::Instant::now();
    let (outcome, events) = Bench::new(&peer.url()).run(&plan(&app), input(json!({}))).await;
    assert_eq!(outcome.outputs.to_value(), json!({"text": "stop|stop|c"}));
    assert!(began.elapsed() < Duration::from_millis(850), "one after the other takes 900 ms");
    let order: Vec<String> = told(&events)
        .lines()
        .filter(|line| line.starts_with("node"))
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    let at = |line: &str| order.iter().position(|found| found == line).unwrap();
    assert!(at("node_started b") < at("node_finished a") && at("node_finished a") < at("node_started join"));
}

#[tokio::test]
async fn at_most_so_many_nodes_wait_at_once() {
    let peer = model::start().await;
    let names = ["a", "b", "c", "d"];
    let mut nodes = vec![start(&[]), end(&[("x", "a.text")])];
    nodes.extend(names.map(|name| (name, "llm", llm(&[("user", "[[delay:0.2]]")]))));
    let edges: Vec<String> =
        names.iter().flat_map(|name| [format!("start -> {name}"), format!("{name} -> end")]).collect();
    let edges: Vec<&str> = edges.iter().map(String::as_str).collect();
    let bench = Bench::with(&peer.url(), |limits| limits.max_parallel_nodes = 2);
    let began = std::time::Instant::now();
    let (outcome, _) = bench.run(&plan(&workflow(&nodes, &edges)), input(json!({}))).await;
    assert_eq!(outcome.status, RunStatus::Succeeded);
    assert!(began.elapsed() >= Duration::from_millis(400), "two at a time take twice as long");
}

#[tokio::test]
async fn a_join_behind_a_skipped_branch_runs_once() {
    let app = workflow(
        &[
            start(&["x"]),
            ("if", "if-else", json!({"cases": [case("yes", "start.x", "not empty", json!(null))]})),
            ("deep", "template-transform", template("deep", &[])),
            ("deeper", "template-transform", template("{{ d }}er", &[("d", "deep.output")])),
            ("join", "variable-aggregator", json!({"variables": [["deeper", "output"], ["start", "x"]]})),
            end(&[("text", "join.output")]),
        ],
        &[
            "start -> if",
            "if:yes -> deep",
            "deep -> deeper",
            "deeper -> join",
            "if:false -> join",
            "if:yes -> join",
            "join -> end",
        ],
    );
    let plan = plan(&app);
    let (outcome, _) = quiet().run(&plan, input(json!({"x": "v"}))).await;
    assert_eq!(outcome.outputs.to_value(), json!({"text": "deeper"}));
    assert_eq!(outcome.total_steps, 6);
    let (outcome, events) = quiet().run(&plan, input(json!({"x": ""}))).await;
    assert_eq!(outcome.outputs.to_value(), json!({"text": ""}));
    assert_eq!(outcome.total_steps, 4);
    assert!(!told(&events).contains("deep"), "skipped nodes are not told about");
}

/// An HTTP node that fails, then `edges`.
fn failing(extra: Value, edges: &[&str]) -> Value {
    let mut data = json!({"method": "get", "url": "{{#start.url#}}"});
    data.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let mut all = vec!["start -> http"];
    all.extend(edges);
    workflow(
        &[
            start(&["url"]),
            ("http", "http-request", data),
            ("good", "template-transform", template("good", &[])),
            (
                "bad",
                "template-transform",
                template("{{ m }} ({{ t }})", &[("m", "http.error_message"), ("t", "http.error_type")]),
            ),
            (
                "join",
                "variable-aggregator",
                json!({"variables": [["good", "output"], ["bad", "output"], ["http", "body"]]}),
            ),
            end(&[("text", "join.output")]),
        ],
        &all,
    )
}

#[tokio::test]
async fn a_failure_takes_the_fail_branch() {
    let peer = HttpServer::start(|request| async move {
        http_server::whole(if request.uri().path() == "/ok" { 200 } else { 503 }, "text/plain", "x")
    })
    .await;
    for success in ["http", "http:success-branch"] {
        let success = format!("{success} -> good");
        let edges =
            [success.as_str(), "http:fail-branch -> bad", "good -> join", "bad -> join", "join -> end"];
        let plan = plan(&failing(json!({"error_strategy": "fail-branch"}), &edges));
        let (outcome, _) = quiet().run(&plan, input(json!({"url": format!("{}/no", peer.url())}))).await;
        assert_eq!(
            outcome.outputs.to_value(),
            json!({"text": "Request failed with status code 503 (HTTPResponseCodeError)"})
        );
        assert_eq!((outcome.status, outcome.exceptions_count), (RunStatus::PartialSucceeded, 1));
        let node = outcome.nodes.iter().find(|node| &*node.node_id == "http").unwrap();
        assert_eq!(node.status.as_str(), "exception");
        assert_eq!(node.metadata.to_value(), json!({"error_strategy": "fail-branch"}));
        let (outcome, _) = quiet().run(&plan, input(json!({"url": format!("{}/ok", peer.url())}))).await;
        assert_eq!(outcome.outputs.to_value(), json!({"text": "good"}));
        assert_eq!(outcome.status, RunStatus::Succeeded);
    }
}

#[tokio::test]
async fn a_failure_gives_its_default_values() {
    let defaults = json!([
        {"key": "body", "type": "string", "value": "fallback"},
        {"key": "status_code", "type": "number", "value": "200"},
        {"key": "headers", "type": "object", "value": "{\"a\": 1}"},
    ]);
    let app = failing(
        json!({"error_strategy": "default-value", "default_value": defaults}),
        &["http -> join", "join -> end"],
    );
    let (outcome, _) = quiet().run(&plan(&app), input(json!({"url": "http://127.0.0.1:9/"}))).await;
    assert_eq!(outcome.outputs.to_value(), json!({"text": "fallback"}));
    let node = outcome.nodes.iter().find(|node| &*node.node_id == "http").unwrap();
    assert_eq!(
        node.outputs.to_value(),
        json!({"body": "fallback", "status_code": 200.0, "headers": {"a": 1}, "error_message": "[Errno 111] Connection refused", "error_type": "HttpRequestNodeError"})
    );
}

#[tokio::test]
async fn a_node_is_tried_again_until_it_succeeds() {
    let tries = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = tries.clone();
    let peer = HttpServer::start(move |_| {
        let number = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move { http_server::whole(if number < 2 { 500 } else { 200 }, "text/plain", "third time lucky") }
    })
    .await;
    let retry = json!({"retry_config": {"retry_enabled": true, "max_retries": 3, "retry_interval": 100}});
    let (outcome, events) = quiet()
        .run(&plan(&failing(retry, &["http -> join", "join -> end"])), input(json!({"url": peer.url()})))
        .await;
    assert_eq!(outcome.outputs.to_value(), json!({"text": "third time lucky"}));
    assert_eq!(tries.load(std::sync::atomic::Ordering::SeqCst), 3);
    let retries: Vec<u64> = events
        .iter()
        .filter_map(|event| match event {
            Event::NodeRetry { retry_index, .. } => Some(*retry_index),
            _ => None,
        })
        .collect();
    assert_eq!(retries, [1, 2]);
    assert_eq!(told(&events).matches("node_started http").count(), 1, "further attempts start silently");
    assert_eq!((outcome.status, outcome.exceptions_count), (RunStatus::PartialSucceeded, 2), "as in Dify");
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_template_whatever_is_ready_first() {
    let peer = model::start().await;
    let app = app(
        "advanced-chat",
        &[
            start(&[]),
            ("slow", "llm", llm(&[("user", "[[delay:0.4]]")])),
            ("fast", "llm", llm(&[("user", "now")])),
            (
                "answer",
                "answer",
                json!({"answer": "Q: {{#sys.query#}}\nS: {{#slow.text#}}\nF: {{#fast.text#}} {{#gone.x#}}."}),
            ),
        ],
        &["start -> slow", "start -> fast", "slow -> answer", "fast -> answer"],
    );
    let (outcome, events) = Bench::new(&peer.url()).run(&plan(&app), chat("why?")).await;
    let answer = "Q: why?\nS: Echo from fake-chat: [[delay:0.4]]\nF: Echo from fake-chat: now gone.x.";
    assert_eq!(outcome.answer.as_deref(), Some(answer));
    assert_eq!(streamed(&events), answer);
    let lines = told(&events);
    let first = lines.lines().nth(2).unwrap();
    assert_eq!(first, "chunk \"Q: \" answer.answer", "what is known is said at once");
}

#[tokio::test]
async fn two_answers_follow_each_other_and_join() {
    let app = app(
        "advanced-chat",
        &[
            start(&[]),
            ("one", "answer", json!({"answer": "one "})),
            ("two", "answer", json!({"answer": "two"})),
        ],
        &["start -> one", "one -> two"],
    );
    let (outcome, events) = quiet().run(&plan(&app), chat("x")).await;
    assert_eq!(outcome.answer.as_deref(), Some("one two"));
    assert_eq!(streamed(&events), "one two");
}

#[tokio::test]
async fn an_answer_behind_a_branch_is_not_said_before_the_branch_is_taken() {
    let app = app(
        "advanced-chat",
        &[
            start(&[]),
            ("if", "if-else", json!({"cases": [case("yes", "sys.query", "is", json!("y"))]})),
            ("yes", "answer", json!({"answer": "yes"})),
            ("no", "answer", json!({"answer": "no {{#yes.answer#}}"})),
        ],
        &["start -> if", "if:yes -> yes", "if:false -> no"],
    );
    let plan = plan(&app);
    assert_eq!(streamed(&quiet().run(&plan, chat("y")).await.1), "yes");
    assert_eq!(streamed(&quiet().run(&plan, chat("n")).await.1), "no ", "a skipped node's value is left out");
}

#[tokio::test]
async fn a_run_has_limits_of_steps_and_time() {
    let bench = Bench::with("http://127.0.0.1:9", |limits| limits.max_steps = 3);
    let chain = workflow(
        &[
            start(&[]),
            ("a", "template-transform", template("a", &[])),
            ("b", "template-transform", template("b", &[])),
            end(&[("x", "b.output")]),
        ],
        &["start -> a", "a -> b", "b -> end"],
    );
    let (outcome, _) = bench.run(&plan(&chain), input(json!({}))).await;
    assert_eq!(outcome.error.as_deref(), Some("Maximum execution steps exceeded: 4 > 3"));
    assert_eq!((outcome.status, outcome.error_kind), (RunStatus::Failed, Some(Kind::Caller)));

    let peer = model::start().await;
    let bench = Bench::with(&peer.url(), |limits| limits.max_time = Duration::from_millis(300));
    let slow = workflow(
        &[start(&[]), ("llm", "llm", llm(&[("user", "[[delay:60]]")])), end(&[("x", "llm.text")])],
        &["start -> llm", "llm -> end"],
    );
    let (outcome, _) = bench.run(&plan(&slow), input(json!({}))).await;
    assert!(
        outcome.error.as_deref().unwrap().starts_with("Maximum execution time exceeded: 0.3"),
        "{outcome:?}"
    );
    assert_eq!((outcome.status, outcome.error_kind), (RunStatus::Failed, Some(Kind::Unavailable)));
    assert_eq!(outcome.nodes.last().unwrap().status.as_str(), "failed");
}

#[tokio::test]
async fn a_run_that_is_stopped_before_it_starts_does_nothing() {
    let bench = quiet();
    bench.stop.cancel();
    let app = workflow(&[start(&[]), end(&[])], &["start -> end"]);
    let (outcome, _) = bench.run(&plan(&app), input(json!({}))).await;
    assert_eq!((outcome.status, outcome.total_steps), (RunStatus::Stopped, 0));
    assert_eq!(outcome.error.as_deref(), Some("Stopped by user."));
}

#[tokio::test]
async fn a_listener_that_goes_away_does_not_stop_the_run() {
    let (sink, receiver) = Sink::channel(1);
    drop(receiver);
    let app = workflow(&[start(&["x"]), end(&[("x", "start.x")])], &["start -> end"]);
    let outcome =
        quiet().engine().run(&plan(&app), input(json!({"x": "v"})), sink, CancellationToken::new()).await;
    assert_eq!(outcome.outputs.to_value(), json!({"x": "v"}));
}

#[tokio::test]
async fn a_listener_that_does_not_listen_holds_up_only_its_run_and_a_stop_frees_it() {
    let (sink, receiver) = Sink::channel(1);
    let app = workflow(&[start(&["x"]), end(&[("x", "start.x")])], &["start -> end"]);
    let stop = CancellationToken::new();
    let (plan, engine) = (plan(&app), quiet().engine());
    let run = engine.run(&plan, input(json!({"x": "v"})), sink, stop.clone());
    let mut run = Box::pin(run);
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut run).await.is_err(), "it waits");
    stop.cancel();
    drop(receiver);
    assert_eq!(run.await.status, RunStatus::Stopped);
}

#[tokio::test]
async fn edges_from_where_nothing_runs_hold_nothing_up() {
    let app = workflow(
        &[
            start(&["x"]),
            ("orphan", "template-transform", template("o", &[])),
            end(&[("x", "start.x"), ("o", "orphan.output")]),
        ],
        &["start -> end", "orphan -> end"],
    );
    assert_eq!(quiet().outputs(&plan(&app), json!({"x": 1})).await, json!({"x": 1, "o": null}));
}
