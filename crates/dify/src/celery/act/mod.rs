//! What an operator can do about queues and workers. Each is planned first: what would be sent, to whom, what it
//! changes, how it is taken back; and is looked at again before it is done.
//!
//! Promises: [`plan`] writes nothing; [`perform`] does what the plan said or nothing; what would leave a queue without
//! anybody, or a task with two, is refused unless it is forced; what leaves a queue is in a file first.

mod messages;
mod purge;
mod run;
mod take_out;
mod workers;

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};

pub(crate) use run::Repairs;
pub use run::{LONGEST_RUN, MARK, NO_PROGRESS, longest_run};

use super::{Observer, Seen};
use crate::{db, redis};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// More tasks at a time.
    GrowPool {
        worker: String,
        by: u32,
    },
    ShrinkPool {
        worker: String,
        by: u32,
    },
    /// For a worker that was started with `--autoscale`.
    Autoscale {
        worker: String,
        max: u32,
        min: u32,
    },
    /// `worker` may be left out: all of them.
    AddConsumer {
        queue: String,
        #[serde(default)]
        worker: Option<String>,
    },
    CancelConsumer {
        queue: String,
        #[serde(default)]
        worker: Option<String>,
    },
    /// `rate` as Celery has it: `10/m`, `2/s`; `0` for none.
    RateLimit {
        task: String,
        rate: String,
        #[serde(default)]
        worker: Option<String>,
    },
    /// `terminate` ends it when it runs already.
    Revoke {
        task_id: String,
        #[serde(default)]
        terminate: bool,
    },
    /// Ends a worker after its tasks; what keeps its container alive starts it again.
    Shutdown {
        worker: String,
    },
    /// Gives a message back to its queue that a worker took and never acknowledged.
    Requeue {
        tag: String,
    },
    /// Empties a queue into a file; or takes one message out that no worker can read, by the name that a look gave it.
    Purge {
        queue: String,
        #[serde(default)]
        message: Option<String>,
    },
    /// Puts back what a purge took.
    Import {
        file: PathBuf,
    },
    /// Sends the head of a workspace's own list of documents to the broker.
    Redispatch {
        kind: String,
        tenant: String,
    },
    /// Takes away rate-limit slots of an app whose requests have ended long ago.
    ClearSlots {
        app: String,
    },
    /// Marks a run failed that is `running` for longer than it may, without progress and without a worker.
    FailRun {
        run: String,
    },
    /// Takes [`Action::FailRun`] back.
    ReopenRun {
        run: String,
    },
}

/// What an action would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    pub action: Action,
    pub steps: Vec<Step>,
    pub undo: Undo,
    pub warnings: Vec<String>,
    /// When the world was looked at for it.
    pub seen_at: Micros,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What is sent: a command of remote control or of Redis.
    pub sends: String,
    pub to: String,
    pub changes: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// The command that takes it back.
    By(String),
    /// It cannot be taken back, and why that is.
    Irreversible(String),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Done {
    pub text: String,
    pub undo: Undo,
    /// Each worker's own words, for remote control.
    pub said: Vec<(String, String)>,
    /// Where messages were written.
    pub file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{why}")]
    Guard { why: String, next: String, can_force: bool },
    #[error("no worker answered; nothing is known to be done")]
    NobodyAnswered,
    #[error("{worker} refused: {said}")]
    ByWorker { worker: String, said: String },
    #[error("cannot write {path}")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Redis(#[from] redis::Error),
    #[error(transparent)]
    Database(#[from] db::Failure),
}

impl Refused {
    fn because(why: impl Into<String>, next: impl Into<String>) -> Refused {
        Refused::Guard { why: why.into(), next: next.into(), can_force: false }
    }

    fn unless_forced(why: impl Into<String>, next: impl Into<String>) -> Refused {
        Refused::Guard { why: why.into(), next: next.into(), can_force: true }
    }

    /// What to do instead.
    pub fn next(&self) -> String {
        match self {
            Refused::Guard { next, can_force: false, .. } => next.clone(),
            Refused::Guard { next, can_force: true, .. } => format!("{next}, or force it"),
            Refused::NobodyAnswered => "see mainstay queue workers, and try again".to_owned(),
            Refused::ByWorker { .. } => "see mainstay queue workers for its pool".to_owned(),
            Refused::File { .. } => "see that the folder exists and has room".to_owned(),
            Refused::Redis(error) => error.remedy().to_owned(),
            Refused::Database(failure) => failure.remedy(),
        }
    }
}

/// How seriously, and where files go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Even if a guard that can be forced says no.
    pub force: bool,
    /// Where a purge writes; without one it is refused.
    pub folder: Option<PathBuf>,
}

/// What the action would do now. Looks at the broker, writes nothing.
pub async fn plan(
    observer: &mut Observer,
    action: Action,
    terms: &Terms,
    now: Micros,
) -> Result<Plan, Refused> {
    let seen = observer.fresh(now).await?;
    let (steps, undo, warnings) = match &action {
        Action::Requeue { .. } | Action::Redispatch { .. } | Action::ClearSlots { .. } => {
            messages::plan(observer, &seen, &action, terms, now).await?
        }
        Action::Purge { queue, message: Some(message) } => {
            take_out::plan(observer, &seen, queue, message, terms).await?
        }
        Action::Purge { .. } | Action::Import { .. } => purge::plan(&seen, &action, terms)?,
        Action::FailRun { .. } | Action::ReopenRun { .. } => {
            run::plan(observer.repairs(), &seen, &action, terms).await?
        }
        _ => workers::plan(&seen, &action, terms)?,
    };
    Ok(Plan { action, steps, undo, warnings, seen_at: seen.at })
}

/// Does what the plan says, after the guards have looked once more.
pub async fn perform(
    observer: &mut Observer,
    shown: Plan,
    terms: &Terms,
    now: Micros,
) -> Result<Done, Refused> {
    let plan = plan(observer, shown.action, terms, now).await?;
    observer.ask_soon();
    match &plan.action {
        Action::Requeue { .. } | Action::Redispatch { .. } | Action::ClearSlots { .. } => {
            messages::perform(observer, &plan, now).await
        }
        Action::Purge { queue, message: Some(message) } => {
            take_out::perform(observer, queue, message, terms, now).await
        }
        Action::Purge { .. } | Action::Import { .. } => purge::perform(observer, &plan, terms, now).await,
        Action::FailRun { .. } | Action::ReopenRun { .. } => run::perform(observer.repairs(), &plan).await,
        _ => workers::perform(observer, &plan, now).await,
    }
}

impl Terms {
    fn folder(&self) -> Result<&Path, Refused> {
        let no_place = || Refused::because("this instance has no folder for files", "set store.state_dir");
        self.folder.as_deref().ok_or_else(no_place)
    }
}

/// A name as a shell takes it for one word, so that the commands we print mean what they say: names come from Redis, where
/// anybody may have written them.
pub fn word(name: &str) -> Cow<'_, str> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-.:/@%+=,".contains(letter);
    if !name.is_empty() && name.chars().all(is_plain) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(format!("'{}'", name.replace('\'', r"'\''")))
}

type Parts = (Vec<Step>, Undo, Vec<String>);

fn step(sends: impl Into<String>, to: impl Into<String>, changes: impl Into<String>) -> Step {
    Step { sends: sends.into(), to: to.into(), changes: changes.into() }
}

/// Workers that consume a queue by their own word.
fn consumers<'a>(seen: &'a Seen, queue: &str) -> Vec<&'a str> {
    let consumes = |worker: &&super::Worker| {
        let queues = worker.answer.as_ref().and_then(|answer| answer.queues.as_ref());
        worker.silent_rounds == 0 && queues.is_some_and(|queues| queues.iter().any(|name| name == queue))
    };
    seen.workers.iter().filter(consumes).map(|worker| worker.name.as_str()).collect()
}
