//! The model path: budgets, standings, and calls to look back on.

use mainstay_base::{Micros, Record, Standing, Usd};
use serde::{Deserialize, Serialize};

/// What one virtual key has taken of its budget in one window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// The name of the virtual key.
    pub key: String,
    pub window_start: Micros,
    pub taken: Usd,
    pub updated_at: Micros,
}

/// How the targets stood, as one gateway process said last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stood {
    /// Which process (`host:pid`).
    pub instance: String,
    /// When the store was told, by the store's clock.
    pub at: Micros,
    pub standing: Standing,
}

/// Which calls of the model path. Oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallFilter {
    pub since: Micros,
    /// Not included.
    pub until: Micros,
    /// The name that callers asked for.
    pub model: Option<String>,
    /// Only calls after this one.
    pub after: Option<CallCursor>,
    /// 0: as many as one page may have.
    pub limit: u32,
}

/// A place in the calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCursor {
    pub opened_at: Micros,
    pub request_id: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CallPage<T = Record> {
    pub calls: Vec<T>,
    /// Give it as [`CallFilter::after`]; `None`: these were the last.
    pub next: Option<CallCursor>,
}
