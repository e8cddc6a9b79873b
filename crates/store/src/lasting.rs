//! What holds until an end that is known from the start: silences, and who stands in on call.

use crate::{
    StoreError,
    db::{Db, Tx, values},
    model::NewEvent,
    timeline,
};

/// Of one table, those that hold or will hold at a time.
pub(crate) const MAX_OPEN: i64 = 1_000;

/// Ends one now, with its line of the story. False: there is none, or it has ended.
pub(crate) async fn end(
    db: &Db,
    table: &'static str,
    id: &str,
    by: &str,
    event: NewEvent,
) -> Result<bool, StoreError> {
    let sql = format!("UPDATE {table} SET ends_at = $3, ended_by = $2 WHERE id = $1 AND ends_at > $3");
    let (id, by) = (id.to_owned(), by.to_owned());
    db.write(move |tx| {
        let ended = tx.execute(&sql, values![&id, &by, tx.now()])? > 0;
        if ended {
            timeline::put(tx, &event)?;
        }
        Ok(ended)
    })
    .await
}

/// Whether there is no room for one more.
pub(crate) fn is_full(tx: &mut Tx<'_>, table: &'static str) -> Result<bool, StoreError> {
    let sql = format!("SELECT COUNT(*) FROM {table} WHERE ends_at > $1");
    let count = tx.one(&sql, values![tx.now()])?;
    Ok(count.map_or(Ok(0), |mut row| row.int())? >= MAX_OPEN)
}
