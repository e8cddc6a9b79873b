//! `[model]`: routes, virtual keys, and the policies of calls.

use std::{sync::Arc, time::Duration};

use mainstay_base::snapshot::{
    CallPolicy, Conditions, KeyBudget, LogicalModel, ModelKey, ModelTarget, OnStoreGone, Provider, Strategy,
};

use super::{check_name, count, named, policy, provider::Declared};
use crate::config::{
    Model, VirtualKey,
    reader::Reader,
    secrets::{self, Follow},
};

/// The name of the embedded engine's own key.
pub(crate) const ENGINE_KEY: &str = "engine";
const MAX_PRIORITY: u64 = 1000;
const MAX_WEIGHT: u64 = 1000;
const MAX_BUDGET_DOLLARS: f64 = 100_000_000.0;
const MAX_TOKENS: u64 = 1_000_000_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn model(reader: Reader<'_>, providers: &[Declared], follow: Follow) -> Model {
    let policy = policy::policy(reader.section("policy"), &CallPolicy::default());
    let breaker = policy::breaker(reader.section("breaker"));
    let ejection = policy::ejection(reader.section("ejection"));
    let other_models_to = other_models_to(&reader, providers);
    let declared =
        named(reader.sections("route"), "model", |reader, name| route(reader, name, providers, &policy));
    let declared_routes = declared.len();
    let keys = named(reader.sections("key"), "name", |reader, name| virtual_key(reader, name, follow));
    refuse_doubles(&reader, &keys);
    reader.done();
    let routes = routes(declared, providers, &policy).into_iter().map(Arc::new).collect();
    Model { routes, declared_routes, other_models_to, policy, breaker, ejection, keys }
}

fn other_models_to(reader: &Reader<'_>, providers: &[Declared]) -> Vec<Arc<Provider>> {
    let mut found = Vec::new();
    for (index, name) in reader.texts("other_models_to").unwrap_or_default().iter().enumerate() {
        match find(providers, name) {
            Ok(declared) if found.contains(&declared.provider) => {
                reader.report(&format!("other_models_to[{index}]"), format!("names {name} twice"));
            }
            Ok(declared) => found.push(Arc::clone(&declared.provider)),
            Err(message) => reader.report(&format!("other_models_to[{index}]"), message),
        }
    }
    found
}

fn find<'p>(providers: &'p [Declared], name: &str) -> Result<&'p Declared, String> {
    let found = providers.iter().find(|declared| declared.provider.name == name);
    found.ok_or_else(|| format!("names the provider {name}, which is not (rightly) declared"))
}

const STRATEGIES: &[(&str, Strategy)] = &[
    ("ordered", Strategy::Ordered),
    ("weighted", Strategy::Weighted),
    ("least-latency", Strategy::LeastLatency),
    ("least-busy", Strategy::LeastBusy),
];

fn route(
    reader: &Reader<'_>,
    name: String,
    providers: &[Declared],
    policy: &CallPolicy,
) -> Option<LogicalModel> {
    let app = reader.text("app");
    let strategy = reader.choice("strategy", STRATEGIES).unwrap_or_default();
    if !reader.is_given("targets") && !reader.is_given("target") {
        reader.report("targets", "is missing");
    }
    let mut targets = Vec::new();
    for (index, text) in reader.texts("targets").unwrap_or_default().iter().enumerate() {
        let found = match text.split_once('/') {
            Some((provider, model)) if !model.is_empty() => {
                find(providers, provider).map(|found| found.target(model))
            }
            _ => Err("is not PROVIDER/MODEL".to_owned()),
        };
        match found {
            Ok(target) => {
                check_name(reader, &format!("targets[{index}]"), &target.model);
                add(reader, &mut targets, target);
            }
            Err(message) => reader.report(&format!("targets[{index}]"), message),
        }
    }
    for table in reader.sections("target") {
        if let Some(found) = target(&table, providers) {
            add(reader, &mut targets, found);
        }
        table.done();
    }
    if targets.is_empty() && reader.findings().are_none() {
        reader.report("targets", "is empty: nobody could answer");
    }
    let policy = policy::policy(reader.section("policy"), policy);
    Some(LogicalModel { name, app, strategy, targets, policy })
}

fn add(reader: &Reader<'_>, targets: &mut Vec<ModelTarget>, target: ModelTarget) {
    let is_same =
        |known: &ModelTarget| known.provider.name == target.provider.name && known.model == target.model;
    match targets.iter().any(is_same) {
        true => reader.report("targets", format!("has {}/{} twice", target.provider.name, target.model)),
        false => targets.push(target),
    }
}

/// One `[[model.route.target]]`.
fn target(reader: &Reader<'_>, providers: &[Declared]) -> Option<ModelTarget> {
    reader.require("provider");
    let declared = reader
        .text("provider")
        .and_then(|name| find(providers, &name).map_err(|message| reader.report("provider", message)).ok());
    let model = reader.required("model");
    check_name(reader, "model", model.as_deref().unwrap_or_default());
    let priority = count(reader, "priority", 0..=MAX_PRIORITY);
    let weight = count(reader, "weight", 1..=MAX_WEIGHT);
    let when = conditions(reader.section("when"));
    let known = declared?.target(&model?);
    Some(ModelTarget {
        priority: priority.unwrap_or(known.priority),
        weight: weight.unwrap_or(known.weight),
        when,
        ..known
    })
}

fn conditions(reader: Reader<'_>) -> Conditions {
    let tokens = |key| reader.number(key, 0..=MAX_TOKENS);
    let when = Conditions {
        keys: reader.texts("keys").unwrap_or_default(),
        min_input_tokens: tokens("min_input_tokens"),
        max_input_tokens: tokens("max_input_tokens"),
    };
    if let (Some(least), Some(most)) = (when.min_input_tokens, when.max_input_tokens)
        && least > most
    {
        reader.report("max_input_tokens", "is less than min_input_tokens: no call would fit");
    }
    reader.done();
    when
}

/// Each model goes to the providers that have it, in their order, unless a route says otherwise.
fn routes(declared: Vec<LogicalModel>, providers: &[Declared], policy: &CallPolicy) -> Vec<LogicalModel> {
    let mut routes = declared;
    let explicit = routes.len();
    for target in providers.iter().flat_map(|declared| &declared.models) {
        if routes[..explicit].iter().any(|route| route.name == target.model) {
            continue;
        }
        match routes.iter_mut().find(|route| route.name == target.model) {
            Some(route) => route.targets.push(target.clone()),
            None => routes.push(LogicalModel {
                policy: policy.clone(),
                ..LogicalModel::ordered(&target.model, vec![target.clone()])
            }),
        }
    }
    routes
}

fn virtual_key(reader: &Reader<'_>, name: String, follow: Follow) -> Option<VirtualKey> {
    if name == ENGINE_KEY {
        reader.report("name", format!("{ENGINE_KEY} is the name of the embedded engine's own key"));
    }
    let key = secrets::required(reader, "key", follow);
    let caller = ModelKey {
        name,
        tenant: reader.text("tenant").unwrap_or_default(),
        app: reader.text("app"),
        workflow: reader.text("workflow"),
        models: reader.texts("models"),
        region: reader.text("region"),
        data_class: reader.text("data_class"),
        requests_a_minute: count(reader, "requests_a_minute", 1..=1_000_000_000),
        tokens_a_minute: reader.number("tokens_a_minute", 1..=1_000_000_000_000),
        concurrency: count(reader, "concurrency", 1..=1_000_000),
        budget: budget(reader),
        budget_name: budget_name(reader),
    };
    Some(VirtualKey { key: key?, caller: Arc::new(caller) })
}

fn budget_name(reader: &Reader<'_>) -> Option<String> {
    let name = reader.text("budget_name")?;
    check_name(reader, "budget_name", &name);
    if !reader.is_given("budget") {
        reader.report("budget_name", "has no effect: budget is not given");
    }
    Some(name)
}

const ON_STORE_GONE: &[(&str, OnStoreGone)] = &[("open", OnStoreGone::Open), ("closed", OnStoreGone::Closed)];

fn budget(reader: &Reader<'_>) -> Option<KeyBudget> {
    let limit = reader.dollars("budget", MAX_BUDGET_DOLLARS);
    let window = reader.span("budget_window", MINUTE..=366 * DAY);
    let when_store_gone = reader.choice("budget_when_store_gone", ON_STORE_GONE);
    if !reader.is_given("budget") {
        for key in ["budget_window", "budget_when_store_gone"] {
            if reader.is_given(key) {
                reader.report(key, "has no effect: budget is not given");
            }
        }
        return None;
    }
    Some(KeyBudget {
        limit: limit?,
        window: window.unwrap_or(DAY),
        when_store_gone: when_store_gone.unwrap_or_default(),
    })
}

/// Two names for one key would charge one caller or the other by chance.
fn refuse_doubles(reader: &Reader<'_>, keys: &[VirtualKey]) {
    for (index, key) in keys.iter().enumerate() {
        if let Some(twin) = keys[..index].iter().find(|earlier| earlier.key == key.key) {
            let (one, other) = (&twin.caller.name, &key.caller.name);
            reader.report("key", format!("{one} and {other} are the same key"));
        }
    }
}
