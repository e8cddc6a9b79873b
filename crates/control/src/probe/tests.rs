//! Probes and test calls in every dialect, against a provider that speaks all of them and plays their failures.

use std::{sync::Arc, time::Duration};

use mainstay_base::{
    Class, Clock, Micros, Secret,
    snapshot::{Dialect, Provider, ProviderKey, ProviderSecret, Timeouts},
};
use mainstay_faulty::{Fault, Options};
use mainstay_net::{Client, ClientOptions};

use super::{Asks, ProviderProbe, call, provider};
use crate::ports::{ProbeKind, ProviderPeer};

const KEY: &str = "sk-a-key-that-no-words-may-hold";

/// Each dialect, where its base URL ends, and a model of it that chats.
fn dialects() -> Vec<(Dialect, &'static str, &'static str)> {
    let api_version = "2024-10-21".to_owned();
    let region = "eu-central-1".to_owned();
    vec![
        (Dialect::OpenAi, "/v1", "gpt-4o"),
        (Dialect::Azure { api_version }, "", "gpt-4o"),
        (Dialect::Anthropic, "/v1", "claude-3-5-sonnet"),
        (Dialect::Gemini, "/v1beta", "gemini-2.0-flash"),
        (Dialect::Bedrock { region }, "", "anthropic.claude-3-5-sonnet-20240620-v1:0"),
    ]
}

fn peer(dialect: &Dialect, base: &str, probe: ProbeKind) -> ProviderPeer {
    let secret = match dialect {
        Dialect::Bedrock { .. } => ProviderSecret::Aws {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::new(KEY),
            session_token: None,
        },
        _ => ProviderSecret::Token(Secret::new(KEY)),
    };
    let asked = Provider {
        name: "p".to_owned(),
        dialect: dialect.clone(),
        base_url: base.to_owned(),
        keys: vec![ProviderKey { name: "main".to_owned(), secret }],
        timeouts: Timeouts::default(),
        first_token: Duration::from_secs(5),
        speaks_responses: true,
    };
    ProviderPeer { provider: Arc::new(asked), serves: Vec::new(), probe }
}

async fn probed(peer: &ProviderPeer) -> ProviderProbe {
    let client = Client::new(ClientOptions::default()).unwrap();
    provider(&client, &clock(), peer, peer.provider.keys.first().cloned()).await
}

fn clock() -> Clock {
    Clock::manual(Micros(1_800_000_000_000_000))
}

#[tokio::test]
async fn a_provider_that_is_well_answers_both_probes_and_a_test_in_every_dialect() {
    let faulty = mainstay_faulty::Provider::start(Options::default()).await.unwrap();
    let client = Client::new(ClientOptions::default()).unwrap();
    for (dialect, end, model) in dialects() {
        let base = format!("{}{end}", faulty.url());
        let chat = ProbeKind::Chat { model: model.to_owned() };
        for probe in [ProbeKind::Models, chat] {
            let peer = peer(&dialect, &base, probe.clone());
            let answer = probed(&peer).await;
            assert_eq!(answer.result, Ok(()), "{dialect:?} {probe:?}");
        }
        let peer = peer(&dialect, &base, ProbeKind::Models);
        let tested = call(&client, &clock(), &peer.provider, peer.provider.keys.first(), model, None).await;
        assert!(tested.ok && tested.status == Some(200), "{dialect:?}: {tested:?}");
        assert!(tested.input_tokens.is_some(), "{dialect:?} tells usage: {tested:?}");
    }
}

#[tokio::test]
async fn a_refused_key_is_known_as_that_and_is_no_failure_of_the_provider() {
    let faulty = mainstay_faulty::Provider::start(Options::default()).await.unwrap();
    faulty.set(Fault::BadKey);
    for (dialect, end, model) in dialects() {
        let base = format!("{}{end}", faulty.url());
        let peer = peer(&dialect, &base, ProbeKind::Chat { model: model.to_owned() });
        let answer = probed(&peer).await;
        assert_eq!(answer.result, Ok(()), "{dialect:?}");
        assert_eq!(answer.key, Some(("main".to_owned(), true)), "{dialect:?}");
    }
}

#[tokio::test]
async fn what_is_the_providers_doing_fails_a_probe_and_no_words_hold_the_key() {
    let faulty = mainstay_faulty::Provider::start(Options::default()).await.unwrap();
    let client = Client::new(ClientOptions::default()).unwrap();
    let faults = [
        (Fault::Status { status: 500 }, Class::ServerError),
        (Fault::Overloaded, Class::Overloaded),
        (Fault::BadKey, Class::BadKey),
        (Fault::ErrorInside, Class::ErrorInside),
        (Fault::Close, Class::Closed),
        (Fault::Html { status: 200 }, Class::NotAnAnswer),
        (Fault::TruncatedJson, Class::TruncatedJson),
        (Fault::Empty, Class::Empty),
        (Fault::Garbage, Class::NotAnAnswer),
    ];
    for (dialect, end, model) in dialects() {
        let base = format!("{}{end}", faulty.url());
        for (fault, class) in &faults {
            faulty.set(fault.clone());
            let peer = peer(&dialect, &base, ProbeKind::Chat { model: model.to_owned() });
            let key = peer.provider.keys.first();
            let tested = call(&client, &clock(), &peer.provider, key, model, None).await;
            assert!(!tested.ok, "{dialect:?} {fault:?}: {tested:?}");
            // Which of the classes of a broken answer it is may differ by dialect; whose doing it is does not.
            let told = tested.class.map(Class::fault);
            assert_eq!(told, Some(class.fault()), "{dialect:?} {fault:?}: {tested:?}");
            assert!(!format!("{tested:?}").contains(KEY), "{dialect:?} {fault:?}");
            if *class != Class::BadKey {
                let answer = probed(&peer).await;
                assert!(answer.result.is_err(), "{dialect:?} {fault:?}");
            }
        }
    }
}

#[tokio::test]
async fn embeddings_and_rankings_are_asked_for_as_what_they_are() {
    let faulty = mainstay_faulty::Provider::start(Options::default()).await.unwrap();
    let client = Client::new(ClientOptions::default()).unwrap();
    for (dialect, end, model, asks) in [
        (Dialect::OpenAi, "/v1", "text-embedding-3-small", Asks::Embeddings),
        (Dialect::Gemini, "/v1beta", "text-embedding-004", Asks::Embeddings),
        (Dialect::Cohere, "/v2", "embed-v4.0", Asks::Embeddings),
        (Dialect::Cohere, "/v2", "rerank-v3.5", Asks::Rerank),
    ] {
        let base = format!("{}{end}", faulty.url());
        let peer = peer(&dialect, &base, ProbeKind::Models);
        assert_eq!(probed(&peer).await.result, Ok(()), "{dialect:?}");
        let tested = call(&client, &clock(), &peer.provider, peer.provider.keys.first(), model, None).await;
        assert!(tested.ok && tested.asks == asks, "{dialect:?}: {tested:?}");
    }
}
