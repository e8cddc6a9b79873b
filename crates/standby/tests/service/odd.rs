//! Requests that no careful client sends: each gets an answer below 500 that is JSON.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::stage::Stage;

const ID: &str = "11111111-2222-4333-8444-555555555555";
const JSON: Option<&str> = Some("application/json; charset=UTF-8");

#[tokio::test]
async fn odd_requests_are_answered_and_never_break_anything() {
    let stage = Stage::new().await;
    let long = "9".repeat(400);
    let mut targets: Vec<(Method, String)> = Vec::new();
    for path in [
        "/v1/workflows/run/%00",
        "/v1/workflows/run/",
        "/v1/workflows//run",
        "/v1/info/",
        "/v1/",
        "/",
        "/v1/workflows/logs?limit=0",
        "/v1/workflows/logs?limit=101",
        "/v1/workflows/logs?limit=-1",
        "/v1/workflows/logs?page=99999&limit=100",
        "/v1/workflows/logs?keyword=%00%25_%27&status=failed",
        "/v1/workflows/logs?keyword=%F0%9F%98%80&created_by_end_user_session_id=%00",
        "/v1/workflows/logs?created_at__before=9999-12-31T23:59:59Z&created_at__after=-5",
        "/v1/workflows/logs?created_at__before=%00",
        "/v1/conversations?limit=101",
        "/v1/conversations?last_id=zz",
        "/v1/conversations?sort_by=name&user=%F0%9F%98%80",
        "/v1/messages",
        "/v1/messages?conversation_id=",
        "/v1/messages?user=a%00",
        "/v1/app/feedbacks?page=x",
    ] {
        targets.push((Method::GET, path.to_owned()));
        targets.push((Method::OPTIONS, path.to_owned()));
    }
    targets.push((Method::GET, format!("/v1/workflows/logs?page={long}")));
    targets.push((Method::GET, format!("/v1/messages?conversation_id={ID}&first_id={ID}")));
    for (method, target) in targets {
        for app in ["wf-form", "cf-llm"] {
            let answer = stage.send(app, method.clone(), &target, None, Bytes::new()).await;
            assert!(answer.status.as_u16() < 500, "{method} {target} {app}: {}", answer.text());
            assert!(answer.json().is_object(), "{method} {target}");
        }
    }
    let numbers =
        ["1e400", "-0.0", "99999999999999999999999999", "1e-400", "NaN", "true", "\"1e400\"", "\"0x10\""];
    let mut bodies: Vec<String> =
        numbers.iter().map(|n| format!(r#"{{"inputs":{{"name":"a","n":{n}}},"user":1.5}}"#)).collect();
    bodies.extend(
        [
            json!({"inputs": {"name": "\u{0}\u{1F600}\u{202E}"}, "user": "\u{1F600}"}),
            json!({"inputs": null, "user": "u"}),
            json!({"inputs": {"name": {"a": 1}}, "user": "u"}),
            json!({"inputs": {"name": "a"}, "user": true}),
            json!({"inputs": {"name": "a"}, "user": "u", "files": [{"type": "image"}], "response_mode": "STREAMING"}),
            json!({"inputs": {}, "query": "\u{0}", "user": "u"}),
            json!({"inputs": {}, "query": "q", "user": "u", "conversation_id": ID, "workflow_id": "\u{0}"}),
            json!({"rating": null, "user": "u"}),
            json!({"rating": 5, "user": "u", "content": 5}),
        ]
        .map(|body| body.to_string()),
    );
    let feedback = format!("/v1/messages/{ID}/feedbacks");
    for body in bodies {
        for (app, target) in [
            ("wf-form", "/v1/workflows/run"),
            ("cf-llm", "/v1/chat-messages"),
            ("cf-llm", feedback.as_str()),
            ("cf-llm", "/v1/workflows/tasks/\u{1F600}/stop"),
            ("wf-form", "/v1/workflows/tasks/%00/stop"),
            ("wf-form", "/v1/files/upload"),
        ] {
            let answer = stage.send(app, Method::POST, target, JSON, Bytes::from(body.clone())).await;
            assert!(answer.status.as_u16() < 500, "{target} {body}: {}", answer.text());
            assert!(answer.json().is_object(), "{target} {body}");
        }
    }
}

#[tokio::test]
async fn a_thousand_runs_at_once_are_all_answered() {
    let stage = Stage::new().await;
    let body = json!({"inputs": {"name": "a"}, "user": "u"});
    let runs = (0..1000).map(|_| stage.post("wf-form", "/v1/workflows/run", &body));
    let answers = futures_util::future::join_all(runs).await;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["data"]["status"], Value::from("succeeded"));
    }
}
