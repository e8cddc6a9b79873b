//! Alerts as control keeps them.

use crate::{
    StoreError,
    db::{Db, Filter, Row, Tx, values},
    model::{Alert, AlertFilter, AlertState, Severity},
    runs::list_limit,
};

const ALERT: &str = "id, rule, subject, severity, state, summary, detail, opened_at, updated_at, resolved_at";

pub struct Alerts {
    pub(crate) db: Db,
}

impl Alerts {
    /// Inserts the alert or replaces it whole.
    pub async fn upsert(&self, alert: Alert) -> Result<(), StoreError> {
        self.db.write(move |tx| put(tx, &alert)).await
    }

    pub async fn get(&self, id: &str) -> Result<Option<Alert>, StoreError> {
        let id = id.to_owned();
        let sql = format!("SELECT {ALERT} FROM alerts WHERE id = $1");
        self.db.read(move |tx| tx.one(&sql, values![&id])?.as_mut().map(alert).transpose()).await
    }

    /// Newest first.
    pub async fn list(&self, filter: AlertFilter) -> Result<Vec<Alert>, StoreError> {
        self.db.read(move |tx| list(tx, &filter)).await
    }
}

fn put(tx: &mut Tx<'_>, alert: &Alert) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO alerts (id, rule, subject, severity, state, summary, detail, opened_at, \
         updated_at, resolved_at) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10) \
         ON CONFLICT (id) DO UPDATE SET rule = excluded.rule, subject = excluded.subject, \
         severity = excluded.severity, state = excluded.state, summary = excluded.summary, \
         detail = excluded.detail, opened_at = excluded.opened_at, updated_at = excluded.updated_at, \
         resolved_at = excluded.resolved_at";
    let detail = alert.detail.to_string();
    let values = values![
        &alert.id,
        &alert.rule,
        &alert.subject,
        alert.severity.as_str(),
        alert.state.as_str(),
        &alert.summary,
        &detail,
        alert.opened_at,
        alert.updated_at,
        alert.resolved_at
    ];
    tx.execute(SQL, values).map(drop)
}

fn list(tx: &mut Tx<'_>, filter: &AlertFilter) -> Result<Vec<Alert>, StoreError> {
    let AlertFilter { open_only, subject, before, limit } = filter;
    let mut conditions = Filter::new();
    if *open_only {
        conditions.is("resolved_at IS NULL");
    }
    conditions.and("subject = ?", subject.as_deref());
    conditions.and("id < ?", before.as_deref());
    let limit = conditions.bind(list_limit(*limit).into());
    let sql = format!("SELECT {ALERT} FROM alerts WHERE {} ORDER BY id DESC LIMIT {limit}", conditions.sql());
    tx.query(&sql, conditions.values())?.iter_mut().map(alert).collect()
}

fn alert(row: &mut Row) -> Result<Alert, StoreError> {
    Ok(Alert {
        id: row.text()?,
        rule: row.text()?,
        subject: row.text()?,
        severity: row.word("severity", Severity::parse)?,
        state: row.word("state of an alert", AlertState::parse)?,
        summary: row.text()?,
        detail: row.json()?,
        opened_at: row.micros()?,
        updated_at: row.micros()?,
        resolved_at: row.opt_micros()?,
    })
}
