//! Executions of runbooks.

use crate::{
    StoreError,
    db::{Db, Filter, Row, Tx, values},
    model::{Execution, ExecutionFilter},
    runs::list_limit,
};

const EXECUTION: &str = "id, runbook, subject, alert_id, state, ended, detail, started_at, updated_at";

pub struct Runbooks {
    pub(crate) db: Db,
}

impl Runbooks {
    /// False when an execution with this id is there already.
    pub async fn insert(&self, execution: Execution) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO runbook_executions (id, runbook, subject, alert_id, state, ended, detail, \
             started_at, updated_at) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9) ON CONFLICT (id) DO NOTHING";
        self.db.write(move |tx| put(tx, SQL, &execution)).await
    }

    /// False when there is none, or it has ended.
    pub async fn update(&self, execution: Execution) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE runbook_executions SET runbook = $2, subject = $3, alert_id = $4, state = $5, \
             ended = $6, detail = $7, started_at = $8, updated_at = $9 WHERE id = $1 AND ended = 0";
        self.db.write(move |tx| put(tx, SQL, &execution)).await
    }

    pub async fn get(&self, id: &str) -> Result<Option<Execution>, StoreError> {
        let id = id.to_owned();
        let sql = format!("SELECT {EXECUTION} FROM runbook_executions WHERE id = $1");
        self.db.read(move |tx| tx.one(&sql, values![&id])?.as_mut().map(execution).transpose()).await
    }

    /// Newest first.
    pub async fn list(&self, filter: ExecutionFilter) -> Result<Vec<Execution>, StoreError> {
        self.db.read(move |tx| list(tx, &filter)).await
    }
}

fn put(tx: &mut Tx<'_>, sql: &str, execution: &Execution) -> Result<bool, StoreError> {
    let Execution { id, runbook, subject, alert_id, state, ended, detail, started_at, updated_at } =
        execution;
    let (alert_id, detail) = (alert_id.as_deref(), detail.to_string());
    let values = values![id, runbook, subject, alert_id, state, *ended, &detail, *started_at, *updated_at];
    Ok(tx.execute(sql, values)? > 0)
}

fn list(tx: &mut Tx<'_>, filter: &ExecutionFilter) -> Result<Vec<Execution>, StoreError> {
    let ExecutionFilter { open_only, runbook, subject, since, limit } = filter;
    let mut conditions = Filter::new();
    if *open_only {
        conditions.is("ended = 0");
    }
    conditions.and("runbook = ?", runbook.as_deref());
    conditions.and("subject = ?", subject.as_deref());
    conditions.and("started_at >= ?", *since);
    let limit = conditions.bind(list_limit(*limit).into());
    let sql = format!(
        "SELECT {EXECUTION} FROM runbook_executions WHERE {} ORDER BY started_at DESC, id DESC LIMIT {limit}",
        conditions.sql()
    );
    tx.query(&sql, conditions.values())?.iter_mut().map(execution).collect()
}

fn execution(row: &mut Row) -> Result<Execution, StoreError> {
    Ok(Execution {
        id: row.text()?,
        runbook: row.text()?,
        subject: row.text()?,
        alert_id: row.opt_text()?,
        state: row.text()?,
        ended: row.flag()?,
        detail: row.json()?,
        started_at: row.micros()?,
        updated_at: row.micros()?,
    })
}
