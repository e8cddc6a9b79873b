//! One look after the other at a broker.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::Micros;

use super::{
    act::Repairs,
    heartbeat::{Ears, MAX_WORKERS},
    keys,
    names::Names,
    peek, remote,
    seen::{Answer, Missed, Queue, RateLimit, Seen, Unacked, Worker},
    tenant::Tenants,
    unacked,
};
use crate::{
    Deployment, deployment,
    redis::{Error, Link, Pipeline, Waits, from_redis_value},
};

/// Queues whose messages are looked at in one look, the longest first.
const MAX_PEEKED: usize = 30;
/// A queue in which a message was too large to look at is left alone for so long: Redis copies what it measures.
const LARGE_RESTS: Duration = Duration::from_secs(60);
/// What a look may take; a broker that is slower is told as such.
const LONGEST_LOOK: Duration = Duration::from_secs(30);
/// Rate limits kept of one worker, with those that are off again.
const MAX_LIMITS: usize = 100;
/// A worker that is neither heard nor answers is forgotten after this.
const FORGET_AFTER: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub waits: Waits,
    /// Workers are not asked more often: each question costs each of them.
    pub remote_every: Duration,
    /// How long to wait for their answers.
    pub remote_wait: Duration,
    /// How long to wait for heartbeats in each look; those since the last look are there at once.
    pub listen: Duration,
    /// Messages looked at from each end of a queue.
    pub peeks: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            waits: Waits::default(),
            remote_every: Duration::from_secs(15),
            remote_wait: Duration::from_secs(2),
            listen: Duration::from_millis(20),
            peeks: 8,
        }
    }
}

impl Options {
    /// For a single look, as a command makes it: long enough to hear each worker once.
    pub fn once() -> Options {
        Options { listen: Duration::from_millis(2_500), ..Options::default() }
    }
}

/// Remembers names, workers and what was heard between looks. Holds one connection for commands to each Redis, and one
/// that listens.
pub struct Observer {
    options: Options,
    broker: deployment::Redis,
    link: Link,
    app: Option<Link>,
    ears: Ears,
    names: Names,
    tenants: Tenants,
    asked: Asked,
    /// Queues with a message that is too large to look at, and when that was seen.
    large: BTreeMap<String, Micros>,
    repairs: Repairs,
}

/// What workers said when they were asked.
#[derive(Default)]
struct Asked {
    at: Option<Micros>,
    /// Ask at the next look, however soon.
    is_wanted: bool,
    listeners: Option<u64>,
    known: BTreeMap<String, Known>,
}

#[derive(Default)]
struct Known {
    answer: Option<Answer>,
    silent_rounds: u32,
    silent_since: Option<Micros>,
    /// Heard or answered last.
    alive_at: Micros,
    limits: Vec<RateLimit>,
    /// This process of it answered first.
    since: Option<Micros>,
}

impl Known {
    /// Limits that are on now, and those that this process of the worker had before; and since when it is known.
    fn limits_after(self, answer: &Answer) -> (Vec<RateLimit>, Option<Micros>) {
        let on = answer.limits.iter().map(|(task, rate)| RateLimit {
            task: task.clone(),
            rate: rate.clone(),
            lifted_at: None,
        });
        let mut limits: Vec<RateLimit> = on.collect();
        let before = self.answer.and_then(|before| before.uptime_s);
        // A process that began anew holds nothing back.
        let is_same = answer.uptime_s.zip(before).is_none_or(|(now, before)| now >= before);
        let is_on =
            |old: &RateLimit| answer.limits.iter().any(|(task, rate)| *task == old.task && *rate == old.rate);
        let old = self.limits.into_iter().filter(|old| is_same && !is_on(old));
        limits
            .extend(old.map(|old| RateLimit { lifted_at: Some(old.lifted_at.unwrap_or(answer.at)), ..old }));
        limits.truncate(MAX_LIMITS);
        (limits, self.since.filter(|_| is_same).or(Some(answer.at)))
    }
}

impl Observer {
    /// Connects to nothing yet. `None` when the deployment names no broker.
    pub fn new(deployment: &Deployment, options: Options) -> Option<Observer> {
        let broker = deployment.broker.clone()?;
        Some(Observer {
            link: Link::new(&broker, options.waits),
            app: deployment.redis.as_ref().map(|redis| Link::new(redis, options.waits)),
            broker,
            options,
            ears: Ears::new(),
            names: Names::default(),
            tenants: Tenants::default(),
            asked: Asked::default(),
            large: BTreeMap::new(),
            repairs: Repairs::of(deployment),
        })
    }

    /// One look, within half a minute. An error only when the broker cannot be asked at all; a part that fails is left
    /// out and told.
    pub async fn observe(&mut self, now: Micros) -> Result<Seen, Error> {
        let (at, waited_ms) = (self.link.at(), LONGEST_LOOK.as_millis() as u64);
        let look = tokio::time::timeout(LONGEST_LOOK, self.look(now)).await;
        look.unwrap_or(Err(Error::TimedOut { at, what: "a whole look", waited_ms }))
    }

    async fn look(&mut self, now: Micros) -> Result<Seen, Error> {
        let mut missed = Vec::new();
        // First, so that what is published from now on is heard.
        let heard = self.ears.listen(&self.broker, self.options.waits, Duration::ZERO, now).await;
        self.link.ping().await?;
        note(&mut missed, "heartbeats", heard);
        note(&mut missed, "names of queues", self.names.look(&mut self.link, now).await);
        let is_due = self.asked.at.is_none_or(|at| now.since(at) >= self.options.remote_every);
        let is_due = std::mem::take(&mut self.asked.is_wanted) || is_due;
        if is_due {
            note(&mut missed, "answers of workers", self.ask_workers(now).await);
        }
        let heard = self.ears.listen(&self.broker, self.options.waits, self.options.listen, now).await;
        if missed.iter().all(|missed| missed.what != "heartbeats") {
            note(&mut missed, "heartbeats", heard);
        }
        let queues = self.queues(now, &mut missed).await?;
        let unacked = unacked::look(&mut self.link).await;
        let tenants = match &mut self.app {
            Some(app) => self.tenants.look(app, now).await,
            None => Ok(Vec::new()),
        };
        if self.tenants.has_more() {
            missed.push(Missed {
                what: format!("lists of workspaces beyond {}", super::tenant::MAX_LISTS),
                why: "there are more than are looked at".to_owned(),
                remedy: "see that the queue dataset is consumed: so many workspaces wait for it".to_owned(),
            });
        }
        Ok(Seen {
            at: now,
            queues,
            unacked: note(&mut missed, "unacknowledged messages", unacked).unwrap_or_else(Unacked::default),
            workers: self.workers(now),
            listeners: self.asked.listeners,
            asked_at: self.asked.at,
            listening_since: self.ears.since,
            tenants: note(&mut missed, "lists of workspaces", tenants).unwrap_or_default(),
            bound: self.names.bound().clone(),
            missed,
        })
    }

    /// A look that asks the workers whenever they were asked last.
    pub async fn fresh(&mut self, now: Micros) -> Result<Seen, Error> {
        self.asked.is_wanted = true;
        self.observe(now).await
    }

    /// The next look asks the workers: an action may have changed them.
    pub(super) fn ask_soon(&mut self) {
        self.asked.is_wanted = true;
    }

    /// The connection for commands, for actions.
    pub(super) fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// The same to the app's Redis.
    pub(super) fn app_link(&mut self) -> Result<&mut Link, Error> {
        self.app.as_mut().ok_or_else(|| Error::Unreachable {
            at: "the app's Redis".to_owned(),
            reason: "it is not configured".to_owned(),
        })
    }

    pub(super) fn repairs(&self) -> &Repairs {
        &self.repairs
    }

    async fn queues(&mut self, now: Micros, missed: &mut Vec<Missed>) -> Result<Vec<Queue>, Error> {
        let mut questions = Pipeline::new();
        for name in self.names.all() {
            for step in keys::PRIORITY_STEPS {
                questions.cmd("LLEN").arg(self.link.key(&keys::list(name, step)));
            }
        }
        let mut lengths = self.link.ask_all(&mut questions).await?.into_iter();
        let mut queues = Vec::new();
        for name in self.names.all() {
            let mut queue = Queue { name: name.clone(), ..Queue::default() };
            for waiting in &mut queue.waiting {
                // A key of another type under a queue's name is no queue.
                let length = lengths.next().and_then(Result::ok);
                *waiting = length.and_then(|length| from_redis_value(length).ok()).unwrap_or(0);
            }
            queues.push(queue);
        }
        let peeked = self.peek(&mut queues, now).await;
        note(missed, "messages in queues", peeked);
        Ok(queues)
    }

    async fn peek(&mut self, queues: &mut [Queue], now: Micros) -> Result<(), Error> {
        self.large.retain(|_, seen| now.since(*seen) < LARGE_RESTS);
        let mut filled: Vec<&mut Queue> = queues.iter_mut().filter(|queue| queue.length() > 0).collect();
        filled.sort_by_key(|queue| std::cmp::Reverse(queue.length()));
        for queue in filled.into_iter().take(MAX_PEEKED) {
            if self.large.contains_key(&queue.name) {
                continue;
            }
            // Lower steps are taken first.
            let fullest =
                keys::PRIORITY_STEPS.into_iter().zip(queue.waiting).find(|(_, waiting)| *waiting > 0);
            let Some((step, length)) = fullest else { continue };
            let ends = peek::ends(&mut self.link, &queue.name, step, length, self.options.peeks).await?;
            (queue.oldest, queue.newest) = ends;
            let is_large = |peek: &super::Peek| matches!(peek, super::Peek::TooLarge { .. });
            if queue.oldest.iter().chain(&queue.newest).any(is_large) {
                self.large.insert(queue.name.clone(), now);
            }
        }
        Ok(())
    }

    async fn ask_workers(&mut self, now: Micros) -> Result<(), Error> {
        if self.asked.at.is_none() {
            remote::sweep(&mut self.link, now).await?;
        }
        // Also when it fails: a broker in trouble is not asked each time.
        self.asked.at = Some(now);
        let wait = self.options.remote_wait;
        let round = remote::ask(&mut self.link, &remote::inspection(), None, wait, now).await?;
        self.asked.listeners = Some(round.listeners);
        let before = |worker: &str| self.asked.known.get(worker)?.answer.clone();
        let mut answers = remote::answers(round, now, before);
        for queue in answers.values().filter_map(|answer| answer.queues.as_ref()).flatten() {
            self.names.learn(queue);
        }
        for (worker, known) in &mut self.asked.known {
            if !answers.contains_key(worker) {
                known.silent_rounds = known.silent_rounds.saturating_add(1);
                known.silent_since.get_or_insert(now);
            }
        }
        while let Some((worker, answer)) = answers.pop_first() {
            if self.asked.known.len() >= MAX_WORKERS && !self.asked.known.contains_key(&worker) {
                continue;
            }
            self.ears.gone.remove(&worker);
            let (limits, since) = self.asked.known.remove(&worker).unwrap_or_default().limits_after(&answer);
            let known = Known { answer: Some(answer), alive_at: now, limits, since, ..Known::default() };
            self.asked.known.insert(worker, known);
        }
        Ok(())
    }

    fn workers(&mut self, now: Micros) -> Vec<Worker> {
        for (worker, heard) in &self.ears.heard {
            let known = self.asked.known.entry(worker.clone()).or_default();
            known.alive_at = known.alive_at.max(heard.at);
        }
        let gone = &self.ears.gone;
        let forgotten: Vec<String> = self
            .asked
            .known
            .iter()
            .filter(|(worker, known)| {
                let after = if gone.contains_key(*worker) { Duration::from_secs(30) } else { FORGET_AFTER };
                now.since(known.alive_at) > after
            })
            .map(|(worker, _)| worker.clone())
            .collect();
        for worker in &forgotten {
            self.asked.known.remove(worker);
            self.ears.forget(worker);
        }
        let workers = self.asked.known.iter().map(|(name, known)| Worker {
            name: name.clone(),
            heard: self.ears.heard.get(name).cloned(),
            answer: known.answer.clone(),
            silent_rounds: known.silent_rounds,
            silent_since: known.silent_since,
            said_goodbye: self.ears.gone.contains_key(name),
            limits: known.limits.clone(),
            known_since: known.since,
        });
        workers.collect()
    }
}

/// The value, or a line about what is missing.
fn note<T>(missed: &mut Vec<Missed>, what: &str, result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let remedy = error.remedy().to_owned();
            missed.push(Missed { what: what.to_owned(), why: error.to_string(), remedy });
            None
        }
    }
}
