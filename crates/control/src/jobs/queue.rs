//! What the loop needs of the queue: the store, or a queue that fails as a test tells it to.

use std::time::Duration;

use futures_util::future::BoxFuture;
use mainstay_store::{
    Store, StoreError,
    model::{Finish, Finished, Held, Job, Worker},
};

pub(super) type Answer<T> = BoxFuture<'static, Result<T, StoreError>>;

/// See `mainstay_store::Jobs` and `Workers` for what each promises.
pub(super) trait Queue: Send + Sync {
    fn claim(&self, worker_id: String, max: usize, lease: Duration) -> Answer<Vec<Job>>;
    fn renew(&self, worker_id: String, jobs: Vec<(String, i64)>, lease: Duration) -> Answer<Vec<Held>>;
    fn finish(&self, job_id: String, epoch: i64, finish: Finish) -> Answer<Finished>;
    fn finish_batch(&self, ends: Vec<(String, i64, Finish)>) -> Answer<Vec<Finished>>;
    fn mark_started(
        &self,
        job_id: String,
        epoch: i64,
        upstream_run_id: String,
        task_id: String,
    ) -> Answer<bool>;
    fn beat(&self, worker: Worker) -> Answer<()>;
    fn leave(&self, worker_id: String) -> Answer<()>;
}

impl Queue for Store {
    fn claim(&self, worker_id: String, max: usize, lease: Duration) -> Answer<Vec<Job>> {
        let jobs = self.jobs();
        Box::pin(async move { jobs.claim(&worker_id, max.min(mainstay_store::MAX_CLAIM), lease).await })
    }

    fn renew(&self, worker_id: String, held: Vec<(String, i64)>, lease: Duration) -> Answer<Vec<Held>> {
        let jobs = self.jobs();
        Box::pin(async move { jobs.renew(&worker_id, held, lease).await })
    }

    fn finish(&self, job_id: String, epoch: i64, finish: Finish) -> Answer<Finished> {
        let jobs = self.jobs();
        Box::pin(async move { jobs.finish(&job_id, epoch, finish).await })
    }

    fn finish_batch(&self, ends: Vec<(String, i64, Finish)>) -> Answer<Vec<Finished>> {
        let jobs = self.jobs();
        Box::pin(async move { jobs.finish_batch(ends).await })
    }

    fn mark_started(
        &self,
        job_id: String,
        epoch: i64,
        upstream_run_id: String,
        task_id: String,
    ) -> Answer<bool> {
        let jobs = self.jobs();
        Box::pin(async move { jobs.mark_started(&job_id, epoch, &upstream_run_id, &task_id).await })
    }

    fn beat(&self, worker: Worker) -> Answer<()> {
        let workers = self.workers();
        Box::pin(async move { workers.beat(worker).await })
    }

    fn leave(&self, worker_id: String) -> Answer<()> {
        let workers = self.workers();
        Box::pin(async move { workers.remove(&worker_id).await.map(drop) })
    }
}
