//! Who is on call instead of whoever would be, until when and why.

use mainstay_base::Micros;

use crate::{
    StoreError,
    db::{Db, Row, Tx, values},
    lasting::{self, MAX_OPEN},
    model::{NewEvent, OnCallOverride},
    runs::list_limit,
    timeline,
};

const OVERRIDE: &str = "id, schedule, person, starts_at, ends_at, author, comment, created_at, ended_by";

pub struct OnCall {
    pub(crate) db: Db,
}

impl OnCall {
    /// With its line of the story. False: there are too many that have not ended.
    pub async fn add(&self, one: OnCallOverride, event: NewEvent) -> Result<bool, StoreError> {
        self.db.write(move |tx| add(tx, &one, &event)).await
    }

    /// Ends it now. False: there is none, or it has ended.
    pub async fn end(&self, id: &str, by: &str, event: NewEvent) -> Result<bool, StoreError> {
        lasting::end(&self.db, "oncall_overrides", id, by, event).await
    }

    /// Those that end last first, ended ones included.
    pub async fn list(&self, limit: u32) -> Result<Vec<OnCallOverride>, StoreError> {
        let sql = format!("SELECT {OVERRIDE} FROM oncall_overrides ORDER BY ends_at DESC, id DESC LIMIT $1");
        let limit = list_limit(limit);
        self.db.read(move |tx| tx.query(&sql, values![limit])?.iter_mut().map(one).collect()).await
    }
}

fn add(tx: &mut Tx<'_>, added: &OnCallOverride, event: &NewEvent) -> Result<bool, StoreError> {
    const SQL: &str = "INSERT INTO oncall_overrides (id, schedule, person, starts_at, ends_at, author, comment, \
         created_at, ended_by) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)";
    if lasting::is_full(tx, "oncall_overrides")? {
        return Ok(false);
    }
    let OnCallOverride { id, schedule, person, starts_at, ends_at, author, comment, created_at, ended_by } =
        added;
    let values = values![
        id,
        schedule,
        person,
        *starts_at,
        *ends_at,
        author,
        comment,
        *created_at,
        ended_by.as_deref()
    ];
    tx.execute(SQL, values)?;
    timeline::put(tx, event)?;
    Ok(true)
}

/// Those that hold or will hold.
pub(crate) fn ending_after(tx: &mut Tx<'_>, now: Micros) -> Result<Vec<OnCallOverride>, StoreError> {
    let sql = format!("SELECT {OVERRIDE} FROM oncall_overrides WHERE ends_at > $1 ORDER BY id LIMIT $2");
    tx.query(&sql, values![now, MAX_OPEN])?.iter_mut().map(one).collect()
}

fn one(row: &mut Row) -> Result<OnCallOverride, StoreError> {
    Ok(OnCallOverride {
        id: row.text()?,
        schedule: row.text()?,
        person: row.text()?,
        starts_at: row.micros()?,
        ends_at: row.micros()?,
        author: row.text()?,
        comment: row.text()?,
        created_at: row.micros()?,
        ended_by: row.opt_text()?,
    })
}
