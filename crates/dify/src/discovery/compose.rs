//! The compose files beside a Dify's `.env`: which services there are, what they are given, what they publish.
//!
//! Promises: bounded in bytes, nodes, depth and aliases; what it does not know in a file it passes over.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::interpolate::{self, Lookup};

/// Dify's own has 40 KB.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
const MAX_NODES: usize = 100_000;
const MAX_DEPTH: usize = 32;
const MAX_ALIASES: usize = 200;
/// Of `COMPOSE_FILE`.
const MAX_FILES: usize = 8;

/// As compose looks for them, with what it lays over them.
const NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
const OVERRIDES: [&str; 4] = [
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yaml",
    "docker-compose.override.yml",
];

/// The services of a compose project, later files over earlier ones.
#[derive(Default)]
pub(super) struct Compose {
    pub(super) files: Vec<PathBuf>,
    pub(super) services: BTreeMap<String, Service>,
}

#[derive(Default)]
pub(super) struct Service {
    pub(super) image: Option<String>,
    /// What `environment:` sets, with variables put in. It wins over every env file.
    pub(super) environment: BTreeMap<String, String>,
    /// As they are written, in order.
    pub(super) env_files: Vec<String>,
    pub(super) ports: Vec<Port>,
    pub(super) volumes: Vec<Volume>,
    pub(super) profiles: Vec<String>,
    pub(super) container_name: Option<String>,
}

/// A port that the machine of the containers listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    /// `None`: every address of the machine.
    pub(super) ip: Option<String>,
    pub(super) published: u16,
    pub(super) target: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Volume {
    /// A path of the machine, or the name of a volume.
    pub(super) source: String,
    pub(super) target: String,
}

impl Compose {
    /// The service that other containers reach by this name.
    pub(super) fn service(&self, host: &str) -> Option<&Service> {
        let by_container =
            || self.services.values().find(|service| service.container_name.as_deref() == Some(host));
        self.services.get(host).or_else(by_container)
    }
}

/// The files of the folder that compose would take; none is no problem.
pub(super) fn files(folder: &Path, compose_file: Option<&str>) -> Vec<PathBuf> {
    let named = compose_file.unwrap_or_default();
    let separator = if named.contains(';') { ';' } else { ':' };
    let named = named.split(separator).filter(|name| !name.is_empty()).take(MAX_FILES);
    let named: Vec<PathBuf> = named.map(|name| folder.join(name)).collect();
    if !named.is_empty() {
        return named;
    }
    let first = |names: &[&str]| names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    let base = first(&NAMES);
    let over = base.is_some().then(|| first(&OVERRIDES)).flatten();
    base.into_iter().chain(over).collect()
}

/// Reads them all; a problem is told with its file, and the rest is used.
pub(super) fn read(files: &[PathBuf], lookup: Lookup<'_>, problems: &mut Vec<String>) -> Compose {
    let mut compose = Compose::default();
    for path in files {
        let read = super::files::read(path, MAX_FILE_BYTES).and_then(|text| parse(&text));
        match read {
            Ok(document) => {
                compose.files.push(path.clone());
                lay_over(&mut compose, &document, lookup);
            }
            Err(why) => problems.push(format!("{}: {why}", path.display())),
        }
    }
    compose
}

fn parse(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: MAX_NODES * 2,
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
            max_depth: MAX_DEPTH,
            max_documents: 1,
            max_nodes: MAX_NODES,
            max_total_scalar_bytes: MAX_FILE_BYTES as usize,
            max_merge_keys: MAX_ALIASES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_NODES * 2,
            max_replay_stack_depth: MAX_DEPTH,
            max_alias_expansions_per_anchor: MAX_ALIASES,
        },
        // A snippet would show what stands in the file.
        with_snippet: false,
        strict_booleans: true,
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| format!("is not readable as YAML: {}", first_line(&error.to_string())))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn lay_over(compose: &mut Compose, document: &Value, lookup: Lookup<'_>) {
    let said = |value: &Value| -> Option<String> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => return None,
        };
        // A variable that is demanded and missing stops compose; here it is only not known.
        interpolate::substitute(&text, lookup).ok()
    };
    for (name, value) in document["services"].as_object().into_iter().flatten() {
        let service = compose.services.entry(name.clone()).or_default();
        service.image = said(&value["image"]).or_else(|| service.image.take());
        service.container_name = said(&value["container_name"]).or_else(|| service.container_name.take());
        service.environment.extend(environment(&value["environment"], &said, lookup));
        service
            .env_files
            .extend(one_or_more(&value["env_file"], |item| said(item).or_else(|| said(&item["path"]))));
        service.ports.extend(one_or_more(&value["ports"], |item| port(item, &said)));
        service.volumes.extend(one_or_more(&value["volumes"], |item| volume(item, &said)));
        service.profiles.extend(one_or_more(&value["profiles"], said));
    }
}

fn environment(
    value: &Value,
    said: &dyn Fn(&Value) -> Option<String>,
    lookup: Lookup<'_>,
) -> Vec<(String, String)> {
    let passed_on = |name: &str| lookup(name).map(|value| (name.to_owned(), value));
    match value {
        Value::Object(entries) => entries
            .iter()
            .filter_map(|(name, value)| match value {
                Value::Null => passed_on(name),
                value => Some((name.clone(), said(value)?)),
            })
            .collect(),
        Value::Array(items) => items
            .iter()
            .filter_map(said)
            .filter_map(|item| match item.split_once('=') {
                Some((name, value)) => Some((name.to_owned(), value.to_owned())),
                None => passed_on(&item),
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn one_or_more<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Vec<T> {
    match value {
        Value::Array(items) => items.iter().filter_map(read).collect(),
        Value::Null => Vec::new(),
        value => read(value).into_iter().collect(),
    }
}

/// `8080:80`, `127.0.0.1:8080:80/tcp`, `{published: 8080, target: 80}`. A range or a port of chance is passed over.
fn port(value: &Value, said: &dyn Fn(&Value) -> Option<String>) -> Option<Port> {
    if value.is_object() {
        return Some(Port {
            ip: said(&value["host_ip"]).filter(|ip| !ip.is_empty()),
            published: said(&value["published"])?.parse().ok()?,
            target: said(&value["target"])?.parse().ok()?,
        });
    }
    let text = said(value)?;
    let text = text.strip_suffix("/tcp").unwrap_or(&text);
    let (rest, target) = text.rsplit_once(':')?;
    let (ip, published) = rest.rsplit_once(':').map_or((None, rest), |(ip, port)| (Some(ip), port));
    let ip = ip.map(|ip| ip.trim_matches(['[', ']']).to_owned()).filter(|ip| !ip.is_empty());
    Some(Port { ip, published: published.parse().ok()?, target: target.parse().ok()? })
}

fn volume(value: &Value, said: &dyn Fn(&Value) -> Option<String>) -> Option<Volume> {
    if value.is_object() {
        return Some(Volume { source: said(&value["source"])?, target: said(&value["target"])? });
    }
    let text = said(value)?;
    let mut parts = text.split(':');
    Some(Volume { source: parts.next()?.to_owned(), target: parts.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compose(text: &str) -> Compose {
        let mut compose = Compose::default();
        let lookup = |name: &str| (name == "DB_HOST").then(|| "db.example.com".to_owned());
        lay_over(&mut compose, &parse(text).unwrap(), &lookup);
        compose
    }

    #[test]
    fn anchors_merge_keys_and_variables_are_followed() {
        let found = compose(
            "x-shared: &shared\n  DB_HOST: ${DB_HOST:-db_postgres}\n  DB_PORT: ${DB_PORT:-5432}\n  REDIS_DB: 0\n\
             services:\n  api:\n    image: langgenius/dify-api:1.12.1\n    environment:\n      <<: *shared\n      MODE: api\n\
             \x20 worker:\n    environment: [A=1, DB_HOST, NONE]\n    profiles: ['', x]\n",
        );
        let api = &found.services["api"];
        let said: Vec<_> = api.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(said, ["DB_HOST=db.example.com", "DB_PORT=5432", "MODE=api", "REDIS_DB=0"]);
        assert_eq!(found.services["worker"].environment.len(), 2);
        assert_eq!(found.services["worker"].profiles, ["", "x"]);
    }

    #[test]
    fn ports_are_read_in_both_forms() {
        let said =
            |value: &Value| value.as_str().map(str::to_owned).or(value.as_u64().map(|n| n.to_string()));
        let at =
            |ip: Option<&str>, published, target| Some(Port { ip: ip.map(str::to_owned), published, target });
        for (value, expected) in [
            (json!("8080:80"), at(None, 8080, 80)),
            (json!("127.0.0.1:5432:5432/tcp"), at(Some("127.0.0.1"), 5432, 5432)),
            (json!("[::1]:5432:5432"), at(Some("::1"), 5432, 5432)),
            (json!({"target": 80, "published": "8080"}), at(None, 8080, 80)),
            (json!("5432"), None),
            (json!("8000-8010:8000-8010"), None),
            (json!("53:53/udp"), None),
        ] {
            assert_eq!(port(&value, &said), expected, "{value}");
        }
    }

    #[test]
    fn tags_of_compose_are_no_obstacle() {
        let found = compose(
            "services:\n  a:\n    ports: !reset []\n    image: !override x:1\n  b:\n    ports: !override\n      - 1:2\n",
        );
        assert_eq!(found.services["a"].image.as_deref(), Some("x:1"));
        assert_eq!(found.services["b"].ports.len(), 1);
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_built() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for at in 1..12 {
            let item = format!("*a{}", at - 1);
            text.push_str(&format!("a{at}: &a{at} [{}]\n", vec![item; 10].join(",")));
        }
        assert!(parse(&text).is_err());
    }
}
