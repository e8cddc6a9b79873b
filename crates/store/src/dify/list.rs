//! Items, listed and removed.

use mainstay_base::Micros;

use super::MAX_DIFY_LIST;
use crate::{
    StoreError,
    db::{Filter, Row, Tx, values},
    model::{DifyFilter, DifyListed},
};

pub(super) fn list(
    tx: &mut Tx<'_>,
    source: &str,
    filter: &DifyFilter,
) -> Result<Vec<DifyListed>, StoreError> {
    let DifyFilter { kind, app_id, class, failed_only, since, limit } = filter;
    let limit = if *limit == 0 { MAX_DIFY_LIST } else { (*limit).min(MAX_DIFY_LIST) };
    let mut conditions = Filter::new();
    conditions.and("source = ?", Some(source));
    conditions.and("kind = ?", Some(kind.as_str()));
    conditions.and("app_id = ?", app_id.as_deref());
    conditions.and("class = ?", class.as_deref());
    conditions.and("class <> ?", failed_only.then_some(""));
    conditions.and("created_at >= ?", *since);
    let limit = conditions.bind(limit.into());
    let sql = format!(
        "SELECT kind, id, created_at, app_id, status, class, look_at, body FROM dify_items WHERE {} \
         ORDER BY created_at DESC, id DESC LIMIT {limit}",
        conditions.sql()
    );
    tx.query(&sql, conditions.values())?.into_iter().map(listed).collect()
}

pub(super) fn listed(mut row: Row) -> Result<DifyListed, StoreError> {
    Ok(DifyListed {
        kind: row.text()?,
        id: row.text()?,
        created_at: row.micros()?,
        app_id: row.text()?,
        status: row.text()?,
        class: row.text()?,
        is_open: row.opt_int()?.is_some(),
        body: row.text()?,
    })
}

/// Items at their end, oldest first.
pub(super) fn sweep(
    tx: &mut Tx<'_>,
    source: &str,
    kind: &str,
    before: Micros,
    limit: u32,
) -> Result<u64, StoreError> {
    const LOOK: &str = "SELECT max(created_at) FROM (SELECT created_at FROM dify_items \
         WHERE source = $1 AND kind = $2 AND created_at < $3 AND look_at IS NULL ORDER BY created_at LIMIT $4) AS oldest";
    let row = tx.one(LOOK, values![source, kind, before, limit])?;
    let Some(last) = row.map(|mut row| row.opt_int()).transpose()?.flatten() else { return Ok(0) };
    let sql =
        "DELETE FROM dify_items WHERE source = $1 AND kind = $2 AND created_at <= $3 AND look_at IS NULL";
    tx.execute(sql, values![source, kind, last])
}
