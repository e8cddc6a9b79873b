//! Alerts as control keeps them, and who is told of them together.
//!
//! Promises: what one look decides is stored in one transaction, notices and story included, and only while whoever
//! decided it holds the lease; an acknowledgement is never overwritten by somebody who had not seen it.

use crate::{
    StoreError,
    db::{Db, Filter, Row, Tx, values},
    model::{Alert, AlertBook, AlertFilter, AlertGroup, AlertState, Decided, Fence, NewEvent, Severity},
    oncall, outbox,
    runs::list_limit,
    silences, timeline,
};

const ALERT: &str = "id, rule, subject, severity, state, summary, detail, suppressed, acknowledged_by, \
     acknowledged_at, opened_at, updated_at, resolved_at";
const GROUP: &str = "id, shadow, body, updated_at, ended_at";
/// Open alerts that are read; whoever opens them keeps to it.
pub const MAX_OPEN_ALERTS: usize = 5_000;

pub struct Alerts {
    pub(crate) db: Db,
}

impl Alerts {
    /// Stores what one look decided, whole. False: the lease is not held any more, and nothing was stored.
    pub async fn commit(&self, decided: Decided) -> Result<bool, StoreError> {
        self.db.write(move |tx| commit(tx, &decided)).await
    }

    /// Everything that is open, as it is at one moment.
    pub async fn book(&self) -> Result<AlertBook, StoreError> {
        self.db.read(book).await
    }

    /// Says that somebody looks after it, with its line of the story. Gives the state before; `None`: no such alert.
    pub async fn acknowledge(
        &self,
        id: &str,
        by: &str,
        event: NewEvent,
    ) -> Result<Option<AlertState>, StoreError> {
        let (id, by) = (id.to_owned(), by.to_owned());
        self.db.write(move |tx| acknowledge(tx, &id, &by, &event)).await
    }

    /// The same of several at once, each by its id, in one transaction. Gives the state before of those that there are.
    pub async fn acknowledge_all(
        &self,
        alerts: Vec<(String, NewEvent)>,
        by: &str,
    ) -> Result<Vec<(String, AlertState)>, StoreError> {
        let by = by.to_owned();
        self.db
            .write(move |tx| {
                let mut before = Vec::new();
                for (id, event) in &alerts {
                    before.extend(acknowledge(tx, id, &by, event)?.map(|state| (id.clone(), state)));
                }
                Ok(before)
            })
            .await
    }

    /// Inserts the alert or replaces it whole, but for an acknowledgement of the same severity.
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

    pub async fn group(&self, id: &str) -> Result<Option<AlertGroup>, StoreError> {
        let id = id.to_owned();
        let sql = format!("SELECT {GROUP} FROM alert_groups WHERE id = $1");
        self.db.read(move |tx| tx.one(&sql, values![&id])?.as_mut().map(group).transpose()).await
    }

    /// Groups, those that changed last first.
    pub async fn groups(&self, shadow: bool, limit: u32) -> Result<Vec<AlertGroup>, StoreError> {
        let sql = format!(
            "SELECT {GROUP} FROM alert_groups WHERE shadow = $1 ORDER BY updated_at DESC, id DESC LIMIT $2"
        );
        let limit = list_limit(limit);
        self.db.read(move |tx| tx.query(&sql, values![shadow, limit])?.iter_mut().map(group).collect()).await
    }
}

fn commit(tx: &mut Tx<'_>, decided: &Decided) -> Result<bool, StoreError> {
    let Decided { fence, alerts, groups, deliveries, events } = decided;
    if let Some(fence) = fence
        && !is_held(tx, fence)?
    {
        return Ok(false);
    }
    for alert in alerts {
        put(tx, alert)?;
    }
    for group in groups {
        put_group(tx, group)?;
    }
    for delivery in deliveries {
        outbox::put(tx, delivery)?;
    }
    for event in events {
        timeline::put(tx, event)?;
    }
    Ok(true)
}

/// Held until the transaction ends: nobody can take the lease over meanwhile.
fn is_held(tx: &mut Tx<'_>, fence: &Fence) -> Result<bool, StoreError> {
    const SQL: &str =
        "SELECT 1 FROM leases WHERE name = $1 AND holder = $2 AND epoch = $3 AND until > $4 FOR UPDATE";
    let Fence { lease, holder, epoch } = fence;
    Ok(tx.one(SQL, values![lease, holder, *epoch, tx.now()])?.is_some())
}

fn book(tx: &mut Tx<'_>) -> Result<AlertBook, StoreError> {
    let limit = i64::try_from(MAX_OPEN_ALERTS).unwrap_or(i64::MAX);
    let sql = format!("SELECT {ALERT} FROM alerts WHERE resolved_at IS NULL ORDER BY id LIMIT $1");
    let alerts: Result<Vec<Alert>, StoreError> =
        tx.query(&sql, values![limit])?.iter_mut().map(alert).collect();
    let sql = format!("SELECT {GROUP} FROM alert_groups WHERE ended_at IS NULL ORDER BY id LIMIT $1");
    let groups: Result<Vec<AlertGroup>, StoreError> =
        tx.query(&sql, values![limit])?.iter_mut().map(group).collect();
    let now = tx.now();
    Ok(AlertBook {
        alerts: alerts?,
        groups: groups?,
        silences: silences::ending_after(tx, now)?,
        overrides: oncall::ending_after(tx, now)?,
    })
}

fn acknowledge(
    tx: &mut Tx<'_>,
    id: &str,
    by: &str,
    event: &NewEvent,
) -> Result<Option<AlertState>, StoreError> {
    const LOOK: &str = "SELECT state FROM alerts WHERE id = $1 FOR UPDATE";
    const SQL: &str = "UPDATE alerts SET state = 'acknowledged', acknowledged_by = $2, acknowledged_at = $3, \
         updated_at = $3 WHERE id = $1";
    let Some(mut row) = tx.one(LOOK, values![id])? else { return Ok(None) };
    let before = row.word("state of an alert", AlertState::parse)?;
    if before == AlertState::Firing {
        tx.execute(SQL, values![id, by, tx.now()])?;
        timeline::put(tx, event)?;
    }
    Ok(Some(before))
}

fn put(tx: &mut Tx<'_>, alert: &Alert) -> Result<(), StoreError> {
    // Of the same severity, an acknowledgement stands; a graver alert has nobody yet.
    const SQL: &str = "INSERT INTO alerts (id, rule, subject, severity, state, summary, detail, suppressed, \
         acknowledged_by, acknowledged_at, opened_at, updated_at, resolved_at) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13) \
         ON CONFLICT (id) DO UPDATE SET rule = excluded.rule, subject = excluded.subject, \
         severity = excluded.severity, \
         state = CASE WHEN alerts.state = 'acknowledged' AND excluded.state = 'firing' \
           AND alerts.severity = excluded.severity THEN alerts.state ELSE excluded.state END, \
         acknowledged_by = CASE WHEN alerts.severity = excluded.severity \
           THEN COALESCE(alerts.acknowledged_by, excluded.acknowledged_by) ELSE excluded.acknowledged_by END, \
         acknowledged_at = CASE WHEN alerts.severity = excluded.severity \
           THEN COALESCE(alerts.acknowledged_at, excluded.acknowledged_at) ELSE excluded.acknowledged_at END, \
         summary = excluded.summary, detail = excluded.detail, suppressed = excluded.suppressed, \
         opened_at = excluded.opened_at, updated_at = excluded.updated_at, resolved_at = excluded.resolved_at";
    let detail = alert.detail.to_string();
    let values = values![
        &alert.id,
        &alert.rule,
        &alert.subject,
        alert.severity.as_str(),
        alert.state.as_str(),
        &alert.summary,
        &detail,
        alert.suppressed.as_deref(),
        alert.acknowledged_by.as_deref(),
        alert.acknowledged_at,
        alert.opened_at,
        alert.updated_at,
        alert.resolved_at
    ];
    tx.execute(SQL, values).map(drop)
}

fn put_group(tx: &mut Tx<'_>, group: &AlertGroup) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO alert_groups (id, shadow, body, updated_at, ended_at) VALUES ($1,$2,$3,$4,$5) \
         ON CONFLICT (id) DO UPDATE SET shadow = excluded.shadow, body = excluded.body, \
         updated_at = excluded.updated_at, ended_at = excluded.ended_at";
    let AlertGroup { id, shadow, body, updated_at, ended_at } = group;
    tx.execute(SQL, values![id, *shadow, &body.to_string(), *updated_at, *ended_at]).map(drop)
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
        suppressed: row.opt_text()?,
        acknowledged_by: row.opt_text()?,
        acknowledged_at: row.opt_micros()?,
        opened_at: row.micros()?,
        updated_at: row.micros()?,
        resolved_at: row.opt_micros()?,
    })
}

fn group(row: &mut Row) -> Result<AlertGroup, StoreError> {
    Ok(AlertGroup {
        id: row.text()?,
        shadow: row.flag()?,
        body: row.json()?,
        updated_at: row.micros()?,
        ended_at: row.opt_micros()?,
    })
}
