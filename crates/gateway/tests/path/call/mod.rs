//! Calls of models over several targets: what follows each failure, what the caller gets, what the record says.

use std::{sync::Arc, time::Duration};

use http::Method;
use mainstay_base::{
    Record, Secret, Usd,
    id::KeyHash,
    record::Attempt,
    snapshot::{
        CallPolicy, Dialect, LogicalModel, ModelKey, ModelTarget, Price, Provider, ProviderKey, Retry,
        Timeouts,
    },
};
use mainstay_faulty::{Options, Provider as Faulty};

use crate::rig::{Got, MODEL_KEY, Rig, Setup};

mod answers;
mod bounds;
mod endpoints;
mod health;
mod hedges;
mod keys;
mod leaving;
mod responses;
mod shape;
mod steps;

pub(crate) const CHAT: &str = "/v1/chat/completions";

/// A provider that fails on request.
pub(crate) async fn faulty() -> Faulty {
    Faulty::start(Options::default()).await.expect("a loopback port")
}

/// A provider of this gateway with so many keys: `sk-NAME-0`, `sk-NAME-1`, …
pub(crate) fn provider(name: &str, faulty: &Faulty, keys: usize) -> Provider {
    let key =
        |index: usize| ProviderKey::token(format!("key-{index}"), Secret::new(format!("sk-{name}-{index}")));
    Provider {
        name: name.to_owned(),
        dialect: Dialect::OpenAi,
        base_url: format!("{}/v1", faulty.url()),
        keys: (0..keys).map(key).collect(),
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(5),
            idle: Duration::from_secs(5),
            total: Duration::from_secs(30),
        },
        first_token: Duration::from_secs(5),
        speaks_responses: true,
    }
}

/// What a million tokens cost: $1 in, $2 out.
pub(crate) const PRICE: Price = Price { input: Usd(1_000_000), output: Usd(2_000_000), cached_input: None };

pub(crate) fn target(provider: Provider) -> ModelTarget {
    ModelTarget { price: Some(PRICE), ..ModelTarget::new(Arc::new(provider), "real-small") }
}

/// Tries again at once, and never runs out of tries.
pub(crate) fn policy() -> CallPolicy {
    let retry = Retry { base: Duration::from_millis(1), burst: 100.0, ..Retry::default() };
    CallPolicy { retry, ..CallPolicy::default() }
}

/// One model `small` with these targets.
pub(crate) fn setup(targets: Vec<ModelTarget>, policy: CallPolicy) -> Setup {
    let mut setup = Setup::default();
    let routes = &mut setup.snapshot.model;
    routes.keys.insert(KeyHash::of(MODEL_KEY), Arc::new(ModelKey::named("engine")));
    let model = LogicalModel { policy, ..LogicalModel::ordered("small", targets) };
    routes.models.insert("small".to_owned(), Arc::new(model));
    setup
}

/// Two providers with one key each, asked in this order.
pub(crate) async fn pair(policy: CallPolicy) -> (Faulty, Faulty, Rig) {
    let (one, two) = (faulty().await, faulty().await);
    let targets = vec![target(provider("one", &one, 1)), target(provider("two", &two, 1))];
    let rig = setup(targets, policy).start().await;
    (one, two, rig)
}

pub(crate) fn body(stream: bool) -> String {
    let stream = if stream { ",\"stream\":true,\"stream_options\":{\"include_usage\":true}" } else { "" };
    format!(
        "{{\"model\":\"small\",\"messages\":[{{\"role\":\"user\",\"content\":\"hello there\"}}]{stream}}}"
    )
}

pub(crate) async fn ask(rig: &Rig, stream: bool) -> Got {
    rig.got(rig.model_request(Method::POST, CHAT, body(stream))).await
}

/// The same with headers of ours.
pub(crate) async fn ask_with(rig: &Rig, stream: bool, headers: &[(&'static str, &str)]) -> Got {
    let mut request = rig.model_request(Method::POST, CHAT, body(stream));
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a header's value"));
    }
    rig.got(request).await
}

/// Each attempt as `provider/key role class`.
pub(crate) fn course(record: &Record) -> Vec<String> {
    record.attempts.iter().map(attempt).collect()
}

fn attempt(attempt: &Attempt) -> String {
    let role = serde_json::to_value(attempt.role).expect("a role");
    let class = attempt.class.map_or("ok", |class| class.as_str());
    let key = attempt.key.as_deref().unwrap_or("-");
    format!("{}/{key} {} {class}", attempt.upstream, role.as_str().unwrap_or_default())
}

pub(crate) fn code(got: &Got) -> String {
    got.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
}
