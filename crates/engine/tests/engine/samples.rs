//! The recorded apps of a running Dify, run here: same events in the same order, same outputs, same errors.

use crate::common::{Bench, chat, fixture, fixture_plan, input, quiet, told};
use mainstay_engine::{Exchange, RunStatus, check};
use mainstay_testkit::{HttpServer, http_server, model};
use serde_json::{Value, json};

fn assert_told(events: &[mainstay_engine::Event], expected: &str) {
    let found = told(events);
    let trimmed: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let found: Vec<&str> = found.lines().collect();
    assert_eq!(found, trimmed, "\n{}", found.join("\n"));
}

#[tokio::test]
async fn a_plain_workflow_gives_its_input_back() {
    // Sample 22.
    let (outcome, events) = quiet().run(&fixture_plan("wf-plain"), input(json!({"name": "Ann"}))).await;
    assert_eq!(outcome.status, RunStatus::Succeeded);
    assert_told(
        &events,
        r#"
        workflow_started name,sys.files,sys.user_id,sys.app_id,sys.workflow_id,sys.workflow_run_id
        node_started start
        chunk "Ann" start.name
        node_finished start succeeded name,sys.files,sys.user_id,sys.app_id,sys.workflow_id,sys.workflow_run_id,sys.timestamp
        node_started end
        node_finished end succeeded {"text":"Ann"}
        workflow_finished succeeded outputs={"text":"Ann"} error=None tokens=0 steps=2 exceptions=0
        "#,
    );
}

#[tokio::test]
async fn a_model_s_words_are_streamed_between_the_events_of_its_node() {
    // Sample 24.
    let peer = model::start().await;
    let (outcome, events) =
        Bench::new(&peer.url()).run(&fixture_plan("wf-llm"), input(json!({"query": "What is Dify?"}))).await;
    assert_told(
        &events,
        r#"
        workflow_started query,sys.files,sys.user_id,sys.app_id,sys.workflow_id,sys.workflow_run_id
        node_started start
        node_finished start succeeded query,sys.files,sys.user_id,sys.app_id,sys.workflow_id,sys.workflow_run_id,sys.timestamp
        node_started llm
        chunk "Echo " llm.text
        chunk "from " llm.text
        chunk "fake-chat: " llm.text
        chunk "What " llm.text
        chunk "is " llm.text
        chunk "Dify?" llm.text
        chunk "" llm.text
        node_finished llm succeeded "Echo from fake-chat: What is Dify?"
        node_started end
        node_finished end succeeded {"text":"Echo from fake-chat: What is Dify?"}
        workflow_finished succeeded outputs={"text":"Echo from fake-chat: What is Dify?"} error=None tokens=26 steps=3 exceptions=0
        "#,
    );
    let node = &outcome.nodes[1];
    let process = node.process_data.to_value();
    let keys: Vec<&str> = process.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["model_mode", "prompts", "usage", "finish_reason", "model_provider", "model_name"]);
    assert_eq!(
        process["prompts"],
        json!([
            {"role": "system", "text": "You are a helpful assistant.", "files": []},
            {"role": "user", "text": "What is Dify?", "files": []},
        ])
    );
    let outputs = node.outputs.to_value();
    let keys: Vec<&str> = outputs.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["text", "reasoning_content", "usage", "finish_reason"]);
    let usage: Vec<&str> = outputs["usage"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        usage,
        [
            "prompt_tokens",
            "prompt_unit_price",
            "prompt_price_unit",
            "prompt_price",
            "completion_tokens",
            "completion_unit_price",
            "completion_price_unit",
            "completion_price",
            "total_tokens",
            "total_price",
            "currency",
            "latency",
            "time_to_first_token",
            "time_to_generate",
        ]
    );
    assert_eq!(node.metadata.to_value(), json!({"total_tokens": 26, "total_price": "0", "currency": "USD"}));
    let request = &peer.requests()[0];
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(body["temperature"], 0.7);
    assert_eq!(body["stream_options"], json!({"include_usage": true}));
    assert_eq!(body["user"], "tester-1");
    assert_eq!(request.headers()["mainstay-app"], "app-1");
    let deadline_ms: u64 = request.headers()["mainstay-deadline"].to_str().unwrap().parse().unwrap();
    assert!((1..=1_200_000).contains(&deadline_ms), "what is left of the run's 1200 s: {deadline_ms}");
    assert_eq!(request.headers()["authorization"], "Bearer key");
    assert!(request.headers().contains_key("traceparent"));
}

#[tokio::test]
async fn a_failing_model_fails_the_run_in_dify_s_words() {
    // Samples 25, 26 and 42.
    let peer = model::start().await;
    let bench = Bench::new(&peer.url());
    let plan = fixture_plan("wf-llm");
    for (mark, error) in [
        ("rate", "Error code: 429 - Rate limit reached for fake model"),
        ("server", "Error code: 503 - The server is overloaded"),
        ("auth", "[openai_api_compatible] Incorrect model credentials provided, please check and try again."),
    ] {
        let (outcome, events) =
            bench.run(&plan, input(json!({"query": format!("[[fail:{mark}]] hi")}))).await;
        let tail = told(&events).lines().rev().take(3).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(outcome.error.as_deref(), Some(error));
        assert_eq!(tail[2], "node_started llm");
        assert_eq!(tail[1], format!("node_finished llm failed {{}} error={error:?}"));
        let finished = format!(
            "workflow_finished failed outputs={{}} error=Some({error:?}) tokens=0 steps=2 exceptions=1"
        );
        assert_eq!(tail[0], finished);
    }
    let (outcome, _) = bench.run(&plan, input(json!({"query": "[[fail:drop]] hi"}))).await;
    assert_eq!(outcome.error_kind, Some(mainstay_base::Kind::Unavailable));
    assert!(outcome.error.unwrap().contains("ended before its end"));
}

#[tokio::test]
async fn an_llm_node_that_fails_is_tried_again_and_then_gives_its_default() {
    let peer = model::start().await;
    let (outcome, events) = Bench::new(&peer.url())
        .run(&fixture_plan("wf-llm-retry"), input(json!({"query": "[[fail:rate]] x"})))
        .await;
    assert_eq!(outcome.status, RunStatus::PartialSucceeded);
    assert_eq!(peer.requests().len(), 3);
    let error = r#""Error code: 429 - Rate limit reached for fake model""#;
    assert_told(
        &events[3..],
        &format!(
            r#"
        node_started llm
        node_retry llm retry {{}} error={error} retry_index=1
        node_retry llm retry {{}} error={error} retry_index=2
        node_finished llm exception {{"text":"FALLBACK","error_message":{error},"error_type":"InvokeRateLimitError"}} error={error}
        node_started end
        chunk "FALLBACK" llm.text
        node_finished end succeeded {{"text":"FALLBACK"}}
        workflow_finished partial-succeeded outputs={{"text":"FALLBACK"}} error=None tokens=0 steps=3 exceptions=3
        "#
        ),
    );
    assert_eq!(outcome.nodes[1].metadata.to_value(), json!({"error_strategy": "default-value"}));
}

#[tokio::test]
async fn a_chatflow_streams_its_answer_and_remembers() {
    // Sample 41.
    let peer = model::start().await;
    let mut run = chat("and again");
    let before = Exchange { query: "hello there".into(), answer: "Echo from fake-chat: hello there".into() };
    run.chat.as_mut().unwrap().history = vec![before];
    let (outcome, events) = Bench::new(&peer.url()).run(&fixture_plan("cf-llm"), run).await;
    assert_told(
        &events,
        r#"
        workflow_started sys.files,sys.user_id,sys.app_id,sys.workflow_id,sys.workflow_run_id,sys.query,sys.dialogue_count
        node_started start
        node_finished start succeeded sys.files,sys.user_id,sys.app_id,sys.workflow_id,sys.workflow_run_id,sys.query,sys.conversation_id,sys.dialogue_count
        node_started llm
        chunk "Echo " llm.text
        chunk "from " llm.text
        chunk "fake-chat: " llm.text
        chunk "and " llm.text
        chunk "again" llm.text
        chunk "" llm.text
        node_finished llm succeeded "Echo from fake-chat: and again"
        node_started answer
        node_finished answer succeeded {"answer":"Echo from fake-chat: and again","files":[]}
        workflow_finished succeeded outputs={"answer":"Echo from fake-chat: and again","files":[]} error=None tokens=45 steps=3 exceptions=0
        "#,
    );
    assert_eq!(outcome.answer.as_deref(), Some("Echo from fake-chat: and again"));
    let prompts = outcome.nodes[1].process_data.to_value()["prompts"].clone();
    let said: Vec<&str> =
        prompts.as_array().unwrap().iter().map(|said| said["text"].as_str().unwrap()).collect();
    assert_eq!(
        said,
        [
            "You are a helpful assistant.",
            "and again",
            "hello there",
            "Echo from fake-chat: hello there",
            "and again"
        ]
    );
}

#[tokio::test]
async fn an_http_node_gives_what_the_peer_said() {
    // Sample 30.
    let peer =
        HttpServer::start(|_| async { http_server::whole(200, "application/json", "{\"ok\":true}\n") }).await;
    let url = format!("{}/health", peer.url());
    let (outcome, _) = quiet().run(&fixture_plan("wf-http"), input(json!({ "url": url }))).await;
    assert_eq!(outcome.outputs.to_value(), json!({"body": "{\"ok\":true}\n", "status": 200}));
    let request = outcome.nodes[1].process_data.to_value()["request"].clone();
    assert_eq!(request, json!(format!("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", peer.address)));
}

#[tokio::test]
async fn a_refused_connection_is_told_as_in_dify() {
    // Sample 31.
    let (outcome, _) =
        quiet().run(&fixture_plan("wf-http"), input(json!({"url": "http://127.0.0.1:9/none"}))).await;
    assert_eq!(outcome.status, RunStatus::Failed);
    assert_eq!(outcome.error.as_deref(), Some("[Errno 111] Connection refused"));
    assert_eq!((outcome.total_steps, outcome.exceptions_count), (2, 1));
}

#[tokio::test]
async fn a_stopped_run_says_so_and_ends_at_once() {
    // Sample 83.
    let peer = model::start().await;
    let bench = Bench::new(&peer.url());
    let plan = fixture_plan("wf-llm");
    let stop = bench.stop.clone();
    let stopping = async {
        mainstay_testkit::wait_until("the model is asked", std::time::Duration::from_secs(5), || async {
            (!peer.requests().is_empty()).then_some(())
        })
        .await;
        stop.cancel();
    };
    let ((outcome, events), ()) =
        tokio::join!(bench.run(&plan, input(json!({"query": "[[delay:60]] slow"}))), stopping);
    assert_told(
        &events[3..],
        r#"
        node_started llm
        workflow_finished stopped outputs={} error=Some("Stopped by user.") tokens=0 steps=2 exceptions=0
        "#,
    );
    assert_eq!(outcome.nodes.last().unwrap().status.as_str(), "stopped");
}

#[test]
fn apps_with_unknown_nodes_are_refused_with_their_names() {
    for (name, kind, id) in
        [("wf-code", "code", "code"), ("wf-fail", "code", "code"), ("wf-kb", "knowledge-retrieval", "kb")]
    {
        let problems = check(&fixture(name)).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].node_id.as_deref(), Some(id));
        assert_eq!(problems[0].node_type.as_deref(), Some(kind));
        assert!(problems[0].message.contains("not supported"), "{problems:?}");
    }
}
