//! Chats: end users, conversations, messages, feedback, uploaded files.

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndUser {
    pub id: String,
    pub app_id: String,
    /// What the caller sends as `user`.
    pub session_id: String,
    pub created_at: Micros,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    pub id: String,
    pub app_id: String,
    pub end_user_id: String,
    pub name: String,
    pub inputs: Value,
    pub introduction: String,
    /// Conversation variables by name, after the last run.
    pub variables: Value,
    /// How many messages were exchanged.
    pub dialogue_count: i64,
    pub created_at: Micros,
    pub updated_at: Micros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversationSort {
    CreatedAsc,
    CreatedDesc,
    UpdatedAsc,
    UpdatedDesc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    Normal,
    Error,
}

impl MessageStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            MessageStatus::Normal => "normal",
            MessageStatus::Error => "error",
        }
    }

    pub fn parse(text: &str) -> Option<MessageStatus> {
        [MessageStatus::Normal, MessageStatus::Error].into_iter().find(|status| status.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// UUID v7: messages of a conversation are listed in the order of their ids.
    pub id: String,
    pub conversation_id: String,
    pub app_id: String,
    pub end_user_id: String,
    pub parent_message_id: Option<String>,
    pub run_id: Option<String>,
    pub inputs: Value,
    pub query: String,
    pub answer: String,
    pub status: MessageStatus,
    pub error: Option<String>,
    /// Dify's `metadata`: `usage`, `retriever_resources`, `annotation_reply`.
    pub metadata: Value,
    pub files: Value,
    /// Filled when read; not stored with the message.
    pub feedback: Option<Rating>,
    pub created_at: Micros,
}

/// What a chat run leaves behind. The conversation is inserted, or its variables, count and time are updated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatResult {
    pub conversation: Conversation,
    pub message: Message,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rating {
    Like,
    Dislike,
}

impl Rating {
    pub fn as_str(self) -> &'static str {
        match self {
            Rating::Like => "like",
            Rating::Dislike => "dislike",
        }
    }

    pub fn parse(text: &str) -> Option<Rating> {
        [Rating::Like, Rating::Dislike].into_iter().find(|rating| rating.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    pub message_id: String,
    pub app_id: String,
    pub conversation_id: String,
    pub end_user_id: String,
    pub rating: Rating,
    pub content: Option<String>,
    pub created_at: Micros,
    pub updated_at: Micros,
}

/// Some rows, and whether there are more beyond them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub rows: Vec<T>,
    pub has_more: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    pub id: String,
    pub app_id: String,
    pub end_user_id: String,
    pub name: String,
    pub extension: String,
    pub mime_type: String,
    /// At most `files::MAX_FILE_BYTES`.
    pub content: Vec<u8>,
}

/// An uploaded file without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    pub id: String,
    pub app_id: String,
    pub end_user_id: String,
    pub name: String,
    pub extension: String,
    pub mime_type: String,
    pub size: i64,
    pub created_at: Micros,
}
