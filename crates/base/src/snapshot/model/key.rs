//! Who calls: a virtual key, what it may ask for, and what it may spend.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Usd;

/// A caller of the model path.
#[derive(Clone, Debug, Default)]
pub struct ModelKey {
    pub name: String,
    /// Whose it is: identical calls are shared and budgets are counted inside one tenant only. Empty: the key's name.
    pub tenant: String,
    pub app: Option<String>,
    pub workflow: Option<String>,
    /// Logical models it may ask for. `None`: all.
    pub models: Option<Vec<String>>,
    /// Calls of this key go only to targets of this region.
    pub region: Option<String>,
    /// The class of the data that it sends.
    pub data_class: Option<String>,
    pub requests_a_minute: Option<u32>,
    pub tokens_a_minute: Option<u64>,
    pub concurrency: Option<u32>,
    pub budget: Option<KeyBudget>,
    /// Under which name what it spends is written down. `None`: its own.
    pub budget_name: Option<String>,
}

impl ModelKey {
    /// A key that may ask for everything.
    pub fn named(name: impl Into<String>) -> ModelKey {
        ModelKey { name: name.into(), ..ModelKey::default() }
    }

    /// Whose money it spends.
    pub fn budget_account(&self) -> &str {
        self.budget_name.as_deref().unwrap_or(&self.name)
    }
}

/// What a virtual key may spend in a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyBudget {
    pub limit: Usd,
    /// Windows start at whole multiples of it since 1970 (UTC).
    pub window: Duration,
    pub when_store_gone: OnStoreGone,
}

/// What happens to a budget that cannot be asked for, because the store is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnStoreGone {
    /// Refuse what goes beyond the allowance already taken.
    Closed,
    /// Let pass and count; what was spent is booked when the store is back.
    #[default]
    Open,
}
