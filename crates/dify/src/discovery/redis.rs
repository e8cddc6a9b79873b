//! The Redis of the app.

use super::{Search, database::shown};
use crate::deployment::{Redis, RedisAt, Tls};

const PART: &str = "redis";
/// Redis has 16 databases unless told; more than this is a mistake.
pub(super) const MAX_DATABASE: u32 = 9999;
const SENTINEL_PORT: u16 = 26379;
/// Sentinels named in one list.
const MAX_SENTINELS: usize = 16;

pub(super) fn find(search: &mut Search<'_>) -> Option<Redis> {
    if search.flag("REDIS_USE_CLUSTERS") {
        search.gap(
            PART,
            "REDIS_USE_CLUSTERS is on, and Mainstay reads no Redis Cluster",
            "limits, tenant queues and the cache are not seen; the broker is, when CELERY_BROKER_URL is one server",
        );
        return None;
    }
    let at = match search.flag("REDIS_USE_SENTINEL") {
        true => sentinel(search),
        false => server(search),
    };
    let user = search.text("redis.user", "REDIS_USERNAME");
    let password = search.secret("redis.password", "REDIS_PASSWORD");
    let database = search.number("redis.database", "REDIS_DB", 0..=MAX_DATABASE);
    let is_encrypted = search.flag("REDIS_USE_SSL");
    let tls = tls(search, is_encrypted, "redis.tls");
    let key_prefix = key_prefix(search, "redis.key_prefix");
    let found = Redis { at: at?, user, password, database: database.unwrap_or(0), tls, key_prefix };
    let what = described(&found);
    search.found(PART, what, "redis.host");
    Some(found)
}

fn server(search: &mut Search<'_>) -> Option<RedisAt> {
    let host = search.text("redis.host", "REDIS_HOST");
    let port = search.port("redis.port", "REDIS_PORT");
    let (host, port) = search.place("redis.host", &host?, port?);
    Some(RedisAt::Server { host, port })
}

fn sentinel(search: &mut Search<'_>) -> Option<RedisAt> {
    let Some(list) = search.text("redis.sentinels", "REDIS_SENTINELS") else {
        search.problem("REDIS_SENTINELS", "is empty, and REDIS_USE_SENTINEL is true");
        return None;
    };
    let mut sentinels = Vec::new();
    for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()).take(MAX_SENTINELS) {
        match host_port(item, SENTINEL_PORT) {
            Some((host, port)) => sentinels.push(search.place("redis.sentinels", &host, port)),
            None => search.problem("REDIS_SENTINELS", "is not HOST:PORT,HOST:PORT"),
        }
    }
    let service = search.text("redis.sentinel_service", "REDIS_SENTINEL_SERVICE_NAME");
    if service.is_none() {
        search.problem("REDIS_SENTINEL_SERVICE_NAME", "is empty, and REDIS_USE_SENTINEL is true");
    }
    let user = search.text("redis.sentinel_user", "REDIS_SENTINEL_USERNAME");
    let password = search.secret("redis.sentinel_password", "REDIS_SENTINEL_PASSWORD");
    Some(RedisAt::Sentinel { sentinels, service: service?, user, password })
}

/// `host`, `host:port`, `[::1]:port`.
pub(super) fn host_port(text: &str, default: u16) -> Option<(String, u16)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        let port = if port.is_empty() { default } else { port.strip_prefix(':')?.parse().ok()? };
        return Some((host.to_owned(), port));
    }
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let port = port.map_or(Ok(default), str::parse).ok()?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

pub(super) fn tls(search: &mut Search<'_>, is_encrypted: bool, key: &str) -> Tls {
    if !is_encrypted {
        return Tls::Off;
    }
    search.came_from(key, "REDIS_USE_SSL", None);
    let demands = search.environment.said("REDIS_SSL_CERT_REQS");
    let tls = match demands.as_ref().map(|value| value.text.trim()) {
        Some("CERT_REQUIRED" | "CERT_OPTIONAL") => Tls::Checked,
        _ => Tls::Unchecked,
    };
    if search.environment.said("REDIS_SSL_CA_CERTS").is_some() && tls == Tls::Checked {
        search.note(
            key,
            "Dify checks against REDIS_SSL_CA_CERTS; Mainstay knows the well-known roots only: set \"unchecked\" if it is your own",
        );
    }
    tls
}

/// With its colon, as it stands before every key.
pub(super) fn key_prefix(search: &mut Search<'_>, key: &str) -> String {
    let prefix = search.text(key, "REDIS_KEY_PREFIX").unwrap_or_default();
    if prefix.is_empty() || prefix.ends_with(':') { prefix } else { format!("{prefix}:") }
}

/// Without secrets.
pub(super) fn described(redis: &Redis) -> String {
    let Redis { at, user: _, password: _, database, tls, key_prefix } = redis;
    let place = match at {
        RedisAt::Server { host, port } => format!("{host}:{port}"),
        RedisAt::Sentinel { sentinels, service, .. } => match sentinels.len() {
            1 => format!("{service} by 1 sentinel"),
            count => format!("{service} by {count} sentinels"),
        },
    };
    let prefix = if key_prefix.is_empty() { String::new() } else { format!(", keys {key_prefix}*") };
    format!("{place}, database {database}, {}{prefix}", shown(*tls))
}
