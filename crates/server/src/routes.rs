//! From configuration, imported apps and control's overrides to the `Snapshot` the gateway routes by. Pure.

use std::{collections::HashMap, sync::Arc};

use mainstay_base::{
    Micros, Secret, Snapshot,
    id::KeyHash,
    snapshot::{AppRoute, AppRoutes, Failover, ModelKey, ModelRoutes, Target, Timeouts, Upstream},
};
use mainstay_store::model::App;

use crate::config::{self, Config, EMBEDDED};

/// What changes while the process runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published {
    pub(crate) apps: Vec<App>,
    pub(crate) keys: Vec<(KeyHash, String)>,
    pub(crate) drained: Vec<String>,
    pub(crate) failovers: Vec<Failover>,
    pub(crate) woken: Vec<(String, Micros)>,
}

/// `engine_key` lets the embedded engine's LLM nodes through the model listener.
pub(crate) fn snapshot(
    config: &Config,
    published: &Published,
    engine_key: &Secret,
    generation: u64,
) -> Snapshot {
    Snapshot {
        generation,
        app: app_routes(config, published),
        model: model_routes(config, published, engine_key),
        max_body_bytes: Some(config.limits.body_bytes),
    }
}

fn app_routes(config: &Config, published: &Published) -> AppRoutes {
    let embedded = config.engine.enabled.then(|| {
        Arc::new(Upstream {
            name: EMBEDDED.to_owned(),
            target: Target::Embedded,
            timeouts: Timeouts::default(),
        })
    });
    let mut keys = HashMap::new();
    let by_id: HashMap<&str, &App> = published.apps.iter().map(|app| (app.id.as_str(), app)).collect();
    if let Some(embedded) = &embedded {
        for (hash, app_id) in &published.keys {
            if let Some(app) = by_id.get(app_id.as_str()) {
                keys.insert(*hash, imported(config, app, embedded));
            }
        }
    }
    // What the operator wrote wins over what was imported.
    for app in &config.apps {
        keys.insert(KeyHash::of(app.key.expose()), declared(config, app, embedded.as_ref(), &published.apps));
    }
    let mut upstreams = config.upstreams.clone();
    upstreams.extend(embedded);
    AppRoutes { upstreams, unknown_keys_to: config.unknown_keys_to.clone(), keys }
}

fn imported(config: &Config, app: &App, embedded: &Arc<Upstream>) -> Arc<AppRoute> {
    Arc::new(AppRoute {
        app_id: app.id.clone(),
        name: app.name.clone(),
        mode: app.mode,
        candidates: vec![Arc::clone(embedded)],
        durable: true,
        idempotent: false,
        standby: None,
        callbacks: config.callbacks.secret.is_some(),
    })
}

/// An app of a real Dify, with its standby behind it when that one is imported.
fn declared(
    config: &Config,
    app: &config::App,
    embedded: Option<&Arc<Upstream>>,
    imported: &[App],
) -> Arc<AppRoute> {
    let is_standby =
        |found: &App| app.standby.as_deref() == Some(found.name.as_str()) && found.mode == app.mode;
    let standby = embedded.filter(|_| imported.iter().any(is_standby));
    let mut candidates = vec![Arc::clone(&app.upstream)];
    candidates.extend(standby.cloned());
    Arc::new(AppRoute {
        app_id: declared_id(&app.name),
        name: app.name.clone(),
        mode: app.mode,
        candidates,
        durable: app.durable,
        idempotent: app.idempotent,
        standby: app.standby.clone(),
        callbacks: config.callbacks.secret.is_some(),
    })
}

/// The id of an app that is known by its name only: the same in every process and after every start.
pub(crate) fn declared_id(name: &str) -> String {
    let hash = blake3::hash(format!("mainstay app {name}").as_bytes());
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

fn model_routes(config: &Config, published: &Published, engine_key: &Secret) -> ModelRoutes {
    let model = &config.model;
    let mut keys = HashMap::new();
    keys.insert(KeyHash::of(engine_key.expose()), Arc::new(ModelKey::named(config::ENGINE_KEY)));
    keys.extend(model.keys.iter().map(|key| (KeyHash::of(key.key.expose()), Arc::clone(&key.caller))));
    ModelRoutes {
        models: model.routes.iter().map(|route| (route.name.clone(), Arc::clone(route))).collect(),
        other_models_to: model.other_models_to.clone(),
        other_models_policy: model.policy.clone(),
        keys,
        drained: published.drained.clone(),
        failovers: published.failovers.clone(),
        woken: published.woken.clone(),
        breaker: model.breaker,
        ejection: model.ejection,
    }
}

/// Models that nobody answers but a provider that was taken out of rotation: worth a warning, not a refusal, because a
/// drained answer is better than none.
pub(crate) fn drained_chains(routes: &ModelRoutes) -> Vec<String> {
    let is_out = |name: &String| routes.drained.contains(name);
    let mut names: Vec<String> = routes
        .models
        .values()
        .filter(|model| model.targets.iter().all(|target| is_out(&target.provider.name)))
        .map(|model| model.name.clone())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use mainstay_base::{AppMode, id};

    use super::*;
    use crate::config::{Follow, parse};

    const CONFIG: &str = r#"
[[upstream]]
name = "dify"
base_url = "http://dify:5001"
[app_path]
unknown_keys_to = "dify"
[[app]]
name = "support"
upstream = "dify"
key = "env:KEY"
mode = "workflow"
standby = "support-standby"
[[provider]]
name = "one"
base_url = "http://one/v1"
models = ["chat", "fast"]
[[provider]]
name = "two"
base_url = "http://two/v1"
models = ["chat"]
[model]
other_models_to = ["two"]
[[model.route]]
model = "fast"
targets = ["two/tiny"]
"#;

    fn app(name: &str) -> App {
        App {
            id: id::new(),
            name: name.to_owned(),
            mode: AppMode::Workflow,
            description: String::new(),
            icon: String::new(),
            icon_background: String::new(),
            version_id: id::new(),
            version_number: 1,
            created_at: Micros(0),
            updated_at: Micros(0),
        }
    }

    fn names(route: &AppRoute) -> Vec<&str> {
        route.candidates.iter().map(|upstream| upstream.name.as_str()).collect()
    }

    #[test]
    fn a_declared_app_gets_its_standby_once_that_is_imported() {
        let config = parse("test", CONFIG, &[], Follow::FormOnly).unwrap();
        let key = KeyHash::of("env:KEY");
        let engine_key = Secret::new("engine");
        let before = snapshot(&config, &Published::default(), &engine_key, 1);
        assert_eq!(names(&before.app.keys[&key]), ["dify"]);
        let standby = app("support-standby");
        let own_key = KeyHash::of("app-own");
        let published = Published {
            keys: vec![(own_key, standby.id.clone())],
            apps: vec![standby.clone()],
            ..Published::default()
        };
        let after = snapshot(&config, &published, &engine_key, 2);
        assert_eq!(names(&after.app.keys[&key]), ["dify", "embedded"]);
        assert_eq!(after.app.keys[&key].app_id, before.app.keys[&key].app_id, "its id stays");
        assert_eq!(after.app.keys[&own_key].app_id, standby.id);
        assert_eq!(names(&after.app.keys[&own_key]), ["embedded"]);
        assert_eq!(after.app.unknown_keys_to.unwrap().name, "dify");
    }

    #[test]
    fn models_go_to_their_providers_in_order_unless_a_route_says_otherwise() {
        let config = parse("test", CONFIG, &[], Follow::FormOnly).unwrap();
        let published = Published { drained: vec!["one".to_owned()], ..Published::default() };
        let routes = snapshot(&config, &published, &Secret::new("engine"), 1).model;
        let targets = |model: &str| {
            let targets = routes.models[model].targets.iter();
            targets.map(|target| format!("{}/{}", target.provider.name, target.model)).collect::<Vec<_>>()
        };
        assert_eq!(targets("chat"), ["one/chat", "two/chat"]);
        assert_eq!(targets("fast"), ["two/tiny"]);
        assert_eq!(routes.other_models_to[0].name, "two");
        assert_eq!(routes.drained, ["one"]);
        assert!(drained_chains(&routes).is_empty(), "both have a target at two");
        assert_eq!(routes.keys[&KeyHash::of("engine")].name, "engine");
    }
}
