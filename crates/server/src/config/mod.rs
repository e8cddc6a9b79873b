//! The configuration: a TOML file, the environment over it, read whole, all problems at once.
//!
//! Promises: a [`Config`] that exists is valid, every name in it that refers to something was found, and every
//! secret it needs has been read. Refuses to know what the values are used for.

mod adopt;
mod example;
mod lint;
mod overlay;
mod read;
mod reader;
mod revision;
mod secrets;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mainstay_base::{
    AppMode, Secret,
    snapshot::{Breaker, CallPolicy, Ejection, LogicalModel, ModelKey, Provider, Upstream},
};
use mainstay_control::{ProbeKind, alert::Plan};
use mainstay_dify::Deployment;
use mainstay_net::AddressRule;
use mainstay_store::model::Severity;
use mainstay_wire::notify::Channel;
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    example::example,
    read::{DEFAULT_STORE_URL, EMBEDDED, model::ENGINE_KEY},
    reader::Problem,
    secrets::{Follow, Known},
};
use crate::env;

pub(crate) const DEFAULT_PATH: &str = "mainstay.toml";
/// A configuration is written by hand; more is a mistake.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Everything `serve` needs to know. Immutable once read.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listeners: Listeners,
    pub(crate) log: Log,
    pub(crate) store_url: StoreUrl,
    /// Where the state files are; `None`: next to the SQLite file, or in the user's state folder.
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) engine: Engine,
    pub(crate) workers: Workers,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) unknown_keys_to: Option<Arc<Upstream>>,
    pub(crate) apps: Vec<App>,
    /// The Dify that stands behind, as far as it is described.
    pub(crate) dify: Option<Deployment>,
    pub(crate) providers: Vec<Arc<Provider>>,
    /// How each provider, by name, is asked whether it is well.
    pub(crate) probes: BTreeMap<String, ProbeKind>,
    pub(crate) model: Model,
    pub(crate) admin_tokens: Vec<AdminToken>,
    pub(crate) receivers: Vec<Receiver>,
    /// Who is told of which alerts, in which order, and who is on call.
    pub(crate) alerting: Arc<Plan>,
    pub(crate) heartbeat: Option<Heartbeat>,
    pub(crate) callbacks: Callbacks,
    pub(crate) records: Records,
    pub(crate) retention: Retention,
    pub(crate) limits: Limits,
    pub(crate) otlp: Option<Otlp>,
    /// What was behind each reference.
    pub(crate) secrets: Known,
    /// A short hash of the file and the environment together: which configuration this is.
    pub(crate) revision: String,
    /// What is allowed and probably not meant.
    pub(crate) warnings: Vec<Problem>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Listeners {
    pub(crate) admin: SocketAddr,
    /// Whether browsers reach the console by HTTPS.
    pub(crate) admin_https: bool,
    pub(crate) app: SocketAddr,
    pub(crate) model: SocketAddr,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Log {
    pub(crate) json: bool,
    /// A filter in the form of `tracing`: `info`, `mainstay_gateway=debug,info`.
    pub(crate) filter: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Engine {
    pub(crate) enabled: bool,
    /// Where LLM nodes call; `None`: the model listener of this process.
    pub(crate) model_url: Option<String>,
    pub(crate) model_key: Option<Secret>,
    /// Which addresses the `http-request` node may reach.
    pub(crate) http_request: Reach,
    pub(crate) run_timeout: Duration,
}

/// Which addresses may be reached that somebody else gave us. Kept as texts, because workers are told them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reach {
    pub(crate) any: bool,
    pub(crate) allow: Vec<String>,
}

impl Reach {
    /// The rule itself. The texts were checked when they were read; what cannot be read allows nothing.
    pub(crate) fn rule(&self) -> AddressRule {
        match self.any {
            true => AddressRule::Any,
            false => AddressRule::public_only(self.allow.iter().filter_map(|text| text.parse().ok())),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Workers {
    pub(crate) count: u32,
    /// Jobs at once in one process.
    pub(crate) concurrency: usize,
    pub(crate) lease: Duration,
    /// How long a worker that is asked to stop may finish what it runs.
    pub(crate) grace: Duration,
}

/// An app that lives in a real Dify.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct App {
    pub(crate) name: String,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) key: Secret,
    pub(crate) mode: AppMode,
    pub(crate) durable: bool,
    /// Whether a run may be repeated after Dify may have started it.
    pub(crate) idempotent: bool,
    /// The imported app that answers while the upstream does not.
    pub(crate) standby: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// The declared ones first, then those that providers list.
    pub(crate) routes: Vec<Arc<LogicalModel>>,
    /// How many of them are `[[model.route]]`.
    pub(crate) declared_routes: usize,
    pub(crate) other_models_to: Vec<Arc<Provider>>,
    /// Of names of no route; routes have their own.
    pub(crate) policy: CallPolicy,
    pub(crate) breaker: Breaker,
    pub(crate) ejection: Ejection,
    pub(crate) keys: Vec<VirtualKey>,
}

#[derive(Clone, Debug)]
pub(crate) struct VirtualKey {
    pub(crate) key: Secret,
    pub(crate) caller: Arc<ModelKey>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdminToken {
    pub(crate) name: String,
    pub(crate) token: Secret,
}

/// Where alerts are sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Receiver {
    pub(crate) name: String,
    pub(crate) channel: Channel,
    pub(crate) min_severity: Severity,
    /// Templates that were tried.
    pub(crate) title: Option<String>,
    pub(crate) body: Option<String>,
    /// PEM of the authorities that are trusted besides the public ones, looked at.
    pub(crate) ca: Option<Vec<u8>>,
}

/// Who hears at intervals that this instance acts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Heartbeat {
    pub(crate) url: Secret,
    pub(crate) every: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Callbacks {
    pub(crate) secret: Option<Secret>,
    pub(crate) reach: Reach,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Records {
    /// The share of successful requests whose record is kept; failures always are.
    pub(crate) keep_success: f64,
    /// Beyond it successes are counted and not stored, then failures too.
    pub(crate) max_stored_a_second: f64,
}

/// Where traces and metrics are sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Otlp {
    /// Without `/v1/traces`.
    pub(crate) endpoint: String,
    pub(crate) headers: Vec<(String, Secret)>,
    pub(crate) service: String,
    pub(crate) traces: bool,
    pub(crate) metrics: bool,
    /// Between two looks at the metrics.
    pub(crate) every: Duration,
    /// The share of successful requests whose trace is sent; failures always are.
    pub(crate) keep_success: f64,
}

/// The address of the store, which may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StoreUrl(String);

impl StoreUrl {
    pub(crate) fn new(url: impl Into<String>) -> StoreUrl {
        StoreUrl(url.into())
    }

    /// With the password, for the one who connects.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// The file's path, when it is SQLite.
    pub(crate) fn sqlite_path(&self) -> Option<&str> {
        self.0.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path))
    }
}

impl std::fmt::Debug for StoreUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&revision::without_password(&self.0))
    }
}

/// Where Mainstay keeps its own data.
#[derive(Clone, Debug)]
pub(crate) struct StorePlace {
    pub(crate) url: StoreUrl,
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Retention {
    pub(crate) runs: Duration,
    pub(crate) records: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    pub(crate) body_bytes: usize,
    pub(crate) connections: usize,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("cannot read {path}")]
    Read { path: String, source: std::io::Error },
    #[error("{path} is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge { path: String },
    #[error("{path} is empty; a copy that failed looks like that (write a comment into it if you mean it)")]
    Empty { path: String },
    #[error("{path} was being written all the time")]
    Changing { path: String },
    #[error("{path}, or a secret that it refers to, could not be read within {waited:?}")]
    Silent { path: String, waited: Duration },
    #[error("{path} is not TOML: {message}")]
    Syntax { path: String, message: String },
    #[error("{} found", if .0.len() == 1 { "one problem".to_owned() } else { format!("{} problems", .0.len()) })]
    Problems(Vec<Problem>),
}

/// Reads the file at `path`, the environment over it.
pub(crate) fn load(path: &Path, follow: Follow) -> Result<Config, LoadError> {
    parse(&path.display().to_string(), &read_file(path)?, &environment(), follow)
}

/// The variables that are read over the file.
pub(crate) fn environment() -> Vec<(String, String)> {
    env::with_prefix(overlay::PREFIX)
}

pub(crate) fn parse(
    name: &str,
    text: &str,
    variables: &[(String, String)],
    follow: Follow,
) -> Result<Config, LoadError> {
    let mut table: toml::Table = text
        .parse()
        .map_err(|error| LoadError::Syntax { path: name.to_owned(), message: syntax(text, &error) })?;
    let findings = reader::Findings::default();
    overlay::apply(&mut table, variables, &findings);
    let config = read::config(reader::Reader::root(&table, &findings), follow);
    let reader::Found { problems, warnings, secrets } = findings.into_found();
    if !problems.is_empty() {
        return Err(LoadError::Problems(problems));
    }
    Ok(Config { revision: revision::of(table), warnings, secrets, ..config })
}

/// Where, and what; never the line itself, which may hold a secret that somebody wrote there.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    format!("line {line}, column {column}: {}", error.message())
}

/// Where a configuration that cannot be used keeps its data, as far as it can be told: the state folder has the last
/// good one.
pub(crate) fn salvage_store(text: &str, variables: &[(String, String)]) -> StorePlace {
    let whole = text.parse::<toml::Table>();
    let mut table = whole.unwrap_or_else(|_| store_section(text).parse().unwrap_or_default());
    overlay::apply(&mut table, variables, &reader::Findings::default());
    let said = |key: &str| Some(table.get("store")?.get(key)?.as_str()?.to_owned());
    StorePlace {
        url: StoreUrl::new(said("url").unwrap_or_else(|| DEFAULT_STORE_URL.to_owned())),
        state_dir: said("state_dir").map(PathBuf::from),
    }
}

/// The lines of `[store]` alone: a mistake elsewhere in the file does not matter to them.
fn store_section(text: &str) -> String {
    let lines = text.lines().map(str::trim).skip_while(|line| *line != "[store]");
    let (head, rest): (Vec<&str>, Vec<&str>) = (lines.clone().take(1).collect(), lines.skip(1).collect());
    let section = rest.into_iter().take_while(|line| !line.starts_with('['));
    head.into_iter().chain(section).collect::<Vec<_>>().join("\n")
}

/// As [`read_file`], for a process that serves: a pipe, which a start may read once, would hold it up.
pub(crate) fn read_again(path: &Path) -> Result<String, LoadError> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(LoadError::Read {
            path: path.display().to_string(),
            source: std::io::Error::other("it is not a file, and cannot be read a second time"),
        }),
        _ => read_file(path),
    }
}

pub(crate) fn read_file(path: &Path) -> Result<String, LoadError> {
    let fail = |source| LoadError::Read { path: path.display().to_string(), source };
    let mut text = String::new();
    // What a device or a pipe says of its length is not what it gives.
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(fail)?;
    match text.len() as u64 > MAX_FILE_BYTES {
        true => Err(LoadError::TooLarge { path: path.display().to_string() }),
        false => Ok(text),
    }
}
