//! Whether a host can be reached from where Mainstay is. The names of compose's services resolve inside its network
//! only; from outside there is the port that the machine publishes, if it does.

use url::Url;

use super::{compose::Port, search::Search};

/// How Dify's own compose files call their services, for an `.env` without a compose file.
const SERVICES: [&str; 20] = [
    "api",
    "web",
    "db",
    "db_postgres",
    "redis",
    "sandbox",
    "plugin_daemon",
    "ssrf_proxy",
    "nginx",
    "weaviate",
    "qdrant",
    "pgvector",
    "pgvecto-rs",
    "vastbase",
    "chroma",
    "opengauss",
    "opensearch",
    "elasticsearch",
    "milvus-standalone",
    "couchbase-server",
];
/// What a container calls the machine that it runs on.
const MACHINE: &str = "host.docker.internal";

/// How the note on a name begins that resolves in the compose network only.
pub(super) const INSIDE: &str = "only inside the compose network";

pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) note: Option<String>,
}

pub(super) fn of(search: &Search<'_>, host: &str, port: u16) -> Place {
    let stays = |note: Option<String>| Place { host: host.to_owned(), port, note };
    if host == MACHINE {
        return match search.host {
            Some(machine) => Place {
                host: machine.to_owned(),
                port,
                note: Some(format!("{MACHINE} to Dify's containers")),
            },
            None => stays(Some(format!(
                "only inside containers: {MACHINE} is their machine, which --host ADDRESS names"
            ))),
        };
    }
    let compose = search.environment.compose.as_ref();
    let service = compose.and_then(|compose| compose.service(host));
    let is_inside = service.is_some() || (compose.is_none() && SERVICES.contains(&host));
    if !is_inside {
        return stays(None);
    }
    let published = service.and_then(|service| service.ports.iter().find(|found| found.target == port));
    match (search.host, published) {
        (Some(machine), Some(found)) => Place {
            host: machine.to_owned(),
            port: found.published,
            note: Some(format!("{host}:{port} inside the compose network")),
        },
        (None, Some(found)) => {
            stays(Some(format!("{INSIDE}; its machine publishes {}: --host ADDRESS uses that", shown(found))))
        }
        (_, None) => stays(Some(format!("{INSIDE}; not published"))),
    }
}

fn shown(port: &Port) -> String {
    match &port.ip {
        Some(ip) => format!("it as {ip}:{}", port.published),
        None => format!("it as port {}", port.published),
    }
}

/// Whether an address names a service that a Dify has usually, and this one has not.
pub(super) fn is_missing(search: &Search<'_>, address: &str) -> bool {
    let Some(compose) = &search.environment.compose else { return false };
    let host = Url::parse(address).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    SERVICES.contains(&host.as_str()) && compose.service(&host).is_none()
}

/// An address as the configuration takes it, and what to know of it.
pub(super) fn url(search: &Search<'_>, text: &str) -> Result<(String, Option<String>), &'static str> {
    let mut url = Url::parse(text).map_err(|_| "is not an address")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("is not an http:// or https:// address");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or password, which an address of Mainstay cannot");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or fragment (?… or #…)");
    }
    let (Some(host), Some(port)) = (url.host_str().map(str::to_owned), url.port_or_known_default()) else {
        return Err("names no host");
    };
    let place = of(search, &host, port);
    if (place.host.as_str(), place.port) != (host.as_str(), port) {
        let host = if place.host.contains(':') { format!("[{}]", place.host) } else { place.host };
        url.set_host(Some(&host)).map_err(|_| "cannot be moved to --host")?;
        url.set_port(Some(place.port)).map_err(|()| "cannot be moved to --host")?;
        return Ok((url.as_str().trim_end_matches('/').to_owned(), place.note));
    }
    Ok((text.trim_end_matches('/').to_owned(), place.note))
}
