//! What one run is given.

use mainstay_base::{Micros, TraceParent};
use serde_json::{Map, Value};

/// One run's identity and inputs. Inputs are taken as they are: whoever takes a request
/// judges it before.
#[derive(Clone, Debug)]
pub struct RunInput {
    pub run_id: String,
    pub app_id: String,
    pub workflow_id: String,
    /// `sys.user_id`: the caller's name for its user.
    pub user_id: String,
    pub inputs: Map<String, Value>,
    /// `sys.files`, each a file object in Dify's shape.
    pub files: Vec<Value>,
    /// Present for runs of a chatflow.
    pub chat: Option<ChatInput>,
    /// Values that the conversation holds; variables without one start with their default.
    pub conversation_variables: Map<String, Value>,
    pub trace: TraceParent,
    pub started_at: Micros,
}

#[derive(Clone, Debug)]
pub struct ChatInput {
    pub query: String,
    pub conversation_id: String,
    /// 1 for the first message of a conversation.
    pub dialogue_count: u64,
    /// Earlier exchanges of the conversation, oldest first, for LLM nodes with memory.
    pub history: Vec<Exchange>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub query: String,
    pub answer: String,
}
