//! Conversations and their users, as rows.

use std::collections::HashMap;

use mainstay_base::{Micros, id};
use mainstay_store::model::{App, Conversation};
use mainstay_wire::dify::{ApiError, ChatBody};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::{Standby, catalog::Published, reply};

/// End users kept at hand; beyond it the store is asked again.
const MAX_END_USERS: usize = 16_384;
/// A conversation is named after the start of its first message.
const NAME_CHARACTERS: usize = 20;
const UNNAMED: &str = "New conversation";

/// Ids of end users by app and name. They never change.
#[derive(Default)]
pub(crate) struct EndUsers {
    known: Mutex<HashMap<(String, String), String>>,
}

impl Standby {
    /// The id of the end user with this name, made when there is none.
    pub(crate) async fn end_user(&self, app_id: &str, session_id: &str) -> Result<String, ApiError> {
        let key = (app_id.to_owned(), session_id.to_owned());
        if let Some(id) = self.inner.end_users.known.lock().get(&key) {
            return Ok(id.clone());
        }
        let found = self.inner.store.chats().end_user(app_id, session_id).await;
        let id = found.map_err(|error| reply::of_store("finding an end user", error))?.id;
        let mut known = self.inner.end_users.known.lock();
        if known.len() >= MAX_END_USERS {
            known.clear();
        }
        known.insert(key, id.clone());
        Ok(id)
    }

    /// A conversation that this user has with this app.
    pub(crate) async fn conversation_of(
        &self,
        app: &App,
        conversation_id: &str,
        session_id: &str,
    ) -> Result<Conversation, ApiError> {
        let found = self.inner.store.chats().conversation(conversation_id).await;
        let found = found.map_err(|error| reply::of_store("reading a conversation", error))?;
        let missing = || ApiError::not_found("Conversation Not Exists.");
        let conversation = found.filter(|conversation| conversation.app_id == app.id).ok_or_else(missing)?;
        let end_user_id = self.end_user(&app.id, session_id).await?;
        Some(conversation).filter(|conversation| conversation.end_user_id == end_user_id).ok_or_else(missing)
    }
}

/// A conversation with its first message.
pub(crate) fn opened(
    app: &App,
    version: &Published,
    end_user_id: &str,
    inputs: &Map<String, Value>,
    body: &ChatBody,
    now: Micros,
) -> Conversation {
    Conversation {
        id: id::new(),
        app_id: app.id.clone(),
        end_user_id: end_user_id.to_owned(),
        name: if body.auto_generate_name { name_after(&body.query) } else { UNNAMED.to_owned() },
        inputs: Value::Object(inputs.clone()),
        introduction: introduction(&version.features, inputs),
        variables: Value::Object(version.plan.conversation_defaults().clone()),
        dialogue_count: 1,
        created_at: now,
        updated_at: now,
    }
}

/// A conversation with one message more.
pub(crate) fn continued(conversation: Conversation, now: Micros) -> Conversation {
    Conversation {
        dialogue_count: conversation.dialogue_count.saturating_add(1),
        updated_at: now,
        ..conversation
    }
}

pub(crate) fn name_after(query: &str) -> String {
    let line = query.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(NAME_CHARACTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The opening statement with `{{name}}` replaced by inputs.
fn introduction(features: &Value, inputs: &Map<String, Value>) -> String {
    let mut text = features.get("opening_statement").and_then(Value::as_str).unwrap_or_default().to_owned();
    for (name, value) in inputs {
        let shown = match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        text = text.replace(&format!("{{{{{name}}}}}"), &shown);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_named_after_the_start_of_its_first_message() {
        assert_eq!(name_after("how do refunds work"), "how do refunds work");
        assert_eq!(name_after("refund for digital goods"), "refund for digital g…");
        assert_eq!(name_after("ü\n ü"), "ü ü");
    }

    #[test]
    fn an_opening_statement_takes_inputs() {
        let features = serde_json::json!({"opening_statement": "Hello {{name}}, {{n}}"});
        let inputs = Map::from_iter([("name".to_owned(), "Ann".into()), ("n".to_owned(), 5.into())]);
        assert_eq!(introduction(&features, &inputs), "Hello Ann, 5");
    }
}
