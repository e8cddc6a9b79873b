//! The Dify that Mainstay looks after: `[dify]` and the tables in it. A part that is not written is not looked at.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use mainstay_base::Secret;
use mainstay_dify::{
    Deployment,
    deployment::{Canary, Database, Login, Redis, RedisAt, Service, Sizes, Storage, Tls, Vector},
    probe::{Component, Pace},
    signature::Catalogue,
};

use super::{check_name, count, http_url};
use crate::config::{
    reader::Reader,
    secrets::{self, Follow},
};

const DEFAULT_NAME: &str = "dify";
const PORTS: RangeInclusive<u64> = 1..=65_535;
const POSTGRES_PORT: u16 = 5432;
const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
const MAX_REDIS_DATABASE: u64 = 9999;
const MAX_SIZE: u64 = 1_000_000;
const LONGEST_RUN: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 60 * 60);
/// The keys of `[dify.probes]`.
const PROBES: [(&str, Component); Component::ALL.len()] = [
    ("api", Component::Api),
    ("web", Component::Web),
    ("database", Component::Database),
    ("plugin_database", Component::PluginDatabase),
    ("redis", Component::Redis),
    ("broker", Component::Broker),
    ("plugin_daemon", Component::PluginDaemon),
    ("sandbox", Component::Sandbox),
    ("ssrf_proxy", Component::SsrfProxy),
    ("vector", Component::Vector),
    ("storage", Component::Storage),
    ("keys", Component::Keys),
    ("canary", Component::Canary),
];
const TLS: [(&str, Tls); 3] = [("off", Tls::Off), ("unchecked", Tls::Unchecked), ("checked", Tls::Checked)];

/// `None` where nothing is written at all.
pub(super) fn dify(reader: Reader<'_>, follow: Follow) -> Option<Deployment> {
    let is_described = reader.has_keys();
    let name = reader.text("name");
    if let Some(name) = &name {
        check_name(&reader, "name", name);
    }
    let main = reader.section("database");
    let repairs = repairs(&main, follow);
    let deployment = Deployment {
        name: name.unwrap_or_else(|| DEFAULT_NAME.to_owned()),
        api_url: reader.parsed("api_url", http_url),
        web_url: reader.parsed("web_url", http_url),
        ssrf_proxy_url: reader.parsed("ssrf_proxy_url", http_url),
        database: database(main, follow),
        repairs,
        plugin_database: database(reader.section("plugin_database"), follow),
        redis: redis(reader.section("redis"), follow),
        broker: redis(reader.section("broker"), follow),
        vector: vector(reader.section("vector"), follow),
        plugin_daemon: service(reader.section("plugin_daemon"), follow),
        sandbox: service(reader.section("sandbox"), follow),
        storage: storage(reader.section("storage")),
        canary: canary(reader.section("canary"), follow),
        sizes: sizes(reader.section("sizes")),
        pace: pace(reader.section("probes")),
        signatures: signatures(&reader, follow),
    };
    reader.done();
    is_described.then_some(deployment)
}

fn database(reader: Reader<'_>, follow: Follow) -> Option<Database> {
    let is_described = reader.has_keys();
    let required = |key| if is_described { reader.required(key) } else { reader.text(key) };
    let (host, name, user) = (required("host"), required("name"), required("user"));
    let port = port(&reader, POSTGRES_PORT);
    let password = secrets::password(&reader, "password", follow);
    let tls = reader.choice("tls", &TLS).unwrap_or(Tls::Off);
    reader.done();
    Some(Database { host: host?, port, user: user?, password, name: name?, tls })
}

/// Who may write, apart from the reader, so that reading never can.
fn repairs(reader: &Reader<'_>, follow: Follow) -> Option<Login> {
    let user = reader.text("write_user");
    let password = secrets::password(reader, "write_password", follow);
    if user.is_none() && reader.is_given("write_password") {
        reader.report("write_password", "has no write_user beside it");
    }
    let reads_as = reader.text("user");
    if user.is_some() && user == reads_as {
        reader.findings().warn(
            reader.path("write_user"),
            "is the user that reads, too: a role without write rights for reading is the safer way",
        );
    }
    Some(Login { user: user?, password })
}

fn redis(reader: Reader<'_>, follow: Follow) -> Option<Redis> {
    let is_described = reader.has_keys();
    let host = reader.text("host");
    let port = port(&reader, REDIS_PORT);
    let sentinels = reader.texts("sentinels").unwrap_or_default();
    let sentinels: Vec<(String, u16)> = sentinels
        .iter()
        .enumerate()
        .filter_map(|(index, text)| {
            let parsed = host_port(text, SENTINEL_PORT);
            if parsed.is_none() {
                reader.report(&format!("sentinels[{index}]"), "is not HOST:PORT");
            }
            parsed
        })
        .collect();
    let service = reader.text("sentinel_service");
    let sentinel_user = reader.text("sentinel_user");
    let sentinel_password = secrets::password(&reader, "sentinel_password", follow);
    let at = match (host, sentinels.is_empty()) {
        (given, false) => {
            if given.is_some() {
                reader.findings().warn(reader.path("host"), "is not used, because sentinels are given");
            }
            reader.require("sentinel_service");
            service.map(|service| RedisAt::Sentinel {
                sentinels,
                service,
                user: sentinel_user,
                password: sentinel_password,
            })
        }
        (Some(host), true) => Some(RedisAt::Server { host, port }),
        (None, true) => {
            if is_described && !reader.is_given("sentinels") && !reader.is_given("host") {
                reader.report("host", "is missing (or sentinels)");
            }
            None
        }
    };
    let user = reader.text("user");
    let password = secrets::password(&reader, "password", follow);
    let database = count(&reader, "database", 0..=MAX_REDIS_DATABASE).unwrap_or(0);
    let tls = reader.choice("tls", &TLS).unwrap_or(Tls::Off);
    let key_prefix = reader.text("key_prefix").unwrap_or_default();
    reader.done();
    Some(Redis { at: at?, user, password, database, tls, key_prefix })
}

fn vector(reader: Reader<'_>, follow: Follow) -> Option<Vector> {
    let is_described = reader.has_keys();
    let kind = if is_described { reader.required("kind") } else { reader.text("kind") };
    let url = reader.parsed("url", http_url);
    let api_key = secrets::read(&reader, "api_key", follow);
    let index_prefix = reader.text("index_prefix").unwrap_or_default();
    let login = login(&reader, follow);
    let host = reader.text("host");
    let port = port(&reader, POSTGRES_PORT);
    let name = reader.text("database");
    let tls = reader.choice("tls", &TLS).unwrap_or(Tls::Off);
    // A store that is a PostgreSQL is told by its host; else the user is one of HTTP.
    let (login, database) = match host {
        None => (login, None),
        Some(host) => {
            reader.require("database");
            reader.require("user");
            let database = login.zip(name).map(|(Login { user, password }, name)| Database {
                host,
                port,
                user,
                password,
                name,
                tls,
            });
            (None, database)
        }
    };
    reader.done();
    Some(Vector { kind: kind?, url, api_key, login, database, index_prefix })
}

fn login(reader: &Reader<'_>, follow: Follow) -> Option<Login> {
    let user = reader.text("user");
    let password = secrets::password(reader, "password", follow);
    Some(Login { user: user?, password })
}

fn service(reader: Reader<'_>, follow: Follow) -> Option<Service> {
    if reader.has_keys() {
        reader.require("url");
    }
    let url = reader.parsed("url", http_url);
    let key = secrets::read(&reader, "key", follow);
    reader.done();
    Some(Service { url: url?, key })
}

fn storage(reader: Reader<'_>) -> Option<Storage> {
    let folder = reader.text("folder");
    let kind = reader.text("kind");
    reader.done();
    match (folder, kind) {
        (Some(folder), _) => Some(Storage::Folder(PathBuf::from(folder))),
        (None, Some(kind)) => Some(Storage::Elsewhere(kind)),
        (None, None) => None,
    }
}

fn canary(reader: Reader<'_>, follow: Follow) -> Option<Canary> {
    if reader.has_keys() {
        reader.require("key");
    }
    let key: Option<Secret> = secrets::read(&reader, "key", follow);
    let inputs = reader.json_object("inputs").unwrap_or_default();
    reader.done();
    Some(Canary { key: key?, inputs })
}

/// A file of operators' own rows, compiled here so that a mistake in it is found by `check`.
fn signatures(reader: &Reader<'_>, follow: Follow) -> Option<PathBuf> {
    let path = PathBuf::from(reader.text("signatures")?);
    if follow == Follow::Yes {
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        let compiled = text.and_then(|text| Catalogue::with(&text).map_err(|error| error.to_string()));
        if let Err(problem) = compiled {
            reader.report("signatures", format!("cannot be used: {problem}"));
        }
    }
    Some(path)
}

fn sizes(reader: Reader<'_>) -> Sizes {
    let size = |key| count(&reader, key, 0..=MAX_SIZE);
    let sizes = Sizes {
        api_workers: size("api_workers"),
        api_connections: size("api_connections"),
        pool_size: size("pool_size"),
        max_overflow: size("max_overflow"),
        celery_workers: size("celery_workers"),
        plugin_daemon_pool: size("plugin_daemon_pool"),
        postgres_max_connections: size("postgres_max_connections"),
        longest_run_secs: reader.span("longest_run", LONGEST_RUN).map(|span| span.as_secs()),
        pinned_queues: reader.texts("pinned_queues"),
    };
    reader.done();
    sizes
}

fn pace(reader: Reader<'_>) -> Pace {
    let mut pace = Pace::default();
    for (key, component) in PROBES {
        let (least, most) = Pace::bounds(component);
        if let Some(every) = reader.span(key, least..=most) {
            pace.set(component, every);
        }
    }
    reader.done();
    pace
}

fn port(reader: &Reader<'_>, default: u16) -> u16 {
    reader.number("port", PORTS).and_then(|port| u16::try_from(port).ok()).unwrap_or(default)
}

/// `host`, `host:port`, `[::1]:port`.
fn host_port(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = if rest.is_empty() { default } else { rest.strip_prefix(':')?.parse().ok()? };
    (!host.is_empty() && port > 0).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LoadError, parse};

    fn problems(text: &str) -> Vec<String> {
        match parse("test", text, &[], Follow::FormOnly) {
            Ok(_) => Vec::new(),
            Err(LoadError::Problems(found)) => {
                found.into_iter().map(|problem| format!("{} {}", problem.path, problem.message)).collect()
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    #[test]
    fn every_problem_is_told_by_its_key() {
        let wrong = "[dify]\napi_url = 'api:5001'\nnmae = 'x'\n\
            [dify.database]\nhost = 'db'\nport = 0\npassword = 'hunter2'\ntls = 'on'\nwrite_password = 'env:A'\n\
            [dify.redis]\ndatabase = 1\n\
            [dify.broker]\nsentinels = ['s:x']\n\
            [dify.vector]\nhost = 'pgvector'\n\
            [dify.sandbox]\nkey = 'env:A'\n\
            [dify.canary]\ninputs = 1\n\
            [dify.probes]\napi = '1s'\ncanary = '30s'\nkeys = '25h'\nweb = 30\nqueues = '5s'\n\
            [dify.sizes]\nlongest_run = 1200\n";
        assert_eq!(
            problems(wrong),
            [
                "dify.database.write_password has no write_user beside it",
                "dify.api_url is not an http:// or https:// address",
                "dify.database.name is missing",
                "dify.database.user is missing",
                "dify.database.port is 0, allowed is 1 to 65535",
                "dify.database.password a secret is given as env:NAME, file:PATH or dotenv:PATH#NAME, never as its value",
                "dify.database.tls is none of off, unchecked, checked",
                "dify.redis.host is missing (or sentinels)",
                "dify.broker.sentinels[0] is not HOST:PORT",
                "dify.vector.kind is missing",
                "dify.vector.database is missing",
                "dify.vector.user is missing",
                "dify.sandbox.url is missing",
                "dify.canary.key is missing",
                "dify.canary.inputs is a whole number, not a table such as { name = \"value\" }",
                "dify.sizes.longest_run is a whole number, not a time span; write \"1200s\" for seconds",
                "dify.probes.api is 1s, allowed is 5s to 1d",
                "dify.probes.web is a whole number, not a time span; write \"30s\" for seconds",
                "dify.probes.keys is 25h, allowed is 1m to 1d",
                "dify.probes.canary is 30s, allowed is 1m to 1d",
                "dify.probes.queues is not a key; known are api, broker, canary, database, keys, plugin_daemon, \
                 plugin_database, redis, sandbox, ssrf_proxy, storage, vector, web",
                "dify.nmae is not a key; did you mean name?",
            ]
        );
    }

    #[test]
    fn each_probe_has_its_pace_and_the_example_shows_the_defaults() {
        let components: Vec<Component> = PROBES.iter().map(|(_, component)| *component).collect();
        assert_eq!(components, Component::ALL);
        let read = |text: &str| parse("test", text, &[], Follow::FormOnly).unwrap().dify.unwrap().pace;
        let chosen = read("[dify.probes]\ncanary = '2h'\nplugin_daemon = '5s'\n");
        assert_eq!(chosen.every(Component::Canary), Duration::from_secs(7200));
        assert_eq!(chosen.every(Component::PluginDaemon), Duration::from_secs(5));
        assert_eq!(chosen.every(Component::Api), Pace::default().every(Component::Api));
        let example = crate::config::example();
        let from = example.find("[dify.probes]").unwrap();
        let table = example[from..].split("\n\n").next().unwrap();
        let shown = table.replace("\n#", "\n").replace("\n ", "\n# ");
        let shown = read(&shown);
        for component in Component::ALL {
            assert_eq!(shown.every(component), Pace::default().every(component), "{component:?}");
        }
    }

    #[test]
    fn heads_without_keys_describe_nothing() {
        let read = |text: &str| parse("test", text, &[], Follow::FormOnly).unwrap().dify;
        assert_eq!(read("[dify]\n[dify.database]\n[dify.redis]\n"), None);
        let one = read("[dify]\n[dify.database]\n[dify.storage]\nkind = 's3'\n").unwrap();
        assert_eq!(
            (one.name.as_str(), one.database, one.storage),
            ("dify", None, Some(Storage::Elsewhere("s3".into())))
        );
    }

    #[test]
    fn the_environment_sets_what_the_file_does_not() {
        let variables = [("MAINSTAY__DIFY__SANDBOX__URL".to_owned(), "http://sandbox:8194".to_owned())];
        let dify = parse("test", "", &variables, Follow::FormOnly).unwrap().dify.unwrap();
        assert_eq!(dify.sandbox.unwrap().url, "http://sandbox:8194");
    }
}
