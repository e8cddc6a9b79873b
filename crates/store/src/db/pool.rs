//! Threads that run closures: each takes what waits, commits it together, and answers.

use std::{sync::Arc, thread, time::Duration};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{Mode, Work, connection::Connection, failure::Failure, target::Target};
use crate::StoreError;

/// Closures that wait for a thread. A full queue makes callers wait, which is how pressure reaches them.
const QUEUE: usize = 4096;
/// Closures committed together: one fsync for all of them.
const SQLITE_BATCH: usize = 256;
/// Shorter than SQLite's, because other connections may wait for the rows it locks.
const POSTGRES_BATCH: usize = 32;
/// SQLite has one writer.
const SQLITE_WRITERS: usize = 1;
const SQLITE_READERS: usize = 4;
const POSTGRES_WRITERS: usize = 4;
const POSTGRES_READERS: usize = 3;
/// Runs of a transaction that is rolled back for a passing reason.
const MAX_RUNS: u32 = 5;
/// The pause before the second run; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The entrance to a set of threads, which end when the last clone is dropped and the queue is empty.
#[derive(Clone)]
pub(crate) struct Pool {
    queue: mpsc::Sender<Box<dyn Work>>,
}

impl Pool {
    pub(super) fn start(target: &Target, mode: Mode) -> Result<Pool, StoreError> {
        let (threads, batch) = match (target, mode) {
            (Target::Sqlite(_), Mode::Write) => (SQLITE_WRITERS, SQLITE_BATCH),
            (Target::Postgres(_), Mode::Write) => (POSTGRES_WRITERS, POSTGRES_BATCH),
            // Reads gain nothing from company.
            (Target::Sqlite(_), Mode::Read) => (SQLITE_READERS, 1),
            (Target::Postgres(_), Mode::Read) => (POSTGRES_READERS, 1),
        };
        let (queue, waiting) = mpsc::channel(QUEUE);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads {
            let worker =
                Worker { connection: Connection::new(target.clone()), waiting: waiting.clone(), mode, batch };
            thread::Builder::new()
                .name("mainstay-store".to_owned())
                .spawn(move || worker.serve())
                .map_err(|error| StoreError::Unavailable(format!("no thread can be started: {error}")))?;
        }
        Ok(Pool { queue })
    }

    pub(super) async fn send(&self, work: Box<dyn Work>) -> Result<(), StoreError> {
        self.queue.send(work).await.map_err(|_| StoreError::Unavailable("the store is closed".to_owned()))
    }
}

struct Worker {
    connection: Connection,
    /// Shared by the threads of a pool; one of them waits in it while the others work.
    waiting: Arc<Mutex<mpsc::Receiver<Box<dyn Work>>>>,
    mode: Mode,
    batch: usize,
}

impl Worker {
    fn serve(mut self) {
        let mut batch = Vec::with_capacity(self.batch);
        while self.take(&mut batch) {
            self.run_all(&mut batch);
        }
    }

    /// Waits for work, then takes what has gathered. False when there will be no more.
    fn take(&self, batch: &mut Vec<Box<dyn Work>>) -> bool {
        let mut waiting = self.waiting.lock();
        let Some(first) = waiting.blocking_recv() else { return false };
        batch.push(first);
        while batch.len() < self.batch
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        true
    }

    /// One transaction for all; if one of them is at fault, one for each, so that it spoils only itself.
    fn run_all(&mut self, batch: &mut Vec<Box<dyn Work>>) {
        match self.run(batch) {
            Err(failure) if batch.len() > 1 && !failure.again && !failure.lost => {
                for mut work in batch.drain(..) {
                    let outcome = self.run(std::slice::from_mut(&mut work));
                    work.reply(outcome.map_err(|failure| failure.error));
                }
            }
            outcome => {
                let outcome = outcome.map_err(|failure| failure.error);
                batch.drain(..).for_each(|work| work.reply(outcome.clone()));
            }
        }
    }

    /// Runs closures in one transaction, again when it was rolled back for a reason that passes.
    fn run(&mut self, batch: &mut [Box<dyn Work>]) -> Result<(), Failure> {
        let mut pause = FIRST_PAUSE;
        let mut runs = 1;
        loop {
            let outcome = self
                .connection
                .transaction(self.mode, &mut |tx| batch.iter_mut().try_for_each(|work| work.run(tx)));
            match outcome {
                Err(failure) if failure.again && runs < MAX_RUNS => {
                    tracing::warn!(error = %failure.error, runs, "a transaction was rolled back and is run again");
                    thread::sleep(pause);
                }
                outcome => return outcome,
            }
            pause *= 2;
            runs += 1;
        }
    }
}
