//! Deliveries that must happen: results of runs to their callbacks, alerts to their receivers.
//!
//! A delivery may be sent twice (its sender can die after sending); its id, the `webhook-id`, is the same each time.

use std::time::Duration;

use mainstay_base::Micros;

use crate::{
    StoreError,
    db::{Db, Row, Tx, values},
    model::{Delivery, DeliveryKind, DeliveryState, NewDelivery},
};

/// The most deliveries one call takes.
const MAX_DUE: usize = 256;
/// The most deliveries of one run that are listed.
const MAX_OF_RUN: i64 = 100;

pub struct Outbox {
    pub(crate) db: Db,
}

impl Outbox {
    /// False when a delivery with this id is there already.
    pub async fn enqueue(&self, delivery: NewDelivery) -> Result<bool, StoreError> {
        let payload = delivery.payload.as_ref().map(ToString::to_string);
        self.db.write(move |tx| put(tx, &delivery, payload.as_deref())).await
    }

    /// Takes due deliveries for `lease`; each comes again if it is not ended or put off by then.
    pub async fn due(&self, max: usize, lease: Duration) -> Result<Vec<Delivery>, StoreError> {
        let any_due = self
            .db
            .read(|tx| {
                Ok(tx.one("SELECT 1 FROM outbox WHERE next_at <= $1 LIMIT 1", values![tx.now()])?.is_some())
            })
            .await?;
        if !any_due || max == 0 {
            return Ok(Vec::new());
        }
        let max = i64::try_from(max.min(MAX_DUE)).unwrap_or(1);
        self.db.write(move |tx| take(tx, max, lease)).await
    }

    pub async fn delivered(&self, id: &str, status: i64) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE outbox SET state = 'delivered', next_at = NULL, last_status = $2, \
             last_error = NULL, ended_at = $3 WHERE id = $1 AND state = 'pending'";
        let id = id.to_owned();
        Ok(self.db.write(move |tx| tx.execute(SQL, values![&id, status, tx.now()])).await? > 0)
    }

    /// Puts it off to `next_at`, or gives it up when that is `None`.
    pub async fn failed(
        &self,
        id: &str,
        status: Option<i64>,
        error: &str,
        next_at: Option<Micros>,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE outbox SET state = $2, next_at = $3, last_status = $4, last_error = $5, \
             ended_at = $6 WHERE id = $1 AND state = 'pending'";
        let (id, error) = (id.to_owned(), error.to_owned());
        let state = if next_at.is_some() { DeliveryState::Pending } else { DeliveryState::Failed };
        let changed = self
            .db
            .write(move |tx| {
                let ended_at = next_at.is_none().then(|| tx.now());
                tx.execute(SQL, values![&id, state.as_str(), next_at, status, &error, ended_at])
            })
            .await?;
        Ok(changed > 0)
    }

    /// Deliveries of a run, oldest first.
    pub async fn list(&self, run_id: &str) -> Result<Vec<Delivery>, StoreError> {
        const SQL: &str = "SELECT id, kind, run_id, url, payload, state, attempts, next_at, last_status, last_error, \
             created_at, ended_at FROM outbox WHERE run_id = $1 ORDER BY created_at, id LIMIT $2";
        let run_id = run_id.to_owned();
        self.db
            .read(move |tx| tx.query(SQL, values![&run_id, MAX_OF_RUN])?.iter_mut().map(delivery).collect())
            .await
    }

    /// How many are pending, and how many were given up.
    pub async fn backlog(&self) -> Result<(i64, i64), StoreError> {
        const SQL: &str = "SELECT (SELECT COUNT(*) FROM outbox WHERE next_at IS NOT NULL), \
             (SELECT COUNT(*) FROM outbox WHERE state = 'failed')";
        self.db
            .read(|tx| tx.one(SQL, values![])?.map_or(Ok((0, 0)), |mut row| Ok((row.int()?, row.int()?))))
            .await
    }
}

/// The delivery of a run's result. Its id is the run's, so that a repeat of any kind bears the same; only a replay,
/// whose result is another, has another.
pub(crate) fn put_callback(tx: &mut Tx<'_>, run_id: &str, replays: i64, url: &str) -> Result<(), StoreError> {
    let id = match replays {
        0 => format!("msg_{run_id}"),
        _ => format!("msg_{run_id}_{replays}"),
    };
    let delivery = NewDelivery {
        id,
        kind: DeliveryKind::Callback,
        run_id: Some(run_id.to_owned()),
        url: url.to_owned(),
        payload: None,
    };
    put(tx, &delivery, None).map(drop)
}

fn put(tx: &mut Tx<'_>, delivery: &NewDelivery, payload: Option<&str>) -> Result<bool, StoreError> {
    const SQL: &str = "INSERT INTO outbox (id, kind, run_id, url, payload, state, attempts, next_at, created_at) \
         VALUES ($1,$2,$3,$4,$5,'pending',0,$6,$6) ON CONFLICT (id) DO NOTHING";
    let NewDelivery { id, kind, run_id, url, payload: _ } = delivery;
    let values = values![id, kind.as_str(), run_id.as_deref(), url, payload, tx.now()];
    Ok(tx.execute(SQL, values)? > 0)
}

fn take(tx: &mut Tx<'_>, max: i64, lease: Duration) -> Result<Vec<Delivery>, StoreError> {
    const SQL: &str = "WITH due AS MATERIALIZED \
         (SELECT id FROM outbox WHERE next_at <= $1 ORDER BY next_at LIMIT $2 FOR UPDATE SKIP LOCKED) \
         UPDATE outbox SET attempts = attempts + 1, next_at = $3 WHERE id IN (SELECT id FROM due) \
         RETURNING id, kind, run_id, url, payload, state, attempts, next_at, last_status, last_error, \
         created_at, ended_at";
    let now = tx.now();
    let taken: Result<Vec<Delivery>, StoreError> =
        tx.query(SQL, values![now, max, now + lease])?.iter_mut().map(delivery).collect();
    let mut taken = taken?;
    taken.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
    Ok(taken)
}

fn delivery(row: &mut Row) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        id: row.text()?,
        kind: row.word("kind of delivery", DeliveryKind::parse)?,
        run_id: row.opt_text()?,
        url: row.text()?,
        payload: row.opt_json()?,
        state: row.word("state of a delivery", DeliveryState::parse)?,
        attempts: row.int()?,
        next_at: row.opt_micros()?,
        last_status: row.opt_int()?,
        last_error: row.opt_text()?,
        created_at: row.micros()?,
        ended_at: row.opt_micros()?,
    })
}
