//! The durable queue: leases, fencing epochs, heartbeats, attempts, dead letters.
//!
//! Promises: a job is held by one worker at a time; each claim gives it a new epoch, and what comes under an older
//! one is refused; a run's result, its chat, its callback and the end of its job are one transaction; a lease that
//! ran out is a crash, and three of them (or one, once a run that must not be repeated was started) are a dead letter.

mod claim;
mod finish;
mod hold;
mod operate;
mod submit;

use std::time::Duration;

use crate::{
    StoreError,
    db::{Db, values},
    model::{Cancelled, DeadJob, Finish, Finished, Held, Job, NewJob, QueueStats, Replayed, Submitted},
};

/// The longest claim.
pub const MAX_CLAIM: usize = 256;
/// The class of error of an attempt whose lease ran out.
pub const CRASH: &str = "crash";
/// So many lost leases make a dead letter.
pub const MAX_CRASHES: i64 = 5;

pub struct Jobs {
    pub(crate) db: Db,
}

impl Jobs {
    pub async fn submit(&self, job: NewJob) -> Result<Submitted, StoreError> {
        let job = submit::Prepared::of(job);
        self.db.write(move |tx| submit::submit(tx, &job)).await
    }

    /// The same as many submits, in one transaction.
    pub async fn submit_batch(&self, jobs: Vec<NewJob>) -> Result<Vec<Submitted>, StoreError> {
        let jobs: Vec<submit::Prepared> = jobs.into_iter().map(submit::Prepared::of).collect();
        self.db.write(move |tx| jobs.iter().map(|job| submit::submit(tx, job)).collect()).await
    }

    /// Takes up to `max` due jobs, those whose lease ran out included.
    pub async fn claim(&self, worker_id: &str, max: usize, lease: Duration) -> Result<Vec<Job>, StoreError> {
        // An idle worker asks often; looking costs no write lock.
        let any_due = self.db.read(claim::any_due).await?;
        if !any_due || max == 0 {
            return Ok(Vec::new());
        }
        let worker_id = worker_id.to_owned();
        let max = max.min(MAX_CLAIM);
        let claimed = self.db.write(move |tx| claim::claim(tx, &worker_id, max, lease)).await?;
        claimed.into_iter().map(claim::Claimed::into_job).collect()
    }

    /// Extends the leases that are still held under these epochs; a job missing from the answer is lost.
    pub async fn renew(
        &self,
        worker_id: &str,
        jobs: Vec<(String, i64)>,
        lease: Duration,
    ) -> Result<Vec<Held>, StoreError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let worker_id = worker_id.to_owned();
        let mut jobs = jobs;
        // Always in the same order, so that two renewals cannot wait for each other.
        jobs.sort();
        self.db.write(move |tx| hold::renew(tx, &worker_id, &jobs, lease)).await
    }

    /// An upstream has started the run. False when the attempt is fenced off: stop.
    pub async fn mark_started(
        &self,
        job_id: &str,
        epoch: i64,
        upstream_run_id: &str,
        task_id: &str,
    ) -> Result<bool, StoreError> {
        let (job_id, upstream_run_id, task_id) =
            (job_id.to_owned(), upstream_run_id.to_owned(), task_id.to_owned());
        self.db.write(move |tx| hold::mark_started(tx, &job_id, epoch, &upstream_run_id, &task_id)).await
    }

    /// Job, run, chat and callback in one transaction, if the epoch still matches.
    pub async fn finish(&self, job_id: &str, epoch: i64, finish: Finish) -> Result<Finished, StoreError> {
        let end = finish::Prepared::of(job_id.to_owned(), epoch, finish)?;
        self.db.write(move |tx| finish::finish(tx, &end)).await
    }

    /// The same as many finishes, in one transaction.
    pub async fn finish_batch(
        &self,
        finishes: Vec<(String, i64, Finish)>,
    ) -> Result<Vec<Finished>, StoreError> {
        let ends: Result<Vec<finish::Prepared>, StoreError> = finishes
            .into_iter()
            .map(|(job_id, epoch, finish)| finish::Prepared::of(job_id, epoch, finish))
            .collect();
        let ends = ends?;
        self.db.write(move |tx| ends.iter().map(|end| finish::finish(tx, end)).collect()).await
    }

    /// The worker is known to be dead: its leases end now. Each counts as a crash.
    pub async fn release_owner(&self, worker_id: &str) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE jobs SET due_at = $1 WHERE owner = $2 AND state = 'leased' AND due_at > $1";
        let worker_id = worker_id.to_owned();
        self.db.write(move |tx| tx.execute(SQL, values![tx.now(), &worker_id])).await
    }

    pub async fn cancel(&self, run_id: &str) -> Result<Cancelled, StoreError> {
        let run_id = run_id.to_owned();
        self.db.write(move |tx| operate::cancel(tx, &run_id)).await
    }

    /// Puts a dead letter back into the queue with its attempts forgotten. Its result will have a webhook-id of its
    /// own, because receivers drop an id they have seen.
    pub async fn replay(&self, run_id: &str) -> Result<Replayed, StoreError> {
        let run_id = run_id.to_owned();
        self.db.write(move |tx| operate::replay(tx, &run_id)).await
    }

    /// Dead letters, newest first.
    pub async fn dead(&self, limit: u32) -> Result<Vec<DeadJob>, StoreError> {
        self.db.read(move |tx| operate::dead(tx, limit)).await
    }

    pub async fn stats(&self) -> Result<QueueStats, StoreError> {
        self.db.read(operate::stats).await
    }
}
