//! Bad input gets Dify's error body, and nothing is stored.

use crate::stage::Stage;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

const RUN: &str = "/v1/workflows/run";
const CHAT: &str = "/v1/chat-messages";
const UNKNOWN: &str = "11111111-2222-4333-8444-555555555555";

#[tokio::test]
async fn bad_bodies_are_refused_with_difys_words_and_nothing_is_stored() {
    let stage = Stage::new().await;
    let foreign = stage.apps["wf-plain"].version_id.clone();
    let by_version = |id: &str| format!("/v1/workflows/{id}/run");
    let run = |inputs: Value| json!({"inputs": inputs, "user": "u"});
    let chat = |more: Value| {
        let mut body = json!({"inputs": {}, "query": "q", "user": "u"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let cases: Vec<(&str, String, Value, u16, &str, &str)> = vec![
        ("wf-form", RUN.into(), json!({}), 400, "invalid_param", "Arg user must be provided."),
        (
            "wf-form",
            RUN.into(),
            json!({"user": "u"}),
            400,
            "invalid_param",
            "1 validation error for WorkflowRunPayload",
        ),
        (
            "wf-form",
            RUN.into(),
            json!({"user": "u", "inputs": []}),
            400,
            "invalid_param",
            "Input should be a valid dictionary",
        ),
        ("wf-form", RUN.into(), run(json!({"n": 1})), 400, "invalid_param", "name is required in input form"),
        (
            "wf-form",
            RUN.into(),
            run(json!({"name": 5})),
            400,
            "invalid_param",
            "(type 'text-input') name in input form must be a string",
        ),
        (
            "wf-form",
            RUN.into(),
            run(json!({"name": "x".repeat(4001)})),
            400,
            "invalid_param",
            "name in input form must be less than 4000 characters",
        ),
        (
            "wf-form",
            RUN.into(),
            run(json!({"name": "a", "n": "five"})),
            400,
            "invalid_param",
            "n in input form must be a valid number",
        ),
        (
            "wf-form",
            RUN.into(),
            json!({"inputs": {"name": "a"}, "user": "a\u{0}"}),
            400,
            "invalid_param",
            "NUL",
        ),
        (
            "wf-form",
            by_version("zz"),
            run(json!({"name": "a"})),
            400,
            "bad_request",
            "Invalid workflow_id format: 'zz'. ",
        ),
        (
            "wf-form",
            by_version(UNKNOWN),
            run(json!({"name": "a"})),
            404,
            "not_found",
            "Workflow not found with id",
        ),
        (
            "wf-form",
            by_version(&foreign),
            run(json!({"name": "a"})),
            404,
            "not_found",
            "Workflow not found with id",
        ),
        ("wf-form", CHAT.into(), chat(json!({})), 400, "not_chat_app", "Please check if your app mode"),
        ("cf-llm", RUN.into(), run(json!({})), 400, "not_workflow_app", "Please check if your app mode"),
        ("cf-llm", CHAT.into(), chat(json!({"query": ""})), 400, "invalid_param", "query is required"),
        (
            "cf-llm",
            CHAT.into(),
            chat(json!({"query": 5})),
            400,
            "invalid_param",
            "Input should be a valid string",
        ),
        (
            "cf-llm",
            CHAT.into(),
            chat(json!({"conversation_id": "zz"})),
            400,
            "invalid_param",
            "conversation_id must be a valid UUID",
        ),
        (
            "cf-llm",
            CHAT.into(),
            chat(json!({"conversation_id": UNKNOWN})),
            404,
            "not_found",
            "Conversation Not Exists.",
        ),
        (
            "cf-llm",
            CHAT.into(),
            chat(json!({"workflow_id": UNKNOWN})),
            404,
            "not_found",
            "Workflow not found with id",
        ),
        (
            "cf-llm",
            format!("/v1/messages/{UNKNOWN}/feedbacks"),
            json!({"user": "u", "rating": "meh"}),
            400,
            "invalid_param",
            "Input should be 'like' or 'dislike'",
        ),
        (
            "cf-llm",
            format!("/v1/messages/{UNKNOWN}/feedbacks"),
            json!({"user": "u", "rating": "like"}),
            404,
            "not_found",
            "Message Not Exists.",
        ),
        ("wf-form", "/v1/datasets".into(), json!({}), 404, "not_found", "The requested URL was not found"),
        ("wf-form", "/v1/info".into(), json!({}), 405, "method_not_allowed", "The method is not allowed"),
    ];
    for (app, target, body, status, code, message) in cases {
        let answer = stage.post(app, &target, &body).await;
        let said = answer.json();
        assert_eq!(answer.status, status, "{target} {body}: {said}");
        assert_eq!(said["code"], code, "{target} {body}");
        assert_eq!(said["status"], status);
        assert!(said["message"].as_str().unwrap().contains(message), "{target}: {said}");
        assert_eq!(answer.headers["x-version"], "1.12.1");
    }
    for (query, message) in [
        ("page=0", "greater than or equal to 1"),
        ("limit=1000", "less than or equal to 100"),
        ("status=queued", "'succeeded', 'failed' or 'stopped'"),
        ("created_at__after=yesterday", "ISO"),
    ] {
        let answer = stage.get("wf-form", &format!("/v1/workflows/logs?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.json()["message"].as_str().unwrap().contains(message), "{}", answer.text());
    }
    assert_eq!(stage.stored_runs().await, 0);
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused_and_nothing_is_stored() {
    let stage = Stage::new().await;
    let nested = format!("{{\"user\":\"u\",\"inputs\":{}{}}}", "{\"a\":".repeat(5000), "}".repeat(5000));
    let huge = vec![b' '; mainstay_standby::MAX_BODY_BYTES + 1];
    for (kind, body, status) in [
        (Some("application/json"), b"{\"user\": ".to_vec(), 400),
        (Some("application/json"), b"\xff\xfe".to_vec(), 400),
        (Some("application/json"), nested.into_bytes(), 400),
        (Some("application/json"), b"[]".to_vec(), 400),
        (Some("application/json"), Vec::new(), 400),
        (Some("text/plain"), b"{}".to_vec(), 415),
        (None, b"{}".to_vec(), 415),
        (Some("application/json"), huge, 413),
    ] {
        let answer = stage.send("wf-form", Method::POST, RUN, kind, Bytes::from(body)).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.json()["status"], status);
    }
    assert_eq!(stage.stored_runs().await, 0);
}

#[tokio::test]
async fn an_unknown_app_is_told_so() {
    let stage = Stage::new().await;
    let mut call = stage.call("wf-form", Method::GET, "/v1/info", None, Bytes::new());
    call.app_id = UNKNOWN.to_owned();
    let answer = crate::stage::answer(stage.standby.call(call).await).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.json()["message"], "The app no longer exists.");
}

#[tokio::test]
async fn uploads_are_kept_and_bad_ones_refused() {
    let stage = Stage::new().await;
    let form =
        |parts: &str| (Some("multipart/form-data; boundary=b"), Bytes::from(format!("{parts}--b--\r\n")));
    let file = |name: &str, text: &str| {
        format!(
            "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\ncontent-type: text/plain\r\n\r\n{text}\r\n"
        )
    };
    let user = "--b\r\ncontent-disposition: form-data; name=\"user\"\r\n\r\nann\r\n";
    for (parts, status, code) in [
        (user.to_owned(), 400, "no_file_uploaded"),
        (file("a.txt", "x") + &file("b.txt", "y"), 400, "too_many_files"),
        (file("a\\\\b.txt", "x"), 400, "invalid_param"),
        (file("a.png", &"x".repeat(10 * 1024 * 1024 + 1)), 413, "file_too_large"),
    ] {
        let (kind, body) = form(&parts);
        let answer = stage.send("wf-form", Method::POST, "/v1/files/upload", kind, body).await;
        assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str().unwrap()), (status, code));
    }
    let (kind, body) = form(&(user.to_owned() + &file("notes.TXT", "hello")));
    let answer = stage.send("wf-form", Method::POST, "/v1/files/upload", kind, body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let stored = answer.json();
    assert_eq!((&stored["size"], &stored["extension"]), (&json!(5), &json!("txt")));
    let content = stage.store.files().content(stored["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(content.as_deref(), Some(&b"hello"[..]));
}
