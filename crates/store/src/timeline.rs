//! What happened and what was done: append-only, a hash chain.
//!
//! Promises: events are numbered without a gap, and each hash covers the one before it, so that changing, removing or
//! inserting an event breaks the chain from there on. Somebody who can rewrite the whole table and its head can
//! still forge it; the head kept elsewhere ([`Verified::head`]) shows that too.

use mainstay_base::Micros;

use crate::{
    StoreError,
    db::{Db, Filter, Row, Tx, Value, values},
    model::{ChainBreak, NewEvent, TimelineEvent, TimelineFilter, Verified},
    runs::list_limit,
};

/// Events read at once while verifying.
const VERIFY_STEP: i64 = 1000;
const EVENT: &str = "seq, at, subject, kind, actor, text, detail, hash";

pub struct Timeline {
    pub(crate) db: Db,
}

impl Timeline {
    pub async fn append(&self, event: NewEvent) -> Result<TimelineEvent, StoreError> {
        let event = Stored::of(event);
        self.db.write(move |tx| append(tx, &event)).await?.into_event()
    }

    /// Newest first, or oldest first after [`TimelineFilter::after`].
    pub async fn list(&self, filter: TimelineFilter) -> Result<Vec<TimelineEvent>, StoreError> {
        let rows = self.db.read(move |tx| list(tx, &filter)).await?;
        rows.into_iter().map(Stored::into_event).collect()
    }

    /// Walks the whole chain.
    pub async fn verify(&self) -> Result<Result<Verified, ChainBreak>, StoreError> {
        self.db.read(verify).await
    }
}

/// An event as it is stored and hashed: its detail is text.
#[derive(Clone)]
struct Stored {
    seq: i64,
    at: Micros,
    subject: String,
    kind: String,
    actor: String,
    text: String,
    detail: String,
    hash: String,
}

impl Stored {
    fn of(event: NewEvent) -> Stored {
        let NewEvent { at, subject, kind, actor, text, detail } = event;
        // PostgreSQL cannot store NUL; what is hashed must be what is stored.
        let clean = |text: String| if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text };
        Stored {
            seq: 0,
            at,
            subject: clean(subject),
            kind: clean(kind),
            actor: clean(actor),
            text: clean(text),
            detail: detail.to_string(),
            hash: String::new(),
        }
    }

    /// Lengths go before contents, so that no two events have the same bytes.
    fn hash_after(&self, previous: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seq.to_le_bytes());
        hasher.update(&self.at.0.to_le_bytes());
        for part in [previous, &self.subject, &self.kind, &self.actor, &self.text, &self.detail] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    fn read(mut row: Row) -> Result<Stored, StoreError> {
        Ok(Stored {
            seq: row.int()?,
            at: row.micros()?,
            subject: row.text()?,
            kind: row.text()?,
            actor: row.text()?,
            text: row.text()?,
            detail: row.text()?,
            hash: row.text()?,
        })
    }

    fn into_event(self) -> Result<TimelineEvent, StoreError> {
        let Stored { seq, at, subject, kind, actor, text, detail, hash } = self;
        let detail =
            serde_json::from_str(&detail).map_err(|error| StoreError::unreadable("detail", error))?;
        Ok(TimelineEvent { seq, event: NewEvent { at, subject, kind, actor, text, detail }, hash })
    }
}

/// For whoever changes a state and tells of it in one transaction.
pub(crate) fn put(tx: &mut Tx<'_>, event: &NewEvent) -> Result<(), StoreError> {
    append(tx, &Stored::of(event.clone())).map(drop)
}

fn append(tx: &mut Tx<'_>, event: &Stored) -> Result<Stored, StoreError> {
    const SQL: &str = "INSERT INTO timeline (seq, at, subject, kind, actor, text, detail, hash) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8)";
    // The head's row lock puts appends in order.
    let (last, head) = head(tx, " FOR UPDATE")?;
    let mut event = Stored { seq: last + 1, ..event.clone() };
    event.hash = event.hash_after(&head);
    let Stored { seq, at, subject, kind, actor, text, detail, hash } = &event;
    tx.execute(SQL, values![*seq, *at, subject, kind, actor, text, detail, hash])?;
    tx.execute("UPDATE meta SET number = $1, text = $2 WHERE name = 'timeline'", values![*seq, hash])?;
    Ok(event)
}

/// The number and the hash of the last event.
fn head(tx: &mut Tx<'_>, lock: &str) -> Result<(i64, String), StoreError> {
    let sql = format!("SELECT number, text FROM meta WHERE name = 'timeline'{lock}");
    let row = tx.one(&sql, values![])?;
    let mut row = row.ok_or_else(|| StoreError::unreadable("head of the timeline", "there is none"))?;
    Ok((row.int()?, row.text()?))
}

fn list(tx: &mut Tx<'_>, filter: &TimelineFilter) -> Result<Vec<Stored>, StoreError> {
    let TimelineFilter { subject, since, before, after, limit } = filter;
    let mut conditions = Filter::new();
    conditions.and("subject = ?", subject.as_deref());
    conditions.and("at >= ?", *since);
    conditions.and("seq < ?", *before);
    conditions.and("seq > ?", *after);
    let order = if after.is_some() { "ASC" } else { "DESC" };
    let limit = conditions.bind(list_limit(*limit).into());
    let sql =
        format!("SELECT {EVENT} FROM timeline WHERE {} ORDER BY seq {order} LIMIT {limit}", conditions.sql());
    tx.query(&sql, conditions.values())?.into_iter().map(Stored::read).collect()
}

fn verify(tx: &mut Tx<'_>) -> Result<Result<Verified, ChainBreak>, StoreError> {
    let sql = format!("SELECT {EVENT} FROM timeline WHERE seq > $1 ORDER BY seq LIMIT $2");
    let broken = |seq, reason: &str| Ok(Err(ChainBreak { seq, reason: reason.to_owned() }));
    let (mut last, mut previous) = (0, String::new());
    loop {
        let rows = tx.query(&sql, &[Value::Int(last), Value::Int(VERIFY_STEP)])?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let event = Stored::read(row)?;
            if event.seq != last + 1 {
                return broken(last + 1, "it is missing");
            }
            if event.hash != event.hash_after(&previous) {
                return broken(event.seq, "its content does not have its hash");
            }
            (last, previous) = (event.seq, event.hash);
        }
    }
    let (events, head) = head(tx, "")?;
    if (events, &head) != (last, &previous) {
        return broken(last + 1, "the events after the one before it were removed");
    }
    Ok(Ok(Verified { events, head }))
}
