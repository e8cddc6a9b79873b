//! Messages of a conversation.

use super::page;
use crate::{
    StoreError,
    db::{Filter, Row, Tx, Value, values},
    model::{Message, MessageStatus, Page, Rating},
    runs::list_limit,
};

const MESSAGE: &str = "m.id, m.conversation_id, m.app_id, m.end_user_id, m.parent_message_id, m.run_id, m.inputs, \
     m.query, m.answer, m.status, m.error, m.metadata, m.files, m.created_at, f.rating";
const FROM: &str =
    "FROM messages m LEFT JOIN feedbacks f ON f.message_id = m.id AND f.end_user_id = m.end_user_id";

pub(crate) fn put(tx: &mut Tx<'_>, message: &Message) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO messages (id, conversation_id, app_id, end_user_id, parent_message_id, run_id, \
         status, error, created_at, inputs, query, answer, metadata, files) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14) ON CONFLICT (id) DO NOTHING";
    let (inputs, metadata, files) =
        (message.inputs.to_string(), message.metadata.to_string(), message.files.to_string());
    let values = values![
        &message.id,
        &message.conversation_id,
        &message.app_id,
        &message.end_user_id,
        message.parent_message_id.as_deref(),
        message.run_id.as_deref(),
        message.status.as_str(),
        message.error.as_deref(),
        message.created_at,
        &inputs,
        &message.query,
        &message.answer,
        &metadata,
        &files
    ];
    tx.execute(SQL, values).map(drop)
}

/// `condition` has one value, `$1`.
pub(super) fn find(tx: &mut Tx<'_>, condition: &str, id: &str) -> Result<Option<Message>, StoreError> {
    let sql = format!("SELECT {MESSAGE} {FROM} WHERE {condition} ORDER BY m.id DESC LIMIT 1");
    tx.one(&sql, values![id])?.as_mut().map(read).transpose()
}

pub(super) fn before(
    tx: &mut Tx<'_>,
    conversation_id: &str,
    first_id: Option<&str>,
    limit: u32,
) -> Result<Page<Message>, StoreError> {
    let mut filter = Filter::new();
    filter.and("m.conversation_id = ?", Some(conversation_id));
    filter.and("m.id < ?", first_id);
    let limit = list_limit(limit);
    let take = filter.bind(Value::Int(limit + 1));
    let sql = format!("SELECT {MESSAGE} {FROM} WHERE {} ORDER BY m.id DESC LIMIT {take}", filter.sql());
    let rows: Result<Vec<Message>, StoreError> =
        tx.query(&sql, filter.values())?.iter_mut().map(read).collect();
    let mut page = page(rows?, limit);
    page.rows.reverse();
    Ok(page)
}

fn read(row: &mut Row) -> Result<Message, StoreError> {
    let mut message = Message {
        id: row.text()?,
        conversation_id: row.text()?,
        app_id: row.text()?,
        end_user_id: row.text()?,
        parent_message_id: row.opt_text()?,
        run_id: row.opt_text()?,
        inputs: row.json()?,
        query: row.text()?,
        answer: row.text()?,
        status: row.word("message status", MessageStatus::parse)?,
        error: row.opt_text()?,
        metadata: row.json()?,
        files: row.json()?,
        feedback: None,
        created_at: row.micros()?,
    };
    message.feedback = row.opt_text()?.as_deref().and_then(Rating::parse);
    Ok(message)
}
