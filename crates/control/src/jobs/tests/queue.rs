//! A queue in memory with the store's promises, and faults by plan.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use mainstay_base::Micros;
use mainstay_store::{
    StoreError,
    model::{Finish, Finished, Held, Job, JobKind, Worker},
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{sync::Notify, time::Instant};

use crate::jobs::queue::{Answer, Queue};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    Claim,
    Renew,
    Finish,
    Beat,
}

/// What happens to one question.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fault {
    /// From the question to its execution, and from there to the answer.
    pub(super) before: Duration,
    pub(super) after: Duration,
    pub(super) lost_before: bool,
    /// Executed, but the answer is an error.
    pub(super) lost_after: bool,
}

type Plan = Box<dyn FnMut(Operation, &str) -> Fault + Send>;

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) epoch: i64,
    pub(super) owner: Option<String>,
    pub(super) lease_until: Option<Instant>,
    pub(super) due_at: Instant,
    pub(super) failures: BTreeMap<String, i64>,
    pub(super) cancel_requested: bool,
    /// How it ended; more than one would be a result stored twice.
    pub(super) ends: Vec<Finish>,
}

pub(super) struct FakeQueue {
    pub(super) rows: Mutex<BTreeMap<String, Row>>,
    plan: Mutex<Plan>,
    /// What a lease is granted for, whatever the worker asks for.
    granted: Option<Duration>,
    pub(super) workers: Mutex<HashMap<String, Worker>>,
    pub(super) ended: Notify,
    /// Refuses results as too large.
    pub(super) refuse_results: Mutex<bool>,
}

impl FakeQueue {
    pub(super) fn new(jobs: usize) -> Arc<FakeQueue> {
        FakeQueue::with_plan(jobs, None, |_, _| Fault::default())
    }

    pub(super) fn with_plan(
        jobs: usize,
        granted: Option<Duration>,
        plan: impl FnMut(Operation, &str) -> Fault + Send + 'static,
    ) -> Arc<FakeQueue> {
        let queue = FakeQueue {
            rows: Mutex::default(),
            plan: Mutex::new(Box::new(plan)),
            granted,
            workers: Mutex::default(),
            ended: Notify::new(),
            refuse_results: Mutex::new(false),
        };
        for number in 0..jobs {
            queue.add(&format!("job-{number}"));
        }
        Arc::new(queue)
    }

    pub(super) fn add(&self, id: &str) {
        let row = Row {
            epoch: 0,
            owner: None,
            lease_until: None,
            due_at: Instant::now(),
            failures: BTreeMap::new(),
            cancel_requested: false,
            ends: Vec::new(),
        };
        self.rows.lock().insert(id.to_owned(), row);
    }

    pub(super) fn row(&self, id: &str) -> Row {
        self.rows.lock()[id].clone()
    }

    pub(super) fn set(&self, id: &str, change: impl FnOnce(&mut Row)) {
        change(self.rows.lock().get_mut(id).expect("a job"));
    }

    /// Whether this epoch's lease runs, as the database sees it.
    pub(super) fn holds(&self, id: &str, epoch: i64) -> bool {
        let row = self.row(id);
        row.ends.is_empty()
            && row.epoch == epoch
            && row.lease_until.is_some_and(|until| Instant::now() < until)
    }

    pub(super) async fn all_ended(&self) {
        loop {
            let notified = self.ended.notified();
            if self.rows.lock().values().all(|row| !row.ends.is_empty()) {
                return;
            }
            notified.await;
        }
    }

    fn ask<T: Send + 'static>(
        self: Arc<Self>,
        operation: Operation,
        worker: String,
        execute: impl FnOnce(&FakeQueue) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<T> {
        let fault = (self.plan.lock())(operation, &worker);
        Box::pin(async move {
            tokio::time::sleep(fault.before).await;
            if fault.lost_before {
                return Err(StoreError::Unavailable("lost on the way".to_owned()));
            }
            let answer = execute(&self);
            tokio::time::sleep(fault.after).await;
            if fault.lost_after {
                return Err(StoreError::Unavailable("lost on the way back".to_owned()));
            }
            answer
        })
    }

    fn claim_now(&self, worker: &str, max: usize, lease: Duration) -> Vec<Job> {
        let now = Instant::now();
        let until = now + self.granted.unwrap_or(lease);
        let mut rows = self.rows.lock();
        let is_free = |row: &Row| {
            row.ends.is_empty() && row.due_at <= now && row.lease_until.is_none_or(|at| at <= now)
        };
        let free = rows.iter_mut().filter(|(_, row)| is_free(row)).take(max);
        free.map(|(id, row)| {
            row.epoch += 1;
            row.owner = Some(worker.to_owned());
            row.lease_until = Some(until);
            job(id, row)
        })
        .collect()
    }

    fn renew_now(&self, worker: &str, held: &[(String, i64)], lease: Duration) -> Vec<Held> {
        let now = Instant::now();
        let until = now + self.granted.unwrap_or(lease);
        let mut rows = self.rows.lock();
        let mut answer = Vec::new();
        for (id, epoch) in held {
            let Some(row) = rows.get_mut(id) else { continue };
            let is_held = row.ends.is_empty()
                && row.epoch == *epoch
                && row.owner.as_deref() == Some(worker)
                && row.lease_until.is_some_and(|at| at > now);
            if is_held {
                row.lease_until = Some(until);
                let (job_id, cancel_requested) = (id.clone(), row.cancel_requested);
                answer.push(Held { job_id, lease_until: Micros(0), cancel_requested });
            }
        }
        answer
    }

    fn finish_now(&self, id: &str, epoch: i64, finish: Finish) -> Result<Finished, StoreError> {
        let has_result = matches!(finish, Finish::Done(_) | Finish::Dead { result: Some(_), .. });
        if has_result && *self.refuse_results.lock() {
            return Err(StoreError::TooLarge { what: "outputs", bytes: 9, limit: 1 });
        }
        let mut rows = self.rows.lock();
        let Some(row) = rows.get_mut(id) else { return Ok(Finished::Fenced) };
        if row.epoch != epoch || row.lease_until.is_none() || !row.ends.is_empty() {
            return Ok(Finished::Fenced);
        }
        row.lease_until = None;
        let finished = match &finish {
            Finish::Retry { class, after, limit, .. } => {
                let count = row.failures.entry(class.clone()).or_default();
                *count += 1;
                if *count < *limit {
                    row.due_at = Instant::now() + *after;
                    return Ok(Finished::Requeued);
                }
                Finished::Dead
            }
            Finish::Release => {
                row.due_at = Instant::now();
                return Ok(Finished::Requeued);
            }
            Finish::Dead { .. } => Finished::Dead,
            Finish::Done(_) | Finish::Cancelled(_) => Finished::Stored,
        };
        row.ends.push(finish);
        self.ended.notify_waiters();
        Ok(finished)
    }
}

impl Queue for Arc<FakeQueue> {
    fn claim(&self, worker_id: String, max: usize, lease: Duration) -> Answer<Vec<Job>> {
        let worker = worker_id.clone();
        self.clone().ask(Operation::Claim, worker_id, move |queue| Ok(queue.claim_now(&worker, max, lease)))
    }

    fn renew(&self, worker_id: String, jobs: Vec<(String, i64)>, lease: Duration) -> Answer<Vec<Held>> {
        let worker = worker_id.clone();
        self.clone().ask(Operation::Renew, worker_id, move |queue| Ok(queue.renew_now(&worker, &jobs, lease)))
    }

    fn finish(&self, job_id: String, epoch: i64, finish: Finish) -> Answer<Finished> {
        self.clone()
            .ask(Operation::Finish, String::new(), move |queue| queue.finish_now(&job_id, epoch, finish))
    }

    fn finish_batch(&self, ends: Vec<(String, i64, Finish)>) -> Answer<Vec<Finished>> {
        self.clone().ask(Operation::Finish, String::new(), move |queue| {
            ends.into_iter().map(|(id, epoch, finish)| queue.finish_now(&id, epoch, finish)).collect()
        })
    }

    fn mark_started(&self, job_id: String, epoch: i64, _: String, _: String) -> Answer<bool> {
        let holds = self.holds(&job_id, epoch);
        Box::pin(async move { Ok(holds) })
    }

    fn beat(&self, worker: Worker) -> Answer<()> {
        self.clone().ask(Operation::Beat, worker.id.clone(), move |queue| {
            queue.workers.lock().insert(worker.id.clone(), worker);
            Ok(())
        })
    }

    fn leave(&self, worker_id: String) -> Answer<()> {
        self.workers.lock().remove(&worker_id);
        Box::pin(async { Ok(()) })
    }
}

fn job(id: &str, row: &Row) -> Job {
    Job {
        id: id.to_owned(),
        run_id: id.to_owned(),
        app_id: "app".to_owned(),
        kind: JobKind::Embedded,
        upstream: None,
        payload: Value::Null,
        repeatable: true,
        epoch: row.epoch,
        attempt: row.epoch,
        failures: row.failures.clone(),
        submitted_at: Micros(0),
        lease_until: Micros(0),
    }
}
