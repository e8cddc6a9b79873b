//! Documents, each change of them, and the last word on each.

use mainstay_base::Micros;
use serde_json::Value;

use crate::{
    StoreError,
    db::{Db, Row, Tx, values},
    model::{SloChange, SloRow, SloState},
};

/// The most documents there may be.
const MAX_SLOS: i64 = 5_000;
const MAX_CHANGES: u32 = 500;

pub struct Slos {
    pub(crate) db: Db,
}

impl Slos {
    /// All that operators wrote or removed, by name.
    pub async fn list(&self) -> Result<Vec<SloRow>, StoreError> {
        const SQL: &str = "SELECT name, body, revision, actor, updated_at FROM slos ORDER BY name LIMIT $1";
        self.db.read(|tx| tx.query(SQL, values![MAX_SLOS])?.into_iter().map(document).collect()).await
    }

    /// Stores documents (`None` removes) and the changes, all or none, if each revision is still the expected one (0: never
    /// stored). `false`: somebody was faster.
    pub async fn put(
        &self,
        documents: Vec<(String, Option<Value>, i64)>,
        before: Vec<Option<Value>>,
        actor: &str,
        why: &str,
        at: Micros,
    ) -> Result<bool, StoreError> {
        let (actor, why) = (actor.to_owned(), why.to_owned());
        let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
        let rows: Vec<(String, Option<String>, i64, Option<String>)> = documents
            .iter()
            .zip(&before)
            .map(|((name, body, expected), before)| (name.clone(), text(body), *expected, text(before)))
            .collect();
        self.db
            .write(move |tx| {
                for (name, _, expected, _) in &rows {
                    if revision(tx, name)? != *expected {
                        return Ok(false);
                    }
                }
                for (name, body, expected, before) in &rows {
                    put(tx, (name, body.as_deref()), *expected, before.as_deref(), (&actor, &why), at)?;
                }
                Ok(true)
            })
            .await
    }

    /// Newest first; `name`: only of this one.
    pub async fn changes(&self, name: Option<&str>, limit: u32) -> Result<Vec<SloChange>, StoreError> {
        const ALL: &str = "SELECT name, revision, at, actor, why, before, after FROM slo_changes \
             ORDER BY at DESC, revision DESC LIMIT $1";
        const ONE: &str = "SELECT name, revision, at, actor, why, before, after FROM slo_changes \
             WHERE name = $2 ORDER BY revision DESC LIMIT $1";
        let name = name.map(str::to_owned);
        let limit = limit.min(MAX_CHANGES);
        self.db
            .read(move |tx| {
                let rows = match &name {
                    Some(name) => tx.query(ONE, values![limit, name])?,
                    None => tx.query(ALL, values![limit])?,
                };
                rows.into_iter().map(change).collect()
            })
            .await
    }

    /// Replaces what was said of these.
    pub async fn tell(&self, states: Vec<(String, Value)>, at: Micros) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO slo_states (name, at, body) VALUES ($1,$2,$3) \
             ON CONFLICT (name) DO UPDATE SET at = excluded.at, body = excluded.body";
        let states: Vec<(String, String)> =
            states.into_iter().map(|(name, body)| (name, body.to_string())).collect();
        self.db
            .write(move |tx| {
                for (name, body) in &states {
                    tx.execute(SQL, values![name, at, body])?;
                }
                Ok(())
            })
            .await
    }

    /// Takes back what was said of these: they are not there any more.
    pub async fn forget(&self, names: Vec<String>) -> Result<(), StoreError> {
        self.db
            .write(move |tx| {
                for name in &names {
                    tx.execute("DELETE FROM slo_states WHERE name = $1", values![name])?;
                }
                Ok(())
            })
            .await
    }

    /// The last word on each, by name.
    pub async fn states(&self) -> Result<Vec<SloState>, StoreError> {
        const SQL: &str = "SELECT name, at, body FROM slo_states ORDER BY name LIMIT $1";
        let read = |mut row: Row| Ok(SloState { name: row.text()?, at: row.micros()?, body: row.json()? });
        self.db.read(move |tx| tx.query(SQL, values![MAX_SLOS])?.into_iter().map(read).collect()).await
    }
}

fn revision(tx: &mut Tx<'_>, name: &str) -> Result<i64, StoreError> {
    let row = tx.one("SELECT revision FROM slos WHERE name = $1 FOR UPDATE", values![name])?;
    row.map_or(Ok(0), |mut row| row.int())
}

fn put(
    tx: &mut Tx<'_>,
    (name, body): (&str, Option<&str>),
    expected: i64,
    before: Option<&str>,
    (actor, why): (&str, &str),
    at: Micros,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO slos (name, body, revision, actor, updated_at) VALUES ($1,$2,$3,$4,$5) \
         ON CONFLICT (name) DO UPDATE SET body = excluded.body, revision = excluded.revision, \
         actor = excluded.actor, updated_at = excluded.updated_at",
        values![name, body, expected + 1, actor, at],
    )?;
    tx.execute(
        "INSERT INTO slo_changes (name, revision, at, actor, why, before, after) VALUES ($1,$2,$3,$4,$5,$6,$7)",
        values![name, expected + 1, at, actor, why, before, body],
    )?;
    Ok(())
}

fn document(mut row: Row) -> Result<SloRow, StoreError> {
    Ok(SloRow {
        name: row.text()?,
        body: optional(row.opt_text()?)?,
        revision: row.int()?,
        actor: row.text()?,
        updated_at: row.micros()?,
    })
}

fn change(mut row: Row) -> Result<SloChange, StoreError> {
    Ok(SloChange {
        name: row.text()?,
        revision: row.int()?,
        at: row.micros()?,
        actor: row.text()?,
        why: row.text()?,
        before: optional(row.opt_text()?)?,
        after: optional(row.opt_text()?)?,
    })
}

fn optional(text: Option<String>) -> Result<Option<Value>, StoreError> {
    let read = |text: String| {
        serde_json::from_str(&text).map_err(|_| StoreError::unreadable("service level", &text))
    };
    text.map(read).transpose()
}
