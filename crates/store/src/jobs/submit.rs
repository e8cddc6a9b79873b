//! Into the queue, once for each idempotency key.

use crate::{
    StoreError,
    db::{Tx, values},
    model::{Idempotency, NewJob, RunStatus, Submitted},
    runs,
};

/// A job with its documents as they will be stored.
pub(super) struct Prepared {
    job: NewJob,
    inputs: String,
    payload: String,
}

impl Prepared {
    pub(super) fn of(job: NewJob) -> Prepared {
        let (inputs, payload) = (job.run.inputs.to_string(), job.payload.to_string());
        Prepared { job, inputs, payload }
    }
}

pub(super) fn submit(tx: &mut Tx<'_>, prepared: &Prepared) -> Result<Submitted, StoreError> {
    const SQL: &str = "INSERT INTO jobs (id, app_id, kind, upstream, state, due_at, epoch, attempt, crashes, failures, \
         repeatable, started_upstream, cancel_requested, replays, submitted_at, callback_url) \
         VALUES ($1,$2,$3,$4,'queued',$5,0,0,0,'{}',$6,0,0,0,$5,$7)";
    let Prepared { job, inputs, payload } = prepared;
    if let Some(idempotency) = &job.idempotency
        && let Some(known) = known(tx, idempotency, &job.run.id)?
    {
        return Ok(known);
    }
    let run = &job.run;
    runs::insert(tx, run, inputs, Some(payload), RunStatus::Queued)?;
    let values = values![
        &run.id,
        &run.app_id,
        run.kind.as_str(),
        run.upstream.as_deref(),
        tx.now(),
        job.repeatable,
        job.callback_url.as_deref()
    ];
    tx.execute(SQL, values)?;
    Ok(Submitted::New)
}

/// Takes the key for this run, or tells what it was used for before.
fn known(tx: &mut Tx<'_>, used: &Idempotency, run_id: &str) -> Result<Option<Submitted>, StoreError> {
    const TAKE: &str = "INSERT INTO idempotency (scope, key, body_hash, run_id, created_at) VALUES ($1,$2,$3,$4,$5) \
         ON CONFLICT (scope, key) DO NOTHING";
    const LOOK: &str = "SELECT body_hash, run_id FROM idempotency WHERE scope = $1 AND key = $2";
    const RETAKE: &str = "UPDATE idempotency SET body_hash = $3, run_id = $4, created_at = $5 \
         WHERE scope = $1 AND key = $2";
    let Idempotency { scope, key, body_hash } = used;
    let take = values![scope, key, body_hash, run_id, tx.now()];
    if tx.execute(TAKE, take)? == 1 {
        return Ok(None);
    }
    let Some(mut row) = tx.one(LOOK, values![scope, key])? else {
        return Err(StoreError::Bug("an idempotency key is neither free nor taken".to_owned()));
    };
    let (first_hash, first_run) = (row.text()?, row.text()?);
    match runs::find(tx, &first_run)? {
        // The run was removed by retention, and its key will be.
        None => tx.execute(RETAKE, take).map(|_| None),
        Some(_) if first_hash != *body_hash => Ok(Some(Submitted::Conflict)),
        Some(run) => Ok(Some(Submitted::Same(Box::new(run)))),
    }
}
