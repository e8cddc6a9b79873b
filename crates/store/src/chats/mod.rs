//! End users, conversations, messages and feedback.

mod feedback;
mod message;

use mainstay_base::id;

pub(crate) use self::message::put as put_message;
use crate::{
    StoreError,
    db::{Db, Filter, Row, Tx, Value, values},
    model::{Conversation, ConversationSort, EndUser, Feedback, Message, Page, Rating},
    runs::list_limit,
};

const CONVERSATION: &str = "id, app_id, end_user_id, name, inputs, introduction, variables, dialogue_count, \
     created_at, updated_at";

pub struct Chats {
    pub(crate) db: Db,
}

impl Chats {
    /// Finds or makes the end user of an app with this `user`.
    pub async fn end_user(&self, app_id: &str, session_id: &str) -> Result<EndUser, StoreError> {
        let (app, session) = (app_id.to_owned(), session_id.to_owned());
        if let Some(known) = self.db.read(move |tx| find_end_user(tx, &app, &session)).await? {
            return Ok(known);
        }
        let (app, session) = (app_id.to_owned(), session_id.to_owned());
        self.db.write(move |tx| make_end_user(tx, &app, &session)).await
    }

    pub async fn conversation(&self, id: &str) -> Result<Option<Conversation>, StoreError> {
        let id = id.to_owned();
        let sql = format!("SELECT {CONVERSATION} FROM conversations WHERE id = $1");
        self.db.read(move |tx| tx.one(&sql, values![&id])?.as_mut().map(conversation).transpose()).await
    }

    /// Inserts, or updates name, inputs, variables, count and time.
    pub async fn upsert(&self, conversation: Conversation) -> Result<(), StoreError> {
        self.db.write(move |tx| put_conversation(tx, &conversation)).await
    }

    /// After `last_id` in the order of `sort`.
    pub async fn list(
        &self,
        end_user_id: &str,
        last_id: Option<&str>,
        limit: u32,
        sort: ConversationSort,
    ) -> Result<Page<Conversation>, StoreError> {
        let (end_user_id, last_id) = (end_user_id.to_owned(), last_id.map(str::to_owned));
        self.db.read(move |tx| list(tx, &end_user_id, last_id.as_deref(), limit, sort)).await
    }

    pub async fn rename(&self, conversation_id: &str, name: &str) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE conversations SET name = $2, updated_at = $3 WHERE id = $1";
        let (id, name) = (conversation_id.to_owned(), name.to_owned());
        Ok(self.db.write(move |tx| tx.execute(SQL, values![&id, &name, tx.now()])).await? > 0)
    }

    /// Removes the conversation, its messages and feedback.
    pub async fn delete(&self, conversation_id: &str) -> Result<bool, StoreError> {
        let id = conversation_id.to_owned();
        self.db
            .write(move |tx| {
                tx.execute("DELETE FROM feedbacks WHERE conversation_id = $1", values![&id])?;
                tx.execute("DELETE FROM messages WHERE conversation_id = $1", values![&id])?;
                Ok(tx.execute("DELETE FROM conversations WHERE id = $1", values![&id])? > 0)
            })
            .await
    }

    /// The newest messages older than `first_id`, oldest of them first, as Dify lists them.
    pub async fn messages(
        &self,
        conversation_id: &str,
        first_id: Option<&str>,
        limit: u32,
    ) -> Result<Page<Message>, StoreError> {
        let (id, first_id) = (conversation_id.to_owned(), first_id.map(str::to_owned));
        self.db.read(move |tx| message::before(tx, &id, first_id.as_deref(), limit)).await
    }

    /// The last messages of a conversation, oldest first: what an LLM node's memory needs.
    pub async fn history(&self, conversation_id: &str, limit: u32) -> Result<Vec<Message>, StoreError> {
        Ok(self.messages(conversation_id, None, limit).await?.rows)
    }

    pub async fn message(&self, id: &str) -> Result<Option<Message>, StoreError> {
        let id = id.to_owned();
        self.db.read(move |tx| message::find(tx, "m.id = $1", &id)).await
    }

    pub async fn message_of_run(&self, run_id: &str) -> Result<Option<Message>, StoreError> {
        let run_id = run_id.to_owned();
        self.db.read(move |tx| message::find(tx, "m.run_id = $1", &run_id)).await
    }

    pub async fn insert_message(&self, message: Message) -> Result<(), StoreError> {
        self.db.write(move |tx| put_message(tx, &message)).await
    }

    /// Sets or (with no rating) takes back an end user's feedback. False when the message is not this end user's.
    pub async fn feedback(
        &self,
        message_id: &str,
        end_user_id: &str,
        rating: Option<Rating>,
        content: Option<&str>,
    ) -> Result<bool, StoreError> {
        let (message_id, end_user_id) = (message_id.to_owned(), end_user_id.to_owned());
        let content = content.map(str::to_owned);
        self.db
            .write(move |tx| feedback::set(tx, &message_id, &end_user_id, rating, content.as_deref()))
            .await
    }

    /// Newest first; pages from 1.
    pub async fn feedbacks(&self, app_id: &str, page: u32, limit: u32) -> Result<Vec<Feedback>, StoreError> {
        let app_id = app_id.to_owned();
        self.db.read(move |tx| feedback::list(tx, &app_id, page, limit)).await
    }
}

pub(crate) fn put_conversation(tx: &mut Tx<'_>, conversation: &Conversation) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO conversations (id, app_id, end_user_id, name, inputs, introduction, variables, \
         dialogue_count, created_at, updated_at) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, inputs = excluded.inputs, \
         variables = excluded.variables, dialogue_count = excluded.dialogue_count, \
         updated_at = excluded.updated_at";
    let (inputs, variables) = (conversation.inputs.to_string(), conversation.variables.to_string());
    let values = values![
        &conversation.id,
        &conversation.app_id,
        &conversation.end_user_id,
        &conversation.name,
        &inputs,
        &conversation.introduction,
        &variables,
        conversation.dialogue_count,
        conversation.created_at,
        conversation.updated_at
    ];
    tx.execute(SQL, values).map(drop)
}

fn find_end_user(tx: &mut Tx<'_>, app_id: &str, session_id: &str) -> Result<Option<EndUser>, StoreError> {
    const SQL: &str = "SELECT id, app_id, session_id, created_at FROM end_users \
         WHERE app_id = $1 AND session_id = $2";
    let Some(mut row) = tx.one(SQL, values![app_id, session_id])? else { return Ok(None) };
    Ok(Some(EndUser {
        id: row.text()?,
        app_id: row.text()?,
        session_id: row.text()?,
        created_at: row.micros()?,
    }))
}

fn make_end_user(tx: &mut Tx<'_>, app_id: &str, session_id: &str) -> Result<EndUser, StoreError> {
    const SQL: &str = "INSERT INTO end_users (id, app_id, session_id, created_at) VALUES ($1,$2,$3,$4) \
         ON CONFLICT (app_id, session_id) DO NOTHING";
    let id = id::new();
    tx.execute(SQL, values![&id, app_id, session_id, tx.now()])?;
    find_end_user(tx, app_id, session_id)?
        .ok_or_else(|| StoreError::Bug("an end user that was just made is not there".to_owned()))
}

fn list(
    tx: &mut Tx<'_>,
    end_user_id: &str,
    last_id: Option<&str>,
    limit: u32,
    sort: ConversationSort,
) -> Result<Page<Conversation>, StoreError> {
    let (column, order, beyond) = match sort {
        ConversationSort::CreatedAsc => ("created_at", "ASC", ">"),
        ConversationSort::CreatedDesc => ("created_at", "DESC", "<"),
        ConversationSort::UpdatedAsc => ("updated_at", "ASC", ">"),
        ConversationSort::UpdatedDesc => ("updated_at", "DESC", "<"),
    };
    let mut filter = Filter::new();
    filter.and("end_user_id = ?", Some(end_user_id));
    // Rows are compared, so that conversations of the same microsecond are neither lost nor given twice.
    let beyond =
        format!("({column}, id) {beyond} (SELECT c.{column}, c.id FROM conversations c WHERE c.id = ?)");
    filter.and(&beyond, last_id);
    let limit = list_limit(limit);
    let take = filter.bind(Value::Int(limit + 1));
    let sql = format!(
        "SELECT {CONVERSATION} FROM conversations WHERE {} ORDER BY {column} {order}, id {order} LIMIT {take}",
        filter.sql()
    );
    let rows: Result<Vec<Conversation>, StoreError> =
        tx.query(&sql, filter.values())?.iter_mut().map(conversation).collect();
    Ok(page(rows?, limit))
}

/// Of one row more than was asked for, only its presence is told.
fn page<T>(mut rows: Vec<T>, limit: i64) -> Page<T> {
    let limit = usize::try_from(limit).unwrap_or(0);
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    Page { rows, has_more }
}

fn conversation(row: &mut Row) -> Result<Conversation, StoreError> {
    Ok(Conversation {
        id: row.text()?,
        app_id: row.text()?,
        end_user_id: row.text()?,
        name: row.text()?,
        inputs: row.json()?,
        introduction: row.text()?,
        variables: row.json()?,
        dialogue_count: row.int()?,
        created_at: row.micros()?,
        updated_at: row.micros()?,
    })
}
