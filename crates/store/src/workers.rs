//! Worker processes and their heartbeats.

use crate::{
    StoreError,
    db::{Db, Row, values},
    model::Worker,
};

pub struct Workers {
    pub(crate) db: Db,
}

impl Workers {
    /// Inserts the worker or says that it lives; `beat_at` is set here.
    pub async fn beat(&self, worker: Worker) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO workers (id, slot, pid, host, started_at, beat_at, jobs) \
             VALUES ($1,$2,$3,$4,$5,$6,$7) \
             ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at, jobs = excluded.jobs";
        self.db
            .write(move |tx| {
                let Worker { id, slot, pid, host, started_at, beat_at: _, jobs } = &worker;
                tx.execute(SQL, values![id, *slot, *pid, host, *started_at, tx.now(), *jobs]).map(drop)
            })
            .await
    }

    /// By slot.
    pub async fn list(&self) -> Result<Vec<Worker>, StoreError> {
        const SQL: &str =
            "SELECT id, slot, pid, host, started_at, beat_at, jobs FROM workers ORDER BY slot, id";
        let read = |mut row: Row| {
            Ok(Worker {
                id: row.text()?,
                slot: row.int()?,
                pid: row.int()?,
                host: row.text()?,
                started_at: row.micros()?,
                beat_at: row.micros()?,
                jobs: row.int()?,
            })
        };
        self.db.read(move |tx| tx.query(SQL, values![])?.into_iter().map(read).collect()).await
    }

    pub async fn remove(&self, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        let removed = self.db.write(move |tx| tx.execute("DELETE FROM workers WHERE id = $1", values![&id]));
        Ok(removed.await? > 0)
    }
}
