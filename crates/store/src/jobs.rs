//! The durable queue: leases, fencing epochs, heartbeats, attempts, dead letters.

use crate::model::{
    Cancelled, DeadJob, Finish, Finished, Held, Job, NewJob, QueueStats, Replayed, Submitted,
};
use std::time::Duration;

/// The longest claim.
pub const MAX_CLAIM: usize = 256;
/// The class of error of an attempt whose lease ran out.
pub const CRASH: &str = "crash";
/// So many lost leases make a dead letter.
pub const MAX_CRASHES: i64 = 3;
use crate::StoreError;

pub struct Jobs {}

impl Jobs {
    pub async fn submit(&self, job: NewJob) -> Result<Submitted, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// The same as many submits, in one transaction.
    pub async fn submit_batch(&self, jobs: Vec<NewJob>) -> Result<Vec<Submitted>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Takes up to `max` due jobs, those whose lease ran out included.
    pub async fn claim(&self, worker_id: &str, max: usize, lease: Duration) -> Result<Vec<Job>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Extends the leases that are still held under these epochs; a job missing from the answer is lost.
    pub async fn renew(
        &self,
        worker_id: &str,
        jobs: Vec<(String, i64)>,
        lease: Duration,
    ) -> Result<Vec<Held>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// An upstream has started the run. False when the attempt is fenced off: stop.
    pub async fn mark_started(
        &self,
        job_id: &str,
        epoch: i64,
        upstream_run_id: &str,
        task_id: &str,
    ) -> Result<bool, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Job, run, chat and callback in one transaction, if the epoch still matches.
    pub async fn finish(&self, job_id: &str, epoch: i64, finish: Finish) -> Result<Finished, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// The same as many finishes, in one transaction.
    pub async fn finish_batch(
        &self,
        finishes: Vec<(String, i64, Finish)>,
    ) -> Result<Vec<Finished>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// The worker is known to be dead: its leases end now. Each counts as a crash.
    pub async fn release_owner(&self, worker_id: &str) -> Result<u64, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn cancel(&self, run_id: &str) -> Result<Cancelled, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Puts a dead letter back into the queue with its attempts forgotten.
    pub async fn replay(&self, run_id: &str) -> Result<Replayed, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Dead letters, newest first.
    pub async fn dead(&self, limit: u32) -> Result<Vec<DeadJob>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn stats(&self) -> Result<QueueStats, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }
}
