//! Silences: which alerts nobody is told of, until when, by whom and why. They end by themselves, or earlier.

use mainstay_base::Micros;

use crate::{
    StoreError,
    db::{Db, Row, Tx, values},
    lasting::{self, MAX_OPEN},
    model::{NewEvent, Silence},
    runs::list_limit,
    timeline,
};

const SILENCE: &str = "id, matchers, starts_at, ends_at, author, comment, created_at, ended_by";

pub struct Silences {
    pub(crate) db: Db,
}

impl Silences {
    /// With its line of the story. False: there are too many that have not ended.
    pub async fn add(&self, silence: Silence, event: NewEvent) -> Result<bool, StoreError> {
        self.db.write(move |tx| add(tx, &silence, &event)).await
    }

    /// Ends it now. False: there is none, or it has ended.
    pub async fn end(&self, id: &str, by: &str, event: NewEvent) -> Result<bool, StoreError> {
        lasting::end(&self.db, "silences", id, by, event).await
    }

    pub async fn get(&self, id: &str) -> Result<Option<Silence>, StoreError> {
        let sql = format!("SELECT {SILENCE} FROM silences WHERE id = $1");
        let id = id.to_owned();
        self.db.read(move |tx| tx.one(&sql, values![&id])?.as_mut().map(silence).transpose()).await
    }

    /// Those that end last first, ended ones included.
    pub async fn list(&self, limit: u32) -> Result<Vec<Silence>, StoreError> {
        let sql = format!("SELECT {SILENCE} FROM silences ORDER BY ends_at DESC, id DESC LIMIT $1");
        let limit = list_limit(limit);
        self.db.read(move |tx| tx.query(&sql, values![limit])?.iter_mut().map(silence).collect()).await
    }
}

fn add(tx: &mut Tx<'_>, silence: &Silence, event: &NewEvent) -> Result<bool, StoreError> {
    const SQL: &str = "INSERT INTO silences (id, matchers, starts_at, ends_at, author, comment, created_at, ended_by) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8)";
    if lasting::is_full(tx, "silences")? {
        return Ok(false);
    }
    let Silence { id, matchers, starts_at, ends_at, author, comment, created_at, ended_by } = silence;
    let matchers = serde_json::to_string(matchers).map_err(|error| StoreError::Bug(error.to_string()))?;
    let values =
        values![id, &matchers, *starts_at, *ends_at, author, comment, *created_at, ended_by.as_deref()];
    tx.execute(SQL, values)?;
    timeline::put(tx, event)?;
    Ok(true)
}

/// Those that hold or will hold.
pub(crate) fn ending_after(tx: &mut Tx<'_>, now: Micros) -> Result<Vec<Silence>, StoreError> {
    let sql = format!("SELECT {SILENCE} FROM silences WHERE ends_at > $1 ORDER BY id LIMIT $2");
    tx.query(&sql, values![now, MAX_OPEN])?.iter_mut().map(silence).collect()
}

fn silence(row: &mut Row) -> Result<Silence, StoreError> {
    Ok(Silence {
        id: row.text()?,
        matchers: row.json()?,
        starts_at: row.micros()?,
        ends_at: row.micros()?,
        author: row.text()?,
        comment: row.text()?,
        created_at: row.micros()?,
        ended_by: row.opt_text()?,
    })
}
