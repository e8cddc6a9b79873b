//! The answer of `GET /health`.

use std::collections::BTreeMap;

use mainstay_base::{Finding, Micros};
use serde::{Serialize, Serializer};

use super::{Told, Trouble};

/// Ordered from good to bad, so that the worst of many is their maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ok,
    /// Not looked at yet, or not enough seen to say.
    #[default]
    Unknown,
    Degraded,
    Down,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Unknown => "unknown",
            State::Degraded => "degraded",
            State::Down => "down",
        }
    }

    /// Degraded or down: something an operator should know of.
    pub fn is_trouble(self) -> bool {
        matches!(self, State::Degraded | State::Down)
    }
}

/// What kind of component it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    Store,
    Engine,
    /// The worker processes together.
    Workers,
    /// One worker process.
    Worker,
    Queue,
    Upstream,
    Provider,
    /// One key of a provider; only those that are or were refused are told of.
    ProviderKey,
    /// Reading Dify's database.
    Ingest,
    /// One part of the Dify that the configuration names.
    Dify,
    /// The configuration of this process.
    Config,
    /// One who is told of alerts.
    Receiver,
    /// An objective as its judge sees it. Only alerts know it: it is never part of a [`Report`].
    Slo,
}

impl Group {
    pub fn as_str(self) -> &'static str {
        match self {
            Group::Store => "store",
            Group::Engine => "engine",
            Group::Workers => "workers",
            Group::Worker => "worker",
            Group::Queue => "queue",
            Group::Upstream => "upstream",
            Group::Provider => "provider",
            Group::Ingest => "ingest",
            Group::Dify => "dify",
            Group::Config => "config",
            Group::Receiver => "receiver",
            Group::Slo => "slo",
            Group::ProviderKey => "provider-key",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Component {
    /// `store`, `engine`, `workers`, `worker:0`, `queue`, `upstream:NAME`, `provider:NAME`,
    /// `provider-key:PROVIDER/KEY`, `dify:PART`, `receiver:NAME`.
    pub id: String,
    pub group: Group,
    pub name: String,
    pub state: State,
    pub reason: String,
    /// Since when it is in this state.
    #[serde(serialize_with = "iso")]
    pub since: Micros,
    #[serde(serialize_with = "iso_option")]
    pub last_check: Option<Micros>,
    /// Of a provider: its present run of failures, or one that ended minutes ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// Of a part of a Dify: what is wrong with it, with cause and remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// What alerts of it are grouped, silenced and routed by, beside what its id says: `provider`, `model`, `app`,
    /// `mode`, `endpoint`, `slo`, `owner`, `alerting`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Component {
    /// A part of the process around, by what that process says of it.
    pub fn told(group: Group, told: &Told, since: Micros) -> Component {
        let (id, name) = (group.as_str().to_owned(), group.as_str().to_owned());
        let Told { state, reason, at } = told.clone();
        Component {
            id,
            group,
            name,
            state,
            reason,
            since,
            last_check: Some(at),
            trouble: None,
            finding: None,
            labels: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The overall state: `ok`, `degraded` or `down`; `unknown` before the first round of checks.
    pub state: State,
    pub reason: String,
    #[serde(serialize_with = "iso")]
    pub since: Micros,
    #[serde(serialize_with = "iso")]
    pub at: Micros,
    pub components: Vec<Component>,
}

impl Report {
    /// Before anything was looked at.
    pub fn unknown(at: Micros) -> Report {
        let reason = "nothing was checked yet".to_owned();
        Report { state: State::Unknown, reason, since: at, at, components: Vec::new() }
    }

    pub fn component(&self, id: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.id == id)
    }

    /// 200 while somebody can be served, 503 otherwise.
    pub fn http_status(&self) -> u16 {
        if self.state == State::Down { 503 } else { 200 }
    }

    /// Whether a first round of checks is complete, so that orchestrators may send traffic (`/readyz`).
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ok | State::Degraded)
    }
}

/// RFC 3339 with microseconds, UTC.
pub(crate) fn iso_text(at: Micros) -> String {
    jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| at.0.to_string(), |at| format!("{at:.6}"))
}

/// RFC 3339 to the second, UTC: for sentences that people read.
pub(crate) fn second_text(at: Micros) -> String {
    jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| at.0.to_string(), |at| format!("{at:.0}"))
}

fn iso<S: Serializer>(at: &Micros, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&iso_text(*at))
}

fn iso_option<S: Serializer>(at: &Option<Micros>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => iso(at, serializer),
        None => serializer.serialize_none(),
    }
}
