//! Takes a batch: the place first, which nobody else may have moved; then items; then what those add that have come to
//! their end by this very batch.

use std::collections::HashSet;

use super::{count, tuples};
use crate::{
    StoreError,
    db::{Tx, Value, values},
    model::{DifyBatch, DifyItem, DifyTaken},
};

/// Items of one statement; a constant, so that there are few statements to prepare.
const TOGETHER: usize = 50;
const COLUMNS: usize = 9;

pub(super) fn take(tx: &mut Tx<'_>, batch: &DifyBatch) -> Result<Option<DifyTaken>, StoreError> {
    if !advance(tx, batch)? {
        return Ok(None);
    }
    let mut taken = DifyTaken { sequence: batch.after + 1, ..DifyTaken::default() };
    let mut ended: Vec<&DifyItem> = Vec::new();
    for items in batch.items.chunks(TOGETHER) {
        let new = insert(tx, batch, items)?;
        taken.new += new.len() as u64;
        for item in items {
            let is_ended = item.look_at.is_none();
            let counts = if new.contains(&item.id) { is_ended } else { update(tx, batch, item)? && is_ended };
            if counts {
                ended.push(item);
            }
        }
    }
    taken.counted = ended.len() as u64;
    count::add_series(tx, &batch.source, &batch.series)?;
    count::add(tx, &batch.source, &ended)?;
    Ok(Some(taken))
}

/// Whoever changes the row first goes on; on PostgreSQL the other waits for it here and then finds another number.
fn advance(tx: &mut Tx<'_>, batch: &DifyBatch) -> Result<bool, StoreError> {
    let DifyBatch { source, kind, after, next, .. } = batch;
    let now = tx.now();
    let (at, id) = match next {
        Some((at, id)) => (Some(*at), Some(id.as_str())),
        None => (None, None),
    };
    if *after == 0 {
        let sql = "INSERT INTO dify_cursors (source, kind, sequence, at, id, updated_at) VALUES ($1,$2,1,$3,$4,$5) \
             ON CONFLICT (source, kind) DO NOTHING";
        let at = at.unwrap_or_default();
        return Ok(tx.execute(sql, values![source, *kind, at, id.unwrap_or(""), now])? > 0);
    }
    let sql = "UPDATE dify_cursors SET sequence = sequence + 1, at = coalesce($4, at), id = coalesce($5, id), \
         updated_at = $6 WHERE source = $1 AND kind = $2 AND sequence = $3";
    Ok(tx.execute(sql, values![source, *kind, *after, at, id, now])? > 0)
}

/// The ids of those that were not there.
fn insert(tx: &mut Tx<'_>, batch: &DifyBatch, items: &[DifyItem]) -> Result<HashSet<String>, StoreError> {
    let whole = items.len() == TOGETHER;
    let mut new = HashSet::new();
    let size = if whole { TOGETHER } else { 1 };
    let sql = format!(
        "INSERT INTO dify_items (source, kind, created_at, id, app_id, status, class, look_at, body) VALUES {} \
         ON CONFLICT (source, kind, created_at, id) DO NOTHING RETURNING id",
        tuples(size, COLUMNS)
    );
    for items in items.chunks(size) {
        let mut rows: Vec<Value<'_>> = Vec::with_capacity(size * COLUMNS);
        for item in items {
            let DifyItem { id, created_at, app_id, status, class, look_at, body, adds: _ } = item;
            rows.extend_from_slice(values![
                &batch.source,
                batch.kind,
                *created_at,
                id,
                app_id,
                status,
                class,
                *look_at,
                body
            ]);
        }
        for mut row in tx.query(&sql, &rows)? {
            new.insert(row.text()?);
        }
    }
    Ok(new)
}

/// Whether the item was not at its end before. One that was stays as it is.
fn update(tx: &mut Tx<'_>, batch: &DifyBatch, item: &DifyItem) -> Result<bool, StoreError> {
    const SQL: &str = "UPDATE dify_items SET status = $5, class = $6, look_at = $7, body = $8 \
         WHERE source = $1 AND kind = $2 AND created_at = $3 AND id = $4 AND look_at IS NOT NULL";
    let DifyItem { id, created_at, status, class, look_at, body, .. } = item;
    let values = values![&batch.source, batch.kind, *created_at, id, status, class, *look_at, body];
    Ok(tx.execute(SQL, values)? > 0)
}
