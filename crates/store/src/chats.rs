//! End users, conversations, messages and feedback.

use crate::StoreError;
use crate::model::{Conversation, ConversationSort, EndUser, Feedback, Message, Page, Rating};

pub struct Chats {}

impl Chats {
    /// Finds or makes the end user of an app with this `user`.
    pub async fn end_user(&self, app_id: &str, session_id: &str) -> Result<EndUser, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn conversation(&self, id: &str) -> Result<Option<Conversation>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Inserts, or updates name, inputs, variables, count and time.
    pub async fn upsert(&self, conversation: Conversation) -> Result<(), StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// After `last_id` in the order of `sort`.
    pub async fn list(
        &self,
        end_user_id: &str,
        last_id: Option<&str>,
        limit: u32,
        sort: ConversationSort,
    ) -> Result<Page<Conversation>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn rename(&self, conversation_id: &str, name: &str) -> Result<bool, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Removes the conversation, its messages and feedback.
    pub async fn delete(&self, conversation_id: &str) -> Result<bool, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// The newest messages older than `first_id`, oldest of them first, as Dify lists them.
    pub async fn messages(
        &self,
        conversation_id: &str,
        first_id: Option<&str>,
        limit: u32,
    ) -> Result<Page<Message>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// The last messages of a conversation, oldest first: what an LLM node's memory needs.
    pub async fn history(&self, conversation_id: &str, limit: u32) -> Result<Vec<Message>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn message(&self, id: &str) -> Result<Option<Message>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn message_of_run(&self, run_id: &str) -> Result<Option<Message>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn insert_message(&self, message: Message) -> Result<(), StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Sets or (with no rating) takes back an end user's feedback. False when there is no such message of this end user.
    pub async fn feedback(
        &self,
        message_id: &str,
        end_user_id: &str,
        rating: Option<Rating>,
        content: Option<&str>,
    ) -> Result<bool, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Newest first; pages from 1.
    pub async fn feedbacks(&self, app_id: &str, page: u32, limit: u32) -> Result<Vec<Feedback>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }
}
