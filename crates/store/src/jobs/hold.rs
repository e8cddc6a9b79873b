//! While a worker holds a job.

use std::time::Duration;

use crate::{
    StoreError,
    db::{Tx, values},
    model::Held,
};

/// A lease that has run out cannot be renewed, even if nobody has taken the job yet: its worker has had to stop.
pub(super) fn renew(
    tx: &mut Tx<'_>,
    worker_id: &str,
    jobs: &[(String, i64)],
    lease: Duration,
) -> Result<Vec<Held>, StoreError> {
    const SQL: &str = "UPDATE jobs SET due_at = $1 WHERE id = $2 AND epoch = $3 AND owner = $4 AND due_at > $5 \
         RETURNING cancel_requested";
    let (now, lease_until) = (tx.now(), tx.now() + lease);
    let mut held = Vec::with_capacity(jobs.len());
    for (job_id, epoch) in jobs {
        if let Some(mut row) = tx.one(SQL, values![lease_until, job_id, *epoch, worker_id, now])? {
            held.push(Held { job_id: job_id.clone(), lease_until, cancel_requested: row.flag()? });
        }
    }
    Ok(held)
}

pub(super) fn mark_started(
    tx: &mut Tx<'_>,
    job_id: &str,
    epoch: i64,
    upstream_run_id: &str,
    task_id: &str,
) -> Result<bool, StoreError> {
    const JOB: &str =
        "UPDATE jobs SET started_upstream = 1 WHERE id = $1 AND epoch = $2 AND state = 'leased'";
    const RUN: &str = "UPDATE runs SET upstream_run_id = $2, task_id = $3 WHERE id = $1";
    if tx.execute(JOB, values![job_id, epoch])? == 0 {
        return Ok(false);
    }
    tx.execute(RUN, values![job_id, upstream_run_id, task_id])?;
    Ok(true)
}
