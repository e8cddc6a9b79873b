//! What became of notices: one after the other, and receiver by receiver.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::Micros;
use serde::Serialize;

use crate::{
    Outbox, StoreError,
    db::{Filter, Tx, values},
    model::{Delivery, DeliveryState},
    outbox::{DELIVERY, delivery},
    runs::list_limit,
};

/// How far back a receiver's standing looks.
const STANDING_OVER: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long one that was given up speaks against its receiver.
const GIVEN_UP_OVER: Duration = Duration::from_secs(24 * 3600);

/// Newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoticeFilter {
    pub id: Option<String>,
    pub receiver: Option<String>,
    /// The group that it tells of; found quickly together with a receiver.
    pub topic: Option<String>,
    pub state: Option<DeliveryState>,
    /// Only those enqueued before this time: the cursor.
    pub before: Option<Micros>,
    pub limit: u32,
}

/// How it goes with the notices to one receiver, over the last seven days.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    pub receiver: String,
    /// Not delivered yet and not given up.
    pub pending: i64,
    /// Given up.
    pub failed: i64,
    pub delivered: i64,
    /// When the oldest notice was enqueued that has been tried in vain and is tried again: since then it fails.
    pub failing_since: Option<Micros>,
    pub last_delivered_at: Option<Micros>,
    /// Why the newest one that failed did.
    pub last_error: Option<String>,
}

/// A receiver with notices that have not arrived, or with one that was given up and none delivered since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Waiting {
    pub receiver: String,
    /// Not delivered yet and not given up.
    pub waiting: i64,
    /// When the oldest of these was enqueued.
    pub oldest_at: Option<Micros>,
    /// When the oldest of these was enqueued that has been tried in vain.
    pub failing_since: Option<Micros>,
    /// When the last one was given up, within a day; `None` when one was delivered since.
    pub given_up_at: Option<Micros>,
    /// Why the newest one that failed did.
    pub last_error: Option<String>,
}

impl Outbox {
    /// Every receiver that is not reached or not yet. Looks only at what waits and at what was given up within a day.
    pub async fn waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        self.db.read(waiting).await
    }

    pub async fn notices(&self, filter: NoticeFilter) -> Result<Vec<Delivery>, StoreError> {
        self.db.read(move |tx| notices(tx, &filter)).await
    }

    /// Of every receiver that was told something.
    pub async fn standings(&self) -> Result<Vec<Standing>, StoreError> {
        self.db.read(standings).await
    }
}

fn notices(tx: &mut Tx<'_>, filter: &NoticeFilter) -> Result<Vec<Delivery>, StoreError> {
    let NoticeFilter { id, receiver, topic, state, before, limit } = filter;
    let mut conditions = Filter::new();
    conditions.is("kind = 'alert'");
    conditions.and("id = ?", id.as_deref());
    conditions.and("receiver = ?", receiver.as_deref());
    conditions.and("topic = ?", topic.as_deref());
    conditions.and("state = ?", state.map(DeliveryState::as_str));
    conditions.and("created_at < ?", *before);
    let limit = conditions.bind(list_limit(*limit).into());
    let sql = format!(
        "SELECT {DELIVERY} FROM outbox WHERE {} ORDER BY created_at DESC, id DESC LIMIT {limit}",
        conditions.sql()
    );
    tx.query(&sql, conditions.values())?.iter_mut().map(delivery).collect()
}

fn waiting(tx: &mut Tx<'_>) -> Result<Vec<Waiting>, StoreError> {
    const WAIT: &str = "SELECT receiver, COUNT(*), MIN(created_at), \
         MIN(CASE WHEN last_error IS NOT NULL THEN created_at END) FROM outbox \
         WHERE next_at IS NOT NULL AND kind = 'alert' AND receiver IS NOT NULL GROUP BY receiver";
    // A test that failed is known to whoever asked for it.
    const GIVEN_UP: &str = "SELECT receiver, MAX(ended_at) FROM outbox \
         WHERE state = 'failed' AND ended_at >= $1 AND kind = 'alert' AND receiver IS NOT NULL \
         AND COALESCE(topic, '') NOT LIKE 'test-%' GROUP BY receiver";
    // A notice lives for a day, so that one delivered since was enqueued at most a day before.
    const SINCE: &str = "SELECT 1 FROM outbox WHERE kind = 'alert' AND created_at >= $1 AND receiver = $2 \
         AND state = 'delivered' AND ended_at > $3 LIMIT 1";
    const ERROR: &str = "SELECT last_error FROM outbox WHERE receiver = $1 AND kind = 'alert' AND created_at >= $2 \
         AND last_error IS NOT NULL AND state IN ('pending', 'failed') ORDER BY created_at DESC LIMIT 1";
    let mut all: BTreeMap<String, Waiting> = BTreeMap::new();
    for mut row in tx.query(WAIT, values![])? {
        let receiver = row.text()?;
        let (waiting, oldest_at, failing_since) = (row.int()?, row.opt_micros()?, row.opt_micros()?);
        let one =
            Waiting { receiver: receiver.clone(), waiting, oldest_at, failing_since, ..Waiting::default() };
        all.insert(receiver, one);
    }
    let day_ago = tx.now() - GIVEN_UP_OVER;
    for mut row in tx.query(GIVEN_UP, values![day_ago])? {
        let (receiver, at) = (row.text()?, row.micros()?);
        if tx.one(SINCE, values![at - GIVEN_UP_OVER, &receiver, at])?.is_none() {
            let blank = || Waiting { receiver: receiver.clone(), ..Waiting::default() };
            all.entry(receiver.clone()).or_insert_with(blank).given_up_at = Some(at);
        }
    }
    let mut all: Vec<Waiting> = all.into_values().collect();
    for one in all.iter_mut().filter(|one| one.failing_since.or(one.given_up_at).is_some()) {
        let row = tx.one(ERROR, values![&one.receiver, day_ago - GIVEN_UP_OVER])?;
        one.last_error = row.map(|mut row| row.opt_text()).transpose()?.flatten();
    }
    Ok(all)
}

fn standings(tx: &mut Tx<'_>) -> Result<Vec<Standing>, StoreError> {
    const SQL: &str = "SELECT receiver, COUNT(CASE WHEN state = 'pending' THEN 1 END), \
         COUNT(CASE WHEN state = 'failed' THEN 1 END), COUNT(CASE WHEN state = 'delivered' THEN 1 END), \
         MIN(CASE WHEN state = 'pending' AND last_error IS NOT NULL THEN created_at END), \
         MAX(CASE WHEN state = 'delivered' THEN ended_at END) \
         FROM outbox WHERE kind = 'alert' AND receiver IS NOT NULL AND created_at >= $1 \
         GROUP BY receiver ORDER BY receiver";
    const ERROR: &str = "SELECT last_error FROM outbox WHERE kind = 'alert' AND receiver = $1 AND created_at >= $2 \
         AND last_error IS NOT NULL ORDER BY created_at DESC LIMIT 1";
    let since = tx.now() - STANDING_OVER;
    let mut standings = Vec::new();
    for mut row in tx.query(SQL, values![since])? {
        standings.push(Standing {
            receiver: row.text()?,
            pending: row.int()?,
            failed: row.int()?,
            delivered: row.int()?,
            failing_since: row.opt_micros()?,
            last_delivered_at: row.opt_micros()?,
            last_error: None,
        });
    }
    for standing in standings.iter_mut().filter(|standing| standing.pending + standing.failed > 0) {
        let row = tx.one(ERROR, values![&standing.receiver, since])?;
        standing.last_error = row.map(|mut row| row.opt_text()).transpose()?.flatten();
    }
    Ok(standings)
}
