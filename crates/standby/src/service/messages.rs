//! Messages and what users think of them.

use http::Response;
use mainstay_net::Body;
use mainstay_store::model::{Message, Rating};
use mainstay_wire::dify::{
    ApiError,
    answer::{self, NO_PARENT, SUCCESS},
    query::{LogQuery, Scroll, ScrollQuery},
    request::{self, FeedbackBody},
};
use serde_json::{Value, json};

use crate::{ServiceCall, Standby, reply};

impl Standby {
    pub(crate) async fn messages(&self, call: &ServiceCall) -> Result<Response<Body>, ApiError> {
        let (app, user) = self.chat_reader(call).await?;
        let query = ScrollQuery::read(Scroll::Messages, &call.query_pairs())?;
        let id = query.conversation_id.unwrap_or_default();
        let conversation = self.conversation_of(&app, &id, &user).await?;
        let chats = self.inner.store.chats();
        if let Some(first_id) = &query.cursor {
            let first = chats.message(first_id).await;
            let first = first.map_err(|error| reply::of_store("reading a message", error))?;
            if first.is_none_or(|message| message.conversation_id != conversation.id) {
                return Err(ApiError::not_found("First Message Not Exists."));
            }
        }
        let page = chats.messages(&conversation.id, query.cursor.as_deref(), query.limit).await;
        let page = page.map_err(|error| reply::of_store("listing messages", error))?;
        let data = page.rows.into_iter().map(shown).collect();
        Ok(reply::ok(&answer::Scrolled { limit: query.limit, has_more: page.has_more, data }))
    }

    pub(crate) async fn feedback(
        &self,
        call: &ServiceCall,
        message_id: &str,
    ) -> Result<Response<Body>, ApiError> {
        let body = call.json()?;
        let user = request::user(&body)?;
        let app = self.inner.catalog.app(&call.app_id).await?;
        let FeedbackBody { rating, content } = FeedbackBody::read(&body)?;
        let rating = rating.as_deref().and_then(Rating::parse);
        let missing = || ApiError::not_found("Message Not Exists.");
        let chats = self.inner.store.chats();
        let message = chats.message(message_id).await;
        let message = message.map_err(|error| reply::of_store("reading a message", error))?;
        message.filter(|message| message.app_id == app.id).ok_or_else(missing)?;
        let end_user_id = self.end_user(&app.id, &user).await?;
        let stored = chats.feedback(message_id, &end_user_id, rating, content.as_deref()).await;
        match stored.map_err(|error| reply::of_store("storing feedback", error))? {
            true => Ok(reply::text(SUCCESS)),
            false => Err(missing()),
        }
    }

    pub(crate) async fn feedbacks(&self, call: &ServiceCall) -> Result<Response<Body>, ApiError> {
        let app = self.inner.catalog.app(&call.app_id).await?;
        let query = LogQuery::read(&call.query_pairs())?;
        let rows = self.inner.store.chats().feedbacks(&app.id, query.page, query.limit).await;
        let rows = rows.map_err(|error| reply::of_store("listing feedback", error))?;
        let iso = |at: mainstay_base::Micros| {
            let time = jiff::Timestamp::from_microsecond(at.0).unwrap_or_default();
            time.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string()
        };
        let shown = |row: mainstay_store::model::Feedback| {
            json!({
                "id": row.message_id,
                "app_id": row.app_id,
                "conversation_id": row.conversation_id,
                "message_id": row.message_id,
                "rating": row.rating.as_str(),
                "content": row.content,
                "from_source": "user",
                "from_end_user_id": row.end_user_id,
                "from_account_id": null,
                "created_at": iso(row.created_at),
                "updated_at": iso(row.updated_at),
            })
        };
        Ok(reply::ok(&json!({"data": rows.into_iter().map(shown).collect::<Vec<Value>>()})))
    }

    /// Suggesting questions takes a model call of its own, which the embedded engine does not make.
    pub(crate) async fn suggested(&self, call: &ServiceCall) -> Result<Response<Body>, ApiError> {
        self.chat_reader(call).await?;
        Err(ApiError::bad_request("Suggested Questions Is Disabled."))
    }
}

fn shown(message: Message) -> answer::Message {
    let resources = message.metadata.get("retriever_resources").and_then(Value::as_array).cloned();
    answer::Message {
        id: message.id,
        conversation_id: message.conversation_id,
        parent_message_id: message.parent_message_id.unwrap_or_else(|| NO_PARENT.to_owned()),
        inputs: message.inputs,
        query: message.query,
        answer: message.answer,
        feedback: message.feedback.map(|rating| answer::Feedback { rating: rating.as_str().to_owned() }),
        retriever_resources: resources.unwrap_or_default(),
        created_at: message.created_at.unix_seconds(),
        agent_thoughts: Vec::new(),
        message_files: message.files.as_array().cloned().unwrap_or_default(),
        status: message.status.as_str().to_owned(),
        error: message.error,
    }
}
