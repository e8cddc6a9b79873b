//! What goes out to a target, what stands in the record, and where a call would go.

use std::sync::Arc;

use http::Method;
use mainstay_base::{
    Kind, Secret,
    snapshot::{Dialect, ModelTarget, Provider, ProviderKey, ProviderSecret},
};
use mainstay_faulty::{Fault, Plan};
use mainstay_gateway::Needs;
use mainstay_wire::llm::bedrock;
use serde_json::json;

use super::{ask, course, faulty, policy, provider, setup, target};
use crate::rig::Setup;

#[tokio::test]
async fn a_target_gets_what_its_provider_takes() {
    let one = faulty().await;
    let mut adapted = target(provider("one", &one, 1));
    adapted.adapt.drop_fields = vec!["logit_bias".to_owned()];
    adapted.adapt.max_tokens_field = Some("max_completion_tokens".to_owned());
    adapted.offer.max_output_tokens = Some(100);
    let rig = setup(vec![adapted], policy()).start().await;
    let body = r#"{"model":"small","logit_bias":{"1":2},"max_tokens":5000,"temperature":0.10,"messages":[{"role":"user","content":"hi"}]}"#;
    let got = rig.got(rig.model_request(Method::POST, super::CHAT, body)).await;
    assert_eq!(got.status, 200, "{}", got.text());
    let sent = one.calls()[0].body.clone();
    let sent_text = std::str::from_utf8(&sent).unwrap();
    let sent: serde_json::Value = serde_json::from_slice(&sent).unwrap();
    assert_eq!(sent["max_completion_tokens"], 100);
    assert!(sent.get("max_tokens").is_none() && sent.get("logit_bias").is_none());
    assert!(
        sent_text.contains("\"temperature\":0.10"),
        "what nobody changes stays byte for byte: {sent_text}"
    );
}

#[tokio::test]
async fn other_dialects_are_spoken_and_answered_in_the_callers_own() {
    for (dialect, version) in [
        (Dialect::Anthropic, "/v1"),
        (Dialect::Gemini, "/v1beta"),
        (Dialect::Azure { api_version: "2024-10-21".to_owned() }, ""),
    ] {
        for stream in [false, true] {
            let one = faulty().await;
            let mut other = provider("one", &one, 1);
            other.dialect = dialect.clone();
            other.base_url = format!("{}{version}", one.url());
            let mut rig = setup(vec![target(other)], policy()).start().await;
            let got = ask(&rig, stream).await;
            assert_eq!(
                got.status,
                200,
                "{dialect:?}: {} {:?}",
                got.text(),
                one.calls().first().map(|call| &call.target)
            );
            assert!(
                got.text().contains(if stream { "\"hello \"" } else { "hello there" }),
                "{dialect:?}: {}",
                got.text()
            );
            assert!(one.calls()[0].credential.contains("sk-one-0"), "{dialect:?}");
            let record = rig.only_record().await;
            assert!(record.input_tokens.is_some() && record.cost.is_some(), "{record:?}");
        }
    }
}

/// What arrives at a provider of AWS is what was signed: host, path, body and every header that the signature names.
#[tokio::test]
async fn what_arrives_is_what_was_signed() {
    let (id, secret, session) =
        ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "session+token/=");
    for token in [None, Some(session)] {
        let one = faulty().await;
        let mut other = provider("one", &one, 0);
        other.dialect = Dialect::Bedrock { region: "eu-central-1".to_owned() };
        other.base_url = one.url();
        let secret_access_key = Secret::new(secret);
        let aws = ProviderSecret::Aws {
            access_key_id: id.to_owned(),
            secret_access_key,
            session_token: token.map(Secret::new),
        };
        other.keys = vec![ProviderKey { name: "aws".to_owned(), secret: aws }];
        let mut target = target(other);
        target.model = "eu.anthropic.claude-3-5-sonnet-20240620-v1:0".to_owned();
        let rig = setup(vec![target], policy()).start().await;
        for stream in [false, true] {
            assert_eq!(ask(&rig, stream).await.status, 200);
            let call = one.calls().pop().unwrap();
            let header = |name: &str| call.headers[name].to_str().unwrap();
            let date = header("x-amz-date");
            let (path, query) = call.target.split_once('?').unwrap_or((&call.target, ""));
            let unsigned = bedrock::sign::Unsigned {
                method: call.method.as_str(),
                host: header("host"),
                path,
                query,
                headers: &[("content-type", header("content-type"))],
                body: &call.body,
                region: "eu-central-1",
                service: bedrock::SERVICE,
            };
            let credentials = bedrock::sign::Credentials {
                access_key_id: id,
                secret_access_key: secret,
                session_token: token,
            };
            let signed = bedrock::sign::sign(&unsigned, &credentials, unix(date));
            for (name, value) in &signed {
                assert_eq!(header(name), value, "{name} of {}", call.target);
            }
            assert!(signed.iter().any(|(name, _)| *name == "authorization"));
            assert_eq!(call.headers.contains_key("x-amz-security-token"), token.is_some());
        }
    }
}

/// `20261123T070000Z` in Unix seconds.
fn unix(date: &str) -> i64 {
    let part = |at: usize, length: usize| date[at..at + length].parse::<i64>().unwrap();
    let (year, month, day) = (part(0, 4), part(4, 2), part(6, 2));
    // Days since 1970 by counting from March (Hinnant's days_from_civil).
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468;
    days * 86_400 + part(9, 2) * 3600 + part(11, 2) * 60 + part(13, 2)
}

#[tokio::test]
async fn a_call_without_words_in_a_dialect_goes_to_the_next() {
    let (one, two) = (faulty().await, faulty().await);
    let mut cohere = provider("one", &one, 1);
    cohere.dialect = Dialect::Cohere;
    let mut rig = setup(vec![target(cohere), target(provider("two", &two, 1))], policy()).start().await;
    assert_eq!(ask(&rig, false).await.status, 200);
    assert_eq!(
        course(&rig.only_record().await),
        ["one/key-0 first not_convertible", "two/key-0 fallback ok"]
    );
    assert_eq!((one.count(), rig.gateway.standing().targets[0].failures), (0, 0));
}

/// What only the caller's own dialect has is no mistake of the caller's while somebody speaks it.
#[tokio::test]
async fn what_another_dialect_has_no_words_for_goes_to_who_speaks_the_callers_own() {
    let hosted = json!({"model": "small", "messages": [{"role": "user", "content": "hi"}],
                        "tools": [{"type": "custom", "custom": {"name": "x"}}]});
    let prompts = json!({"model": "small", "prompt": ["one", "two"]});
    for (path, body, field) in
        [(super::CHAT, hosted, Some("tools[0].type")), ("/v1/completions", prompts, Some("prompt"))]
    {
        for dialect in [Dialect::Anthropic, Dialect::Gemini] {
            let (one, two) = (faulty().await, faulty().await);
            let other = Provider { dialect: dialect.clone(), ..provider("one", &one, 1) };
            let targets = vec![target(other.clone()), target(provider("two", &two, 1))];
            let mut rig = setup(targets, policy()).start().await;
            let got = rig.got(rig.model_request(Method::POST, path, body.to_string())).await;
            assert_eq!(got.status, 200, "{dialect:?}: {}", got.text());
            let expected = ["one/key-0 first not_convertible", "two/key-0 fallback ok"];
            assert_eq!(course(&rig.only_record().await), expected, "{dialect:?}");
            let rig = setup(vec![target(other)], policy()).start().await;
            let got = rig.got(rig.model_request(Method::POST, path, body.to_string())).await;
            let error = &got.json()["error"];
            assert_eq!((got.status, error["code"].as_str()), (400, Some("not_convertible")), "{error}");
            assert_eq!(error["param"].as_str(), field, "{error}");
            let message = error["message"].as_str().unwrap();
            assert!(message.starts_with("No provider of this model takes this call as it is: `"), "{error}");
            assert_eq!(one.count(), 0);
        }
    }
}

/// Who could not be asked changes nothing for who was: he is tried again, and his failure is told.
#[tokio::test]
async fn a_failure_is_not_hidden_by_a_target_that_has_no_words_for_the_call() {
    let body = json!({"model": "small", "messages": [{"role": "user", "content": "hi"}], "logprobs": true});
    for (times, status, told) in [(Some(1), 200, None), (None, 502, Some("provider_error"))] {
        let (one, two) = (faulty().await, faulty().await);
        one.set(Plan { times, ..Plan::from(Fault::Status { status: 500 }) });
        let other = Provider { dialect: Dialect::Anthropic, ..provider("two", &two, 1) };
        let targets = vec![target(provider("one", &one, 1)), target(other)];
        let mut rig = setup(targets, policy()).start().await;
        let got = rig.got(rig.model_request(Method::POST, super::CHAT, body.to_string())).await;
        assert_eq!((got.status, got.json()["error"]["code"].as_str()), (status, told), "{}", got.text());
        let last = if status == 200 { "one/key-0 retry ok" } else { "one/key-0 retry server_error" };
        let expected = ["one/key-0 first server_error", "two/key-0 fallback not_convertible", last];
        assert_eq!(course(&rig.only_record().await), expected);
        assert_eq!((one.count(), two.count()), (2, 0));
    }
}

#[tokio::test]
async fn embeddings_never_change_their_model() {
    let (one, two, three) = (faulty().await, faulty().await, faulty().await);
    let embed = |name: &str, faulty, model: &str| ModelTarget {
        model: model.to_owned(),
        ..target(provider(name, faulty, 1))
    };
    let targets =
        vec![embed("one", &one, "embed-3"), embed("two", &two, "other"), embed("three", &three, "embed-3")];
    let mut rig = setup(targets, policy()).start().await;
    one.set(mainstay_faulty::Fault::Status { status: 500 });
    let body = r#"{"model":"small","input":"hello"}"#;
    let got = rig.got(rig.model_request(Method::POST, "/v1/embeddings", body)).await;
    assert_eq!((got.status, &got.headers["mainstay-target"]), (200, &"three/embed-3".parse().unwrap()));
    assert_eq!(course(&rig.record().await), ["one/key-0 first server_error", "three/key-0 fallback ok"]);
    three.set(mainstay_faulty::Fault::Status { status: 500 });
    assert_eq!(rig.got(rig.model_request(Method::POST, "/v1/embeddings", body)).await.status, 502);
    assert_eq!(two.count(), 0);
}

#[tokio::test]
async fn the_record_says_what_each_attempt_was() {
    let (one, _two, mut rig) = super::pair(policy()).await;
    one.set(mainstay_faulty::Fault::Overloaded);
    for stream in [false, true] {
        assert_eq!(ask(&rig, stream).await.status, 200);
        let record = rig.record().await;
        let [missed, won] = &record.attempts[..] else { panic!("{record:?}") };
        assert_eq!((missed.status, won.status), (Some(503), Some(200)));
        assert_eq!((missed.model.as_deref(), won.key.as_deref()), (Some("real-small"), Some("key-0")));
        assert!(missed.error.as_ref().is_some_and(|error| error.starts_with("503")), "{missed:?}");
        assert!(won.first_byte_us.is_some() && won.took_us >= won.first_byte_us.unwrap(), "{won:?}");
        assert_eq!(won.first_token_us.is_some(), stream);
        assert!(won.started_us >= missed.started_us + missed.took_us);
        assert_eq!((won.output_tokens, won.is_cost_estimated), (record.output_tokens, false));
        assert_eq!(record.cost, won.cost, "a refusal costs nothing");
        assert_eq!((record.upstream.as_deref(), record.streamed), (Some("two"), stream));
    }
}

#[tokio::test]
async fn where_a_call_would_go_is_explained_without_a_call() {
    let (one, two, three) = (faulty().await, faulty().await, faulty().await);
    let mut targets: Vec<_> = [("one", &one), ("two", &two), ("three", &three)]
        .map(|(name, faulty)| target(provider(name, faulty, 1)))
        .into();
    targets[0].offer.tools = false;
    targets[1].offer.region = Some("eu".to_owned());
    let mut setup: Setup = setup(targets, policy());
    setup.snapshot.model.drained = vec!["two".to_owned()];
    let rig = setup.start().await;
    let needs = Needs { tools: true, input_tokens: 1000, max_output_tokens: Some(100), ..Needs::default() };
    let route = rig.gateway.route("small", None, &needs).unwrap();
    let shown: Vec<_> = route.candidates.iter().map(|candidate| candidate.provider.as_str()).collect();
    assert_eq!(shown, ["three", "two"]);
    assert_eq!(route.candidates[0].worst_case, Some(mainstay_base::Usd(1_200)));
    assert_eq!(route.candidates[1].because, ["its provider is drained"]);
    assert_eq!(
        (route.passed_over[0].provider.as_str(), route.passed_over[0].because.as_str()),
        ("one", "it has no tools")
    );
    let needs = Needs { region: Some("eu".to_owned()), ..needs };
    assert_eq!(rig.gateway.route("small", None, &needs).unwrap().candidates.len(), 1);
    assert_eq!(rig.gateway.route("unheard", None, &needs), None);
    assert_eq!(serde_json::to_value(&route).unwrap()["passed_over"][0]["why"], json!({"why": "no_tools"}));
    assert_eq!(one.count() + two.count() + three.count(), 0);
}

#[tokio::test]
async fn a_demand_that_nobody_serves_is_refused_before_anything_is_sent() {
    let one = faulty().await;
    let mut blind = target(provider("one", &one, 1));
    blind.offer.vision = false;
    blind.offer.context_tokens = Some(1000);
    let mut rig = setup(vec![blind], policy()).start().await;
    let long = "word ".repeat(3000);
    let body = json!({"model": "small", "messages": [{"role": "user", "content": long}]}).to_string();
    let got = rig.got(rig.model_request(Method::POST, super::CHAT, body)).await;
    assert_eq!((got.status, super::code(&got).as_str()), (400, "context_length_exceeded"), "{}", got.text());
    let body = json!({"model": "small", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]});
    let got = rig.got(rig.model_request(Method::POST, super::CHAT, body.to_string())).await;
    assert_eq!(got.status, 400, "{}", got.text());
    assert_eq!((one.count(), rig.record().await.attempts.len()), (0, 0));
}

#[tokio::test]
async fn models_in_no_route_are_known_apart() {
    let one = faulty().await;
    let mut setup = Setup::model(&[]);
    setup.snapshot.model.other_models_to = vec![Arc::new(provider("one", &one, 1))];
    let mut rig = setup.start().await;
    let body = super::body(false).replace("small", "anything");
    assert_eq!(rig.got(rig.model_request(Method::POST, super::CHAT, body)).await.status, 200);
    assert_eq!(course(&rig.only_record().await), ["one/key-0 first ok"]);
    let standing = rig.gateway.standing();
    assert_eq!((standing.targets.len(), standing.targets[0].model.as_str()), (1, "anything"));
}

#[tokio::test]
async fn a_name_that_nobody_configured_and_the_provider_does_not_know_is_the_callers() {
    let one = faulty().await;
    one.set(Fault::ModelMissing);
    let mut setup = setup(vec![target(provider("one", &one, 1))], policy());
    setup.snapshot.model.other_models_to = vec![Arc::new(provider("one", &one, 1))];
    let mut rig = setup.start().await;
    for (name, status, expected, kind) in [
        ("anything", 404, "model_not_found", Kind::Caller),
        ("small", 502, "provider_model_missing", Kind::Upstream),
    ] {
        let body = super::body(false).replace("small", name);
        let got = rig.got(rig.model_request(Method::POST, super::CHAT, body)).await;
        assert_eq!((got.status, super::code(&got).as_str()), (status, expected), "{}", got.text());
        assert_eq!(rig.record().await.kind, Some(kind));
    }
}
