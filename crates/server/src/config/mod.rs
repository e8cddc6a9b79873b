//! The configuration: a TOML file, the environment over it, read whole, all problems at once.
//!
//! Promises: a [`Config`] that exists is valid, every name in it that refers to something was found, and every
//! secret it needs has been read. Refuses to know what the values are used for.

mod example;
mod overlay;
mod read;
mod reader;
mod secrets;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use mainstay_base::{
    AppMode, Secret,
    snapshot::{Provider, Upstream},
};
use mainstay_net::AddressRule;
use serde::{Deserialize, Serialize};

pub(crate) use self::{example::example, read::EMBEDDED, reader::Problem, secrets::Follow};
use crate::env;

pub(crate) const DEFAULT_PATH: &str = "mainstay.toml";
/// A configuration is written by hand; more is a mistake.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Everything `serve` needs to know. Immutable once read.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listeners: Listeners,
    pub(crate) log: Log,
    pub(crate) store_url: String,
    pub(crate) engine: Engine,
    pub(crate) workers: Workers,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) unknown_keys_to: Option<Arc<Upstream>>,
    pub(crate) apps: Vec<App>,
    pub(crate) providers: Vec<Arc<Provider>>,
    pub(crate) model: Model,
    pub(crate) admin_tokens: Vec<AdminToken>,
    pub(crate) receivers: Vec<Receiver>,
    pub(crate) callbacks: Callbacks,
    pub(crate) records: Records,
    pub(crate) retention: Retention,
    pub(crate) limits: Limits,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Listeners {
    pub(crate) admin: SocketAddr,
    /// Whether browsers reach the console by HTTPS.
    pub(crate) admin_https: bool,
    pub(crate) app: SocketAddr,
    pub(crate) model: SocketAddr,
}

#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) json: bool,
    /// A filter in the form of `tracing`: `info`, `mainstay_gateway=debug,info`.
    pub(crate) filter: String,
}

#[derive(Clone, Debug)]
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

#[derive(Clone, Copy, Debug)]
pub(crate) struct Workers {
    pub(crate) count: u32,
    /// Jobs at once in one process.
    pub(crate) concurrency: usize,
    pub(crate) lease: Duration,
    /// How long a worker that is asked to stop may finish what it runs.
    pub(crate) grace: Duration,
}

/// An app that lives in a real Dify.
#[derive(Clone, Debug)]
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
    pub(crate) routes: Vec<Route>,
    pub(crate) other_models_to: Vec<Arc<Provider>>,
    pub(crate) keys: Vec<VirtualKey>,
}

#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) model: String,
    pub(crate) targets: Vec<(Arc<Provider>, String)>,
}

#[derive(Clone, Debug)]
pub(crate) struct VirtualKey {
    pub(crate) name: String,
    pub(crate) key: Secret,
}

#[derive(Clone, Debug)]
pub(crate) struct AdminToken {
    pub(crate) name: String,
    pub(crate) token: Secret,
}

/// Where alerts are sent.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) secret: Option<Secret>,
}

#[derive(Clone, Debug)]
pub(crate) struct Callbacks {
    pub(crate) secret: Option<Secret>,
    pub(crate) reach: Reach,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Records {
    /// The share of successful requests whose record is kept; failures always are.
    pub(crate) keep_success: f64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    pub(crate) runs: Duration,
    pub(crate) records: Duration,
}

#[derive(Clone, Copy, Debug)]
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
    #[error("{path} is not TOML: {message}")]
    Syntax { path: String, message: String },
    #[error("{} found", if .0.len() == 1 { "one problem".to_owned() } else { format!("{} problems", .0.len()) })]
    Problems(Vec<Problem>),
}

/// Reads the file at `path`, the environment over it. `None`: no file, only defaults and the environment.
pub(crate) fn load(path: Option<&Path>, follow: Follow) -> Result<Config, LoadError> {
    let text = match path {
        Some(path) => read_file(path)?,
        None => String::new(),
    };
    let name = path.map_or_else(|| "the configuration".to_owned(), |path| path.display().to_string());
    parse(&name, &text, &env::with_prefix(overlay::PREFIX), follow)
}

pub(crate) fn parse(
    name: &str,
    text: &str,
    variables: &[(String, String)],
    follow: Follow,
) -> Result<Config, LoadError> {
    let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| LoadError::Syntax {
        path: name.to_owned(),
        message: error.to_string(),
    })?;
    let findings = reader::Findings::default();
    overlay::apply(&mut table, variables, &findings);
    let config = read::config(reader::Reader::root(&table, &findings), follow);
    let problems = findings.into_problems();
    if problems.is_empty() { Ok(config) } else { Err(LoadError::Problems(problems)) }
}

fn read_file(path: &Path) -> Result<String, LoadError> {
    let fail = |source| LoadError::Read { path: path.display().to_string(), source };
    if std::fs::metadata(path).map_err(fail)?.len() > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge { path: path.display().to_string() });
    }
    std::fs::read_to_string(path).map_err(fail)
}
