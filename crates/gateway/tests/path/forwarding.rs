//! What of a call reaches a provider, and what of a provider's refusal reaches the caller.

use http::Method;
use mainstay_testkit::{HttpServer, http_server::whole, model};

use crate::rig::{Setup, provider};

const CHAT: &str = "/v1/chat/completions";
const ASK: &str = r#"{"model":"small","messages":[{"role":"user","content":"hi"}]}"#;

/// What a call may take along, and what the gateway says itself.
const KNOWN: [&str; 17] = [
    "accept",
    "accept-language",
    "content-type",
    "http-referer",
    "idempotency-key",
    "openai-beta",
    "tracestate",
    "user-agent",
    "x-client-request-id",
    "x-title",
    "authorization",
    "content-length",
    "host",
    "traceparent",
    "x-request-id",
    "accept-encoding",
    "transfer-encoding",
];

/// Before, everything passed that was not on a list of secrets: networks, cookies of proxies, words for relays, and whose
/// account pays.
#[tokio::test]
async fn a_provider_gets_what_describes_the_call_and_nothing_else() {
    let one = model::start().await;
    let rig = Setup::model(&[provider("one", &one.url())]).start().await;
    let mut request = rig.model_request(Method::POST, CHAT, ASK);
    for (name, value) in [
        ("user-agent", "python-requests/2"),
        ("openai-beta", "kept"),
        ("x-title", "dropped by its connection"),
        ("connection", "x-title"),
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("cookie", "session=1"),
        ("openai-organization", "org-other"),
        ("openai-project", "proj-other"),
        ("anthropic-beta", "x"),
        ("x-portkey-config", "{}"),
        ("cf-aig-authorization", "Bearer x"),
        ("x-internal-token", "t"),
        ("x-amz-security-token", "t"),
        ("accept-charset", "utf-8"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    assert_eq!(rig.got(request).await.status, 200);
    let seen = &one.requests()[0];
    for name in seen.headers().keys() {
        assert!(KNOWN.contains(&name.as_str()), "{name} was sent on");
    }
    assert_eq!(seen.headers()["openai-beta"], "kept");
    assert_eq!(seen.headers()["user-agent"], "python-requests/2");
    assert!(!seen.headers().contains_key("x-title"), "its connection says it is of one hop");
}

/// A relay that takes `?model=` before the body's would have lent its key for a model that the caller may not ask for.
#[tokio::test]
async fn a_query_reaches_no_provider() {
    let one = model::start().await;
    let rig = Setup::model(&[provider("one", &one.url())]).start().await;
    let path = "/v1/chat/completions?model=dear&key=x";
    assert_eq!(rig.got(rig.model_request(Method::POST, path, ASK)).await.status, 200);
    assert_eq!(one.requests()[0].uri().query(), None);
}

#[tokio::test]
async fn a_callers_mistake_is_told_with_its_param_and_code_and_nothing_more() {
    for status in [400, 413, 422] {
        let one = HttpServer::start(move |_| async move {
            let body = r#"{"error":{"message":"Invalid value:\n 'x'.","type":"invalid_request_error",
                "param":"messages[1].role","code":"invalid_value","debug":"host 10.0.0.3"},"trace":"internal"}"#;
            whole(status, "application/json", body)
        })
        .await;
        let rig = Setup::model(&[provider("one", &one.url())]).start().await;
        let got = rig.got(rig.model_request(Method::POST, CHAT, ASK)).await;
        let error = &got.json()["error"];
        assert_eq!(got.status, status, "{error}");
        assert_eq!(
            (&error["message"], &error["type"], &error["param"], &error["code"]),
            (
                &"Invalid value: 'x'.".into(),
                &"invalid_request_error".into(),
                &"messages[1].role".into(),
                &"invalid_value".into()
            ),
        );
        assert!(!got.text().contains("10.0.0.3") && !got.text().contains("internal"), "{}", got.text());
    }
}

#[tokio::test]
async fn words_with_a_part_of_our_key_reach_neither_caller_nor_record() {
    for said in [
        r#"{"error":{"message":"Invalid value near rather-long-one","param":null,"code":null}}"#,
        r#"{"error":{"message":"Invalid value","param":"rather-long-one","code":null}}"#,
        r#"{"error":{"message":"Invalid value","param":null,"code":"a-rather-long-one"}}"#,
    ] {
        let one = HttpServer::start(move |_| async move { whole(400, "application/json", said) }).await;
        // Its key is `sk-a-rather-long-one`.
        let mut rig = Setup::model(&[provider("a-rather-long-one", &one.url())]).start().await;
        let got = rig.got(rig.model_request(Method::POST, CHAT, ASK)).await;
        assert_eq!(got.status, 400, "{}", got.text());
        assert!(!got.text().contains("ather-long"), "{}", got.text());
        let record = rig.only_record().await;
        for error in record.attempts.iter().filter_map(|attempt| attempt.error.as_deref()) {
            assert!(!error.contains("near") && !error.contains("ather-long"), "{error}");
        }
    }
}
