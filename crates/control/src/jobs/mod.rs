//! The loop that a worker process runs: take jobs by lease, run them, keep the leases, store what came out.
//!
//! Promises: a job runs only while its lease is surely ours, so that two workers never work on one job for longer
//! than it takes to cancel a task; results are stored under the lease's epoch or not at all.

mod fence;
mod finish;
mod handler;
mod queue;
mod retry;
mod settle;
#[cfg(test)]
mod tests;
mod work;
mod worker;

pub use handler::{Handler, JobOutcome, Progress, Stop};
pub use retry::{CLASSES, Class, class_of};
pub use worker::{
    BEAT, CANCEL_GRACE, DEFAULT_CONCURRENCY, DRAIN, LEASE, MARGIN, Stats, Worker, WorkerOptions, WorkerPorts,
};
