//! What the process itself is: listeners, log, store, engine, workers, records, retention, limits.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::{DEFAULT_STORE_URL, allowed, http_url};
use crate::config::{
    Engine, Limits, Listeners, Log, Reach, Records, Retention, StorePlace, StoreUrl, Workers,
    reader::Reader,
    secrets::{self, Follow},
};

const MAX_WORKERS: u64 = 256;
const MAX_JOBS_A_WORKER: u64 = 1024;
const MIN_BODY_BYTES: u64 = 1024;
const MAX_BODY_BYTES: u64 = 1024 * 1024 * 1024;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn listeners(reader: Reader<'_>) -> Listeners {
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

pub(super) fn log(reader: Reader<'_>) -> Log {
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

pub(super) fn store(reader: Reader<'_>) -> StorePlace {
    let url = reader.parsed("url", |text| {
        let known = ["sqlite:", "postgres://", "postgresql://"];
        match known.iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme)) {
            true => Ok(text.to_owned()),
            false => Err("is neither sqlite:PATH nor postgres://USER:PASSWORD@HOST/DATABASE".to_owned()),
        }
    });
    let state_dir = reader.text("state_dir").map(PathBuf::from);
    reader.done();
    StorePlace { url: StoreUrl::new(url.unwrap_or_else(|| DEFAULT_STORE_URL.to_owned())), state_dir }
}

pub(super) fn engine(reader: Reader<'_>, follow: Follow) -> Engine {
    let enabled = reader.flag("enabled").unwrap_or(true);
    let model_url = reader.parsed("model_url", http_url);
    let model_key = secrets::read(&reader, "model_key", follow);
    let rule = reader.parsed("http_request", |text| match text {
        "public" | "any" => Ok(text.to_owned()),
        _ => Err("is neither public nor any".to_owned()),
    });
    let allow = allowed(&reader, "http_request_allow");
    let http_request = Reach { any: rule.as_deref() == Some("any"), allow };
    let run_timeout = reader.span("run_timeout", SECOND..=7 * DAY).unwrap_or(Duration::from_secs(1200));
    reader.done();
    Engine { enabled, model_url, model_key, http_request, run_timeout }
}

pub(super) fn workers(reader: Reader<'_>) -> Workers {
    let count = reader.number("count", 0..=MAX_WORKERS).unwrap_or(2);
    let concurrency = reader.number("concurrency", 1..=MAX_JOBS_A_WORKER).unwrap_or(8);
    // A worker could not renew a shorter one in time.
    let lease = reader.span("lease", SECOND..=HOUR).unwrap_or(Duration::from_secs(4));
    let grace = reader.span("grace", Duration::from_millis(1)..=HOUR).unwrap_or(Duration::from_secs(10));
    reader.done();
    Workers {
        count: u32::try_from(count).unwrap_or(2),
        concurrency: usize::try_from(concurrency).unwrap_or(8),
        lease,
        grace,
    }
}

pub(super) fn records(reader: Reader<'_>) -> Records {
    let keep_success = reader.share("keep_success").unwrap_or(1.0);
    let max_stored_a_second = reader.number("max_stored_a_second", 10..=1_000_000).unwrap_or(1000);
    reader.done();
    Records { keep_success, max_stored_a_second: max_stored_a_second as f64 }
}

pub(super) fn retention(reader: Reader<'_>) -> Retention {
    let runs = reader.span("runs", SECOND..=3650 * DAY).unwrap_or(30 * DAY);
    let records = reader.span("records", SECOND..=3650 * DAY).unwrap_or(7 * DAY);
    reader.done();
    Retention { runs, records }
}

pub(super) fn limits(reader: Reader<'_>) -> Limits {
    let body_bytes = reader.number("body_bytes", MIN_BODY_BYTES..=MAX_BODY_BYTES).unwrap_or(32 * 1024 * 1024);
    let connections = reader.number("connections", 1..=1_000_000).unwrap_or(20_000);
    reader.done();
    Limits {
        body_bytes: usize::try_from(body_bytes).unwrap_or(usize::MAX),
        connections: usize::try_from(connections).unwrap_or(usize::MAX),
    }
}
