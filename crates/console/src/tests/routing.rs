//! Models and providers of the world, and a port that answers about their routes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use mainstay_base::{
    Class, Micros, Record, Secret, Snapshot, Standing, Usd,
    id::KeyHash,
    record::{self, AttemptRole},
    snapshot::{
        Dialect, LogicalModel, ModelKey, ModelRoutes, ModelTarget, Price, Provider, ProviderKey, Strategy,
        Timeouts,
    },
    standing::{BreakerState, KeyStanding, TargetStanding},
};
use serde_json::{Value, json};

use super::world::NOW;
use crate::{Explained, RouteAsk, RouteRefused, Routes, Simulation, Step};

pub(crate) const CALL: &str = "01930000-0000-7000-8000-0000000000b2";

pub(crate) fn provider(name: &str) -> Arc<Provider> {
    let (dialect, keys): (_, &[&str]) = match name {
        "openai" => (Dialect::OpenAi, &["main", "spare"]),
        "anthropic" => (Dialect::Anthropic, &["only"]),
        _ => (Dialect::OpenAi, &[]),
    };
    let keys = if ["openai", "anthropic", "backup/eu"].contains(&name) { keys.to_vec() } else { vec![name] };
    let key = |name: &&str| ProviderKey::token(*name, Secret::new("sk-never-shown"));
    Arc::new(Provider {
        name: name.to_owned(),
        dialect,
        base_url: format!("https://{}.example/v1", name.replace('/', "-")),
        keys: keys.iter().map(key).collect(),
        timeouts: Timeouts::default(),
        first_token: Duration::from_secs(60),
        speaks_responses: true,
    })
}

/// `named`: what the only model, its provider and its target are called.
pub(crate) fn models(named: Option<&str>) -> Vec<Arc<LogicalModel>> {
    if let Some(name) = named {
        return vec![Arc::new(LogicalModel::ordered(name, vec![ModelTarget::new(provider(name), name)]))];
    }
    let target = |name: &str, model: &str| ModelTarget {
        price: Some(Price { input: Usd(2_500_000), output: Usd(10_000_000), cached_input: None }),
        ..ModelTarget::new(provider(name), model)
    };
    let second = ModelTarget { priority: 1, ..target("anthropic", "claude") };
    let third = ModelTarget { priority: 2, ..target("backup/eu", "gpt-4o") };
    let gpt = LogicalModel::ordered("gpt", vec![target("openai", "gpt-4o"), second, third]);
    let embed = LogicalModel {
        strategy: Strategy::LeastBusy,
        ..LogicalModel::ordered("text/embed", vec![target("openai", "text-embedding-3-small")])
    };
    vec![Arc::new(gpt), Arc::new(embed)]
}

pub(crate) fn snapshot(named: Option<&str>) -> Snapshot {
    let model = named.unwrap_or("gpt").to_owned();
    let guide = ModelKey { models: Some(vec![model]), ..ModelKey::named(named.unwrap_or("guide")) };
    let keys = [("a", ModelKey::named("engine")), ("b", guide)];
    let models: HashMap<_, _> = models(named).into_iter().map(|model| (model.name.clone(), model)).collect();
    Snapshot {
        generation: 7,
        model: ModelRoutes {
            models,
            other_models_to: vec![provider(named.unwrap_or("backup/eu"))],
            keys: keys.into_iter().map(|(hash, key)| (KeyHash::of(hash), Arc::new(key))).collect(),
            ..ModelRoutes::default()
        },
        ..Snapshot::default()
    }
}

/// What one gateway said last.
pub(crate) fn standing() -> Standing {
    let target = |provider: &str, model: &str| TargetStanding {
        provider: provider.to_owned(),
        model: model.to_owned(),
        breaker: BreakerState::Closed,
        since: NOW - Duration::from_secs(3_600),
        probe_at: None,
        ejected_until: None,
        in_flight: 2,
        calls: 40,
        failures: 0,
        last_failure: None,
        last_failure_at: None,
        last_success_at: Some(NOW - Duration::from_secs(1)),
        first_token_ms_p50: Some(210),
        first_token_ms_p95: Some(840),
        requests_left: Some(480),
        tokens_left: None,
    };
    let open = TargetStanding {
        breaker: BreakerState::Open,
        since: NOW - Duration::from_secs(12),
        probe_at: Some(NOW + Duration::from_secs(3)),
        failures: 9,
        calls: 12,
        last_failure: Some(Class::ServerError),
        last_failure_at: Some(NOW - Duration::from_secs(12)),
        ..target("openai", "gpt-4o")
    };
    let key = |name: &str, rests: Option<u64>, why| KeyStanding {
        provider: "openai".to_owned(),
        key: name.to_owned(),
        rests_until: rests.map(|seconds| NOW + Duration::from_secs(seconds)),
        why,
        in_flight: 1,
    };
    Standing {
        at: NOW,
        snapshot_generation: 7,
        targets: vec![open, target("anthropic", "claude")],
        keys: vec![key("main", None, None), key("spare", Some(540), Some(Class::BadKey))],
        ..Standing::default()
    }
}

/// A call that the first provider failed and the second answered.
pub(crate) fn call() -> Record {
    let attempt = |provider: &str, model: &str, role| record::Attempt {
        upstream: provider.to_owned(),
        model: Some(model.to_owned()),
        role,
        ..record::Attempt::default()
    };
    let failed = record::Attempt {
        status: Some(500),
        error: Some("the provider answered 500: overloaded".to_owned()),
        class: Some(Class::ServerError),
        key: Some("main".to_owned()),
        took_us: 120_000,
        cost: Some(Usd::ZERO),
        ..attempt("openai", "gpt-4o", AttemptRole::First)
    };
    let answer = record::Attempt {
        status: Some(200),
        key: Some("only".to_owned()),
        started_us: 121_000,
        first_byte_us: Some(180_000),
        first_token_us: Some(240_000),
        took_us: 1_900_000,
        input_tokens: Some(320),
        output_tokens: Some(95),
        cost: Some(Usd(1_750)),
        is_cost_estimated: true,
        ..attempt("anthropic", "claude", AttemptRole::Fallback)
    };
    Record {
        request_id: CALL.to_owned(),
        method: "POST".to_owned(),
        target: "/v1/chat/completions".to_owned(),
        opened_at: NOW - Duration::from_secs(9),
        took_us: 2_021_000,
        outcome: record::Outcome::Ok,
        status: 200,
        app: Some("Guide".to_owned()),
        upstream: Some("anthropic".to_owned()),
        model: Some("gpt".to_owned()),
        streamed: true,
        key: Some("guide".to_owned()),
        end_user: Some("user-7".to_owned()),
        cost: Some(Usd(1_750)),
        deadline_us: Some(600_000_000),
        max_cost: Some(Usd(50_000)),
        attempts: vec![failed, answer],
        ..Record::blank(record::Path::Model)
    }
}

#[derive(Default)]
pub(crate) struct Signpost {
    /// What everything is called, instead of the names below.
    pub(crate) named: Option<String>,
}

impl Routes for Signpost {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(snapshot(self.named.as_deref()))
    }

    fn explain(&self, ask: RouteAsk) -> BoxFuture<'static, Result<Explained, RouteRefused>> {
        let step = |provider: &str, why: Option<&str>| Step {
            provider: provider.to_owned(),
            model: "gpt-4o".to_owned(),
            why: why.map(str::to_owned),
        };
        let known = "gpt, text/embed".to_owned();
        if let Some(name) = self.named.clone() {
            let step = || Step { provider: name.clone(), model: name.clone(), why: Some(name.clone()) };
            let explained = Explained {
                model: ask.model,
                generation: 7,
                strategy: "ordered".to_owned(),
                candidates: vec![step()],
                passed_over: vec![step()],
                is_last_resort: true,
                standing_at: None,
                notes: vec![name.clone()],
            };
            return Box::pin(async move { Ok(explained) });
        }
        let explained = match ask.model.as_str() {
            "gpt" => Ok(Explained {
                model: ask.model,
                generation: 7,
                strategy: "ordered".to_owned(),
                candidates: vec![step("anthropic", None), step("backup/eu", Some("its provider is drained"))],
                passed_over: vec![step("openai", Some("its breaker is open; the next probe is in 3 s"))],
                is_last_resort: false,
                standing_at: Some(Micros(NOW.0)),
                notes: vec!["2 gateways are running".to_owned()],
            }),
            _ => Err(RouteRefused::NoModel { name: ask.model, known }),
        };
        Box::pin(async move { explained })
    }

    fn simulate(&self, what: Simulation) -> BoxFuture<'static, Result<Value, RouteRefused>> {
        let Simulation { policy, since_s, .. } = what;
        if let Some(name) = &self.named {
            let text = json!(format!("{name}/{name}")).to_string();
            let whole = simulated(since_s).to_string();
            let whole = ["openai/gpt-4o", "new/gpt-5"]
                .iter()
                .fold(whole, |whole, old| whole.replace(&json!(old).to_string(), &text));
            let whole = whole.replace(&json!("embed").to_string(), &json!(name).to_string());
            return Box::pin(async move { Ok(serde_json::from_str(&whole).unwrap()) });
        }
        Box::pin(async move {
            match policy.as_str() {
                "" => Err(RouteRefused::BadPolicy(vec!["model: nothing is there".to_owned()])),
                _ => Ok(simulated(since_s)),
            }
        })
    }
}

/// What a simulation tells: the change keeps calls away from a provider that fails.
pub(crate) fn simulated(since_s: u64) -> Value {
    let quantiles = |p50: f64| json!({ "p50_ms": p50, "p95_ms": p50 * 4.0, "p99_ms": p50 * 10.0 });
    let figures = |calls: u64, answered: u64, p50: f64, cost: i64| {
        json!({
            "calls": calls, "answered": answered, "failed": calls - answered, "callers_doing": 0, "unanswerable": 0,
            "success_share": answered as f64 / calls as f64,
            "first_token": quantiles(p50), "total": quantiles(p50 * 5.0),
            "attempts": calls, "attempts_per_call": 1.0, "cost": cost,
            "target_shares": {}, "budget_refusals": 0,
        })
    };
    let target = |attempts: u64, answers: u64, opens: u64| {
        json!({
            "attempts": attempts, "answers": answers, "failures": attempts - answers, "share": 0.5,
            "breaker_opens": opens,
        })
    };
    let side = |answered: u64, p50: f64, cost: i64, first: u64, unknown: &[&str]| {
        json!({
            "whole": figures(1_000, answered, p50, cost),
            "models": { "gpt": figures(900, answered - 100, p50, cost), "embed": figures(100, 100, p50, 0) },
            "targets": {
                "openai/gpt-4o": target(first, first - first / 10, 2),
                "anthropic/claude": target(1_000 - first, 1_000 - first, 0),
            },
            "unknown_targets": unknown,
        })
    };
    json!({
        "read": {
            "since_s": since_s, "calls": 1_000, "left_out": 3, "is_whole": false, "needs_unknown": 12,
            "notes": ["of successes only 0.1 is stored"],
        },
        "report": {
            "seed": 1,
            "recorded": side(950, 400.0, 2_000_000, 900, &[]),
            "baseline": side(948, 401.0, 2_000_000, 900, &[]),
            "changed": side(990, 300.0, 2_500_000, 300, &["new/gpt-5"]),
            "fidelity": {
                "is_faithful": true,
                "success_share": -0.002, "attempts_per_call": 0.0, "first_token_p50": 0.0025, "first_token_p95": 0.0,
                "total_p50": 0.0, "total_p95": 0.0, "cost": 0.0, "own_share_baseline": 0.97,
                "own_share_changed": 0.31,
            },
        },
    })
}
