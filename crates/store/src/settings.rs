//! Documents that operators change at run time, with a revision against lost updates.

use serde_json::Value;

use crate::{
    StoreError,
    db::{Db, values},
    model::Setting,
};

pub struct Settings {
    pub(crate) db: Db,
}

impl Settings {
    pub async fn get(&self, name: &str) -> Result<Option<Setting>, StoreError> {
        const SQL: &str = "SELECT name, value, revision, actor, updated_at FROM settings WHERE name = $1";
        let name = name.to_owned();
        self.db
            .read(move |tx| {
                let Some(mut row) = tx.one(SQL, values![&name])? else { return Ok(None) };
                Ok(Some(Setting {
                    name: row.text()?,
                    value: row.json()?,
                    revision: row.int()?,
                    actor: row.text()?,
                    updated_at: row.micros()?,
                }))
            })
            .await
    }

    /// Stores the value if the revision is still `expected` (0: not stored yet). False: somebody was faster.
    pub async fn put(
        &self,
        name: &str,
        value: Value,
        expected: i64,
        actor: &str,
    ) -> Result<bool, StoreError> {
        const INSERT: &str = "INSERT INTO settings (name, value, revision, actor, updated_at) \
             VALUES ($1,$2,1,$3,$4) ON CONFLICT (name) DO NOTHING";
        const UPDATE: &str = "UPDATE settings SET value = $2, revision = revision + 1, actor = $3, updated_at = $4 \
             WHERE name = $1 AND revision = $5";
        let (name, value, actor) = (name.to_owned(), value.to_string(), actor.to_owned());
        let changed = self.db.write(move |tx| match expected {
            0 => tx.execute(INSERT, values![&name, &value, &actor, tx.now()]),
            _ => tx.execute(UPDATE, values![&name, &value, &actor, tx.now(), expected]),
        });
        Ok(changed.await? > 0)
    }
}
