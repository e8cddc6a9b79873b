//! Deliveries that must happen: results of runs to their callbacks, alerts to their receivers.
//!
//! A delivery may be sent twice (its sender can die after sending); its id, the `webhook-id`, is the same each time.

use std::time::Duration;

use mainstay_base::Micros;

use crate::{
    StoreError,
    db::{Db, Row, Tx, Value, numbers, values},
    model::{Delivery, DeliveryKind, DeliveryState, NewDelivery},
};

/// The most deliveries one call takes.
const MAX_DUE: usize = 256;
/// The most deliveries of one run that are listed.
const MAX_OF_RUN: i64 = 100;
pub(crate) const DELIVERY: &str = "id, kind, run_id, receiver, topic, url, payload, state, attempts, next_at, last_status, last_error, \
     created_at, ended_at, may_repeat";

/// Deliveries that are taken together, so that those to one receiver never wait for those to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lane {
    Receiver(String),
    /// All but those to these receivers: callbacks, and what is for receivers that nobody knows any more.
    Besides(Vec<String>),
}

pub struct Outbox {
    pub(crate) db: Db,
}

impl Outbox {
    /// False when a delivery with this id is there already.
    pub async fn enqueue(&self, delivery: NewDelivery) -> Result<bool, StoreError> {
        self.db.write(move |tx| put(tx, &delivery)).await
    }

    /// Which of these lanes have something due.
    pub async fn lanes_due(&self, lanes: Vec<Lane>) -> Result<Vec<Lane>, StoreError> {
        self.db
            .read(move |tx| {
                let mut due = Vec::new();
                for lane in &lanes {
                    let (condition, mut names) = condition(lane, 2);
                    let sql = format!("SELECT 1 FROM outbox o WHERE next_at <= $1 AND {condition} LIMIT 1");
                    names.insert(0, tx.now().into());
                    if tx.one(&sql, &names)?.is_some() {
                        due.push(lane.clone());
                    }
                }
                Ok(due)
            })
            .await
    }

    /// Takes due deliveries of a lane for `lease`; each comes again if it is not ended or put off by then, and says that it
    /// may be a repeat. One that follows another of its topic is not due before that has ended.
    pub async fn due(&self, lane: &Lane, max: usize, lease: Duration) -> Result<Vec<Delivery>, StoreError> {
        let lane = lane.clone();
        let max = i64::try_from(max.min(MAX_DUE)).unwrap_or(1);
        self.db.write(move |tx| take(tx, &lane, max, lease)).await
    }

    /// One that was replaced while it was under way has been delivered all the same.
    pub async fn delivered(&self, id: &str, status: i64) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE outbox SET state = 'delivered', next_at = NULL, last_status = $2, \
             last_error = NULL, ended_at = $3, lease_until = NULL \
             WHERE id = $1 AND state IN ('pending', 'superseded')";
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
        self.not_taken(id, status, error, next_at, false).await
    }

    /// As [`Outbox::failed`], where nobody knows whether the receiver took it: the next attempt may be a repeat.
    pub async fn lost(&self, id: &str, error: &str, next_at: Option<Micros>) -> Result<bool, StoreError> {
        self.not_taken(id, None, error, next_at, true).await
    }

    async fn not_taken(
        &self,
        id: &str,
        status: Option<i64>,
        error: &str,
        next_at: Option<Micros>,
        is_lost: bool,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE outbox SET state = $2, next_at = $3, last_status = $4, last_error = $5, \
             ended_at = $6, lease_until = NULL, may_repeat = may_repeat | $7 \
             WHERE id = $1 AND state = 'pending'";
        const REPLACED: &str = "UPDATE outbox SET lease_until = NULL, last_status = $2, last_error = $3 \
             WHERE id = $1 AND state = 'superseded'";
        let (id, error) = (id.to_owned(), error.to_owned());
        let state = if next_at.is_some() { DeliveryState::Pending } else { DeliveryState::Failed };
        let changed = self
            .db
            .write(move |tx| {
                let ended_at = next_at.is_none().then(|| tx.now());
                tx.execute(REPLACED, values![&id, status, &error])?;
                tx.execute(SQL, values![&id, state.as_str(), next_at, status, &error, ended_at, is_lost])
            })
            .await?;
        Ok(changed > 0)
    }

    /// Deliveries of a run, oldest first.
    pub async fn list(&self, run_id: &str) -> Result<Vec<Delivery>, StoreError> {
        let sql = format!("SELECT {DELIVERY} FROM outbox WHERE run_id = $1 ORDER BY created_at, id LIMIT $2");
        let run_id = run_id.to_owned();
        self.db
            .read(move |tx| tx.query(&sql, values![&run_id, MAX_OF_RUN])?.iter_mut().map(delivery).collect())
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
        receiver: None,
        topic: None,
        replaces: false,
        url: url.to_owned(),
        payload: None,
    };
    put(tx, &delivery).map(drop)
}

/// For whoever changes a state and tells of it in one transaction. False when a delivery with this id is there already.
pub(crate) fn put(tx: &mut Tx<'_>, delivery: &NewDelivery) -> Result<bool, StoreError> {
    const TURN: &str = "SELECT COALESCE(MAX(turn), 0) + 1 FROM outbox WHERE receiver = $1 AND topic = $2";
    const SQL: &str = "INSERT INTO outbox (id, kind, run_id, receiver, topic, turn, url, payload, state, attempts, \
         next_at, created_at) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,'pending',0,$9,$9) ON CONFLICT (id) DO NOTHING";
    const REPLACE: &str = "UPDATE outbox SET state = 'superseded', next_at = NULL, ended_at = $4 \
         WHERE receiver = $1 AND topic = $2 AND turn < $3 AND state = 'pending'";
    let NewDelivery { id, kind, run_id, receiver, topic, replaces, url, payload } = delivery;
    let payload = payload.as_ref().map(ToString::to_string);
    let topic = receiver.as_deref().zip(topic.as_deref());
    let turn = match topic {
        Some((receiver, topic)) => {
            tx.one(TURN, values![receiver, topic])?.map(|mut row| row.int()).transpose()?
        }
        None => None,
    };
    let values = values![
        id,
        kind.as_str(),
        run_id.as_deref(),
        receiver.as_deref(),
        topic.map(|(_, topic)| topic),
        turn,
        url,
        payload.as_deref(),
        tx.now()
    ];
    let is_new = tx.execute(SQL, values)? > 0;
    if let (true, true, Some((receiver, topic)), Some(turn)) = (is_new, *replaces, topic, turn) {
        tx.execute(REPLACE, values![receiver, topic, turn, tx.now()])?;
    }
    Ok(is_new)
}

fn take(tx: &mut Tx<'_>, lane: &Lane, max: i64, lease: Duration) -> Result<Vec<Delivery>, StoreError> {
    let (condition, names) = condition(lane, 4);
    let sql = format!(
        "WITH due AS MATERIALIZED \
         (SELECT id FROM outbox o WHERE next_at <= $1 AND {condition} AND (topic IS NULL OR NOT EXISTS \
           (SELECT 1 FROM outbox e WHERE e.receiver = o.receiver AND e.topic = o.topic AND e.turn < o.turn \
             AND (e.state = 'pending' OR e.lease_until > $1))) \
         ORDER BY next_at LIMIT $2 FOR UPDATE SKIP LOCKED) \
         UPDATE outbox SET attempts = attempts + 1, next_at = $3, lease_until = $3, \
           may_repeat = CASE WHEN lease_until IS NULL THEN may_repeat ELSE 1 END \
         WHERE id IN (SELECT id FROM due) \
         RETURNING {DELIVERY}"
    );
    let now = tx.now();
    let mut values: Vec<Value<'_>> = vec![now.into(), max.into(), (now + lease).into()];
    values.extend(names);
    let taken: Result<Vec<Delivery>, StoreError> =
        tx.query(&sql, &values)?.iter_mut().map(delivery).collect();
    let mut taken = taken?;
    taken.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
    Ok(taken)
}

/// What is true of the lane's rows, and its values, whose numbers begin at `first`.
fn condition(lane: &Lane, first: usize) -> (String, Vec<Value<'_>>) {
    match lane {
        Lane::Receiver(name) => (format!("o.receiver = ${first}"), vec![name.into()]),
        Lane::Besides(names) if names.is_empty() => ("1 = 1".to_owned(), Vec::new()),
        Lane::Besides(names) => {
            let sql = format!("(o.receiver IS NULL OR o.receiver NOT IN ({}))", numbers(first, names.len()));
            (sql, names.iter().map(Value::from).collect())
        }
    }
}

pub(crate) fn delivery(row: &mut Row) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        id: row.text()?,
        kind: row.word("kind of delivery", DeliveryKind::parse)?,
        run_id: row.opt_text()?,
        receiver: row.opt_text()?,
        topic: row.opt_text()?,
        url: row.text()?,
        payload: row.opt_json()?,
        state: row.word("state of a delivery", DeliveryState::parse)?,
        attempts: row.int()?,
        next_at: row.opt_micros()?,
        last_status: row.opt_int()?,
        last_error: row.opt_text()?,
        created_at: row.micros()?,
        ended_at: row.opt_micros()?,
        may_repeat: row.flag()?,
    })
}
