//! From TOML to [`Config`]: each section next to its defaults and its rules.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use mainstay_base::{
    AppMode, Secret,
    snapshot::{Dialect, Provider, ProviderKey, Target, Timeouts, Upstream},
};
use mainstay_net::Allowed;
use mainstay_wire::webhook;

use super::{
    AdminToken, App, Callbacks, Config, Engine, Limits, Listeners, Log, Model, Reach, Receiver, Records,
    Retention, Route, VirtualKey, Workers,
    reader::Reader,
    secrets::{self, Follow},
};

pub(crate) const DEFAULT_STORE_URL: &str = "sqlite:mainstay.db";
const MAX_WORKERS: u64 = 256;
const MAX_JOBS_A_WORKER: u64 = 1024;
const MIN_BODY_BYTES: u64 = 1024;
const MAX_BODY_BYTES: u64 = 1024 * 1024 * 1024;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads everything whatever was found; it is of use only when nothing was reported.
pub(super) fn config(root: Reader<'_>, follow: Follow) -> Config {
    let listeners = listeners(root.section("listeners"));
    let log = log(root.section("log"));
    let store_url = store_url(root.section("store"));
    let engine = engine(root.section("engine"), follow);
    let workers = workers(root.section("workers"));
    let upstreams = named(root.sections("upstream"), "name", upstream);
    let providers = providers(root.sections("provider"), follow);
    let apps = named(root.sections("app"), "name", |reader, name| app(reader, name, &upstreams, follow));
    let unknown_keys_to = app_path(root.section("app_path"), &upstreams);
    let model = model(root.section("model"), &providers, follow);
    let admin_tokens = admin(root.section("admin"), listeners.admin, follow);
    let receivers = named(root.sections("receiver"), "name", |reader, name| receiver(reader, name, follow));
    let callbacks = callbacks(root.section("callbacks"), follow);
    let records = records(root.section("records"));
    let retention = retention(root.section("retention"));
    let limits = limits(root.section("limits"));
    root.done();
    Config {
        listeners,
        log,
        store_url,
        engine,
        workers,
        upstreams,
        unknown_keys_to,
        apps,
        providers: providers.into_iter().map(|(provider, _)| provider).collect(),
        model,
        admin_tokens,
        receivers,
        callbacks,
        records,
        retention,
        limits,
    }
}

fn listeners(reader: Reader<'_>) -> Listeners {
    let address = |key, port| {
        let read = reader.parsed(key, |text| text.parse().map_err(|_| "is not IP:PORT".to_owned()));
        read.unwrap_or_else(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    };
    let listeners = Listeners {
        admin: address("admin", 7000),
        admin_https: reader.flag("admin_https").unwrap_or(false),
        app: address("app", 7001),
        model: address("model", 7002),
    };
    let mut taken = BTreeSet::new();
    for (key, address) in [("admin", listeners.admin), ("app", listeners.app), ("model", listeners.model)] {
        if address.port() != 0 && !taken.insert(address) {
            reader.report(key, format!("is {address}, which another listener has"));
        }
    }
    reader.done();
    listeners
}

fn log(reader: Reader<'_>) -> Log {
    let json = reader.parsed("format", |text| match text {
        "human" => Ok(false),
        "json" => Ok(true),
        _ => Err("is neither human nor json".to_owned()),
    });
    let filter = reader.parsed("filter", |text| {
        let parsed: Result<tracing_subscriber::EnvFilter, _> = text.parse();
        parsed.map(|_| text.to_owned()).map_err(|error| format!("is not a filter: {error}"))
    });
    reader.done();
    Log { json: json.unwrap_or(false), filter: filter.unwrap_or_else(|| "info".to_owned()) }
}

fn store_url(reader: Reader<'_>) -> String {
    let url = reader.parsed("url", |text| {
        let known = ["sqlite:", "postgres://", "postgresql://"];
        match known.iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme)) {
            true => Ok(text.to_owned()),
            false => Err("is neither sqlite:PATH nor postgres://USER:PASSWORD@HOST/DATABASE".to_owned()),
        }
    });
    reader.done();
    url.unwrap_or_else(|| DEFAULT_STORE_URL.to_owned())
}

fn engine(reader: Reader<'_>, follow: Follow) -> Engine {
    let enabled = reader.flag("enabled").unwrap_or(true);
    let model_url = reader.parsed("model_url", http_url);
    let model_key = secrets::read(&reader, "model_key", follow);
    let rule = reader.parsed("http_request", |text| match text {
        "public" | "any" => Ok(text.to_owned()),
        _ => Err("is neither public nor any".to_owned()),
    });
    let allow = allowed(&reader, "http_request_allow");
    let http_request = Reach { any: rule.as_deref() == Some("any"), allow };
    let run_timeout = reader.duration("run_timeout").unwrap_or(Duration::from_secs(1200));
    reader.done();
    Engine { enabled, model_url, model_key, http_request, run_timeout }
}

fn workers(reader: Reader<'_>) -> Workers {
    let count = reader.number("count", 0..=MAX_WORKERS).unwrap_or(2);
    let concurrency = reader.number("concurrency", 1..=MAX_JOBS_A_WORKER).unwrap_or(8);
    let lease = reader.duration("lease").unwrap_or(Duration::from_secs(4));
    if lease < Duration::from_secs(1) {
        reader.report("lease", "is shorter than 1s: a worker could not renew it in time");
    }
    let grace = reader.duration("grace").unwrap_or(Duration::from_secs(10));
    reader.done();
    Workers {
        count: u32::try_from(count).unwrap_or(2),
        concurrency: usize::try_from(concurrency).unwrap_or(8),
        lease,
        grace,
    }
}

fn upstream(reader: &Reader<'_>, name: String) -> Option<Arc<Upstream>> {
    if name == EMBEDDED {
        reader.report("name", format!("{EMBEDDED} is the name of the embedded engine"));
    }
    reader.require("base_url");
    let base_url = reader.parsed("base_url", |text| {
        let url = http_url(text)?;
        match url.ends_with("/v1") {
            true => Err("ends in /v1; give the address without it, as http://dify-api:5001".to_owned()),
            false => Ok(url),
        }
    });
    let timeouts = timeouts(reader, Timeouts::default());
    Some(Arc::new(Upstream { name, target: Target::Http { base_url: base_url? }, timeouts }))
}

/// How the embedded engine is called among upstreams.
pub(crate) const EMBEDDED: &str = "embedded";

fn timeouts(reader: &Reader<'_>, default: Timeouts) -> Timeouts {
    let timeouts = Timeouts {
        connect: reader.duration("connect_timeout").unwrap_or(default.connect),
        first_byte: reader.duration("first_byte_timeout").unwrap_or(default.first_byte),
        idle: reader.duration("idle_timeout").unwrap_or(default.idle),
        total: reader.duration("total_timeout").unwrap_or(default.total),
    };
    if timeouts.total < timeouts.first_byte {
        reader.report("total_timeout", "is shorter than first_byte_timeout");
    }
    timeouts
}

fn app(reader: &Reader<'_>, name: String, upstreams: &[Arc<Upstream>], follow: Follow) -> Option<App> {
    reader.require("upstream");
    let upstream = reader.parsed("upstream", |text| find_upstream(upstreams, text));
    let key = secrets::required(reader, "key", follow);
    reader.require("mode");
    let mode = reader.parsed("mode", |text| {
        let modes = AppMode::ALL.map(AppMode::as_str).join(", ");
        AppMode::parse(text).ok_or_else(|| format!("is none of {modes}"))
    });
    let durable = reader.flag("durable").unwrap_or(true);
    let idempotent = reader.flag("idempotent").unwrap_or(false);
    let standby = reader.text("standby");
    Some(App { name, upstream: upstream?, key: key?, mode: mode?, durable, idempotent, standby })
}

fn app_path(reader: Reader<'_>, upstreams: &[Arc<Upstream>]) -> Option<Arc<Upstream>> {
    let upstream = reader.parsed("unknown_keys_to", |text| find_upstream(upstreams, text));
    reader.done();
    upstream
}

fn find_upstream(upstreams: &[Arc<Upstream>], name: &str) -> Result<Arc<Upstream>, String> {
    let found = upstreams.iter().find(|upstream| upstream.name == name);
    found.cloned().ok_or_else(|| format!("names the upstream {name}, which is not (rightly) declared"))
}

/// Providers and the models that each says it has.
fn providers(readers: Vec<Reader<'_>>, follow: Follow) -> Vec<(Arc<Provider>, Vec<String>)> {
    named(readers, "name", |reader, name| {
        if name.contains('/') {
            reader.report("name", "has a /, which separates provider and model in routes");
        }
        reader.require("base_url");
        let base_url = reader.parsed("base_url", http_url);
        let key = secrets::read(reader, "key", follow);
        let models = reader.texts("models").unwrap_or_default();
        let default = Timeouts {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
        };
        let timeouts = timeouts(reader, default);
        let keys = key.map(|key| ProviderKey::token("key", key)).into_iter().collect();
        let (dialect, first_token) = (Dialect::OpenAi, timeouts.first_byte);
        let provider = Provider { name, dialect, base_url: base_url?, keys, timeouts, first_token };
        Some((Arc::new(provider), models))
    })
}

fn model(reader: Reader<'_>, providers: &[(Arc<Provider>, Vec<String>)], follow: Follow) -> Model {
    let find = |name: &str| {
        let found = providers.iter().find(|(provider, _)| provider.name == name);
        found
            .map(|(provider, _)| Arc::clone(provider))
            .ok_or_else(|| format!("names the provider {name}, which is not (rightly) declared"))
    };
    let mut other_models_to = Vec::new();
    for (index, name) in reader.texts("other_models_to").unwrap_or_default().iter().enumerate() {
        match find(name) {
            Ok(provider) => other_models_to.push(provider),
            Err(message) => reader.report(&format!("other_models_to[{index}]"), message),
        }
    }
    let declared = named(reader.sections("route"), "model", |reader, model| {
        reader.require("targets");
        let mut targets = Vec::new();
        for (index, text) in reader.texts("targets").unwrap_or_default().iter().enumerate() {
            let target = match text.split_once('/') {
                Some((provider, name)) if !name.is_empty() => {
                    find(provider).map(|found| (found, name.to_owned()))
                }
                _ => Err("is not PROVIDER/MODEL".to_owned()),
            };
            match target {
                Ok(target) => targets.push(target),
                Err(message) => reader.report(&format!("targets[{index}]"), message),
            }
        }
        Some(Route { model, targets })
    });
    let keys = named(reader.sections("key"), "name", |reader, name| {
        Some(VirtualKey { name, key: secrets::required(reader, "key", follow)? })
    });
    reader.done();
    Model { routes: routes(declared, providers), other_models_to, keys }
}

/// Each model goes to the providers that have it, in their order, unless a route says otherwise.
fn routes(declared: Vec<Route>, providers: &[(Arc<Provider>, Vec<String>)]) -> Vec<Route> {
    let mut routes = declared;
    let explicit = routes.len();
    for (provider, models) in providers {
        for model in models {
            if routes[..explicit].iter().any(|route| &route.model == model) {
                continue;
            }
            let target = (Arc::clone(provider), model.clone());
            match routes.iter_mut().find(|route| &route.model == model) {
                Some(route) => route.targets.push(target),
                None => routes.push(Route { model: model.clone(), targets: vec![target] }),
            }
        }
    }
    routes
}

fn admin(reader: Reader<'_>, listener: SocketAddr, follow: Follow) -> Vec<AdminToken> {
    let tokens = named(reader.sections("token"), "name", |reader, name| {
        Some(AdminToken { name, token: secrets::required(reader, "token", follow)? })
    });
    if tokens.is_empty() && !listener.ip().is_loopback() {
        reader.report("token", format!("is missing: {listener} can be reached from other machines"));
    }
    reader.done();
    tokens
}

fn receiver(reader: &Reader<'_>, name: String, follow: Follow) -> Option<Receiver> {
    reader.require("url");
    let url = reader.parsed("url", http_url);
    let secret = webhook_secret(reader, follow);
    Some(Receiver { name, url: url?, secret })
}

fn callbacks(reader: Reader<'_>, follow: Follow) -> Callbacks {
    let secret = webhook_secret(&reader, follow);
    let reach = Reach { any: false, allow: allowed(&reader, "allow") };
    reader.done();
    Callbacks { secret, reach }
}

fn webhook_secret(reader: &Reader<'_>, follow: Follow) -> Option<Secret> {
    let secret = secrets::read(reader, "secret", follow)?;
    if follow == Follow::Yes
        && let Err(error) = webhook::Key::parse(secret.expose())
    {
        reader.report("secret", error.to_string());
    }
    Some(secret)
}

fn records(reader: Reader<'_>) -> Records {
    let keep_success = reader.share("keep_success").unwrap_or(1.0);
    reader.done();
    Records { keep_success }
}

fn retention(reader: Reader<'_>) -> Retention {
    let runs = reader.duration("runs").unwrap_or(30 * DAY);
    let records = reader.duration("records").unwrap_or(7 * DAY);
    reader.done();
    Retention { runs, records }
}

fn limits(reader: Reader<'_>) -> Limits {
    let body_bytes = reader.number("body_bytes", MIN_BODY_BYTES..=MAX_BODY_BYTES).unwrap_or(16 * 1024 * 1024);
    let connections = reader.number("connections", 1..=1_000_000).unwrap_or(20_000);
    reader.done();
    Limits {
        body_bytes: usize::try_from(body_bytes).unwrap_or(usize::MAX),
        connections: usize::try_from(connections).unwrap_or(usize::MAX),
    }
}

/// Reads tables that are told apart by a name; doubles are reported. Every table is read, wrong ones are left out.
fn named<T>(
    readers: Vec<Reader<'_>>,
    key: &'static str,
    mut read: impl FnMut(&Reader<'_>, String) -> Option<T>,
) -> Vec<T> {
    let mut first: HashMap<String, String> = HashMap::new();
    let mut items = Vec::new();
    for reader in readers {
        let name = reader.required(key);
        if let Some(name) = &name {
            if let Some(path) = first.get(name) {
                reader.report(key, format!("{name} is also {path}"));
            } else {
                first.insert(name.clone(), reader.path(key));
            }
        }
        let item = read(&reader, name.clone().unwrap_or_default());
        reader.done();
        items.extend(item.filter(|_| name.is_some()));
    }
    items
}

/// An http or https address without user, query or trailing slash.
fn http_url(text: &str) -> Result<String, String> {
    let url = url::Url::parse(text).map_err(|error| format!("is not an address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("is not an http:// or https:// address".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or password; give secrets as references".to_owned());
    }
    if url.fragment().is_some() {
        return Err("has a fragment (#…)".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// `HOST`, `HOST:PORT`, `IP` or `NETWORK/BITS`.
fn allowed(reader: &Reader<'_>, key: &'static str) -> Vec<String> {
    let texts = reader.texts(key).unwrap_or_default();
    for (index, text) in texts.iter().enumerate() {
        if let Err(error) = text.parse::<Allowed>() {
            reader.report(&format!("{key}[{index}]"), error.to_string());
        }
    }
    texts
}
