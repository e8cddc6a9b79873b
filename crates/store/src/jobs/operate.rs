//! What operators do and see: cancel, replay, dead letters, figures.

use std::{collections::BTreeMap, time::Duration};

use super::{CRASH, finish};
use crate::{
    StoreError,
    db::{Row, Tx, values},
    model::{Cancelled, DeadJob, JobKind, JobState, QueueStats, Replayed, RunStatus},
    runs::{Ending, Payload, list_limit},
};

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn cancel(tx: &mut Tx<'_>, run_id: &str) -> Result<Cancelled, StoreError> {
    const FLAG: &str = "UPDATE jobs SET cancel_requested = 1 WHERE id = $1";
    match state(tx, run_id)? {
        Some(JobState::Queued) => stop_queued(tx, run_id),
        Some(JobState::Leased) => tx.execute(FLAG, values![run_id]).map(|_| Cancelled::Requested),
        Some(JobState::Dead) => Ok(Cancelled::AlreadyEnded),
        None if ended(tx, run_id)? => Ok(Cancelled::AlreadyEnded),
        None => Ok(Cancelled::NotFound),
    }
}

fn stop_queued(tx: &mut Tx<'_>, run_id: &str) -> Result<Cancelled, StoreError> {
    const SQL: &str = "DELETE FROM jobs WHERE id = $1 RETURNING callback_url, replays";
    if let Some(job) = tx.one(SQL, values![run_id])? {
        let ending = Ending::without_result(RunStatus::Stopped, finish::STOPPED, None, tx.now());
        finish::settle(tx, run_id, job, &ending, Payload::Drop)?;
    }
    Ok(Cancelled::Stopped)
}

/// The epoch goes on growing, so that a worker of an attempt before stays fenced off.
pub(super) fn replay(tx: &mut Tx<'_>, run_id: &str) -> Result<Replayed, StoreError> {
    const JOB: &str = "UPDATE jobs SET state = 'queued', due_at = $2, attempt = 0, crashes = 0, failures = '{}', \
         started_upstream = 0, cancel_requested = 0, replays = replays + 1, died_at = NULL WHERE id = $1";
    const RUN: &str = "UPDATE runs SET status = 'queued', error = NULL, error_kind = NULL, total_tokens = 0, \
         total_steps = 0, exceptions_count = 0, started_at = NULL, finished_at = NULL, elapsed_us = NULL, \
         upstream_run_id = NULL, usage = NULL, outputs = NULL, nodes = NULL WHERE id = $1";
    match state(tx, run_id)? {
        Some(JobState::Dead) => {
            tx.execute(JOB, values![run_id, tx.now()])?;
            tx.execute(RUN, values![run_id])?;
            Ok(Replayed::Queued)
        }
        Some(JobState::Queued | JobState::Leased) => Ok(Replayed::NotDead),
        None if exists(tx, run_id)? => Ok(Replayed::NotDead),
        None => Ok(Replayed::NotFound),
    }
}

pub(super) fn dead(tx: &mut Tx<'_>, limit: u32) -> Result<Vec<DeadJob>, StoreError> {
    const SQL: &str = "SELECT id, app_id, kind, attempt, failures, crashes, last_class, last_error, submitted_at, \
         died_at FROM jobs WHERE due_at IS NULL AND state = 'dead' ORDER BY died_at DESC, id LIMIT $1";
    let rows = tx.query(SQL, values![list_limit(limit)])?;
    rows.into_iter().map(dead_job).collect()
}

fn dead_job(mut row: Row) -> Result<DeadJob, StoreError> {
    let (id, app_id, kind) = (row.text()?, row.text()?, row.word("kind", JobKind::parse)?);
    let attempt = row.int()?;
    let mut failures: BTreeMap<String, i64> = row.json()?;
    let crashes = row.int()?;
    if crashes > 0 {
        failures.insert(CRASH.to_owned(), crashes);
    }
    Ok(DeadJob {
        id,
        app_id,
        kind,
        attempt,
        failures,
        class: row.opt_text()?.unwrap_or_default(),
        error: row.opt_text()?.unwrap_or_default(),
        submitted_at: row.micros()?,
        died_at: row.micros()?,
    })
}

pub(super) fn stats(tx: &mut Tx<'_>) -> Result<QueueStats, StoreError> {
    const JOBS: &str = "SELECT \
         COUNT(CASE WHEN state = 'queued' AND due_at <= $1 THEN 1 END), \
         COUNT(CASE WHEN state = 'queued' AND due_at > $1 THEN 1 END), \
         COUNT(CASE WHEN state = 'leased' THEN 1 END), \
         COUNT(CASE WHEN state = 'leased' AND due_at <= $1 THEN 1 END), \
         COUNT(CASE WHEN state = 'dead' THEN 1 END), \
         MIN(CASE WHEN state = 'queued' AND due_at <= $1 THEN due_at END) FROM jobs";
    const RUNS: &str = "SELECT COUNT(*), COUNT(CASE WHEN status = 'failed' THEN 1 END) FROM runs \
         WHERE finished_at > $1";
    let now = tx.now();
    let none = || StoreError::Bug("a count gave no row".to_owned());
    let mut jobs = tx.one(JOBS, values![now])?.ok_or_else(none)?;
    let mut runs = tx.one(RUNS, values![now - MINUTE])?.ok_or_else(none)?;
    Ok(QueueStats {
        queued: jobs.int()?,
        delayed: jobs.int()?,
        leased: jobs.int()?,
        expired: jobs.int()?,
        dead: jobs.int()?,
        oldest_queued_us: jobs.opt_int()?.map_or(0, |since| (now.0 - since).max(0)),
        done_last_minute: runs.int()?,
        failed_last_minute: runs.int()?,
    })
}

fn state(tx: &mut Tx<'_>, run_id: &str) -> Result<Option<JobState>, StoreError> {
    let row = tx.one("SELECT state FROM jobs WHERE id = $1 FOR UPDATE", values![run_id])?;
    row.map(|mut row| row.word("job state", JobState::parse)).transpose()
}

fn ended(tx: &mut Tx<'_>, run_id: &str) -> Result<bool, StoreError> {
    Ok(tx.one("SELECT 1 FROM runs WHERE id = $1 AND finished_at IS NOT NULL", values![run_id])?.is_some())
}

fn exists(tx: &mut Tx<'_>, run_id: &str) -> Result<bool, StoreError> {
    Ok(tx.one("SELECT 1 FROM runs WHERE id = $1", values![run_id])?.is_some())
}
