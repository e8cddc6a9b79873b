//! What is wrong only when several parts of the configuration are looked at together.
//!
//! A problem refuses the file; a warning is told by `mainstay check`, at the start and at each reload.

use std::collections::HashMap;

use mainstay_base::{
    Clock, Secret,
    snapshot::{Dialect, LogicalModel, ModelTarget},
};
use mainstay_control::{ProbeKind, alert};

use super::{
    AdminToken, App, ENGINE_KEY, Engine, Model, Receiver, VirtualKey, read::provider::Declared,
    reader::Findings,
};

pub(super) fn model(model: &Model, engine: &Engine, findings: &Findings) {
    for (index, route) in model.routes.iter().enumerate() {
        let path = match index < model.declared_routes {
            true => format!("model.route[{index}]"),
            false => format!("model {}", route.name),
        };
        embeddings(route, &path, findings);
        prices(route, &path, findings);
        conditions(model, route, &path, findings);
    }
    if model.policy.max_cost.is_some() && !model.other_models_to.is_empty() {
        findings.warn(
            "model.other_models_to",
            "max_cost is not held for names of no route: their price is not known",
        );
    }
    keys(model, findings);
    let engine_key = engine.model_key.as_ref();
    if let Some(twin) = model.keys.iter().find(|key| Some(&key.key) == engine_key) {
        let name = &twin.caller.name;
        findings.report("engine.model_key", format!("is the same key as that of the virtual key {name}"));
    }
}

pub(super) fn providers(providers: &[Declared], model: &Model, findings: &Findings) {
    let mut names: HashMap<String, &str> = HashMap::new();
    for (index, Declared { provider, models, probe }) in providers.iter().enumerate() {
        let path = |key: &str| format!("provider[{index}].{key}");
        if let Some(twin) = names.insert(provider.name.to_lowercase(), &provider.name) {
            findings.warn(path("name"), format!("differs from {twin} in upper and lower case only"));
        }
        let is_open = provider.dialect == Dialect::OpenAi;
        if provider.keys.is_empty() && !is_open {
            findings.warn(path("key"), "is missing: calls go there without credentials");
        }
        let has_path = provider.base_url.splitn(4, '/').nth(3).is_some();
        if !has_path && !matches!(provider.dialect, Dialect::Azure { .. } | Dialect::Bedrock { .. }) {
            findings.warn(path("base_url"), "has no path; most providers need their version part, as …/v1");
        }
        let is_listed = |name: &str| models.iter().any(|target| target.model == name);
        if let ProbeKind::Chat { model } = probe
            && !is_listed(model)
        {
            findings
                .warn(path("probe"), format!("asks for {model}, which is not among the provider's models"));
        }
        if models.is_empty() {
            continue;
        }
        let routes = model.routes.iter().take(model.declared_routes).enumerate();
        for (at, target) in
            routes.flat_map(|(at, route)| route.targets.iter().map(move |target| (at, target)))
        {
            if target.provider.name == provider.name && !is_listed(&target.model) {
                let shown = shown(target);
                findings.warn(
                    format!("model.route[{at}]"),
                    format!(
                        "has {shown}, which is not among the models that are listed for {}",
                        provider.name
                    ),
                );
            }
        }
    }
}

/// One secret under two names would be the one or the other by chance.
pub(super) fn doubles(apps: &[App], tokens: &[AdminToken], findings: &Findings) {
    let apps: Vec<(&str, &Secret)> = apps.iter().map(|app| (app.name.as_str(), &app.key)).collect();
    let tokens: Vec<_> = tokens.iter().map(|token| (token.name.as_str(), &token.token)).collect();
    for (path, what, named) in [("app", "key", apps), ("admin.token", "token", tokens)] {
        for (index, (name, secret)) in named.iter().enumerate() {
            if let Some((twin, _)) = named[..index].iter().find(|(_, earlier)| earlier == secret) {
                findings.report(
                    format!("{path}[{index}].{what}"),
                    format!("{twin} and {name} have the same one"),
                );
            }
        }
    }
}

/// Vectors of different models do not compare, so a chain of embeddings keeps to the model of its first target, known
/// by its name.
fn embeddings(route: &LogicalModel, path: &str, findings: &Findings) {
    let Some(first) = route.targets.iter().find(|target| is_embedding(&target.model)) else { return };
    for target in &route.targets {
        if bare(&target.model) == bare(&first.model) {
            continue;
        }
        let pair = format!("{} and {}", shown(first), shown(target));
        let is_other =
            is_embedding(&target.model) && without_vendor(&target.model) != without_vendor(&first.model);
        match is_other {
            true => findings.report(
                path,
                format!("{pair} are different embedding models; a chain of embeddings has one model only"),
            ),
            // A deployment's own name says nothing about the model in it.
            false => findings.warn(
                path,
                format!("{pair} differ in their names, so embeddings are asked of one of them only"),
            ),
        }
    }
}

fn is_embedding(model: &str) -> bool {
    let model = model.to_lowercase();
    ["embed", "bge-", "gte-", "e5-", "voyage-"].iter().any(|word| model.contains(word))
}

/// As the gateway compares names: without what providers put in front.
fn bare(model: &str) -> String {
    model.rsplit('/').next().unwrap_or_default().to_lowercase()
}

/// `cohere.embed-english-v3` of one provider may be `embed-english-v3` of another.
fn without_vendor(model: &str) -> String {
    let bare = bare(model);
    let vendors = ["amazon.", "cohere.", "openai.", "google."];
    vendors.iter().find_map(|vendor| bare.strip_prefix(vendor)).unwrap_or(&bare).to_owned()
}

/// A ceiling over a target of unknown price would hold nothing.
fn prices(route: &LogicalModel, path: &str, findings: &Findings) {
    if route.policy.max_cost.is_none() {
        return;
    }
    for target in route.targets.iter().filter(|target| target.price.is_none()) {
        findings.report(
            path,
            format!(
                "has max_cost, but {} has no price: give it price_input and price_output in [[provider.model]] \
                 (0 when it is free)",
                shown(target)
            ),
        );
    }
}

fn conditions(model: &Model, route: &LogicalModel, path: &str, findings: &Findings) {
    let is_key = |name: &str| name == ENGINE_KEY || model.keys.iter().any(|key| key.caller.name == name);
    for target in &route.targets {
        for name in target.when.keys.iter().filter(|name| !is_key(name)) {
            findings.report(
                path,
                format!("when.keys of {} names the key {name}, which is not declared", shown(target)),
            );
        }
    }
    let is_bound = |target: &ModelTarget| target.when != mainstay_base::snapshot::Conditions::default();
    if !route.targets.is_empty() && route.targets.iter().all(is_bound) {
        findings.warn(path, "every target has conditions; a call that fits none is refused");
    }
}

fn keys(model: &Model, findings: &Findings) {
    let is_known = |name: &str| model.routes.iter().any(|route| route.name == name);
    for (index, key) in model.keys.iter().enumerate() {
        let caller = &key.caller;
        for (at, name) in caller.models.iter().flatten().enumerate() {
            if !is_known(name) && model.other_models_to.is_empty() {
                findings.report(
                    format!("model.key[{index}].models[{at}]"),
                    format!("names the model {name}, which no route and no provider has"),
                );
            }
        }
        places(index, key, model, findings);
        if caller.budget.is_none() {
            continue;
        }
        if let Some(target) = targets(key, model).find(|target| target.price.is_none()) {
            findings.warn(
                format!("model.key[{index}].budget"),
                format!("counts nothing for {}, which has no price", shown(target)),
            );
        }
    }
}

/// The targets of all that a key may ask for.
fn targets<'m>(key: &'m VirtualKey, model: &'m Model) -> impl Iterator<Item = &'m ModelTarget> {
    let may_ask = |route: &LogicalModel| match &key.caller.models {
        Some(models) => models.contains(&route.name),
        None => true,
    };
    model.routes.iter().filter(move |route| may_ask(route)).flat_map(|route| &route.targets)
}

/// A region or a class of data that no target has refuses every call of the key.
fn places(index: usize, key: &VirtualKey, model: &Model, findings: &Findings) {
    if let Some(region) = &key.caller.region
        && !targets(key, model).any(|target| target.offer.region.as_ref() == Some(region))
    {
        let path = format!("model.key[{index}].region");
        findings.warn(path, format!("is {region}, where no model of the key is: all its calls are refused"));
    }
    if let Some(class) = &key.caller.data_class
        && !targets(key, model)
            .any(|target| target.offer.data_classes.is_empty() || target.offer.data_classes.contains(class))
    {
        let path = format!("model.key[{index}].data_class");
        findings
            .warn(path, format!("is {class}, which no model of the key may see: all its calls are refused"));
    }
}

/// Routes, policies and schedules that are probably not meant.
pub(super) fn alerting(plan: &alert::Plan, receivers: &[Receiver], findings: &Findings) {
    let reach = |receiver: &Receiver| alert::Reach {
        name: receiver.name.clone(),
        min_severity: receiver.min_severity,
        wants_acknowledged: false,
    };
    let receivers: Vec<alert::Reach> = receivers.iter().map(reach).collect();
    for alert::Remark { key, message } in alert::lint(plan, &receivers, Clock::System.now()) {
        findings.warn(key, message);
    }
}

fn shown(target: &ModelTarget) -> String {
    format!("{}/{}", target.provider.name, target.model)
}
