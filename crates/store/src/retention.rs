//! Removing what has been kept long enough, a bounded piece at a time.
//!
//! The timeline stays: it is the audit log, and a chain without its beginning proves nothing.

use std::time::Duration;

use mainstay_base::Micros;

use crate::{
    StoreError,
    db::{Db, Tx, Value, numbers, values},
    model::{Policy, Swept},
};

/// An allowance that nobody took from for so long is forgotten. Windows of budgets must be shorter.
const ALLOWANCE_KEPT: Duration = Duration::from_secs(92 * 24 * 3600);
/// The last word of a process that is gone.
const STANDING_KEPT: Duration = Duration::from_secs(24 * 3600);
/// The most rows of one kind that one sweep removes, so that it never holds the write lock for long.
const STEP: usize = 500;

pub struct Retention {
    pub(crate) db: Db,
}

impl Retention {
    /// Each kind is a transaction of its own. Call again soon when there is [`Swept::more`].
    pub async fn sweep(&self, policy: Policy) -> Result<Swept, StoreError> {
        let Policy { runs, records, idempotency, alerts, files } = policy;
        let runs = self.db.write(move |tx| sweep_runs(tx, tx.now() - runs)).await?;
        let records = self.db.write(move |tx| sweep_records(tx, tx.now() - records)).await?;
        let idempotency = self.db.write(move |tx| sweep_idempotency(tx, tx.now() - idempotency)).await?;
        let alerts = self.db.write(move |tx| sweep_alerts(tx, tx.now() - alerts)).await?;
        let files = self.db.write(move |tx| sweep_files(tx, tx.now() - files)).await?;
        let allowances = self.db.write(|tx| sweep_allowances(tx, tx.now() - ALLOWANCE_KEPT)).await?;
        let standings = self.db.write(|tx| sweep_standings(tx, tx.now() - STANDING_KEPT)).await?;
        let all = [runs, records, idempotency, alerts, files, allowances, standings];
        let more = all.iter().any(|rows| *rows >= STEP as u64);
        Ok(Swept { runs, records, idempotency, alerts, files, allowances, standings, more })
    }
}

/// A run goes with its events, its deliveries and, if it was a dead letter, its job.
fn sweep_runs(tx: &mut Tx<'_>, before: Micros) -> Result<u64, StoreError> {
    let ids = ids(tx, "SELECT id FROM runs WHERE finished_at < $1 ORDER BY finished_at LIMIT $2", before)?;
    remove(tx, "run_events", "run_id", &ids)?;
    remove(tx, "outbox", "run_id", &ids)?;
    remove(tx, "jobs", "id", &ids)?;
    remove(tx, "runs", "id", &ids)
}

fn sweep_records(tx: &mut Tx<'_>, before: Micros) -> Result<u64, StoreError> {
    let ids =
        ids(tx, "SELECT request_id FROM records WHERE opened_at < $1 ORDER BY opened_at LIMIT $2", before)?;
    remove(tx, "records", "request_id", &ids)
}

fn sweep_idempotency(tx: &mut Tx<'_>, before: Micros) -> Result<u64, StoreError> {
    const LOOK: &str =
        "SELECT scope, key FROM idempotency WHERE created_at < $1 ORDER BY created_at LIMIT $2";
    let mut removed = 0;
    for mut row in tx.query(LOOK, values![before, STEP as i64])? {
        let (scope, key) = (row.text()?, row.text()?);
        removed +=
            tx.execute("DELETE FROM idempotency WHERE scope = $1 AND key = $2", values![&scope, &key])?;
    }
    Ok(removed)
}

fn sweep_alerts(tx: &mut Tx<'_>, before: Micros) -> Result<u64, StoreError> {
    let old = ids(tx, "SELECT id FROM alerts WHERE resolved_at < $1 ORDER BY resolved_at LIMIT $2", before)?;
    let mut removed = remove(tx, "alerts", "id", &old)?;
    let old = ids(
        tx,
        "SELECT id FROM outbox WHERE kind = 'alert' AND created_at < $1 AND next_at IS NULL \
         ORDER BY created_at LIMIT $2",
        before,
    )?;
    removed += remove(tx, "outbox", "id", &old)?;
    for (table, ended) in
        [("alert_groups", "ended_at"), ("silences", "ends_at"), ("oncall_overrides", "ends_at")]
    {
        let look = format!("SELECT id FROM {table} WHERE {ended} < $1 ORDER BY {ended} LIMIT $2");
        let old = ids(tx, &look, before)?;
        removed += remove(tx, table, "id", &old)?;
    }
    let old = ids(
        tx,
        "SELECT id FROM runbook_executions WHERE ended = 1 AND updated_at < $1 ORDER BY updated_at LIMIT $2",
        before,
    )?;
    Ok(removed + remove(tx, "runbook_executions", "id", &old)?)
}

fn sweep_files(tx: &mut Tx<'_>, before: Micros) -> Result<u64, StoreError> {
    let ids = ids(tx, "SELECT id FROM files WHERE created_at < $1 ORDER BY created_at LIMIT $2", before)?;
    remove(tx, "file_contents", "id", &ids)?;
    remove(tx, "files", "id", &ids)
}

fn sweep_allowances(tx: &mut Tx<'_>, before: Micros) -> Result<u64, StoreError> {
    const LOOK: &str = "SELECT key_name, window_start FROM allowances WHERE updated_at < $1 \
         ORDER BY updated_at LIMIT $2";
    let mut removed = 0;
    for mut row in tx.query(LOOK, values![before, STEP as i64])? {
        let (key, window) = (row.text()?, row.int()?);
        let sql = "DELETE FROM allowances WHERE key_name = $1 AND window_start = $2";
        removed += tx.execute(sql, values![&key, window])?;
    }
    Ok(removed)
}

fn sweep_standings(tx: &mut Tx<'_>, before: Micros) -> Result<u64, StoreError> {
    let ids = ids(tx, "SELECT instance FROM standings WHERE at < $1 ORDER BY at LIMIT $2", before)?;
    remove(tx, "standings", "instance", &ids)
}

fn ids(tx: &mut Tx<'_>, sql: &str, before: Micros) -> Result<Vec<String>, StoreError> {
    tx.query(sql, values![before, STEP as i64])?.into_iter().map(|mut row| row.text()).collect()
}

fn remove(tx: &mut Tx<'_>, table: &str, column: &str, ids: &[String]) -> Result<u64, StoreError> {
    if ids.is_empty() {
        return Ok(0);
    }
    let sql = format!("DELETE FROM {table} WHERE {column} IN ({})", numbers(1, ids.len()));
    let values: Vec<Value<'_>> = ids.iter().map(Value::from).collect();
    tx.execute(&sql, &values)
}
