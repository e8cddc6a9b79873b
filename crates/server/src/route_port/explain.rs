//! Where a call would go now: the gateway's own order ([`chain::order`]) over what the gateways said last. Pure.

use std::{sync::Arc, time::Duration};

use mainstay_base::{
    Micros, Snapshot, listed,
    snapshot::{LogicalModel, ModelKey, ModelTarget, Strategy},
    standing::{BreakerState, TargetStanding},
};
use mainstay_console::{Explained, RouteAsk, RouteRefused, Step};
use mainstay_signal::chain::{self, Ask, CONVERTED, Seen, Why};
use mainstay_store::model::Stood;

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
    let of_key = |what: fn(&ModelKey) -> Option<&str>| key.as_deref().and_then(what);
    let region = demand(ask, "region", ask.region.as_deref(), of_key(|key| key.region.as_deref()))?;
    let data_class =
        demand(ask, "class of data", ask.data_class.as_deref(), of_key(|key| key.data_class.as_deref()))?;
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
        needs_responses: ask.hosted,
    };
    let seen = |index: usize| seen(snapshot, &model.targets[index], stood, now);
    let plan = chain::order(&model, &asked, seen, &snapshot.model.failovers, || CHANCE);
    notes.extend(unlike_a_call(model.strategy, stood.len()));
    let step = |index: usize, why: Option<String>| Step {
        provider: model.targets[index].provider.name.clone(),
        model: model.targets[index].model.clone(),
        why,
    };
    let candidate = |index: usize| {
        let moved = plan.moved.iter().filter(|(moved, _)| *moved == index).map(|(_, why)| words(why, now));
        let is_converted = ask.responses && !model.targets[index].provider.speaks_responses;
        let why: Vec<String> = moved.chain(is_converted.then(|| CONVERTED.to_owned())).collect();
        step(index, (!why.is_empty()).then(|| why.join("; ")))
    };
    Ok(Explained {
        model: ask.model.clone(),
        generation: snapshot.generation,
        strategy: strategy_word(model.strategy).to_owned(),
        candidates: plan.candidates.iter().map(|index| candidate(*index)).collect(),
        passed_over: plan
            .passed_over
            .iter()
            .map(|(index, why)| step(*index, Some(words(why, now))))
            .collect(),
        is_last_resort: plan.is_last_resort,
        standing_at: stood.iter().map(|stood| stood.standing.at).max(),
        notes,
    })
}

/// What is not as in a real call.
fn unlike_a_call(strategy: Strategy, gateways: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if strategy != Strategy::Ordered {
        let note =
            "targets of one priority are ordered by chance or by load: a real call may find another order";
        notes.push(note.to_owned());
    }
    match gateways {
        0 => notes.push("no gateway says how its targets stand: all count as well".to_owned()),
        1 => {}
        _ => notes.push(format!("{gateways} gateways are running; of each target the worst word is used")),
    }
    notes
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

/// What a key is for holds; a call may repeat it, and one that demands something else is refused.
fn demand<'a>(
    ask: &RouteAsk,
    what: &'static str,
    asked: Option<&'a str>,
    of_key: Option<&'a str>,
) -> Result<Option<&'a str>, RouteRefused> {
    match (asked, of_key) {
        (Some(asked), Some(has)) if asked != has => Err(RouteRefused::Contradicted {
            key: ask.key.clone().unwrap_or_default(),
            what,
            has: has.to_owned(),
            asked: asked.to_owned(),
        }),
        (asked, of_key) => Ok(of_key.or(asked)),
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use mainstay_base::{
        Class, Standing,
        id::KeyHash,
        snapshot::{Dialect, Failover, ModelRoutes, Provider, ProviderKey, Timeouts},
        standing::KeyStanding,
    };

    use super::*;

    const NOW: Micros = Micros(1_800_000_000_000_000);

    fn target(name: &str) -> ModelTarget {
        let provider = Provider {
            name: name.to_owned(),
            dialect: Dialect::OpenAi,
            base_url: String::new(),
            keys: vec![ProviderKey::token("main", mainstay_base::Secret::new("sk"))],
            timeouts: Timeouts::default(),
            first_token: Duration::from_secs(60),
            speaks_responses: true,
        };
        ModelTarget::new(Arc::new(provider), "m")
    }

    fn snapshot(change: impl FnOnce(&mut ModelRoutes)) -> Snapshot {
        let gpt = LogicalModel::ordered("gpt", vec![target("a"), target("b"), target("c")]);
        let guide = ModelKey { models: Some(vec!["other".to_owned()]), ..ModelKey::named("guide") };
        let mut model = ModelRoutes {
            models: HashMap::from([("gpt".to_owned(), Arc::new(gpt))]),
            keys: HashMap::from([(KeyHash::of("k"), Arc::new(guide))]),
            ..ModelRoutes::default()
        };
        change(&mut model);
        Snapshot { generation: 3, model, ..Snapshot::default() }
    }

    fn ask(model: &str, key: Option<&str>) -> RouteAsk {
        RouteAsk { model: model.to_owned(), key: key.map(str::to_owned), ..RouteAsk::default() }
    }

    /// `a` has an open breaker, all keys of `b` rest.
    fn stood() -> Vec<Stood> {
        let open = TargetStanding {
            provider: "a".to_owned(),
            model: "m".to_owned(),
            breaker: BreakerState::Open,
            since: NOW,
            probe_at: Some(NOW + Duration::from_millis(2_500)),
            ejected_until: None,
            in_flight: 0,
            calls: 9,
            failures: 9,
            last_failure: Some(Class::ServerError),
            last_failure_at: Some(NOW),
            last_success_at: None,
            first_token_ms_p50: None,
            first_token_ms_p95: None,
            requests_left: None,
            tokens_left: None,
        };
        let rests = KeyStanding {
            provider: "b".to_owned(),
            key: "main".to_owned(),
            rests_until: Some(NOW + Duration::from_secs(5)),
            why: Some(Class::RateLimited),
            in_flight: 0,
        };
        let standing = Standing {
            at: NOW,
            snapshot_generation: 3,
            targets: vec![open],
            keys: vec![rests],
            ..Standing::default()
        };
        vec![Stood { instance: "here:1".to_owned(), at: NOW, standing }]
    }

    fn line(explained: &Explained) -> Vec<String> {
        let step = |step: &Step| format!("{}: {}", step.provider, step.why.as_deref().unwrap_or("-"));
        let passed = explained.passed_over.iter().map(|one| format!("not {}", step(one)));
        explained.candidates.iter().map(step).chain(passed).collect()
    }

    #[test]
    fn a_route_follows_what_the_gateways_said_and_says_why() {
        let explained = explain(&snapshot(|_| {}), &ask("gpt", None), &stood(), NOW).unwrap();
        assert_eq!(
            line(&explained),
            [
                "c: -",
                "b: all its keys rest; the first is back in 5 s",
                "not a: its breaker is open; the next probe is in 3 s"
            ]
        );
        let drained = snapshot(|model| model.drained.push("a".to_owned()));
        let explained = explain(&drained, &ask("gpt", None), &[], NOW).unwrap();
        assert_eq!(line(&explained), ["b: -", "c: -", "a: its provider is drained"]);
        assert!(explained.notes[0].contains("no gateway says"), "{:?}", explained.notes);
        let failover = Failover { from: "a".to_owned(), to: "c".to_owned() };
        let failed_over = snapshot(|model| model.failovers.push(failover));
        let explained = explain(&failed_over, &ask("gpt", None), &[], NOW).unwrap();
        assert_eq!(line(&explained)[0], "c: failed over by hand from a");
    }

    /// As the gateway does: a shorter answer is better than none, and all reasons are told.
    #[test]
    fn an_answer_that_nobody_gives_is_cut_and_every_reason_is_told() {
        let short = |name: &str, most: u64| {
            let mut target = target(name);
            target.offer.max_output_tokens = Some(most);
            target
        };
        let chain = || LogicalModel::ordered("gpt", vec![short("a", 100), short("b", 200)]);
        let routes = snapshot(|model| {
            model.models.insert("gpt".to_owned(), Arc::new(chain()));
            model.drained.push("a".to_owned());
        });
        let long = RouteAsk { max_output_tokens: Some(5_000), ..ask("gpt", None) };
        assert_eq!(
            line(&explain(&routes, &long, &[], NOW).unwrap()),
            [
                "b: the answer is cut to the 200 tokens that it gives at most",
                "a: its provider is drained; the answer is cut to the 100 tokens that it gives at most"
            ]
        );
        let fits = RouteAsk { max_output_tokens: Some(150), ..ask("gpt", None) };
        assert_eq!(
            line(&explain(&routes, &fits, &[], NOW).unwrap()),
            ["b: -", "not a: it answers with at most 100 tokens"]
        );
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_what_can() {
        for (asked, says) in [
            (ask("claude", None), "there is no model `claude`; there are: gpt"),
            (ask("gpt", Some("ann")), "there is no virtual key named `ann`; there are: guide"),
            (ask("gpt", Some("guide")), "the key guide may not ask for model gpt; it may ask for: other"),
        ] {
            let refused = explain(&snapshot(|_| {}), &asked, &[], NOW).unwrap_err();
            assert_eq!(refused.to_string(), says);
        }
        let eu = |model: &mut ModelRoutes| {
            let key = ModelKey { region: Some("eu".to_owned()), ..ModelKey::named("eu-only") };
            model.keys.insert(KeyHash::of("e"), Arc::new(key));
        };
        let demands =
            |region: &str| RouteAsk { region: Some(region.to_owned()), ..ask("gpt", Some("eu-only")) };
        let refused = explain(&snapshot(eu), &demands("us"), &[], NOW).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the key eu-only is for region eu: a call with it that demands us is refused"
        );
        assert!(explain(&snapshot(eu), &demands("eu"), &[], NOW).unwrap().candidates.is_empty());
        let others = snapshot(|model| model.other_models_to.push(target("c").provider));
        let explained = explain(&others, &ask("claude", None), &[], NOW).unwrap();
        assert_eq!(line(&explained), ["c: -"]);
        assert!(explained.notes[0].contains("no route names this model"));
    }
}
