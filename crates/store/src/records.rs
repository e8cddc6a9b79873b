//! Request records: one row for each request through the gateway.

use std::sync::Arc;

use mainstay_base::{
    Record,
    record::{Outcome, Path, Routed},
};
use serde::de::DeserializeOwned;

use crate::{
    StoreError,
    db::{Db, Filter, Tx, Value, values},
    model::{CallCursor, CallFilter, CallPage, RecordFilter},
    runs::list_limit,
};

/// The most calls one page of [`Records::calls`] gives.
pub const MAX_CALLS: u32 = 1000;
/// Of a model's name, so much is indexed.
const MODEL_COLUMN_CHARS: usize = 200;

pub struct Records {
    pub(crate) db: Db,
}

impl Records {
    /// A record that is there already stays as it is. They are written down on the database's own thread.
    pub async fn insert_batch(&self, records: impl Into<Arc<[Record]>>) -> Result<(), StoreError> {
        let records: Arc<[Record]> = records.into();
        if records.is_empty() {
            return Ok(());
        }
        self.db.write(move |tx| records.iter().try_for_each(|record| insert(tx, record))).await
    }

    pub async fn get(&self, request_id: &str) -> Result<Option<Record>, StoreError> {
        let request_id = request_id.to_owned();
        self.db
            .read(move |tx| {
                let row = tx.one("SELECT body FROM records WHERE request_id = $1", values![&request_id])?;
                row.map(|mut row| row.json()).transpose()
            })
            .await
    }

    /// Newest first.
    pub async fn list(&self, filter: RecordFilter) -> Result<Vec<Record>, StoreError> {
        self.db.read(move |tx| list(tx, &filter)).await
    }

    /// Calls of the model path in a span of time, oldest first, a page at a time: how a policy is tried on the past.
    /// A page is one consistent view; what arrives between two pages with an older time is missed.
    pub async fn calls(&self, filter: CallFilter) -> Result<CallPage, StoreError> {
        self.db.read(move |tx| calls(tx, &filter)).await
    }

    /// The same calls with only what routing them again needs: several times as fast, for very many of them.
    pub async fn routed(&self, filter: CallFilter) -> Result<CallPage<Routed>, StoreError> {
        self.db.read(move |tx| calls(tx, &filter)).await
    }
}

fn insert(tx: &mut Tx<'_>, record: &Record) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO records (request_id, opened_at, path, app_id, outcome, run_id, model, body) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8) ON CONFLICT (request_id) DO NOTHING";
    let body = serde_json::to_string(record);
    let body = body.map_err(|error| StoreError::Bug(format!("a record is not JSON: {error}")))?;
    let model = record.model.as_deref().map(column);
    let values = values![
        &record.request_id,
        record.opened_at,
        path(record.path),
        record.app_id.as_deref(),
        record.outcome.as_str(),
        record.run_id.as_deref(),
        model.as_deref(),
        &body
    ];
    tx.execute(SQL, values).map(drop)
}

fn calls<T: DeserializeOwned>(tx: &mut Tx<'_>, filter: &CallFilter) -> Result<CallPage<T>, StoreError> {
    let CallFilter { since, until, model, after, limit } = filter;
    // A page begins where the one before ended, so that each costs the same however many there were.
    let since = after.as_ref().map_or(*since, |after| after.opened_at.max(*since));
    let model = model.as_deref().map(column);
    let page = if *limit == 0 { MAX_CALLS } else { (*limit).min(MAX_CALLS) };
    let mut conditions = Filter::new();
    conditions.is("path = 'model'");
    conditions.and("model = ?", model.as_deref());
    conditions.and("opened_at >= ?", Some(since));
    conditions.and("opened_at < ?", Some(*until));
    if let Some(CallCursor { opened_at, request_id }) = after {
        let (at, id) = (conditions.bind(Value::from(*opened_at)), conditions.bind(Value::from(request_id)));
        conditions.is(&format!("(opened_at > {at} OR (opened_at = {at} AND request_id > {id}))"));
    }
    let limit = conditions.bind(Value::from(page));
    let sql = format!(
        "SELECT opened_at, request_id, body FROM records WHERE {} ORDER BY opened_at, request_id LIMIT {limit}",
        conditions.sql()
    );
    let rows = tx.query(&sql, conditions.values())?;
    let is_full = rows.len() >= page as usize;
    let mut next = None;
    let mut calls = Vec::with_capacity(rows.len());
    for mut row in rows {
        let (opened_at, request_id) = (row.micros()?, row.text()?);
        calls.push(row.json()?);
        next = is_full.then_some(CallCursor { opened_at, request_id });
    }
    Ok(CallPage { calls, next })
}

/// A model's name as its column holds it: callers send what they like, and an index takes only so much.
fn column(model: &str) -> String {
    model.chars().filter(|letter| *letter != '\0').take(MODEL_COLUMN_CHARS).collect()
}

fn list(tx: &mut Tx<'_>, filter: &RecordFilter) -> Result<Vec<Record>, StoreError> {
    let RecordFilter { app_id, path: on_path, outcome, run_id, before, limit } = filter;
    let mut conditions = Filter::new();
    conditions.and("app_id = ?", app_id.as_deref());
    conditions.and("path = ?", on_path.map(path));
    conditions.and("outcome = ?", outcome.map(Outcome::as_str));
    conditions.and("run_id = ?", run_id.as_deref());
    conditions.and("opened_at < ?", *before);
    let limit = conditions.bind(list_limit(*limit).into());
    let sql = format!(
        "SELECT body FROM records WHERE {} ORDER BY opened_at DESC, request_id DESC LIMIT {limit}",
        conditions.sql()
    );
    tx.query(&sql, conditions.values())?.iter_mut().map(|row| row.json()).collect()
}

fn path(path: Path) -> &'static str {
    match path {
        Path::App => "app",
        Path::Model => "model",
    }
}
