//! Random schedules of workers that claim, beat, finish, hang and come back, checked against a model.
//!
//! The model knows who may hold a run: whoever claimed it last. A schedule fails when a run is given out while its
//! lease runs, when anybody else's finish is accepted, when a run that must not be repeated is started twice, or when
//! a run does not end exactly once. The broken twin ends jobs under whatever epoch they have now; the check must
//! catch it, or it checks nothing.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::{Kind, Micros};
use mainstay_store::model::{Finish, Finished, Job, NewJob, RunStatus};

use crate::fixture::{Fixture, LEASE, new_job, on_each, result};

const WORKERS: u64 = 3;
const RUNS: usize = 6;
const STEPS: usize = 45;
const SEEDS: u64 = 30;

#[derive(Clone, Copy, PartialEq)]
enum Fence {
    Kept,
    /// The broken twin.
    Ignored,
}

#[tokio::test]
async fn every_run_ends_exactly_once_whatever_workers_do() {
    on_each(|fixture| async move {
        for seed in 0..SEEDS {
            if let Err(broken) = play(&fixture, Fence::Kept, seed).await {
                panic!("seed {seed}: {broken}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_check_catches_a_queue_without_a_fence() {
    on_each(|fixture| async move {
        for seed in 0..SEEDS {
            if play(&fixture, Fence::Ignored, seed).await.is_err() {
                return;
            }
        }
        panic!("no schedule of {SEEDS} noticed that the fence is gone");
    })
    .await;
}

/// What the model knows of a run.
#[derive(Default)]
struct Known {
    repeatable: bool,
    holder: Option<Hold>,
    started: bool,
    ended: u32,
}

#[derive(Clone, PartialEq)]
struct Hold {
    worker: u64,
    epoch: i64,
    until: Micros,
}

struct Play<'a> {
    fixture: &'a Fixture,
    fence: Fence,
    random: Random,
    runs: BTreeMap<String, Known>,
    /// What each worker believes to hold, lost jobs included.
    beliefs: Vec<(u64, Job)>,
}

async fn play(fixture: &Fixture, fence: Fence, seed: u64) -> Result<(), String> {
    let mut play = Play { fixture, fence, random: Random(seed), runs: BTreeMap::new(), beliefs: Vec::new() };
    play.submit().await;
    for _ in 0..STEPS {
        play.step().await?;
    }
    play.drain().await?;
    play.check_ends().await
}

impl Play<'_> {
    async fn submit(&mut self) {
        let jobs: Vec<NewJob> = (0..RUNS)
            .map(|number| NewJob {
                repeatable: number % 3 != 0,
                callback_url: Some("https://receiver.example/hook".to_owned()),
                ..new_job()
            })
            .collect();
        for job in &jobs {
            let known = Known { repeatable: job.repeatable, ..Known::default() };
            self.runs.insert(job.run.id.clone(), known);
        }
        self.fixture.store.jobs().submit_batch(jobs).await.unwrap();
    }

    async fn step(&mut self) -> Result<(), String> {
        let worker = self.random.below(WORKERS);
        match self.random.below(10) {
            0..=2 => self.claim(worker).await,
            3 => self.renew(worker).await,
            4 => self.start(worker).await,
            5..=6 => self.finish(worker).await,
            7 => {
                self.fixture.clock.advance(LEASE);
                Ok(())
            }
            8 => {
                let pause = Duration::from_millis(self.random.below(9000));
                self.fixture.clock.advance(pause);
                Ok(())
            }
            _ => {
                // The worker dies and is known to be dead. It may still be heard of: nobody can be sure.
                self.fixture.store.jobs().release_owner(&name(worker)).await.unwrap();
                let now = self.fixture.clock.now();
                for hold in self.runs.values_mut().filter_map(|run| run.holder.as_mut()) {
                    if hold.worker == worker {
                        hold.until = hold.until.min(now);
                    }
                }
                Ok(())
            }
        }
    }

    async fn claim(&mut self, worker: u64) -> Result<(), String> {
        let now = self.fixture.clock.now();
        let max = 1 + usize::try_from(self.random.below(3)).unwrap();
        for job in self.fixture.store.jobs().claim(&name(worker), max, LEASE).await.unwrap() {
            let known = self.runs.get_mut(&job.id).ok_or("a job of nobody")?;
            if known.ended > 0 {
                return Err(format!("{} was given out after its end", job.id));
            }
            if known.holder.as_ref().is_some_and(|hold| hold.until > now) {
                return Err(format!("{} was given out while its lease ran", job.id));
            }
            if known.started && !known.repeatable {
                return Err(format!("{} was given out to be started again", job.id));
            }
            known.holder = Some(Hold { worker, epoch: job.epoch, until: now + LEASE });
            self.beliefs.push((worker, job));
        }
        Ok(())
    }

    async fn renew(&mut self, worker: u64) -> Result<(), String> {
        let now = self.fixture.clock.now();
        let mine: Vec<(String, i64)> = self
            .beliefs
            .iter()
            .filter(|(owner, _)| *owner == worker)
            .map(|(_, job)| (job.id.clone(), job.epoch))
            .collect();
        for held in self.fixture.store.jobs().renew(&name(worker), mine, LEASE).await.unwrap() {
            let holder = self.runs.get_mut(&held.job_id).and_then(|known| known.holder.as_mut());
            match holder {
                Some(hold) if hold.worker == worker && hold.until > now => hold.until = now + LEASE,
                _ => return Err(format!("{} was renewed by who had lost it", held.job_id)),
            }
        }
        Ok(())
    }

    async fn start(&mut self, worker: u64) -> Result<(), String> {
        let Some(job) = self.pick(worker) else { return Ok(()) };
        let jobs = self.fixture.store.jobs();
        if jobs.mark_started(&job.id, job.epoch, "upstream-run", "task").await.unwrap() {
            self.must_hold(worker, &job)?;
            self.runs.entry(job.id).or_default().started = true;
        }
        Ok(())
    }

    async fn finish(&mut self, worker: u64) -> Result<(), String> {
        let Some(job) = self.pick(worker) else { return Ok(()) };
        let finish = match self.random.below(5) {
            0..=1 => Finish::Done(result(RunStatus::Succeeded)),
            2 => Finish::Release,
            3 => Finish::Dead { class: "x".into(), message: "y".into(), kind: Kind::Bug, result: None },
            _ => Finish::Retry {
                class: "upstream".into(),
                message: "down".into(),
                after: Duration::from_secs(1),
                limit: 2,
            },
        };
        self.end(worker, &job, finish).await
    }

    async fn end(&mut self, worker: u64, job: &Job, finish: Finish) -> Result<(), String> {
        let store = &self.fixture.store;
        let epoch = match self.fence {
            Fence::Kept => job.epoch,
            Fence::Ignored => {
                let run = store.runs().get(&job.id).await.unwrap().unwrap();
                run.summary.job.map_or(job.epoch, |job| job.epoch)
            }
        };
        let outcome = store.jobs().finish(&job.id, epoch, finish).await.unwrap();
        if outcome == Finished::Fenced {
            return Ok(());
        }
        self.must_hold(worker, job)?;
        let known = self.runs.entry(job.id.clone()).or_default();
        known.holder = None;
        known.ended += u32::from(matches!(outcome, Finished::Stored | Finished::Dead));
        Ok(())
    }

    fn must_hold(&self, worker: u64, job: &Job) -> Result<(), String> {
        let holder = self.runs.get(&job.id).and_then(|known| known.holder.as_ref());
        if holder.is_some_and(|hold| (hold.worker, hold.epoch) == (worker, job.epoch)) {
            return Ok(());
        }
        Err(format!("worker {worker} was heard on {} after it had lost it", job.id))
    }

    /// One of the jobs the worker believes to hold; it goes on believing.
    fn pick(&mut self, worker: u64) -> Option<Job> {
        let mine: Vec<&Job> =
            self.beliefs.iter().filter(|(owner, _)| *owner == worker).map(|(_, job)| job).collect();
        if mine.is_empty() {
            return None;
        }
        let number = usize::try_from(self.random.below(mine.len() as u64)).unwrap();
        Some(mine[number].clone())
    }

    /// A healthy worker takes what is left.
    async fn drain(&mut self) -> Result<(), String> {
        const HEALTHY: u64 = WORKERS;
        for _ in 0..10 {
            self.fixture.clock.advance(LEASE);
            self.beliefs.clear();
            for _ in 0..RUNS {
                self.claim(HEALTHY).await?;
            }
            for (worker, job) in std::mem::take(&mut self.beliefs) {
                self.end(worker, &job, Finish::Done(result(RunStatus::Succeeded))).await?;
            }
        }
        Ok(())
    }

    async fn check_ends(&self) -> Result<(), String> {
        for (id, known) in &self.runs {
            let run = self.fixture.store.runs().get(id).await.unwrap().ok_or("a run is gone")?;
            let deliveries = self.fixture.store.outbox().list(id).await.unwrap();
            // A run that the queue itself ended (lost too often) was ended by no worker.
            if !run.summary.status.is_final() || known.ended > 1 || deliveries.len() != 1 {
                let (status, times) = (run.summary.status, known.ended);
                return Err(format!(
                    "{id} is {status:?}, ended {times} times, told {} times",
                    deliveries.len()
                ));
            }
        }
        Ok(())
    }
}

fn name(worker: u64) -> String {
    format!("worker-{worker}")
}

/// SplitMix64: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
