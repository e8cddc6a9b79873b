//! What becomes of attempts that have ended: stored under their epoch, or not at all.

use mainstay_base::Kind;
use mainstay_store::{
    StoreError,
    model::{Finish, Finished},
};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    finish::finish_for,
    handler::JobOutcome,
    work::{POLL_FIRST, STORE_PAUSE, Stored, Work},
};

impl Work {
    pub(super) fn ended(&mut self, ended: Result<(String, i64, JobOutcome), tokio::task::JoinError>) {
        match ended {
            Ok((id, epoch, outcome)) => self.end(&id, epoch, outcome),
            Err(error) if error.is_cancelled() => {}
            Err(error) => {
                let task = error.id();
                let found = self.running.iter().find(|(_, running)| running.task.id() == task);
                let Some((id, epoch)) = found.map(|(id, running)| (id.clone(), running.epoch)) else {
                    return;
                };
                let message = "the attempt panicked".to_owned();
                warn!(run.id = %id, %error, "an attempt panicked");
                self.end(&id, epoch, JobOutcome::Failed { kind: Kind::Bug, message, result: None });
            }
        }
    }

    /// An attempt is over: its end is put in line to be stored, if it may be.
    pub(super) fn end(&mut self, id: &str, epoch: i64, outcome: JobOutcome) {
        let Some(running) =
            self.running.get_mut(id).filter(|running| running.epoch == epoch && !running.ended)
        else {
            return;
        };
        let random = uuid::Uuid::new_v4().as_u64_pair().1;
        match finish_for(outcome, running.stopped.get(), &running.failures, random) {
            Some(finish) => {
                running.ended = true;
                self.unstored.push((id.to_owned(), epoch, finish));
            }
            None => self.forget(id),
        }
    }

    pub(super) fn forget(&mut self, id: &str) {
        self.running.remove(id);
        self.unstored.retain(|(unstored, _, _)| unstored != id);
        self.publish(|stats| stats.fenced += 1);
        self.next_claim_at = self.next_claim_at.min(Instant::now() + POLL_FIRST);
    }

    pub(super) fn stored(&mut self, (ends, answer): Stored) {
        match answer {
            Ok(finished) => {
                for ((id, epoch, _), finished) in ends.iter().zip(finished) {
                    self.settle(id, *epoch, finished);
                }
                self.next_claim_at = Instant::now();
            }
            Err(error) if ends.len() > 1 && !matches!(error, StoreError::Unavailable(_)) => {
                // One of them is at fault; alone, each shows which.
                warn!(%error, "cannot store ends of jobs together; each is stored alone");
                self.store_alone(ends);
            }
            Err(error) => self.store_again(ends, &error),
        }
    }

    fn store_alone(&mut self, ends: Vec<(String, i64, Finish)>) {
        let queue = self.queue.clone();
        self.store.start(async move {
            let mut answers = Vec::with_capacity(ends.len());
            for (id, epoch, finish) in &ends {
                let answer = match queue.finish(id.clone(), *epoch, finish.clone()).await {
                    Err(error @ (StoreError::TooLarge { .. } | StoreError::Bug(_))) => {
                        queue.finish(id.clone(), *epoch, unstorable(&error)).await
                    }
                    other => other,
                };
                match answer {
                    Ok(finished) => answers.push(finished),
                    Err(error) => return (ends, Err(error)),
                }
            }
            (ends, Ok(answers))
        });
    }

    fn store_again(&mut self, ends: Vec<(String, i64, Finish)>, error: &StoreError) {
        warn!(%error, "cannot store the end of a job; it is tried again while the lease is held");
        self.next_store_at = Instant::now() + STORE_PAUSE;
        let hopeless = !matches!(error, StoreError::Unavailable(_));
        for (id, epoch, finish) in ends {
            if self.running.get(&id).is_some_and(|running| running.epoch == epoch) {
                let finish = if hopeless { unstorable(error) } else { finish };
                self.unstored.push((id, epoch, finish));
            }
        }
    }

    fn settle(&mut self, id: &str, epoch: i64, finished: Finished) {
        if self.running.get(id).is_some_and(|running| running.epoch == epoch) {
            self.running.remove(id);
        }
        debug!(run.id = %id, epoch, ?finished, "job ends");
        self.publish(|stats| match finished {
            Finished::Stored => stats.stored += 1,
            Finished::Requeued => stats.requeued += 1,
            Finished::Dead => stats.dead += 1,
            Finished::Fenced => stats.fenced += 1,
        });
    }
}

/// A result that the store refuses must not be run again and again: the run fails, and says why.
fn unstorable(error: &StoreError) -> Finish {
    let (class, message) = ("bug".to_owned(), format!("the result could not be stored: {error}"));
    Finish::Dead { class, message, kind: error.kind(), result: None }
}
