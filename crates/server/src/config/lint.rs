//! What is wrong only when several parts of the configuration are looked at together.
//!
//! A problem refuses the file; a warning is told by `mainstay check`, at the start and at each reload.

use mainstay_base::snapshot::{LogicalModel, ModelTarget};

use super::{Model, reader::Findings};

pub(super) fn model(model: &Model, findings: &Findings) {
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
    let is_key = |name: &str| model.keys.iter().any(|key| key.caller.name == name);
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
        if caller.budget.is_none() {
            continue;
        }
        let may_ask = |route: &LogicalModel| match &caller.models {
            Some(models) => models.contains(&route.name),
            None => true,
        };
        let targets = model.routes.iter().filter(|route| may_ask(route)).flat_map(|route| &route.targets);
        if let Some(target) = targets.into_iter().find(|target| target.price.is_none()) {
            findings.warn(
                format!("model.key[{index}].budget"),
                format!("counts nothing for {}, which has no price", shown(target)),
            );
        }
    }
}

fn shown(target: &ModelTarget) -> String {
    format!("{}/{}", target.provider.name, target.model)
}
