//! Where a call would go now: the gateway's own order ([`chain::order`]) over what the gateways said last. Pure.

use std::{sync::Arc, time::Duration};

use mainstay_base::{
    Micros, Snapshot,
    snapshot::{LogicalModel, ModelKey, ModelTarget, Strategy},
    standing::{BreakerState, TargetStanding},
};
use mainstay_console::{Explained, RouteAsk, RouteRefused, Step};
use mainstay_signal::chain::{self, Ask, Seen, Why};
use mainstay_store::model::Stood;

use super::listed;

/// A gateway that has said nothing for so long is not heard.
pub(super) const STANDING_MAX_AGE: Duration = Duration::from_secs(10);
/// The grant of a minute comes back within it.
const MINUTE: Duration = Duration::from_secs(60);
/// Chance has no place in an explanation: this draw is as good as any.
const CHANCE: f64 = 0.5;

pub(super) fn explain(
    snapshot: &Snapshot,
    ask: &RouteAsk,
    stood: &[Stood],
    now: Micros,
) -> Result<Explained, RouteRefused> {
    let key = ask.key.as_deref().map(|name| find_key(snapshot, name)).transpose()?;
    let mut notes = Vec::new();
    let model = find_model(snapshot, ask, &mut notes)?;
    if let Some(key) = &key {
        refuse_forbidden(key, &ask.model)?;
    }
    let region = ask.region.as_deref().or(key.as_ref().and_then(|key| key.region.as_deref()));
    let data_class = ask.data_class.as_deref().or(key.as_ref().and_then(|key| key.data_class.as_deref()));
    let asked = Ask {
        key: ask.key.as_deref().unwrap_or_default(),
        region,
        data_class,
        input_tokens: ask.input_tokens,
        max_output_tokens: ask.max_output_tokens,
        tools: ask.tools,
        vision: ask.vision,
        structured_output: ask.structured_output,
        keeps_model: ask.embeddings,
    };
    let seen = |index: usize| seen(snapshot, &model.targets[index], stood, now);
    let plan = chain::order(&model, &asked, seen, &snapshot.model.failovers, || CHANCE);
    if model.strategy != Strategy::Ordered {
        notes.push(
            "targets of one priority are ordered by chance or by load: a real call may find another order"
                .to_owned(),
        );
    }
    if stood.is_empty() {
        notes.push("no gateway says how its targets stand: all count as well".to_owned());
    }
    if stood.len() > 1 {
        notes.push(format!("{} gateways are running; of each target the worst word is used", stood.len()));
    }
    let step = |index: usize, why: Option<&Why>| Step {
        provider: model.targets[index].provider.name.clone(),
        model: model.targets[index].model.clone(),
        why: why.map(|why| words(why, now)),
    };
    let moved = |index: usize| plan.moved.iter().find(|(moved, _)| *moved == index).map(|(_, why)| why);
    Ok(Explained {
        model: ask.model.clone(),
        generation: snapshot.generation,
        strategy: strategy_word(model.strategy).to_owned(),
        candidates: plan.candidates.iter().map(|index| step(*index, moved(*index))).collect(),
        passed_over: plan.passed_over.iter().map(|(index, why)| step(*index, Some(why))).collect(),
        is_last_resort: plan.is_last_resort,
        standing_at: stood.iter().map(|stood| stood.standing.at).max(),
        notes,
    })
}

fn find_key(snapshot: &Snapshot, name: &str) -> Result<Arc<ModelKey>, RouteRefused> {
    let keys = &snapshot.model.keys;
    let found = keys.values().find(|key| key.name == name).cloned();
    found.ok_or_else(|| RouteRefused::NoKey {
        name: name.to_owned(),
        known: listed(keys.values().map(|key| key.name.as_str())),
    })
}

fn find_model(
    snapshot: &Snapshot,
    ask: &RouteAsk,
    notes: &mut Vec<String>,
) -> Result<Arc<LogicalModel>, RouteRefused> {
    let routes = &snapshot.model;
    if let Some(model) = routes.models.get(&ask.model) {
        return Ok(Arc::clone(model));
    }
    if routes.other_models_to.is_empty() {
        let known = listed(routes.models.keys().map(String::as_str));
        return Err(RouteRefused::NoModel { name: ask.model.clone(), known });
    }
    notes.push("no route names this model: it goes where names without a route go".to_owned());
    let target = |provider: &Arc<_>| ModelTarget::new(Arc::clone(provider), ask.model.clone());
    let targets = routes.other_models_to.iter().map(target).collect();
    Ok(Arc::new(LogicalModel::ordered(ask.model.clone(), targets)))
}

fn refuse_forbidden(key: &ModelKey, model: &str) -> Result<(), RouteRefused> {
    match &key.models {
        Some(may) if !may.iter().any(|allowed| allowed == model) => Err(RouteRefused::Forbidden {
            key: key.name.clone(),
            model: model.to_owned(),
            may: listed(may.iter().map(String::as_str)),
        }),
        _ => Ok(()),
    }
}

/// One target as the gateway sees it that has the worst of it.
fn seen(snapshot: &Snapshot, target: &ModelTarget, stood: &[Stood], now: Micros) -> Seen {
    let provider = &target.provider.name;
    let is_it = |told: &&TargetStanding| told.provider == *provider && told.model == target.model;
    let told: Vec<&TargetStanding> =
        stood.iter().flat_map(|stood| &stood.standing.targets).filter(is_it).collect();
    let open = told.iter().filter(|told| told.breaker == BreakerState::Open);
    let is_busy =
        |told: &&TargetStanding| target.limits.concurrency.is_some_and(|places| told.in_flight >= places);
    let is_spent = |told: &&TargetStanding| told.requests_left == Some(0) || told.tokens_left == Some(0);
    Seen {
        drained: snapshot.model.drained.contains(provider),
        // One whose probe is due is asked like any other.
        breaker_open_until: open.filter_map(|told| told.probe_at).filter(|until| *until > now).max(),
        ejected: told.iter().any(|told| told.ejected_until.is_some_and(|until| until > now)),
        busy: told.iter().any(is_busy),
        rate_wait: told.iter().any(is_spent).then_some(MINUTE),
        keys_rest_until: keys_rest_until(target, stood, now),
        in_flight: told.iter().map(|told| told.in_flight).sum(),
        mean_first_token: told
            .iter()
            .filter_map(|told| told.first_token_ms_p50)
            .max()
            .map(Duration::from_millis),
    }
}

/// When the first of its keys is back, if all rest at some gateway.
fn keys_rest_until(target: &ModelTarget, stood: &[Stood], now: Micros) -> Option<Micros> {
    let rests = |name: &str| {
        let keys = stood.iter().flat_map(|stood| &stood.standing.keys);
        let ours = keys.filter(|key| key.provider == target.provider.name && key.key == name);
        ours.filter_map(|key| key.rests_until).filter(|until| *until > now).max()
    };
    let resting: Option<Vec<Micros>> = target.provider.keys.iter().map(|key| rests(&key.name)).collect();
    resting?.into_iter().min()
}

/// As the gateway says it, with spans instead of moments.
fn words(why: &Why, now: Micros) -> String {
    let in_seconds = |until: &Micros| format!("{:.0} s", until.since(now).as_secs_f64().ceil());
    match why {
        Why::BreakerOpen { until } => {
            format!("its breaker is open; the next probe is in {}", in_seconds(until))
        }
        Why::KeysRest { until } => format!("all its keys rest; the first is back in {}", in_seconds(until)),
        Why::RateLimited { .. } => "its grant for this minute is used up".to_owned(),
        other => other.to_string(),
    }
}

fn strategy_word(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Ordered => "ordered",
        Strategy::Weighted => "weighted",
        Strategy::LeastLatency => "least-latency",
        Strategy::LeastBusy => "least-busy",
    }
}
