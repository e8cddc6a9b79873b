//! Virtual keys over real sockets: what they may ask for, how fast, for how much, and that nothing is sent upstream for
//! what is refused.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http::Method;
use mainstay_base::{
    Kind, Micros, Usd,
    id::KeyHash,
    snapshot::{KeyBudget, LogicalModel, ModelKey, ModelTarget, OnStoreGone, Price},
};
use mainstay_gateway::{Allowance, BoxFuture, Gone};
use mainstay_testkit::{HttpServer, http_server::whole, model, wait_until};
use parking_lot::Mutex;

use crate::rig::{Got, MODEL_KEY, PATIENCE, Rig, Setup, provider};

mod requests;

const CHAT: &str = "/v1/chat/completions";
const ASK: &str = r#"{"model":"small","messages":[{"role":"user","content":"hi"}],"max_tokens":10}"#;

/// One model `small` at $1 and $2 for a thousand tokens, and this key.
fn priced(peer: &HttpServer, key: ModelKey) -> Setup {
    let mut setup = Setup::model(&[]);
    let routes = &mut setup.snapshot.model;
    let price = Price { input: Usd(1_000_000_000), output: Usd(2_000_000_000), cached_input: None };
    let target =
        ModelTarget { price: Some(price), ..ModelTarget::new(provider("one", &peer.url()), "real-small") };
    routes.models.insert("small".to_owned(), Arc::new(LogicalModel::ordered("small", vec![target])));
    routes.keys.insert(KeyHash::of(MODEL_KEY), Arc::new(key));
    setup
}

fn budgeted(limit: Usd, when_store_gone: OnStoreGone) -> ModelKey {
    let budget = KeyBudget { limit, window: Duration::from_secs(24 * 3600), when_store_gone };
    ModelKey { budget: Some(budget), ..ModelKey::named("k") }
}

/// 100 tokens in, 10 out: $0.12.
async fn billing() -> HttpServer {
    HttpServer::start(|_| async {
        let body = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,
            "message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],
            "usage":{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110}}"#;
        whole(200, "application/json", body)
    })
    .await
}

async fn ask(rig: &Rig) -> Got {
    rig.got(rig.model_request(Method::POST, CHAT, ASK)).await
}

fn code(got: &Got) -> String {
    got.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_key_asks_for_its_models_only_and_sees_no_others() {
    let one = model::start().await;
    let key = ModelKey { models: Some(vec!["large".to_owned()]), ..ModelKey::named("k") };
    let mut rig = priced(&one, key).start().await;
    let got = ask(&rig).await;
    assert_eq!((got.status, code(&got)), (403, "model_not_allowed".to_owned()));
    assert_eq!(got.json()["error"]["param"], "model");
    let record = rig.only_record().await;
    assert_eq!((record.kind, record.key.as_deref()), (Some(Kind::Denied), Some("k")));
    let got = rig.got(rig.model_request(Method::POST, CHAT, ASK.replace("small", "none"))).await;
    assert_eq!((got.status, code(&got)), (404, "model_not_found".to_owned()));
    let got = rig.got(rig.model_request(Method::GET, "/v1/models", "")).await;
    assert_eq!(got.json()["data"], serde_json::json!([]));
    assert_eq!(rig.got(rig.model_request(Method::GET, "/v1/models/small", "")).await.status, 404);
    assert!(one.requests().is_empty());
}

#[tokio::test]
async fn a_key_over_its_rate_is_told_when_to_come_back() {
    let one = model::start().await;
    let key = ModelKey { requests_a_minute: Some(6), ..ModelKey::named("k") };
    let rig = priced(&one, key).start().await;
    assert_eq!(ask(&rig).await.status, 200);
    let got = ask(&rig).await;
    assert_eq!((got.status, code(&got)), (429, "rate_limit_exceeded".to_owned()));
    let retry: u64 = got.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=10).contains(&retry), "{retry}");
    assert_eq!(one.requests().len(), 1);
}

#[tokio::test]
async fn a_key_has_as_many_calls_at_once_as_it_may() {
    let one = model::start().await;
    let key = ModelKey { concurrency: Some(1), ..ModelKey::named("k") };
    let rig = Arc::new(priced(&one, key).start().await);
    let slow = rig.model_request(Method::POST, CHAT, ASK.replace("hi", "[[delay:0.3]] hi"));
    let first = tokio::spawn({
        let rig = rig.clone();
        async move { rig.got(slow).await.status }
    });
    wait_until("the first call is under way", PATIENCE, || async {
        (one.requests().len() == 1).then_some(())
    })
    .await;
    let got = ask(&rig).await;
    assert_eq!((got.status, code(&got)), (429, "rate_limit_exceeded".to_owned()));
    assert_eq!(got.headers["retry-after"], "1");
    assert_eq!(first.await.unwrap(), 200);
    rig.nothing_is_out().await;
    assert_eq!(ask(&rig).await.status, 200);
}

#[tokio::test]
async fn a_budget_is_spent_to_its_end_and_no_further() {
    let one = billing().await;
    // The worst case of a call is about $0.03: each costs $0.12 in truth.
    let mut rig = priced(&one, budgeted(Usd(500_000), OnStoreGone::Closed)).start().await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(ask(&rig).await.status);
        rig.nothing_is_out().await;
    }
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429], "0.48 of 0.50 are spent, and 0.03 may be needed");
    let got = ask(&rig).await;
    assert_eq!(code(&got), "insufficient_quota");
    assert_eq!(got.json()["error"]["type"], "insufficient_quota");
    let until_midnight: u64 = got.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=24 * 3600).contains(&until_midnight));
    assert_eq!(one.requests().len(), 4);
    let record = rig.record().await;
    assert_eq!((record.cost, record.key.as_deref()), (Some(Usd(120_000)), Some("k")));
    let got = rig.got(rig.model_request(Method::GET, "/v1/models", "")).await;
    assert_eq!(got.status, 200, "asking for the list costs nothing");
}

/// A keeper that can be turned off, and remembers.
#[derive(Default)]
struct Store {
    is_gone: AtomicBool,
    is_frozen: AtomicBool,
    taken: Mutex<i64>,
    booked: Mutex<i64>,
}

impl Store {
    fn answer(&self) -> Option<Result<(), Gone>> {
        match () {
            () if self.is_frozen.load(Ordering::SeqCst) => None,
            () if self.is_gone.load(Ordering::SeqCst) => Some(Err(Gone)),
            () => Some(Ok(())),
        }
    }
}

impl Allowance for Store {
    fn take(&self, _: &str, _: Micros, limit: Usd, wanted: Usd) -> BoxFuture<'static, Result<Usd, Gone>> {
        let Some(answer) = self.answer() else { return Box::pin(std::future::pending()) };
        let granted = answer.map(|()| {
            let mut taken = self.taken.lock();
            let granted = (limit.0 - *taken).clamp(0, wanted.0);
            *taken += granted;
            Usd(granted)
        });
        Box::pin(std::future::ready(granted))
    }

    fn book(&self, _: &str, _: Micros, spent: Usd) -> BoxFuture<'static, Result<(), Gone>> {
        let Some(answer) = self.answer() else { return Box::pin(std::future::pending()) };
        if answer.is_ok() {
            *self.taken.lock() += spent.0;
            *self.booked.lock() += spent.0;
        }
        Box::pin(std::future::ready(answer))
    }

    fn give_back(&self, _: &str, _: Micros, unused: Usd) {
        *self.taken.lock() -= unused.0;
    }
}

#[tokio::test]
async fn without_the_store_a_closed_key_is_refused_and_an_open_one_served_and_booked_later() {
    for (when, expected) in [(OnStoreGone::Closed, 503), (OnStoreGone::Open, 200)] {
        let one = billing().await;
        let store = Arc::new(Store::default());
        store.is_gone.store(true, Ordering::SeqCst);
        let mut setup = priced(&one, budgeted(Usd(1_000_000), when));
        setup.allowance = Some(store.clone());
        let rig = setup.start().await;
        let got = ask(&rig).await;
        assert_eq!(got.status, expected, "{when:?}: {}", got.text());
        if expected == 503 {
            assert_eq!(
                (code(&got).as_str(), &got.headers["retry-after"]),
                ("budget_unreachable", &"5".parse().unwrap())
            );
            assert!(one.requests().is_empty());
            continue;
        }
        store.is_gone.store(false, Ordering::SeqCst);
        let booked = || async { (*store.booked.lock() == 120_000).then_some(()) };
        wait_until("what was spent meanwhile is written down", PATIENCE, booked).await;
    }
}

#[tokio::test]
async fn a_frozen_store_costs_two_seconds_once() {
    let one = billing().await;
    let store = Arc::new(Store::default());
    store.is_frozen.store(true, Ordering::SeqCst);
    let mut setup = priced(&one, budgeted(Usd(1_000_000), OnStoreGone::Open));
    setup.allowance = Some(store);
    let rig = setup.start().await;
    let begun = Instant::now();
    assert_eq!(ask(&rig).await.status, 200);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(ask(&rig).await.status, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn two_gateways_share_one_budget() {
    let one = billing().await;
    let store = Arc::new(Store::default());
    let mut rigs = Vec::new();
    for _ in 0..2 {
        let mut setup = priced(&one, budgeted(Usd(1_200_000), OnStoreGone::Closed));
        setup.allowance = Some(store.clone());
        rigs.push(setup.start().await);
    }
    // $0.21 in the worst case.
    let body = ASK.replace("10}", "100}");
    for turn in 0..30 {
        let rig = &rigs[turn % 2];
        rig.got(rig.model_request(Method::POST, CHAT, body.clone())).await;
        rigs[turn % 2].nothing_is_out().await;
    }
    let served = one.requests().len();
    assert!(
        (7..=10).contains(&served),
        "{served} calls of $0.12 out of $1.20, of which two slices may be held"
    );
    let taken = *store.taken.lock();
    assert!(taken <= 1_200_000 && taken >= served as i64 * 120_000, "{taken}");
}

#[tokio::test]
async fn terms_and_attribution_are_in_the_record_and_never_sent_on() {
    let one = model::start().await;
    let key = ModelKey { tenant: "acme".into(), app: Some("orders".into()), ..ModelKey::named("k") };
    let mut rig = priced(&one, key).start().await;
    let body = ASK.replace("\"max_tokens\"", "\"user\":\"end-1\",\"max_tokens\"");
    let mut request = rig.model_request(Method::POST, "/apps/billing/v1/chat/completions", body);
    for (name, value) in [
        ("mainstay-app", "forged"),
        ("mainstay-workflow", "w1"),
        ("mainstay-deadline", "5000"),
        ("mainstay-max-cost", "0.5"),
        ("x-api-key", MODEL_KEY),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let got = rig.got(request).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(got.headers["mainstay-max-cost"], "0.500000");
    let record = rig.only_record().await;
    assert_eq!((record.app_id.as_deref(), record.tenant.as_deref()), (Some("orders"), Some("acme")));
    assert_eq!((record.end_user.as_deref(), record.max_cost), (Some("end-1"), Some(Usd(500_000))));
    assert_eq!(record.target, "/apps/billing/v1/chat/completions");
    let seen = &one.requests()[0];
    assert_eq!(seen.uri().path(), CHAT);
    for (name, value) in seen.headers() {
        assert!(!name.as_str().starts_with("mainstay-") && name != "x-api-key", "{name} was sent on");
        assert!(
            !value.to_str().unwrap_or_default().contains(MODEL_KEY),
            "the virtual key was sent on in {name}"
        );
    }
}

#[tokio::test]
async fn a_name_of_its_own_says_whose_a_call_is_when_nothing_else_does() {
    let one = model::start().await;
    let mut setup = priced(&one, ModelKey::named("k"));
    let small = setup.snapshot.model.models["small"].clone();
    let alias =
        LogicalModel { name: "billing/small".into(), app: Some("billing".into()), ..(*small).clone() };
    setup.snapshot.model.models.insert(alias.name.clone(), alias.into());
    let mut rig = setup.start().await;
    for (path, model, app) in [
        (CHAT, "billing/small", Some("billing")),
        ("/apps/orders/v1/chat/completions", "billing/small", Some("orders")),
        (CHAT, "small", None),
    ] {
        let body = ASK.replace("\"small\"", &format!("\"{model}\""));
        let got = rig.got(rig.model_request(Method::POST, path, body)).await;
        assert_eq!(got.status, 200, "{}", got.text());
        assert_eq!(rig.record().await.app_id.as_deref(), app, "{path} {model}");
    }
}
