//! How the targets of models stand: each gateway process says it about once a second, and only its last word is kept.

use std::time::Duration;

use mainstay_base::Standing;

use crate::{
    StoreError,
    db::{Db, Row, values},
    model::Stood,
};

/// The most processes one list tells of.
const MAX_STANDINGS: i64 = 256;

pub struct Standings {
    pub(crate) db: Db,
}

impl Standings {
    /// Replaces what the instance said before.
    pub async fn put(&self, instance: &str, standing: &Standing) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO standings (instance, at, body) VALUES ($1,$2,$3) \
             ON CONFLICT (instance) DO UPDATE SET at = excluded.at, body = excluded.body";
        let body = serde_json::to_string(standing)
            .map_err(|error| StoreError::Bug(format!("a standing is not JSON: {error}")))?;
        let instance = instance.to_owned();
        self.db.write(move |tx| tx.execute(SQL, values![&instance, tx.now(), &body])).await.map(drop)
    }

    /// What was said not longer ago than this, by instance.
    pub async fn list(&self, max_age: Duration) -> Result<Vec<Stood>, StoreError> {
        const SQL: &str =
            "SELECT instance, at, body FROM standings WHERE at >= $1 ORDER BY instance LIMIT $2";
        let read =
            |mut row: Row| Ok(Stood { instance: row.text()?, at: row.micros()?, standing: row.json()? });
        self.db
            .read(move |tx| {
                let oldest = tx.now() - max_age;
                tx.query(SQL, values![oldest, MAX_STANDINGS])?.into_iter().map(read).collect()
            })
            .await
    }

    /// An instance that ends takes its word back.
    pub async fn remove(&self, instance: &str) -> Result<(), StoreError> {
        let instance = instance.to_owned();
        let removed = self
            .db
            .write(move |tx| tx.execute("DELETE FROM standings WHERE instance = $1", values![&instance]));
        removed.await.map(drop)
    }
}
