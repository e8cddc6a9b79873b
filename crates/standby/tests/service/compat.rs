//! Replays requests recorded from a running Dify 1.12.1 and compares what can be compared: status, headers, dialect
//! of JSON, keys in their order, types, order of events, error bodies.

use crate::sample::{Sample, shape, subject};
use crate::stage::{Answer, Stage};
use bytes::Bytes;
use http::Method;
use mainstay_wire::python_json::{compact, dumps};
use serde_json::{Value, json};

/// Sends a sample's request to an app; `change` may edit the body.
async fn replay(stage: &Stage, app: &str, sample: &Sample, change: impl FnOnce(&mut Value)) -> Answer {
    if sample.request.is_empty() {
        return stage.get(app, &sample.target).await;
    }
    let mut body: Value = serde_json::from_str(&sample.request).unwrap();
    change(&mut body);
    let method = Method::from_bytes(sample.method.as_bytes()).unwrap();
    let bytes = Bytes::from(body.to_string());
    stage.send(app, method, &sample.target, Some("application/json"), bytes).await
}

fn same_head(sample: &Sample, answer: &Answer) {
    assert_eq!(answer.status.as_u16(), sample.status, "{}", answer.text());
    for (name, value) in &sample.headers {
        let ours = answer.headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(ours, Some(value.as_str()), "header {name}");
    }
    for name in answer.headers.keys() {
        assert!(sample.headers.contains_key(name.as_str()), "header {name} is not one of Dify's");
    }
}

/// Status, headers, shape, and the dialect in which the JSON is written.
fn same_json(sample: &Sample, answer: &Answer) {
    same_head(sample, answer);
    assert_eq!(shape(&answer.json()), shape(&sample.json()), "{}", answer.text());
    let is_run = dumps(&sample.json()) == sample.body;
    let ours = answer.json();
    let expected = if is_run { dumps(&ours) } else { compact(&ours) + "\n" };
    assert_eq!(answer.text(), expected, "written as Dify writes it");
    if !is_run {
        assert_eq!(compact(&sample.json()) + "\n", sample.body, "the sample itself is in that dialect");
    }
}

fn same_stream(sample: &Sample, answer: &Answer) {
    same_head(sample, answer);
    let (theirs, ours) = (sample.events(), answer.events());
    let order = |events: &[Value]| events.iter().map(subject).collect::<Vec<_>>();
    assert_eq!(order(&ours), order(&theirs), "{}", answer.text());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(shape(&one_prompt(ours)), shape(&one_prompt(theirs)), "{ours}");
    }
    assert!(answer.text().ends_with("\n\n"));
}

/// With the first of an LLM node's prompts only: the recording repeats an earlier answer, which is a slip of its own.
fn one_prompt(event: &Value) -> Value {
    let mut event = event.clone();
    if let Some(Value::Array(prompts)) = event.pointer_mut("/data/process_data/prompts") {
        prompts.truncate(1);
    }
    event
}

fn same_bytes(sample: &Sample, answer: &Answer) {
    same_head(sample, answer);
    assert_eq!(answer.text(), sample.body);
}

#[tokio::test]
async fn blocking_workflows_answer_in_the_recorded_shape() {
    let stage = Stage::new().await;
    for (name, app) in [
        ("22_wf-plain_blocking", "wf-plain"),
        ("23_wf-llm_blocking", "wf-llm"),
        ("25_wf-llm_ratelimit_blocking", "wf-llm"),
    ] {
        let sample = Sample::read(name);
        let answer = replay(&stage, app, &sample, |_| {}).await;
        same_json(&sample, &answer);
        assert_eq!(answer.json()["data"]["status"], sample.json()["data"]["status"], "{name}");
        assert_eq!(answer.json()["data"]["outputs"], sample.json()["data"]["outputs"], "{name}");
    }
}

#[tokio::test]
async fn http_workflows_answer_in_the_recorded_shape() {
    let stage = Stage::new().await;
    let peer = mainstay_testkit::HttpServer::start(|_| async {
        mainstay_testkit::http_server::whole(200, "application/json", "{\"ok\":true}\n")
    })
    .await;
    let sample = Sample::read("30_wf-http_blocking");
    let url = format!("{}/health", peer.url());
    let answer = replay(&stage, "wf-http", &sample, |body| body["inputs"]["url"] = json!(url)).await;
    same_json(&sample, &answer);
    assert_eq!(answer.json()["data"]["outputs"], sample.json()["data"]["outputs"]);

    let sample = Sample::read("31_wf-http_refused_blocking");
    let answer = replay(&stage, "wf-http", &sample, |_| {}).await;
    same_json(&sample, &answer);
    assert_eq!(answer.json()["data"]["status"], "failed");
}

#[tokio::test]
async fn streamed_workflows_send_the_recorded_events_in_their_order() {
    let stage = Stage::new().await;
    for name in ["24_wf-llm_streaming", "26_wf-llm_fail_streaming"] {
        let sample = Sample::read(name);
        let answer = replay(&stage, "wf-llm", &sample, |_| {}).await;
        same_stream(&sample, &answer);
    }
}

#[tokio::test]
async fn a_stopped_stream_ends_as_recorded() {
    let stage = Stage::new().await;
    let sample = Sample::read("83_stopped_run_streaming");
    let stop = Sample::read("84_stop_task");
    let mut body: Value = serde_json::from_str(&sample.request).unwrap();
    body["inputs"]["query"] = json!("[[delay:60]] slow one");
    let bytes = Bytes::from(body.to_string());
    let call = stage.call("wf-llm", Method::POST, &sample.target, Some("application/json"), bytes);
    let mut response = stage.standby.call(call).await;
    let mut seen = String::new();
    while !seen.contains("\"node_id\":\"llm\"") {
        let frame = http_body_util::BodyExt::frame(response.body_mut()).await.unwrap().unwrap();
        seen.push_str(&String::from_utf8_lossy(&frame.into_data().unwrap()));
    }
    let first: Value =
        serde_json::from_str(seen.lines().next().unwrap().strip_prefix("data: ").unwrap()).unwrap();
    let target = format!("/v1/workflows/tasks/{}/stop", first["task_id"].as_str().unwrap());
    let stopped = stage.post("wf-llm", &target, &serde_json::from_str(&stop.request).unwrap()).await;
    same_bytes(&stop, &stopped);
    let mut answer = crate::stage::answer(response).await;
    answer.body = Bytes::from(seen + &answer.text());
    same_stream(&sample, &answer);
    let last = answer.events().pop().unwrap();
    assert_eq!(last["data"]["status"], "stopped");
    assert_eq!(last["data"]["error"], "Stopped by user.");
}

#[tokio::test]
async fn chats_answer_in_the_recorded_shape_and_remember() {
    let stage = Stage::new().await;
    let sample = Sample::read("40_cf_blocking");
    let first = replay(&stage, "cf-llm", &sample, |_| {}).await;
    same_json(&sample, &first);
    assert_eq!(first.json()["answer"], sample.json()["answer"]);
    let conversation = first.json()["conversation_id"].clone();

    let sample = Sample::read("41_cf_streaming");
    let second =
        replay(&stage, "cf-llm", &sample, |body| body["conversation_id"] = conversation.clone()).await;
    same_stream(&sample, &second);
    assert_eq!(second.events()[0]["data"]["inputs"]["sys.dialogue_count"], 2);
    let remembered = r#"{"role":"assistant","text":"Echo from fake-chat: hello there","files":[]}"#;
    assert!(second.text().contains(remembered), "the model is told what was said before");

    let sample = Sample::read("44_cf_messages");
    let target = format!("/v1/messages?user=tester-1&conversation_id={}", conversation.as_str().unwrap());
    let messages = stage.get("cf-llm", &target).await;
    same_json(&sample, &messages);
    let texts = |value: &Value| {
        let rows = value["data"].as_array().unwrap().clone();
        rows.into_iter().map(|row| (row["query"].clone(), row["answer"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(texts(&messages.json()), texts(&sample.json()));

    let another = json!({"inputs": {}, "query": "refund for digital goods", "user": "tester-1"});
    stage.post("cf-llm", "/v1/chat-messages", &another).await;
    let sample = Sample::read("67_cf-kb_conversations_uuid_user");
    let conversations = stage.get("cf-llm", "/v1/conversations?user=tester-1").await;
    same_json(&sample, &conversations);
    assert_eq!(conversations.json()["data"][0]["name"], sample.json()["data"][0]["name"]);
}

#[tokio::test]
async fn a_failing_chat_ends_with_an_error_event_and_answers_400_when_blocking() {
    let stage = Stage::new().await;
    let sample = Sample::read("42_cf_fail_streaming");
    let answer = replay(&stage, "cf-llm", &sample, |_| {}).await;
    same_stream(&sample, &answer);
    let body =
        json!({"inputs": {}, "query": "[[fail:auth]]", "user": "tester-1", "response_mode": "blocking"});
    let answer = stage.post("cf-llm", "/v1/chat-messages", &body).await;
    assert_eq!(answer.status, 400);
    assert_eq!(shape(&answer.json()), "{code:text,message:text,status:int}");
    assert_eq!(answer.json()["code"], "invalid_param");
    assert!(answer.json()["message"].as_str().unwrap().starts_with("Run failed: "));
}

#[tokio::test]
async fn errors_and_descriptions_are_the_recorded_bytes() {
    let stage = Stage::new().await;
    for (name, app) in [
        ("33_err_missing_input", "wf-form"),
        ("34_err_no_user", "wf-form"),
        ("35_err_wrong_app_mode", "wf-form"),
        ("38_meta", "wf-form"),
        ("39_site", "wf-form"),
        ("36_info", "wf-form"),
    ] {
        let sample = Sample::read(name);
        let answer = replay(&stage, app, &sample, |_| {}).await;
        same_bytes(&sample, &answer);
    }
    // Limits are ours; the rest is Dify's.
    let sample = Sample::read("37_parameters");
    let answer = replay(&stage, "wf-form", &sample, |_| {}).await;
    same_json(&sample, &answer);
    let (mut ours, mut theirs) = (answer.json(), sample.json());
    ours["system_parameters"] = json!(null);
    theirs["system_parameters"] = json!(null);
    assert_eq!(ours, theirs);
    assert_eq!(stage.stored_runs().await, 0, "nothing of all this is stored");
}

#[tokio::test]
async fn details_and_logs_of_a_run_have_the_recorded_shape() {
    let stage = Stage::new().await;
    let body = json!({"inputs": {"name": "Ann", "n": 10}, "response_mode": "blocking", "user": "tester-1"});
    let run = stage.post("wf-form", "/v1/workflows/run", &body).await.json();
    let sample = Sample::read("20b_wf-code_run_detail");
    let target = format!("/v1/workflows/run/{}", run["workflow_run_id"].as_str().unwrap());
    let detail = stage.get("wf-form", &target).await;
    same_json(&sample, &detail);
    assert_eq!(detail.json()["outputs"], mainstay_wire::python_json::dumps(&run["data"]["outputs"]));

    let sample = Sample::read("20c_wf-code_logs");
    let logs = stage.get("wf-form", &sample.target).await;
    same_json(&sample, &logs);
    assert_eq!(logs.json()["total"], 1);
    let other = stage.get("wf-plain", &target).await;
    assert_eq!(other.status, 404, "another app's run is nobody's business");
}
