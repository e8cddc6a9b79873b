//! What kind of Dify app a run belongs to.

use serde::{Deserialize, Serialize};

/// Dify's `apps.mode`. The two that the embedded engine runs today are `Workflow` and `AdvancedChat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppMode {
    Workflow,
    AdvancedChat,
    Chat,
    AgentChat,
    Completion,
}

impl AppMode {
    pub const ALL: [AppMode; 5] =
        [AppMode::Workflow, AppMode::AdvancedChat, AppMode::Chat, AppMode::AgentChat, AppMode::Completion];

    /// The spelling Dify uses in its database, its API and its DSL.
    pub fn as_str(self) -> &'static str {
        match self {
            AppMode::Workflow => "workflow",
            AppMode::AdvancedChat => "advanced-chat",
            AppMode::Chat => "chat",
            AppMode::AgentChat => "agent-chat",
            AppMode::Completion => "completion",
        }
    }

    /// The inverse of [`AppMode::as_str`]; `None` for a mode this version does not know.
    pub fn parse(text: &str) -> Option<AppMode> {
        AppMode::ALL.into_iter().find(|mode| mode.as_str() == text)
    }

    /// Whether the app is talked to by `/v1/chat-messages`.
    pub fn is_chat(self) -> bool {
        matches!(self, AppMode::AdvancedChat | AppMode::Chat | AppMode::AgentChat)
    }
}

#[cfg(test)]
mod tests {
    use super::AppMode;

    #[test]
    fn every_mode_is_spelled_and_read_back() {
        for mode in AppMode::ALL {
            assert_eq!(AppMode::parse(mode.as_str()), Some(mode));
            let json = serde_json::to_value(mode).unwrap();
            assert_eq!(json, mode.as_str(), "serde and as_str agree");
        }
        assert_eq!(AppMode::parse("channel"), None);
    }
}
