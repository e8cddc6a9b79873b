//! What one look saw: plain values, for `control::queue` and every surface.

use std::{collections::BTreeSet, time::Duration};

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};

use super::about::About;

/// One look at the broker. Times of ours are [`Micros`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    pub at: Micros,
    /// Every known queue, by name; empty ones too.
    pub queues: Vec<Queue>,
    pub unacked: Unacked,
    /// Workers that were heard or answered since the observer began, by name.
    pub workers: Vec<Worker>,
    /// Workers that hold a connection for questions, answering or not, when they were asked last.
    pub listeners: Option<u64>,
    /// When workers were asked last; `None`: not yet.
    pub asked_at: Option<Micros>,
    /// Since when heartbeats are listened for; `None`: they are not.
    pub listening_since: Option<Micros>,
    /// Workspaces' own lists of waiting documents, in the app's Redis.
    pub tenants: Vec<TenantList>,
    /// Queues that somebody declared once; that does not mean that somebody consumes them.
    pub bound: BTreeSet<String>,
    pub missed: Vec<Missed>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    pub name: String,
    /// Messages by priority step, in the order of [`super::PRIORITY_STEPS`]; Dify uses the first only.
    pub waiting: [u64; 4],
    /// Some of the oldest, the oldest first.
    pub oldest: Vec<Peek>,
    /// Some of the newest, the newest first.
    pub newest: Vec<Peek>,
}

impl Queue {
    pub fn length(&self) -> u64 {
        self.waiting.iter().sum()
    }

    /// The message that is taken next.
    pub fn tail(&self) -> Option<&Peek> {
        self.oldest.first()
    }
}

/// One message of a queue, as far as it can be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peek {
    Task {
        id: String,
        task: String,
        about: About,
        redelivered: bool,
        bytes: u64,
    },
    /// No message of Celery's, or one with a body that cannot be read.
    Broken {
        /// What it is called in place of an id: [`mainstay_wire::celery::fingerprint`].
        #[serde(default)]
        name: String,
        why: String,
        bytes: u64,
        /// The worker that takes it ends by it, and all that it runs.
        #[serde(default)]
        ends_worker: bool,
    },
    /// Not fetched.
    TooLarge {
        bytes: u64,
    },
}

impl Peek {
    pub fn id(&self) -> Option<&str> {
        match self {
            Peek::Task { id, .. } => Some(id),
            Peek::Broken { .. } | Peek::TooLarge { .. } => None,
        }
    }

    pub fn task(&self) -> Option<&str> {
        match self {
            Peek::Task { task, .. } => Some(task),
            Peek::Broken { .. } | Peek::TooLarge { .. } => None,
        }
    }

    /// Whether the worker that takes it ends.
    pub fn ends_worker(&self) -> bool {
        matches!(self, Peek::Broken { ends_worker: true, .. })
    }
}

/// Messages that were given to workers and not yet acknowledged: reserved ahead, or waiting for their time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unacked {
    pub count: u64,
    /// The oldest, the oldest first.
    pub oldest: Vec<UnackedMessage>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnackedMessage {
    /// The field in `unacked`.
    pub tag: String,
    /// By the clock of the worker that took it.
    pub delivered_at: Micros,
    pub queue: Option<String>,
    /// It waits for its time, so that it is right that it lies there.
    pub eta: Option<String>,
    pub message: Peek,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Worker {
    /// `celery@host`.
    pub name: String,
    /// Its last heartbeat.
    pub heard: Option<Heard>,
    /// What it said last when it was asked.
    pub answer: Option<Answer>,
    /// Rounds since its last answer in which it said nothing.
    pub silent_rounds: u32,
    /// Since when it has said nothing to questions; `None`: it answered the last one.
    pub silent_since: Option<Micros>,
    /// It said that it ends.
    pub said_goodbye: bool,
    /// Its rate limits, and those that were taken off since it began.
    pub limits: Vec<RateLimit>,
    /// Since when this process of it is asked; a limit that was taken off before that is not known.
    #[serde(skip)]
    pub known_since: Option<Micros>,
}

impl Worker {
    /// The limit by which it may hold back a task that it took then. No answer of a worker tells of such a task: Celery
    /// keeps it in a bucket of its own (`worker/consumer/consumer.py`, `_limit_task`), which lives on when the limit is
    /// taken off and lets tasks go at the old rate.
    pub fn may_hold_back(&self, task: &str, since: Option<Micros>) -> Option<&RateLimit> {
        let holds = |limit: &&RateLimit| {
            let was_on = limit.lifted_at.is_none_or(|lifted| since.is_none_or(|since| since <= lifted));
            limit.task == task && was_on
        };
        self.limits.iter().find(holds).filter(|_| !self.said_goodbye)
    }

    /// Whether it may have taken a message then, before anybody asked it for its limits.
    pub fn was_there_unasked(&self, delivered_at: Micros) -> bool {
        let Some(answer) = &self.answer else { return false };
        // Clocks of machines differ.
        let slack = Duration::from_secs(5);
        let began = answer.uptime_s.map(|uptime_s| answer.at - Duration::from_secs(uptime_s) - slack);
        let was_there = began.is_none_or(|began| began <= delivered_at);
        was_there && self.known_since.is_none_or(|since| since > delivered_at)
    }
}

/// How fast a worker starts tasks of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    pub task: String,
    /// `10/m`, `2/s`.
    pub rate: String,
    /// When it was seen to be off; `None`: it is on.
    pub lifted_at: Option<Micros>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    /// By our clock.
    pub at: Micros,
    pub every_s: f64,
    pub active: u64,
    /// Tasks since its start.
    pub processed: u64,
    pub load: Option<[f64; 3]>,
    pub pid: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    pub at: Micros,
    /// `gevent`, `threads`, `prefork`, …
    pub pool: Option<String>,
    pub concurrency: Option<u64>,
    pub prefetch: Option<u64>,
    /// What it consumes, the only truth about it; `None`: it did not say.
    pub queues: Option<Vec<String>>,
    pub active: Vec<Running>,
    pub reserved: Vec<Running>,
    /// Those that wait for their time.
    pub scheduled: Vec<Running>,
    /// Rate limits that are on: a task and its rate.
    pub limits: Vec<(String, String)>,
    /// Every question was answered and no list was cut, so that a task that is in none of them is not here.
    pub is_whole: bool,
    /// Tasks since its start, by name.
    pub done: Vec<(String, u64)>,
    pub uptime_s: Option<u64>,
    /// The most and the fewest places, for a worker that sizes its pool by itself.
    pub autoscale: Option<(u64, u64)>,
}

impl Answer {
    /// Every task that it has by its own word. What a rate limit holds back is not among them.
    pub fn held(&self) -> impl Iterator<Item = &Running> {
        self.active.iter().chain(&self.reserved).chain(&self.scheduled)
    }
}

/// A task that a worker has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Running {
    pub id: String,
    pub task: String,
    pub queue: Option<String>,
    /// By the worker's clock; `None` for one that is reserved only.
    pub started_at: Option<Micros>,
    pub about: About,
}

/// Dify's own line of a workspace's documents before they reach the broker (`TenantIsolatedTaskQueue`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantList {
    /// `document_indexing`, `duplicate_document_indexing`, `pipeline`.
    pub kind: String,
    pub tenant: String,
    pub waiting: u64,
    /// The flag that says that a task of this workspace runs.
    pub flag: bool,
    pub flag_ttl_s: Option<i64>,
}

/// What could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    pub what: String,
    pub why: String,
    pub remedy: String,
}
