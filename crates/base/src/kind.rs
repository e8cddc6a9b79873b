//! The one vocabulary of failure. `Kind` is the metric label, the status in `compose` and an SLO's good or bad.

use serde::{Deserialize, Serialize};

/// Whose doing a failure is, as far as the caller may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The request itself is wrong. Never burns a budget of ours.
    Caller,
    /// No or wrong credentials, or not allowed.
    Denied,
    /// A rate, concurrency, token or money limit was reached.
    OverBudget,
    /// What we call (Dify, a model provider) answered with a failure.
    Upstream,
    /// What we need cannot be reached, or in time.
    Unavailable,
    /// Our own mistake.
    Bug,
}

impl Kind {
    pub const ALL: [Kind; 6] =
        [Kind::Caller, Kind::Denied, Kind::OverBudget, Kind::Upstream, Kind::Unavailable, Kind::Bug];

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Caller => "caller",
            Kind::Denied => "denied",
            Kind::OverBudget => "over_budget",
            Kind::Upstream => "upstream",
            Kind::Unavailable => "unavailable",
            Kind::Bug => "bug",
        }
    }

    pub fn parse(text: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether the failure counts against the service and not against its caller.
    pub fn is_our_fault(self) -> bool {
        match self {
            Kind::Caller | Kind::Denied | Kind::OverBudget => false,
            Kind::Upstream | Kind::Unavailable | Kind::Bug => true,
        }
    }

    /// Whether the same work may succeed when tried again later, unchanged.
    pub fn may_retry(self) -> bool {
        matches!(self, Kind::Upstream | Kind::Unavailable | Kind::OverBudget)
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn every_kind_is_spelled_and_read_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
