//! `/v1/responses` in front of targets that speak it and targets that do not: who is asked, in which words, and what the
//! caller reads.

use std::sync::Arc;

use http::Method;
use mainstay_base::snapshot::{Dialect, ModelTarget, Provider};
use mainstay_faulty::{Fault, Provider as Faulty};
use mainstay_gateway::Needs;
use serde_json::{Value, json};

use super::{code, course, faulty, policy, provider, setup, target};
use crate::rig::{Got, Rig};

const RESPONSES: &str = "/v1/responses";
const NATIVE: &str = "native";

/// A target of this dialect; `native`: OpenAI's, with the API itself.
fn of(name: &str, faulty: &Faulty, kind: &str) -> ModelTarget {
    let (dialect, path) = match kind {
        "azure" => (Dialect::Azure { api_version: "2024-10-21".to_owned() }, ""),
        "anthropic" => (Dialect::Anthropic, "/v1"),
        "gemini" => (Dialect::Gemini, "/v1beta"),
        "bedrock" => (Dialect::Bedrock { region: "eu-central-1".to_owned() }, ""),
        _ => (Dialect::OpenAi, "/v1"),
    };
    let base_url = format!("{}{path}", faulty.url());
    target(Provider { dialect, base_url, speaks_responses: kind == NATIVE, ..provider(name, faulty, 1) })
}

async fn post(rig: &Rig, body: &Value) -> Got {
    rig.got(rig.model_request(Method::POST, RESPONSES, body.to_string())).await
}

fn everything(streams: bool) -> Value {
    json!({
        "model": "small",
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [
                {"type": "input_text", "text": "[[tool]] here?"},
                {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="},
            ]},
        ],
        "tools": [{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": true}],
        "reasoning": {"effort": "low"},
        "max_output_tokens": 5000,
        "stream": streams,
        "store": false,
        "truncation": "disabled",
        "metadata": {"a": "b"},
    })
}

/// JSON pointers into what a provider is told, and the JSON there.
type Told = &'static [(&'static str, &'static str)];

/// Where each dialect is asked, and what of the call stands where.
const ASKED: [(&str, &str, Told); 5] = [
    (
        "openai",
        "/v1/chat/completions",
        &[
            ("/messages/0/role", "\"system\""),
            ("/messages/1/content/1/image_url/url", "\"data:image/png;base64,iVBORw0KGgo=\""),
            ("/tools/0/function/name", "\"weather\""),
            ("/reasoning_effort", "\"low\""),
            ("/max_tokens", "100"),
        ],
    ),
    (
        "azure",
        "/openai/deployments/real-small/chat/completions?api-version=2024-10-21",
        &[("/tools/0/function/name", "\"weather\""), ("/messages/0/content", "\"Be brief.\"")],
    ),
    (
        "anthropic",
        "/v1/messages",
        &[
            ("/tools/0/name", "\"weather\""),
            ("/messages/0/content/1/source/data", "\"iVBORw0KGgo=\""),
            ("/max_tokens", "100"),
        ],
    ),
    (
        "gemini",
        "/v1beta/models/real-small:",
        &[
            ("/tools/0/functionDeclarations/0/name", "\"weather\""),
            ("/contents/0/parts/1/inlineData/data", "\"iVBORw0KGgo=\""),
        ],
    ),
    (
        "bedrock",
        "/model/real-small/converse",
        &[("/toolConfig/tools/0/toolSpec/name", "\"weather\""), ("/inferenceConfig/maxTokens", "100")],
    ),
];

#[tokio::test]
async fn each_dialect_is_asked_in_its_words_and_answered_as_a_response() {
    for (kind, path, expected) in ASKED {
        for streams in [false, true] {
            let one = faulty().await;
            let mut only = of("one", &one, kind);
            only.offer.max_output_tokens = Some(100);
            let mut rig = setup(vec![only], policy()).start().await;
            let got = post(&rig, &everything(streams)).await;
            assert_eq!(got.status, 200, "{kind}: {}", got.text());
            let call = &one.calls()[0];
            assert!(call.target.starts_with(path), "{kind}: {}", call.target);
            let sent: Value = serde_json::from_slice(&call.body).unwrap();
            for (pointer, value) in expected {
                let found = sent.pointer(pointer).map(Value::to_string);
                assert_eq!(found.as_deref(), Some(*value), "{kind} {pointer}: {sent}");
            }
            for kept_here in ["store", "truncation", "metadata", "input", "instructions"] {
                assert!(sent.get(kept_here).is_none(), "{kind}: {sent}");
            }
            let response = if streams { last(&got)["response"].clone() } else { got.json() };
            assert_eq!(
                (&response["object"], &response["status"], &response["model"]),
                (&json!("response"), &json!("completed"), &json!("small")),
                "{kind}: {response}"
            );
            let call = &response["output"][0];
            assert_eq!(
                (&call["type"], &call["name"]),
                (&json!("function_call"), &json!("weather")),
                "{kind}"
            );
            let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
            assert!(arguments["city"].is_string(), "{kind}: {response}");
            assert_eq!((&response["metadata"]["a"], &response["store"]), (&json!("b"), &json!(false)));
            assert!(response["usage"]["input_tokens"].as_u64() > Some(0), "{kind}: {response}");
            let record = rig.only_record().await;
            assert_eq!((record.streamed, record.cost.is_some()), (streams, true), "{kind}: {record:?}");
            assert_eq!(record.output_tokens, response["usage"]["output_tokens"].as_u64(), "{kind}");
        }
    }
}

fn last(got: &Got) -> Value {
    serde_json::from_str(got.text().trim_end().rsplit("data: ").next().unwrap()).unwrap()
}

#[tokio::test]
async fn a_form_is_answered_in_every_dialect() {
    let schema = json!({"type": "object", "properties": {"echo": {"type": "string"}}, "required": ["echo"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "name": "echo", "schema": schema, "strict": true});
    let body = json!({"model": "small", "input": "three", "text": {"format": format}});
    for (kind, ..) in ASKED {
        let one = faulty().await;
        let rig = setup(vec![of("one", &one, kind)], policy()).start().await;
        let got = post(&rig, &body).await;
        let response = got.json();
        let text = response["output"][0]["content"][0]["text"]
            .as_str()
            .unwrap_or_else(|| panic!("{kind}: {response}"));
        let form: Value = serde_json::from_str(text).unwrap();
        assert_eq!(form, json!({"echo": "three"}), "{kind}");
        assert_eq!(response["text"]["format"]["name"], "echo", "{kind}");
    }
}

#[tokio::test]
async fn who_speaks_the_api_gets_the_callers_own_bytes() {
    for (kind, version, path) in [
        (NATIVE, None, "/v1/responses"),
        ("azure", Some("2025-04-01-preview"), "/openai/responses?api-version=2025-04-01-preview"),
        ("azure", Some("v1"), "/openai/v1/responses"),
    ] {
        let one = faulty().await;
        let mut only = of("one", &one, kind);
        let own = Arc::make_mut(&mut only.provider);
        own.speaks_responses = true;
        if let Some(version) = version {
            own.dialect = Dialect::Azure { api_version: version.to_owned() };
        }
        let rig = setup(vec![only], policy()).start().await;
        let body = r#"{ "model":"small", "input":"hi" , "previous_response_id":"resp_1","temperature":1.0}"#;
        let got = rig.got(rig.model_request(Method::POST, RESPONSES, body)).await;
        assert_eq!((got.status, got.json()["id"].as_str()), (200, Some("resp_faulty")), "{}", got.text());
        assert_eq!(one.calls()[0].target, path);
        assert_eq!(one.calls()[0].body, body.replace("\"small\"", "\"real-small\""));
    }
}

/// What lies at one provider, or cannot be read: what is added to a call, and the field that is blamed.
fn unconvertible() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"previous_response_id": "resp_1"}), "previous_response_id"),
        (json!({"conversation": {"id": "conv_1"}}), "conversation"),
        (json!({"prompt": {"id": "pmpt_1"}}), "prompt"),
        (json!({"background": true}), "background"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"tools": [{"type": "mcp", "server_url": "https://example.com"}]}), "tools[0].type"),
        (json!({"tool_choice": {"type": "file_search"}}), "tool_choice.type"),
        (json!({"include": ["message.output_text.logprobs"]}), "include"),
        (json!({"input": [{"type": "item_reference", "id": "msg_1"}]}), "input[0].type"),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]}),
            "input[0].content[0].file_id",
        ),
        (json!({"input": null}), "input"),
    ]
}

fn with(more: &Value) -> Value {
    let mut body = json!({"model": "small", "input": "hi"});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn what_cannot_be_converted_is_refused_by_its_field_or_goes_to_who_speaks_the_api() {
    let (one, two) = (faulty().await, faulty().await);
    let mut alone =
        setup(vec![of("one", &one, "anthropic"), of("two", &two, "openai")], policy()).start().await;
    let mut both = setup(vec![of("one", &one, "anthropic"), of("two", &two, NATIVE)], policy()).start().await;
    for (asked, (more, field)) in (0..).zip(unconvertible()) {
        let body = with(&more);
        let got = post(&alone, &body).await;
        assert_eq!((got.status, code(&got).as_str()), (400, "not_convertible"), "{more}: {}", got.text());
        let error = got.json()["error"].clone();
        assert_eq!(
            (&error["param"], &error["type"]),
            (&json!(field), &json!("invalid_request_error")),
            "{more}"
        );
        assert!(error["message"].as_str().unwrap().contains(&format!("`{field}`")), "{more}: {error}");
        let record = alone.only_record().await;
        assert_eq!((record.attempts.len(), record.kind.unwrap().is_our_fault()), (0, false), "{more}");
        assert!(record.needs.unwrap().needs_responses, "{more}");
        assert_eq!(two.count(), asked, "{more}");

        let got = post(&both, &body).await;
        assert_eq!(
            (got.status, got.json()["id"].as_str()),
            (200, Some("resp_faulty")),
            "{more}: {}",
            got.text()
        );
        assert_eq!(course(&both.only_record().await), ["two/key-0 first ok"], "{more}");
    }
    // It fails there, and nobody else is asked in other words.
    two.set(Fault::Status { status: 500 });
    let got = post(&both, &with(&json!({"previous_response_id": "resp_1"}))).await;
    assert_eq!((got.status, one.count()), (502, 0), "{}", got.text());
    let got = post(&both, &with(&json!({}))).await;
    assert_eq!((got.status, one.count()), (200, 1), "{}", got.text());
}

#[tokio::test]
async fn a_route_explains_who_takes_which_responses() {
    let (one, two) = (faulty().await, faulty().await);
    let rig = setup(vec![of("one", &one, "gemini"), of("two", &two, NATIVE)], policy()).start().await;
    let shown = |needs: &Needs| {
        let route = rig.gateway.route("small", None, needs).unwrap();
        let candidates =
            route.candidates.iter().map(|step| format!("{}: {}", step.provider, step.because.join("; ")));
        let passed = route.passed_over.iter().map(|step| format!("not {}: {}", step.provider, step.because));
        candidates.chain(passed).collect::<Vec<_>>()
    };
    assert_eq!(shown(&Needs::default()), ["one: ", "two: "]);
    let responses = Needs { responses: true, ..Needs::default() };
    assert_eq!(shown(&responses), ["one: calls of /v1/responses are converted for it", "two: "]);
    assert_eq!(
        shown(&Needs { hosted: true, ..responses }),
        ["two: ", "not one: it does not speak the Responses API, and this call cannot be converted"]
    );
}

#[tokio::test]
async fn fields_that_a_provider_refuses_are_left_out_of_what_it_is_told() {
    let one = faulty().await;
    let mut only = of("one", &one, "openai");
    only.adapt.drop_fields = vec!["temperature".to_owned(), "stream_options".to_owned(), "user".to_owned()];
    only.adapt.max_tokens_field = Some("max_completion_tokens".to_owned());
    let rig = setup(vec![only], policy()).start().await;
    let body = json!({"model": "small", "input": "hi", "temperature": 0.5, "user": "u", "max_output_tokens": 7, "stream": true, "top_k": 3});
    let got = post(&rig, &body).await;
    assert_eq!(got.status, 200, "{}", got.text());
    let sent: Value = serde_json::from_slice(&one.calls()[0].body).unwrap();
    let expected = json!({
        "model": "real-small", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 7,
        "stream": true, "top_k": 3,
    });
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn a_ceiling_is_held_as_for_chats() {
    let one = faulty().await;
    let mut rig = setup(vec![of("one", &one, "anthropic")], policy()).start().await;
    let mut request = rig.model_request(Method::POST, RESPONSES, with(&json!({})).to_string());
    request.headers_mut().insert("mainstay-max-cost", "0.000001".parse().unwrap());
    let got = rig.got(request).await;
    assert_eq!(
        (got.status, code(&got).as_str(), one.count()),
        (400, "max_cost_exceeded", 0),
        "{}",
        got.text()
    );
    assert_eq!(rig.only_record().await.attempts.len(), 0);
}
