//! From TOML to [`Config`]: each section next to its defaults and its rules, one file for each group of them.

mod apps;
mod dify;
pub(super) mod model;
mod oncall;
mod otlp;
mod people;
mod policy;
mod process;
pub(super) mod provider;
mod receiver;

use std::{collections::HashMap, ops::RangeInclusive, time::Duration};

use mainstay_base::snapshot::Timeouts;
use mainstay_net::Allowed;

use super::{
    Config, lint,
    reader::Reader,
    secrets::{Follow, Known},
};

pub(crate) const DEFAULT_STORE_URL: &str = "sqlite:mainstay.db";

/// Reads everything whatever was found; it is of use only when nothing was reported.
pub(super) fn config(root: Reader<'_>, follow: Follow) -> Config {
    let listeners = process::listeners(root.section("listeners"));
    let log = process::log(root.section("log"));
    let store = process::store(root.section("store"));
    let engine = process::engine(root.section("engine"), follow);
    let workers = process::workers(root.section("workers"));
    let upstreams = named(root.sections("upstream"), "name", apps::upstream);
    let providers = provider::providers(root.sections("provider"), follow);
    let apps =
        named(root.sections("app"), "name", |reader, name| apps::app(reader, name, &upstreams, follow));
    let unknown_keys_to = apps::app_path(root.section("app_path"), &upstreams);
    let dify = dify::dify(root.section("dify"), follow);
    let model = model::model(root.section("model"), &providers, follow);
    let admin_tokens = people::admin(root.section("admin"), listeners.admin, follow);
    let receivers =
        named(root.sections("receiver"), "name", |reader, name| receiver::receiver(reader, name, follow));
    let heartbeat = receiver::heartbeat(root.section("heartbeat"), follow);
    let alerting = oncall::plan(root.section("alerts"), root.section("oncall"), &receivers);
    let callbacks = people::callbacks(root.section("callbacks"), follow);
    let records = process::records(root.section("records"));
    let retention = process::retention(root.section("retention"));
    let limits = process::limits(root.section("limits"));
    let otlp = otlp::otlp(root.section("otlp"), follow);
    let findings = root.findings();
    root.done();
    if findings.are_none() {
        lint::model(&model, &engine, findings);
        lint::providers(&providers, &model, findings);
        lint::doubles(&apps, &admin_tokens, findings);
        lint::alerting(&alerting, &receivers, findings);
    }
    Config {
        listeners,
        log,
        store_url: store.url,
        state_dir: store.state_dir,
        engine,
        workers,
        upstreams,
        unknown_keys_to,
        apps,
        dify,
        probes: providers
            .iter()
            .map(|declared| (declared.provider.name.clone(), declared.probe.clone()))
            .collect(),
        providers: providers.into_iter().map(|declared| declared.provider).collect(),
        model,
        admin_tokens,
        receivers,
        alerting: alerting.into(),
        heartbeat,
        callbacks,
        records,
        retention,
        limits,
        otlp,
        secrets: Known::default(),
        revision: String::new(),
        warnings: Vec::new(),
    }
}

/// How the embedded engine is called among upstreams.
pub(crate) const EMBEDDED: &str = "embedded";

/// What any timeout may be. Longer ones are mistakes, and clocks overflow at some of them.
const SOME_TIME: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);

fn timeouts(reader: &Reader<'_>, default: Timeouts) -> Timeouts {
    let span = |key, default| reader.span(key, SOME_TIME).unwrap_or(default);
    let timeouts = Timeouts {
        connect: span("connect_timeout", default.connect),
        first_byte: span("first_byte_timeout", default.first_byte),
        idle: span("idle_timeout", default.idle),
        total: span("total_timeout", default.total),
    };
    if timeouts.total < timeouts.first_byte {
        reader.report("total_timeout", "is shorter than first_byte_timeout");
    }
    timeouts
}

/// A number that has to fit the type it is used as.
fn count(reader: &Reader<'_>, key: &'static str, range: RangeInclusive<u64>) -> Option<u32> {
    reader.number(key, range).and_then(|number| u32::try_from(number).ok())
}

fn size(reader: &Reader<'_>, key: &'static str, range: RangeInclusive<u64>) -> Option<usize> {
    reader.number(key, range).and_then(|number| usize::try_from(number).ok())
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
            check_name(&reader, key, name);
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

const MAX_NAME_CHARS: usize = 200;

/// Names stand in logs, labels, headers and addresses.
fn check_name(reader: &Reader<'_>, key: &str, name: &str) {
    let why = match name {
        _ if name.trim() != name => "begins or ends with a blank",
        _ if name.chars().any(char::is_control) => "has a control character in it",
        _ if name.chars().count() > MAX_NAME_CHARS => "is longer than 200 characters",
        _ => return,
    };
    reader.report(key, why);
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
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or fragment (?… or #…); give the address alone".to_owned());
    }
    if text.contains(char::is_whitespace) {
        return Err("has a blank in it".to_owned());
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
