//! Out of the queue, into the hands of a worker.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::{Kind, Micros};

use super::{CRASH, MAX_CRASHES, finish};
use crate::{
    StoreError,
    db::{Row, Tx, values},
    model::{Job, JobKind, RunStatus},
    runs::Ending,
};

/// A claimed job with its documents still as text: they are parsed off the database's thread.
pub(super) struct Claimed {
    id: String,
    app_id: String,
    kind: JobKind,
    upstream: Option<String>,
    payload: String,
    repeatable: bool,
    epoch: i64,
    attempt: i64,
    crashes: i64,
    failures: String,
    submitted_at: Micros,
    lease_until: Micros,
    started_upstream: bool,
    cancel_requested: bool,
    last_class: Option<String>,
    last_error: Option<String>,
}

pub(super) fn any_due(tx: &mut Tx<'_>) -> Result<bool, StoreError> {
    Ok(tx.one("SELECT 1 FROM jobs WHERE due_at <= $1 LIMIT 1", values![tx.now()])?.is_some())
}

/// One statement takes them all; the few that must not run again are ended right after, in the same transaction.
pub(super) fn claim(
    tx: &mut Tx<'_>,
    worker_id: &str,
    max: usize,
    lease: Duration,
) -> Result<Vec<Claimed>, StoreError> {
    // Materialized, because PostgreSQL may otherwise run the inner query twice and lock more rows than it returns.
    const SQL: &str = "WITH due AS MATERIALIZED \
         (SELECT id FROM jobs WHERE due_at <= $1 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED) \
         UPDATE jobs SET state = 'leased', owner = $3, due_at = $4, leased_at = $1, \
         epoch = epoch + 1, attempt = attempt + 1, \
         crashes = crashes + CASE WHEN owner IS NULL THEN 0 ELSE 1 END, \
         last_class = CASE WHEN owner IS NULL THEN last_class ELSE 'crash' END, \
         last_error = CASE WHEN owner IS NULL THEN last_error ELSE 'the lease of worker ' || owner || ' ran out' END \
         WHERE id IN (SELECT id FROM due) \
         RETURNING id, app_id, kind, upstream, (SELECT r.payload FROM runs r WHERE r.id = jobs.id), repeatable, epoch, attempt, crashes, failures, \
         submitted_at, due_at, started_upstream, cancel_requested, last_class, last_error";
    let (now, max) = (tx.now(), i64::try_from(max).unwrap_or(1));
    let rows = tx.query(SQL, values![now, max, worker_id, now + lease])?;
    let mut claimed = Vec::with_capacity(rows.len());
    for mut row in rows {
        let job = Claimed::read(&mut row)?;
        if !end_if_doomed(tx, &job)? {
            claimed.push(job);
        }
    }
    claimed.sort_by(|one, other| (one.submitted_at, &one.id).cmp(&(other.submitted_at, &other.id)));
    Ok(claimed)
}

/// Ends a job that somebody cancelled or that has used up its chances.
fn end_if_doomed(tx: &mut Tx<'_>, job: &Claimed) -> Result<bool, StoreError> {
    let class = job.last_class.as_deref().unwrap_or(CRASH);
    let last = job.last_error.as_deref().unwrap_or("no error is known");
    let reason = if job.cancel_requested {
        let ending = Ending::without_result(RunStatus::Stopped, finish::STOPPED, None, tx.now());
        finish::end(tx, &job.id, job.epoch, &ending)?;
        return Ok(true);
    } else if job.started_upstream && !job.repeatable {
        format!("the upstream had started the run, which must not be repeated: {last}")
    } else if job.crashes >= MAX_CRASHES {
        format!("the run's worker was lost {} times: {last}", job.crashes)
    } else {
        return Ok(false);
    };
    let ending = Ending::without_result(RunStatus::Failed, &reason, Some(Kind::Unavailable), tx.now());
    finish::bury(tx, &job.id, job.epoch, class, &reason, &ending)?;
    Ok(true)
}

impl Claimed {
    fn read(row: &mut Row) -> Result<Claimed, StoreError> {
        Ok(Claimed {
            id: row.text()?,
            app_id: row.text()?,
            kind: row.word("kind", JobKind::parse)?,
            upstream: row.opt_text()?,
            payload: row.text()?,
            repeatable: row.flag()?,
            epoch: row.int()?,
            attempt: row.int()?,
            crashes: row.int()?,
            failures: row.text()?,
            submitted_at: row.micros()?,
            lease_until: row.micros()?,
            started_upstream: row.flag()?,
            cancel_requested: row.flag()?,
            last_class: row.opt_text()?,
            last_error: row.opt_text()?,
        })
    }

    pub(super) fn into_job(self) -> Result<Job, StoreError> {
        let mut failures: BTreeMap<String, i64> = serde_json::from_str(&self.failures)
            .map_err(|error| StoreError::unreadable("list of failures", error))?;
        if self.crashes > 0 {
            failures.insert(CRASH.to_owned(), self.crashes);
        }
        let payload =
            serde_json::from_str(&self.payload).map_err(|error| StoreError::unreadable("payload", error))?;
        Ok(Job {
            run_id: self.id.clone(),
            id: self.id,
            app_id: self.app_id,
            kind: self.kind,
            upstream: self.upstream,
            payload,
            repeatable: self.repeatable,
            epoch: self.epoch,
            attempt: self.attempt,
            failures,
            submitted_at: self.submitted_at,
            lease_until: self.lease_until,
        })
    }
}
