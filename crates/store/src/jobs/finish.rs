//! The end of a worker's hold, only under the epoch it was given.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::Kind;

use crate::{
    StoreError,
    db::{Row, Tx, values},
    model::{Finish, Finished, RunStatus},
    outbox,
    runs::{self, Ending, Payload},
};

/// The error of a run that somebody stopped.
pub(super) const STOPPED: &str = "the run was stopped on request";

/// A finish with its documents as they will be stored.
pub(super) struct Prepared {
    job_id: String,
    epoch: i64,
    how: How,
}

enum How {
    End(Ending),
    Stop(Option<Ending>),
    Retry { class: String, message: String, after: Duration, limit: i64 },
    Dead { class: String, message: String, kind: Kind, ending: Option<Ending> },
    Release,
}

impl Prepared {
    pub(super) fn of(job_id: String, epoch: i64, finish: Finish) -> Result<Prepared, StoreError> {
        let how = match finish {
            Finish::Done(result) => How::End(Ending::of(result)?),
            Finish::Cancelled(result) => How::Stop(result.map(Ending::of).transpose()?),
            Finish::Retry { class, message, after, limit } => How::Retry { class, message, after, limit },
            Finish::Dead { class, message, kind, result } => {
                How::Dead { class, message, kind, ending: result.map(Ending::of).transpose()? }
            }
            Finish::Release => How::Release,
        };
        Ok(Prepared { job_id, epoch, how })
    }
}

pub(super) fn finish(tx: &mut Tx<'_>, prepared: &Prepared) -> Result<Finished, StoreError> {
    let Prepared { job_id, epoch, how } = prepared;
    match how {
        How::End(ending) | How::Stop(Some(ending)) => end(tx, job_id, *epoch, ending),
        How::Stop(None) => {
            let ending = Ending::without_result(RunStatus::Stopped, STOPPED, None, tx.now());
            end(tx, job_id, *epoch, &ending)
        }
        How::Retry { class, message, after, limit } => {
            retry(tx, job_id, *epoch, class, message, *after, *limit)
        }
        How::Dead { class, message, ending: Some(ending), .. } => {
            bury(tx, job_id, *epoch, class, message, ending)
        }
        How::Dead { class, message, kind, ending: None } => {
            let ending = Ending::without_result(RunStatus::Failed, message, Some(*kind), tx.now());
            bury(tx, job_id, *epoch, class, message, &ending)
        }
        How::Release => release(tx, job_id, *epoch),
    }
}

/// The run has its result; the job is done and goes.
pub(super) fn end(
    tx: &mut Tx<'_>,
    job_id: &str,
    epoch: i64,
    ending: &Ending,
) -> Result<Finished, StoreError> {
    const SQL: &str = "DELETE FROM jobs WHERE id = $1 AND epoch = $2 AND state = 'leased' \
         RETURNING callback_url, replays";
    let Some(row) = tx.one(SQL, values![job_id, epoch])? else { return Ok(Finished::Fenced) };
    settle(tx, job_id, row, ending, Payload::Drop)?;
    Ok(Finished::Stored)
}

/// The run has failed; the job stays as a dead letter.
pub(super) fn bury(
    tx: &mut Tx<'_>,
    job_id: &str,
    epoch: i64,
    class: &str,
    message: &str,
    ending: &Ending,
) -> Result<Finished, StoreError> {
    const SQL: &str = "UPDATE jobs SET state = 'dead', due_at = NULL, owner = NULL, died_at = $3, last_class = $4, \
         last_error = $5 WHERE id = $1 AND epoch = $2 AND state = 'leased' RETURNING callback_url, replays";
    let Some(row) = tx.one(SQL, values![job_id, epoch, tx.now(), class, message])? else {
        return Ok(Finished::Fenced);
    };
    settle(tx, job_id, row, ending, Payload::Keep)?;
    Ok(Finished::Dead)
}

/// Stores the result, and the callback if somebody waits for one. `job` is its callback_url and replays.
pub(super) fn settle(
    tx: &mut Tx<'_>,
    run_id: &str,
    mut job: Row,
    ending: &Ending,
    payload: Payload,
) -> Result<(), StoreError> {
    let (callback_url, replays) = (job.opt_text()?, job.int()?);
    runs::end(tx, run_id, ending, payload)?;
    if let Some(url) = callback_url {
        outbox::put_callback(tx, run_id, replays, &url)?;
    }
    Ok(())
}

fn retry(
    tx: &mut Tx<'_>,
    job_id: &str,
    epoch: i64,
    class: &str,
    message: &str,
    after: Duration,
    limit: i64,
) -> Result<Finished, StoreError> {
    const LOOK: &str = "SELECT failures, repeatable, started_upstream, cancel_requested FROM jobs \
         WHERE id = $1 AND epoch = $2 AND state = 'leased' FOR UPDATE";
    const SQL: &str = "UPDATE jobs SET state = 'queued', owner = NULL, due_at = $3, failures = $4, last_class = $5, \
         last_error = $6 WHERE id = $1 AND epoch = $2";
    let Some(mut row) = tx.one(LOOK, values![job_id, epoch])? else { return Ok(Finished::Fenced) };
    let mut failures: BTreeMap<String, i64> = row.json()?;
    let (repeatable, started_upstream, cancelled) = (row.flag()?, row.flag()?, row.flag()?);
    if cancelled {
        let ending = Ending::without_result(RunStatus::Stopped, STOPPED, None, tx.now());
        return end(tx, job_id, epoch, &ending);
    }
    let count = failures.entry(class.to_owned()).or_default();
    *count += 1;
    let used_up = *count >= limit;
    if used_up || (started_upstream && !repeatable) {
        let ending = Ending::without_result(RunStatus::Failed, message, Some(Kind::Upstream), tx.now());
        return bury(tx, job_id, epoch, class, message, &ending);
    }
    let failures = serde_json::to_string(&failures).unwrap_or_default();
    tx.execute(SQL, values![job_id, epoch, tx.now() + after, &failures, class, message])?;
    Ok(Finished::Requeued)
}

fn release(tx: &mut Tx<'_>, job_id: &str, epoch: i64) -> Result<Finished, StoreError> {
    const SQL: &str = "UPDATE jobs SET state = 'queued', owner = NULL, due_at = $3, attempt = attempt - 1 \
         WHERE id = $1 AND epoch = $2 AND state = 'leased'";
    let changed = tx.execute(SQL, values![job_id, epoch, tx.now()])?;
    Ok(if changed == 0 { Finished::Fenced } else { Finished::Requeued })
}
