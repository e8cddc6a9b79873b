//! The broker of Celery, as kombu reads its address.

use mainstay_base::{Secret, secret::Part};

use super::{
    Search, defaults,
    redis::{MAX_DATABASE, described, host_port, key_prefix, tls},
};
use crate::deployment::{Redis, RedisAt, Tls};

const PART: &str = "broker";
const VARIABLE: &str = "CELERY_BROKER_URL";
const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
const MAX_ADDRESSES: usize = 16;

/// `user:password@host:port/path?query`, in pieces.
struct Address {
    user: Option<String>,
    password: Option<String>,
    host: String,
    port: u16,
    path: String,
    query: String,
}

pub(super) fn find(search: &mut Search<'_>) -> Option<Redis> {
    let text =
        search.environment.said(VARIABLE).map_or_else(|| defaults::BROKER_URL.to_owned(), |said| said.text);
    let scheme = text.trim().split_once("://").map_or("", |(scheme, _)| scheme).to_lowercase();
    if !matches!(scheme.as_str(), "redis" | "rediss" | "sentinel") {
        other(search, &scheme);
        return None;
    }
    let mut addresses = Vec::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()).take(MAX_ADDRESSES) {
        match address(part) {
            Ok(address) => addresses.push(address),
            Err(why) => {
                search.problem(VARIABLE, why);
                return None;
            }
        }
    }
    let first = addresses.first()?;
    let database = match first.path.trim_matches('/') {
        "" => 0,
        path => match path.parse().ok().filter(|database| *database <= MAX_DATABASE) {
            Some(database) => database,
            None => {
                search.problem(VARIABLE, "names no number of a database after the last /");
                return None;
            }
        },
    };
    let is_encrypted = scheme == "rediss" || (scheme == "sentinel" && search.flag("REDIS_USE_SSL"));
    let tls = match first.query.split('&').find_map(|option| option.strip_prefix("ssl_cert_reqs=")) {
        Some(_) if !is_encrypted => Tls::Off,
        Some(demands) if demands.eq_ignore_ascii_case("CERT_REQUIRED") || demands == "required" => {
            Tls::Checked
        }
        Some(_) => Tls::Unchecked,
        None => tls(search, is_encrypted, "broker.tls"),
    };
    let (user, password) = (first.user.clone(), first.password.clone().map(Secret::new));
    if password.is_some() {
        search.came_from("broker.password", VARIABLE, Some(Part::Password));
    }
    for key in ["broker.host", "broker.sentinels", "broker.database"] {
        search.came_from(key, VARIABLE, None);
    }
    let at = match scheme.as_str() {
        "sentinel" => sentinels(search, &addresses),
        _ => {
            let (host, port) = search.place("broker.host", &first.host, first.port);
            Some(RedisAt::Server { host, port })
        }
    };
    let key_prefix = key_prefix(search, "broker.key_prefix");
    let found = Redis { at: at?, user, password, database, tls, key_prefix };
    let what = described(&found);
    search.found(PART, what, if scheme == "sentinel" { "broker.sentinels" } else { "broker.host" });
    Some(found)
}

fn sentinels(search: &mut Search<'_>, addresses: &[Address]) -> Option<RedisAt> {
    let sentinels = addresses
        .iter()
        .map(|address| search.place("broker.sentinels", &address.host, address.port))
        .collect();
    let Some(service) = search.text("broker.sentinel_service", "CELERY_SENTINEL_MASTER_NAME") else {
        search.problem("CELERY_SENTINEL_MASTER_NAME", format!("is empty, and {VARIABLE} names sentinels"));
        return None;
    };
    let password = search.secret("broker.sentinel_password", "CELERY_SENTINEL_PASSWORD");
    Some(RedisAt::Sentinel { sentinels, service, user: None, password })
}

fn other(search: &mut Search<'_>, scheme: &str) {
    let what = match scheme {
        "amqp" | "amqps" | "pyamqp" => {
            format!("{VARIABLE} names a RabbitMQ, and Mainstay sees queues and workers in Redis only")
        }
        "redis+socket" => format!("{VARIABLE} names a socket file, which Mainstay cannot reach"),
        _ => format!("{VARIABLE} names no Redis"),
    };
    search.gap(
        PART,
        what,
        "queue lengths, oldest tasks, drain forecasts, workers and stuck tasks are not seen, and no queue can be acted on; \
         everything else works",
    );
}

/// As kombu takes an address apart: the user part ends at the last `@`, names are percent-decoded.
fn address(text: &str) -> Result<Address, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("is not an address")?;
    let scheme = scheme.to_lowercase();
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    if rest.contains('@') {
        return Err("has an @ behind a / ? or #: such signs of a password are written as %2F, %3F, %23");
    }
    let (login, place) =
        authority.rsplit_once('@').map_or((None, authority), |(login, place)| (Some(login), place));
    let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
        Some((user, password)) => (Some(user), Some(password)),
        None => (None, None),
    };
    let decoded = |part: Option<&str>| part.map(percent_decoded).filter(|part| !part.is_empty());
    let default = if scheme == "sentinel" { SENTINEL_PORT } else { REDIS_PORT };
    let (host, port) = host_port(place, default).ok_or("names no host, or a port that is none")?;
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Ok(Address {
        user: decoded(user),
        password: decoded(password),
        host,
        port,
        path: path.to_owned(),
        query: query.to_owned(),
    })
}

/// The password of an address, for a reference to it.
pub(super) fn password(text: &str) -> Option<String> {
    address(text.split(';').next().unwrap_or_default().trim()).ok()?.password
}

/// `%40` as `@`; what is no escape stays.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let escape =
            behind.get(..2).filter(|_| first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = escape.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(&str, &str, &str, u16, &str), &str>) {
        let found = address(text).map(|found| {
            let Address { user, password, host, port, path, query: _ } = found;
            (user.unwrap_or_default(), password.unwrap_or_default(), host, port, path)
        });
        let expected = expected.map(|(user, password, host, port, path)| {
            (user.to_owned(), password.to_owned(), host.to_owned(), port, path.to_owned())
        });
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn addresses_are_taken_apart_as_kombu_does() {
        check("redis://:difyai123456@redis:6379/1", Ok(("", "difyai123456", "redis", 6379, "/1")));
        check("redis://redis", Ok(("", "", "redis", 6379, "")));
        check(
            "rediss://app:p%40ss%2Fw%25@r.example.com:6380/2",
            Ok(("app", "p@ss/w%", "r.example.com", 6380, "/2")),
        );
        check("redis://:p@ss@redis:6379/1", Ok(("", "p@ss", "redis", 6379, "/1")));
        check("redis://:a%zz@[::1]:6379/0", Ok(("", "a%zz", "::1", 6379, "/0")));
        check("sentinel://:p@s1/1", Ok(("", "p", "s1", 26379, "/1")));
        check(
            "redis://:p#1@redis:6379/1",
            Err("has an @ behind a / ? or #: such signs of a password are written as %2F, %3F, %23"),
        );
        check("redis://:p@redis:port/1", Err("names no host, or a port that is none"));
        check("redis", Err("is not an address"));
    }
}
