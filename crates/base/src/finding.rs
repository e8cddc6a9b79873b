//! What is wrong, in the form that every part reports it and every surface shows it.

use serde::{Deserialize, Serialize};

/// One thing that is wrong, or worth knowing, with what proves it and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable: `queue-no-consumer`, or the id of a row of the signature catalogue, `S18`.
    pub id: String,
    pub severity: Severity,
    /// `api`, `database`, `redis`, `queue:dataset`, `worker:celery@host`, …
    pub component: String,
    pub subject: Subject,
    /// One sentence: what is the case.
    pub what: String,
    /// One sentence: why, as far as the evidence carries; empty when it is not known.
    pub cause: String,
    /// One line that can be done.
    pub remedy: String,
    pub evidence: Vec<Evidence>,
}

/// Worst last, so that `max` is the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is broken.
    Note,
    /// It will break, or is degraded.
    Warning,
    /// It is broken for somebody now.
    Critical,
}

/// Whom a finding is about, where that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// What was asked and what it answered: a query, a command or a request that an operator can repeat. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub asked: String,
    pub answered: String,
}

impl Evidence {
    pub fn new(asked: impl Into<String>, answered: impl Into<String>) -> Evidence {
        Evidence { asked: asked.into(), answered: answered.into() }
    }
}
