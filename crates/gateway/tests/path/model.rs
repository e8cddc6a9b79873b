//! The model path.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use mainstay_base::{
    record::Outcome,
    snapshot::{LogicalModel, ModelTarget},
};
use mainstay_testkit::{HttpServer, http_server::whole, model};
use serde_json::json;

use crate::rig::{Setup, cut_after, nobody, provider};

const CHAT: &str = "/v1/chat/completions";

fn ask(text: &str, stream: bool) -> String {
    let options = if stream { ",\"stream\":true,\"stream_options\":{\"include_usage\":true}" } else { "" };
    let text = json!(text);
    format!(
        "{{ \"model\": \"small\",\"messages\":[{{\"role\":\"user\",\"content\":{text}}}]{options},\"temperature\":0.10 }}"
    )
}

#[tokio::test]
async fn only_the_model_and_the_key_are_changed() {
    let one = model::start().await;
    let mut rig = Setup::model(&[provider("one", &one.url())]).start().await;
    let mut request = rig.model_request(Method::POST, CHAT, ask("hi", false));
    request.headers_mut().insert("mainstay-app", "app-7".parse().unwrap());
    request.headers_mut().insert("openai-beta", "kept".parse().unwrap());
    let got = rig.got(request).await;
    assert_eq!(got.json()["choices"][0]["message"]["content"], "Echo from real-small: hi");
    let seen = &one.requests()[0];
    assert_eq!(seen.body(), &ask("hi", false).replace("small", "real-small"));
    assert_eq!(seen.headers()["authorization"], "Bearer sk-one");
    assert_eq!(seen.headers()["openai-beta"], "kept");
    assert_eq!(seen.uri().path(), CHAT);
    assert!(seen.headers().contains_key("traceparent"));
    assert!(!seen.headers().contains_key("mainstay-app") && !seen.headers().contains_key("x-forwarded-for"));
    let record = rig.only_record().await;
    assert_eq!((record.model.as_deref(), record.upstream.as_deref()), (Some("small"), Some("one")));
    assert_eq!(record.app_id.as_deref(), Some("app-7"));
    assert!(record.total_tokens.unwrap() > 0 && record.input_tokens.is_some());
}

#[tokio::test]
async fn a_stream_is_relayed_and_its_usage_recorded() {
    let one = model::start().await;
    let mut rig = Setup::model(&[provider("one", &one.url())]).start().await;
    let got = rig.got(rig.model_request(Method::POST, CHAT, ask("hello there", true))).await;
    assert!(got.text().ends_with("data: [DONE]\n\n"), "{}", got.text());
    let record = rig.only_record().await;
    assert_eq!(record.outcome, Outcome::Ok);
    assert!(record.streamed && record.output_tokens.unwrap() > 0 && record.first_token_us.is_some());
}

#[tokio::test]
async fn the_next_provider_is_asked_before_the_first_byte_only() {
    let twin = model::start().await;
    let limited = HttpServer::start(|_| async { whole(429, "application/json", "{}") }).await;
    let failing = HttpServer::start(|_| async { whole(500, "application/json", "{}") }).await;
    for first in [nobody().await, limited.url(), failing.url()] {
        let mut rig = Setup::model(&[provider("first", &first), provider("twin", &twin.url())]).start().await;
        let got = rig.got(rig.model_request(Method::POST, CHAT, ask("hi", false))).await;
        assert_eq!(got.status, 200);
        let record = rig.only_record().await;
        assert_eq!((record.attempts.len(), record.upstream.as_deref()), (2, Some("twin")));
        assert!(record.attempts[0].error.is_some() && record.attempts[1].error.is_none());
    }
    let before = twin.requests().len();
    let broken = cut_after(b"data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n").await;
    let mut rig =
        Setup::model(&[provider("broken", &broken.url()), provider("twin", &twin.url())]).start().await;
    let got = rig.got(rig.model_request(Method::POST, CHAT, ask("hi", true))).await;
    assert_eq!(twin.requests().len(), before);
    let last = got.text().trim_end().rsplit("\n\n").next().unwrap().strip_prefix("data: ").unwrap();
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["error"]["code"], "cut");
    assert!(got.text().contains("half") && !got.text().contains("[DONE]"));
    assert_eq!(rig.only_record().await.outcome, Outcome::Cut);
}

#[tokio::test]
async fn a_stream_that_ends_without_an_end_says_so() {
    let a = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}";
    let stop = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}";
    for (text, outcome) in [
        (format!("{a}\n\n"), Outcome::Cut),
        (format!("{a}\n\n{stop}\n\n"), Outcome::Ok),
        (format!("{a}\n\ndata: [DONE]"), Outcome::Ok),
        (format!("{a}\r\n\r\ndata: [DONE]\r\n\r\n"), Outcome::Ok),
        // Nothing reached the caller, so it is told by a status.
        ("data: {\"error\":{\"message\":\"overloaded\"}}\n\n".to_owned(), Outcome::Failed),
        ("data: {\"choices\":[]}\n\ndata: [DONE]\n\n".to_owned(), Outcome::Failed),
    ] {
        let body = text.clone();
        let one = HttpServer::start(move |_| {
            let body = body.clone();
            async move { whole(200, "text/event-stream", body) }
        })
        .await;
        let mut rig = Setup::model(&[provider("one", &one.url())]).start().await;
        let got = rig.got(rig.model_request(Method::POST, CHAT, ask("hi", true))).await;
        assert_eq!(rig.only_record().await.outcome, outcome, "{text:?}");
        assert_eq!(got.status == 200, outcome != Outcome::Failed);
        assert_eq!(got.text().contains("\"cut\""), outcome == Outcome::Cut);
        assert_eq!(got.text().ends_with("data: [DONE]\n\n"), outcome == Outcome::Ok);
        assert!(!got.text().contains('\r'), "Dify's plugin splits at LF LF only");
    }
}

#[tokio::test]
async fn a_drained_provider_is_asked_last() {
    let one = model::start().await;
    let two = model::start().await;
    let mut setup = Setup::model(&[provider("one", &one.url()), provider("two", &two.url())]);
    setup.snapshot.model.drained = vec!["one".to_owned()];
    let rig = setup.start().await;
    rig.got(rig.model_request(Method::POST, CHAT, ask("hi", false))).await;
    assert_eq!((one.requests().len(), two.requests().len()), (0, 1));
    let got = rig.got(rig.model_request(Method::POST, CHAT, ask("[[fail:server]]", false))).await;
    assert_eq!(got.status, 503);
    assert_eq!((one.requests().len(), two.requests().len()), (2, 2), "drained is better than nobody");
}

#[tokio::test]
async fn a_refusal_of_our_key_is_not_the_callers_matter() {
    let one = model::start().await;
    let mut rig = Setup::model(&[provider("one", &one.url())]).start().await;
    let got = rig.got(rig.model_request(Method::POST, CHAT, ask("[[fail:auth]]", false))).await;
    assert_eq!((got.status, got.json()["error"]["code"].as_str()), (502, Some("provider_key_refused")));
    assert!(!got.text().contains("Incorrect API key"), "{}", got.text());
    let record = rig.only_record().await;
    assert_eq!((record.outcome, record.kind.unwrap().as_str()), (Outcome::Failed, "upstream"));
}

#[tokio::test]
async fn refusals_have_openais_shape() {
    let mut setup = Setup::model(&[provider("one", &nobody().await)]);
    setup.limits.max_model_body_bytes = 500;
    let rig = setup.start().await;
    let cases: [(Method, &str, Bytes, u16, serde_json::Value); 8] = [
        (Method::POST, CHAT, "{\"model\":\"other\"}".into(), 404, json!("model_not_found")),
        (Method::POST, CHAT, "{}".into(), 400, json!(null)),
        (Method::POST, CHAT, "{\"model\":".into(), 400, json!(null)),
        (Method::POST, CHAT, "\"\u{fffd}\"".into(), 400, json!(null)),
        (Method::POST, CHAT, vec![b' '; 501].into(), 413, json!("request_too_large")),
        (Method::POST, CHAT, ask("hi", false).into(), 503, json!("provider_unreachable")),
        (Method::GET, "/v1/files", Bytes::new(), 404, json!("unknown_url")),
        (Method::DELETE, "/v1/models/small", Bytes::new(), 405, json!("method_not_supported")),
    ];
    for (method, path, body, status, code) in cases {
        let got = rig.got(rig.model_request(method, path, body.clone())).await;
        assert_eq!((got.status, &got.json()["error"]["code"]), (status, &code), "{path} {body:?}");
        assert!(got.json()["error"]["message"].is_string());
        let names_model = body.starts_with(b"{}") || status == 404 && path == CHAT;
        assert_eq!(got.json()["error"]["param"], if names_model { json!("model") } else { json!(null) });
    }
    let mut request = rig.model_request(Method::POST, CHAT, "{}");
    request.headers_mut().insert("authorization", "Bearer sk-stolen".parse().unwrap());
    let got = rig.got(request).await;
    assert_eq!((got.status, got.json()["error"]["code"].as_str()), (401, Some("invalid_api_key")));
    let mut request = rig.model_request(Method::POST, CHAT, "--x--");
    request.headers_mut().insert("content-type", "multipart/form-data; boundary=x".parse().unwrap());
    assert_eq!(rig.got(request).await.status, 415);
}

#[tokio::test]
async fn models_are_listed_from_the_snapshot() {
    let rig = Setup::model(&[]).start().await;
    let got = rig.got(rig.model_request(Method::GET, "/v1/models", "")).await;
    assert_eq!(got.json()["data"][0]["id"], "small");
    let got = rig.got(rig.model_request(Method::GET, "/v1/models/small", "")).await;
    assert_eq!(got.json()["object"], "model");
    assert_eq!(rig.got(rig.model_request(Method::GET, "/v1/models/large", "")).await.status, 404);
}

/// Reproduces: the official Python client asks for `meta/llama-3:8b` as `meta%2Fllama-3:8b`, and got 404.
#[tokio::test]
async fn a_models_name_may_be_encoded_in_the_path() {
    let one = model::start().await;
    let mut setup = Setup::model(&[]);
    let name = "meta/llama-3:8b ä";
    let target = ModelTarget::new(provider("one", &one.url()), "real");
    let model = LogicalModel::ordered(name, vec![target]);
    setup.snapshot.model.models.insert(name.to_owned(), Arc::new(model));
    let rig = setup.start().await;
    for (spelling, status) in [
        ("meta%2Fllama-3:8b%20%C3%A4", 200),
        ("meta/llama-3%3a8b%20%c3%a4", 200),
        ("meta%252Fllama-3:8b%20%C3%A4", 404),
        ("meta%2Fllama-3:8b%20%C3", 404),
    ] {
        let got = rig.got(rig.model_request(Method::GET, &format!("/v1/models/{spelling}"), "")).await;
        assert_eq!(got.status, status, "{spelling}: {}", got.text());
        assert!(status != 200 || got.json()["id"] == name, "{}", got.text());
    }
}

#[tokio::test]
async fn other_models_go_where_the_operator_said() {
    let one = model::start().await;
    let mut setup = Setup::model(&[]);
    setup.snapshot.model.other_models_to = vec![provider("one", &one.url())];
    let rig = setup.start().await;
    let body = ask("hi", false).replace("small", "anything");
    assert_eq!(rig.got(rig.model_request(Method::POST, CHAT, body.clone())).await.status, 200);
    assert_eq!(one.requests()[0].body(), &body);
}
