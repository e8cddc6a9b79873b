//! Who is on call instead of whoever would be, until when and why.

use mainstay_base::Micros;

use crate::{
    StoreError,
    db::{Db, Row, Tx, values},
    model::{NewEvent, OnCallOverride},
    runs::list_limit,
    timeline,
};

const OVERRIDE: &str = "id, schedule, person, starts_at, ends_at, author, comment, created_at, ended_by";
/// Overrides that hold or will hold at a time.
const MAX_OPEN: i64 = 1_000;

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
        const SQL: &str =
            "UPDATE oncall_overrides SET ends_at = $3, ended_by = $2 WHERE id = $1 AND ends_at > $3";
        let (id, by) = (id.to_owned(), by.to_owned());
        self.db
            .write(move |tx| {
                let ended = tx.execute(SQL, values![&id, &by, tx.now()])? > 0;
                if ended {
                    timeline::put(tx, &event)?;
                }
                Ok(ended)
            })
            .await
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
    let count = tx.one("SELECT COUNT(*) FROM oncall_overrides WHERE ends_at > $1", values![tx.now()])?;
    if count.map_or(Ok(0), |mut row| row.int())? >= MAX_OPEN {
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
