//! Whose fault a failed request or run was, for service levels.

use serde::{Deserialize, Serialize};

/// The part that failed. What is the caller's own doing never counts against a service level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The caller's own mistake, a content filter, a limit that the caller reached, or a caller that left.
    Client,
    /// This gateway.
    Gateway,
    Dify,
    /// Who executes Dify's background tasks, and the queues to them.
    Worker,
    Plugin,
    /// A model provider, or the way to it.
    Provider,
    /// The vector store of knowledge bases.
    Vector,
}

impl Blame {
    pub const ALL: [Blame; 7] = [
        Blame::Client,
        Blame::Gateway,
        Blame::Dify,
        Blame::Worker,
        Blame::Plugin,
        Blame::Provider,
        Blame::Vector,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Blame::Client => "client",
            Blame::Gateway => "gateway",
            Blame::Dify => "dify",
            Blame::Worker => "worker",
            Blame::Plugin => "plugin",
            Blame::Provider => "provider",
            Blame::Vector => "vector",
        }
    }

    /// Its place in [`Blame::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::Blame;

    #[test]
    fn every_blame_is_spelled_and_has_its_place() {
        for (index, blame) in Blame::ALL.into_iter().enumerate() {
            assert_eq!(blame.index(), index);
            assert_eq!(serde_json::to_value(blame).unwrap(), blame.as_str());
        }
    }
}
