//! Runs: inserting, finishing and reading them.

mod read;
mod write;

use mainstay_base::Micros;

pub(crate) use self::{
    read::find,
    write::{Ending, Payload, end, insert},
};
use crate::{
    StoreError,
    db::{Db, values},
    model::{
        LogFilter, LogPage, NewRun, NodeExecution, Run, RunEvent, RunFilter, RunResult, RunStatus,
        RunSummary, Tally,
    },
};

/// The longest list.
pub const MAX_LIST: u32 = 200;
/// The most events one call gives.
const MAX_EVENTS: u32 = 10_000;
/// Abandoned runs ended by one call.
const MAX_ABANDONED: i64 = 1000;

pub struct Runs {
    pub(crate) db: Db,
}

impl Runs {
    /// A run that is executed at once, by the process that inserts it. Durable runs go through `Jobs::submit`.
    pub async fn insert(&self, run: NewRun) -> Result<(), StoreError> {
        let inputs = run.inputs.to_string();
        self.db.write(move |tx| insert(tx, &run, &inputs, None, RunStatus::Running)).await
    }

    /// A run that ended before it was inserted: both in one transaction.
    pub async fn insert_finished(&self, run: NewRun, result: RunResult) -> Result<(), StoreError> {
        let inputs = run.inputs.to_string();
        let ending = Ending::of(result)?;
        self.db
            .write(move |tx| {
                insert(tx, &run, &inputs, None, RunStatus::Running)?;
                end(tx, &run.id, &ending, Payload::Drop).map(drop)
            })
            .await
    }

    /// False when the run is not there or has ended before: the first result stays.
    pub async fn finish(&self, run_id: &str, result: RunResult) -> Result<bool, StoreError> {
        let run_id = run_id.to_owned();
        let ending = Ending::of(result)?;
        self.db.write(move |tx| end(tx, &run_id, &ending, Payload::Drop)).await
    }

    pub async fn get(&self, id: &str) -> Result<Option<Run>, StoreError> {
        let id = id.to_owned();
        self.db.read(move |tx| find(tx, &id)).await
    }

    pub async fn nodes(&self, run_id: &str) -> Result<Vec<NodeExecution>, StoreError> {
        let run_id = run_id.to_owned();
        self.db.read(move |tx| read::nodes(tx, &run_id)).await
    }

    /// Newest first.
    pub async fn list(&self, filter: RunFilter) -> Result<Vec<RunSummary>, StoreError> {
        self.db.read(move |tx| read::list(tx, &filter)).await
    }

    /// The page of `/v1/workflows/logs`, newest first.
    pub async fn logs(&self, app_id: &str, filter: LogFilter) -> Result<LogPage, StoreError> {
        let app_id = app_id.to_owned();
        self.db.read(move |tx| read::logs(tx, &app_id, &filter)).await
    }

    /// Appends events of the attempt with this epoch. False when the attempt is fenced off: nothing was stored.
    pub async fn append_events(
        &self,
        run_id: &str,
        epoch: i64,
        events: Vec<RunEvent>,
    ) -> Result<bool, StoreError> {
        let run_id = run_id.to_owned();
        self.db.write(move |tx| write::append_events(tx, &run_id, epoch, &events)).await
    }

    /// Events of the last attempt that has any, after `after_seq`.
    pub async fn events(
        &self,
        run_id: &str,
        after_seq: i64,
        limit: u32,
    ) -> Result<Vec<RunEvent>, StoreError> {
        let run_id = run_id.to_owned();
        let limit = limit.clamp(1, MAX_EVENTS);
        self.db.read(move |tx| read::events(tx, &run_id, after_seq, limit)).await
    }

    /// Runs by app and final status that ended since then.
    pub async fn tally(&self, since: Micros) -> Result<Vec<Tally>, StoreError> {
        self.db.read(move |tx| read::tally(tx, since)).await
    }

    /// Fails runs without a job that began before `before` and never ended: their process has died, so nobody has counted
    /// how they ended.
    pub async fn fail_abandoned(&self, before: Micros, error: &str) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE runs SET status = 'failed', error = $1, error_kind = 'unavailable', \
             answered_later = 1, finished_at = $2, elapsed_us = $2 - created_at \
             WHERE id IN (SELECT r.id FROM runs r WHERE r.finished_at IS NULL AND r.created_at < $3 \
             AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = r.id) LIMIT $4)";
        let error = error.to_owned();
        self.db.write(move |tx| tx.execute(SQL, values![&error, tx.now(), before, MAX_ABANDONED])).await
    }
}

/// 0 means the most.
pub(crate) fn list_limit(limit: u32) -> i64 {
    i64::from(if limit == 0 { MAX_LIST } else { limit.min(MAX_LIST) })
}
