//! Conversations: list, rename, delete, variables.

use http::{Response, StatusCode};
use mainstay_net::Body;
use mainstay_store::model::{App, Conversation, ConversationSort};
use mainstay_wire::{
    dify::{
        ApiError, answer,
        query::{Scroll, ScrollQuery},
        request::{self, RenameBody},
    },
    python_json::dumps,
};
use serde_json::Value;

use crate::{ServiceCall, Standby, chat, files::DEFAULT_USER, reply};

impl Standby {
    pub(crate) async fn conversations(&self, call: &ServiceCall) -> Result<Response<Body>, ApiError> {
        let (app, user) = self.chat_reader(call).await?;
        let query = ScrollQuery::read(Scroll::Conversations, &call.query_pairs())?;
        let missing = || ApiError::not_found("Last Conversation Not Exists.");
        if let Some(id) = &query.cursor {
            self.conversation_of(&app, id, &user).await.map_err(|error| absent(error, missing))?;
        }
        let sort = match query.sort_by.as_deref() {
            Some("created_at") => ConversationSort::CreatedAsc,
            Some("-created_at") => ConversationSort::CreatedDesc,
            Some("updated_at") => ConversationSort::UpdatedAsc,
            _ => ConversationSort::UpdatedDesc,
        };
        let end_user_id = self.end_user(&app.id, &user).await?;
        let chats = self.inner.store.chats();
        let page = chats.list(&end_user_id, query.cursor.as_deref(), query.limit, sort).await;
        let page = page.map_err(|error| reply::of_store("listing conversations", error))?;
        let data = page.rows.into_iter().map(shown).collect();
        Ok(reply::ok(&answer::Scrolled { limit: query.limit, has_more: page.has_more, data }))
    }

    pub(crate) async fn delete_conversation(
        &self,
        call: &ServiceCall,
        id: &str,
    ) -> Result<Response<Body>, ApiError> {
        let (app, user) = self.chat_writer(call).await?;
        let conversation = self.conversation_of(&app, id, &user).await?;
        let deleted = self.inner.store.chats().delete(&conversation.id).await;
        deleted.map_err(|error| reply::of_store("deleting a conversation", error))?;
        let mut response = Response::new(mainstay_net::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    pub(crate) async fn rename_conversation(
        &self,
        call: &ServiceCall,
        id: &str,
    ) -> Result<Response<Body>, ApiError> {
        let (app, user) = self.chat_writer(call).await?;
        let RenameBody { name, auto_generate } = RenameBody::read(&call.json()?)?;
        let mut conversation = self.conversation_of(&app, id, &user).await?;
        let chats = self.inner.store.chats();
        let name = if auto_generate {
            let first = chats.messages(id, None, 1).await;
            let first = first.map_err(|error| reply::of_store("reading a conversation", error))?;
            first.rows.first().map_or(conversation.name.clone(), |message| chat::name_after(&message.query))
        } else {
            name.unwrap_or_default()
        };
        let renamed = chats.rename(id, &name).await;
        renamed.map_err(|error| reply::of_store("renaming a conversation", error))?;
        conversation.name = name;
        Ok(reply::ok(&shown(conversation)))
    }

    pub(crate) async fn conversation_variables(
        &self,
        call: &ServiceCall,
        id: &str,
    ) -> Result<Response<Body>, ApiError> {
        let (app, user) = self.chat_reader(call).await?;
        let pairs = call.query_pairs();
        let query = ScrollQuery::read(Scroll::Variables, &pairs)?;
        let wanted = pairs.iter().find(|(key, _)| key == "variable_name").map(|(_, name)| name.as_str());
        let conversation = self.conversation_of(&app, id, &user).await?;
        let version = self.inner.catalog.current(&app).await?;
        let mut data: Vec<answer::ConversationVariable> = version
            .conversation_variables
            .iter()
            .filter(|variable| wanted.is_none_or(|name| name == variable.name))
            .map(|variable| answer::ConversationVariable {
                id: variable.id.clone(),
                name: variable.name.clone(),
                value_type: variable.value_type.clone(),
                value: as_text(conversation.variables.get(&variable.name).unwrap_or(&variable.value)),
                description: variable.description.clone(),
                created_at: conversation.created_at.unix_seconds(),
                updated_at: conversation.updated_at.unix_seconds(),
            })
            .collect();
        if let Some(last) = &query.cursor {
            let after = data.iter().position(|variable| variable.id == *last).map_or(0, |at| at + 1);
            data.drain(..after);
        }
        let limit = query.limit as usize;
        let has_more = data.len() > limit;
        data.truncate(limit);
        Ok(reply::ok(&answer::Scrolled { limit: query.limit, has_more, data }))
    }

    /// The app (a chat) and who reads: named in the query, or Dify's default user.
    pub(crate) async fn chat_reader(
        &self,
        call: &ServiceCall,
    ) -> Result<(std::sync::Arc<App>, String), ApiError> {
        let named = call.query_pairs().into_iter().find(|(key, _)| key == "user").map(|(_, user)| user);
        let user = request::checked_user(named.unwrap_or_default())?;
        self.chat_of(call, user).await
    }

    /// The same where the user is named in a JSON body.
    async fn chat_writer(&self, call: &ServiceCall) -> Result<(std::sync::Arc<App>, String), ApiError> {
        let user = request::optional_user(&call.json()?)?;
        self.chat_of(call, user).await
    }

    async fn chat_of(
        &self,
        call: &ServiceCall,
        user: Option<String>,
    ) -> Result<(std::sync::Arc<App>, String), ApiError> {
        let app = self.inner.catalog.app(&call.app_id).await?;
        if !app.mode.is_chat() {
            return Err(ApiError::not_chat_app());
        }
        Ok((app, user.unwrap_or_else(|| DEFAULT_USER.to_owned())))
    }
}

/// Says another sentence about what is not there; other errors stay.
pub(crate) fn absent(error: ApiError, missing: impl FnOnce() -> ApiError) -> ApiError {
    if error.status == 404 { missing() } else { error }
}

fn shown(conversation: Conversation) -> answer::Conversation {
    answer::Conversation {
        id: conversation.id,
        name: conversation.name,
        inputs: conversation.inputs,
        status: "normal".to_owned(),
        introduction: conversation.introduction,
        created_at: conversation.created_at.unix_seconds(),
        updated_at: conversation.updated_at.unix_seconds(),
    }
}

/// Dify shows every value as a text.
fn as_text(value: &Value) -> Value {
    match value {
        Value::Null | Value::String(_) => value.clone(),
        other => Value::String(dumps(other)),
    }
}
