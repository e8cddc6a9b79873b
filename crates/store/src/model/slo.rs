//! What is counted for service levels, and the documents about them.

use std::sync::Arc;

use mainstay_base::{Blame, Kind, Micros};
use serde_json::Value;

use super::{RunStatus, Sketch};

/// Labels of what is counted; what is not known of one is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SliSeries {
    /// Made from the labels: the same labels, the same number.
    pub id: i64,
    /// `app` or `model`: the gateway's path.
    pub path: String,
    pub app_id: String,
    pub app: String,
    /// Dify's word for the kind of app: `workflow`, `advanced-chat`.
    pub mode: String,
    pub endpoint: String,
    pub model: String,
    pub provider: String,
    /// Of a workflow.
    pub version: String,
}

impl SliSeries {
    /// With the number that its labels make.
    pub fn numbered(mut self) -> SliSeries {
        let SliSeries { id: _, path, app_id, app, mode, endpoint, model, provider, version } = &self;
        let mut hasher = blake3::Hasher::new();
        for label in [path, app_id, app, mode, endpoint, model, provider, version] {
            hasher.update(label.as_bytes()).update(&[0]);
        }
        let mut number = [0; 8];
        number.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        self.id = i64::from_be_bytes(number);
        self
    }
}

/// How requests ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliCounts {
    pub good: i64,
    /// Those that did not, by [`Blame::index`].
    pub blamed: [i64; Blame::ALL.len()],
    /// From the first byte in to the last byte out, of good ones, in microseconds.
    pub took: Sketch,
    /// From the first byte in to the first token out, of good ones that had one, in microseconds.
    pub first_token: Sketch,
}

impl SliCounts {
    /// Failures that count: all but the caller's own.
    pub fn bad(&self) -> i64 {
        self.blamed.iter().sum::<i64>() - self.blamed[Blame::Client.index()]
    }

    pub fn add(&mut self, other: &SliCounts) {
        let SliCounts { good, blamed, took, first_token } = other;
        self.good += good;
        for (mine, more) in self.blamed.iter_mut().zip(blamed) {
            *mine += more;
        }
        self.took.merge(took);
        self.first_token.merge(first_token);
    }
}

/// A minute is counted in so many parts, of [`SLI_SLOT_US`] each.
pub const SLI_SLOTS: usize = 12;
/// Microseconds: five seconds.
pub const SLI_SLOT_US: i64 = 60_000_000 / SLI_SLOTS as i64;

/// What one process counted of one series in one minute or hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliRow {
    /// Minutes or hours since 1970.
    pub time: i64,
    pub series: i64,
    pub counts: SliCounts,
    /// Of a minute: (good, bad) in each part of it.
    pub slots: [(u32, u32); SLI_SLOTS],
}

/// What a process has counted since it wrote last; rows are whole and take the place of what it wrote before.
#[derive(Clone, Debug, Default)]
pub struct SliBatch {
    /// Names the process; never used again by another.
    pub instance: String,
    pub series: Arc<[Arc<SliSeries>]>,
    pub minutes: Arc<[SliRow]>,
    pub hours: Arc<[SliRow]>,
}

/// Ends of runs are told apart by so much: five seconds, in microseconds.
pub const ENDED_US: i64 = 5_000_000;

/// Runs of one app that ended in the same [`ENDED_US`] in the same way, though nobody waited for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedRuns {
    /// The begin of these.
    pub at: Micros,
    pub app_id: String,
    pub app: String,
    pub mode: String,
    /// By the embedded engine, and not by a Dify.
    pub is_embedded: bool,
    pub status: RunStatus,
    /// Its first 500 characters.
    pub error: Option<String>,
    pub error_kind: Option<Kind>,
    pub count: i64,
}

/// A document as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct SloRow {
    pub name: String,
    /// `None`: removed.
    pub body: Option<Value>,
    pub revision: i64,
    pub actor: String,
    pub updated_at: Micros,
}

/// One change of a document.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct SloChange {
    pub name: String,
    pub revision: i64,
    pub at: Micros,
    pub actor: String,
    pub why: String,
    /// `None`: there was none.
    pub before: Option<Value>,
    /// `None`: it was removed.
    pub after: Option<Value>,
}

/// How one stands.
#[derive(Clone, Debug, PartialEq)]
pub struct SloState {
    pub name: String,
    pub at: Micros,
    pub body: Value,
}
