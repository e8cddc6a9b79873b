//! What end users think of answers.

use crate::{
    StoreError,
    db::{Tx, values},
    model::{Feedback, Rating},
    runs::list_limit,
};

pub(super) fn set(
    tx: &mut Tx<'_>,
    message_id: &str,
    end_user_id: &str,
    rating: Option<Rating>,
    content: Option<&str>,
) -> Result<bool, StoreError> {
    const LOOK: &str = "SELECT app_id, conversation_id FROM messages WHERE id = $1 AND end_user_id = $2";
    const PUT: &str = "INSERT INTO feedbacks (message_id, end_user_id, app_id, conversation_id, rating, content, \
         created_at, updated_at) VALUES ($1,$2,$3,$4,$5,$6,$7,$7) \
         ON CONFLICT (message_id, end_user_id) DO UPDATE SET rating = excluded.rating, \
         content = excluded.content, updated_at = excluded.updated_at";
    const TAKE_BACK: &str = "DELETE FROM feedbacks WHERE message_id = $1 AND end_user_id = $2";
    let Some(mut row) = tx.one(LOOK, values![message_id, end_user_id])? else { return Ok(false) };
    let (app_id, conversation_id) = (row.text()?, row.text()?);
    match rating {
        Some(rating) => tx.execute(
            PUT,
            values![message_id, end_user_id, &app_id, &conversation_id, rating.as_str(), content, tx.now()],
        )?,
        None => tx.execute(TAKE_BACK, values![message_id, end_user_id])?,
    };
    Ok(true)
}

pub(super) fn list(
    tx: &mut Tx<'_>,
    app_id: &str,
    page: u32,
    limit: u32,
) -> Result<Vec<Feedback>, StoreError> {
    const SQL: &str = "SELECT message_id, app_id, conversation_id, end_user_id, rating, content, created_at, \
         updated_at FROM feedbacks WHERE app_id = $1 ORDER BY created_at DESC, message_id LIMIT $2 OFFSET $3";
    let limit = list_limit(limit);
    let offset = i64::from(page.saturating_sub(1)) * limit;
    let rows = tx.query(SQL, values![app_id, limit, offset])?;
    rows.into_iter()
        .map(|mut row| {
            Ok(Feedback {
                message_id: row.text()?,
                app_id: row.text()?,
                conversation_id: row.text()?,
                end_user_id: row.text()?,
                rating: row.word("rating", Rating::parse)?,
                content: row.opt_text()?,
                created_at: row.micros()?,
                updated_at: row.micros()?,
            })
        })
        .collect()
}
