//! Puts a changed configuration in force while streams run on.
//!
//! Promises: a file is taken whole or refused whole, with every problem; the last good one stays in force; what needs
//! a restart is named and not applied; secrets behind references are read again; every outcome is told in health, in
//! the metrics, and in the timeline as soon as the store takes it. A file (or a secret) that is being written is not
//! read, and one that is suddenly empty is refused: it is a copy that failed. However many ask at once, one reload that
//! begins after they asked answers all of them. A process that ends loads nothing any more.

mod look;
mod outcome;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use mainstay_base::{Clock, Secret};
use mainstay_console::AdminTokens;
use mainstay_control::{Group, Observer, State, Told};
use mainstay_store::model::NewEvent;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    config::{Config, LoadError, Problem},
    failure::chain,
    last_good::StateFiles,
    live::Live,
    notes::Notes,
    publisher::Publisher,
    records::Keep,
};
use look::read;
pub(crate) use outcome::{Applied, NotReloaded, Origin, Refused, SecretsNow};

/// The subject of the timeline's events.
const SUBJECT: &str = "config";
/// Problems that one event of the timeline tells; the log and the answer have all.
const MAX_PROBLEMS_NOTED: usize = 20;

pub(crate) struct Reloader {
    pub(crate) parts: Parts,
    path: Option<PathBuf>,
    /// Everything comes from the environment when the file of the start is empty.
    may_be_empty: bool,
    running: ArcSwap<Config>,
    applied: ArcSwap<Applied>,
    refused: ArcSwapOption<Refused>,
    failures: std::sync::atomic::AtomicU64,
    asked: Mutex<Asked>,
    turn: tokio::sync::Mutex<Turn>,
    looks: Arc<Semaphore>,
}

/// Who waits for a reload that has not begun.
#[derive(Default)]
struct Asked {
    /// How many have asked since the start.
    count: u64,
    by: BTreeSet<String>,
}

/// Held while a reload is made: what came of the last one, and how many had asked when it began.
struct Turn {
    answers: u64,
    outcome: Outcome,
}

type Outcome = Result<Arc<Applied>, NotReloaded>;

/// Whom a new configuration is given to.
pub(crate) struct Parts {
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) live: Live,
    pub(crate) keep: Arc<Keep>,
    pub(crate) doors: Doors,
    pub(crate) observer: Observer,
    pub(crate) files: Option<StateFiles>,
    pub(crate) notes: Notes,
    pub(crate) clock: Clock,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// Who may come in to the admin listener: those that the configuration names, and this process's own commands.
pub(crate) struct Doors {
    pub(crate) tokens: AdminTokens,
    /// Of the instance file.
    pub(crate) local: Secret,
}

impl Doors {
    pub(crate) fn set(&self, config: &Config) {
        let configured = config.admin_tokens.iter().map(|token| (token.name.clone(), token.token.clone()));
        let all: Vec<_> = configured.chain([("local".to_owned(), self.local.clone())]).collect();
        self.tokens.set(&all);
    }
}

impl Reloader {
    /// The configuration of the start is in force already.
    pub(crate) fn new(config: Arc<Config>, origin: Origin, parts: Parts) -> Reloader {
        let applied = Applied {
            revision: config.revision.clone(),
            generation: 1,
            at: parts.clock.now(),
            by: "start".to_owned(),
            restart_needed: Vec::new(),
            secrets: SecretsNow { generation: 1, changed_at: parts.clock.now(), changed: Vec::new() },
            warnings: config.warnings.clone(),
        };
        parts.doors.set(&config);
        let reloader = Reloader {
            path: origin.path(),
            may_be_empty: matches!(&origin, Origin::File { text, .. } if text.trim().is_empty()),
            running: ArcSwap::new(config),
            applied: ArcSwap::from_pointee(applied),
            refused: ArcSwapOption::empty(),
            failures: 0.into(),
            asked: Mutex::default(),
            turn: tokio::sync::Mutex::new(Turn { answers: 0, outcome: Err(NotReloaded::NoFile) }),
            looks: Arc::new(Semaphore::new(1)),
            parts,
        };
        match origin {
            Origin::BuiltIn => {}
            Origin::File { text, .. } => reloader.accepted(Some(&text)),
            Origin::LastGood { refused, .. } => {
                reloader.note_start();
                reloader.refuse(refused);
            }
        }
        reloader
    }

    pub(crate) fn applied(&self) -> Arc<Applied> {
        self.applied.load_full()
    }

    /// The last attempt, when it was refused.
    pub(crate) fn refused(&self) -> Option<Arc<Refused>> {
        self.refused.load_full()
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(crate) fn path(&self) -> Option<&PathBuf> {
        self.path.as_ref()
    }

    /// One at a time. Whoever asks gets what came of a reload that began afterwards, however many ask; it is made to its
    /// end even when nobody waits for it any more.
    pub(crate) async fn reload(self: &Arc<Reloader>, by: &str) -> Outcome {
        let path = self.path.clone().ok_or(NotReloaded::NoFile)?;
        let ticket = {
            let mut asked = self.asked.lock();
            asked.count += 1;
            asked.by.insert(by.to_owned());
            asked.count
        };
        let reloader = Arc::clone(self);
        let made = self.parts.tasks.spawn(async move { reloader.in_turn(&path, ticket).await });
        made.await.unwrap_or(Err(NotReloaded::Ending))
    }

    async fn in_turn(&self, path: &Path, ticket: u64) -> Outcome {
        let mut turn = self.turn.lock().await;
        if turn.answers >= ticket {
            return turn.outcome.clone();
        }
        let (answers, by) = {
            let mut asked = self.asked.lock();
            (asked.count, std::mem::take(&mut asked.by))
        };
        let by = by.into_iter().collect::<Vec<_>>().join(", ");
        let read = tokio::select! {
            biased;
            () = self.parts.stop.cancelled() => return Err(NotReloaded::Ending),
            read = read(path, self.may_be_empty, &self.looks) => read,
        };
        let outcome = match read.and_then(|(config, text)| self.apply(config, Some(&text), &by)) {
            Ok(applied) => Ok(applied),
            Err(error) => {
                Err(NotReloaded::Refused(self.refuse(Refused::new(&error, &by, self.parts.clock.now()))))
            }
        };
        *turn = Turn { answers, outcome: outcome.clone() };
        outcome
    }

    /// Puts a configuration in force that was made in this process, as one that was read; nothing of it is kept.
    pub(crate) async fn put(&self, config: Config, by: &str) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        self.apply(config, None, by).map(drop).map_err(|error| chain(&error))
    }

    fn apply(&self, new: Config, text: Option<&str>, by: &str) -> Result<Arc<Applied>, LoadError> {
        let running = self.running.load_full();
        let renamed = running.renamed_budgets(&new);
        if !renamed.is_empty() {
            return Err(LoadError::Problems(renamed));
        }
        let changed = new.secrets.changed_since(&running.secrets);
        let (config, restart_needed) = running.adopt(new);
        let config = Arc::new(config);
        let next = self.parts.live.next(&config).map_err(|problem| LoadError::Problems(vec![problem]))?;
        let before = self.applied();
        let at = self.parts.clock.now();
        let secrets = match changed.is_empty() {
            true => SecretsNow { changed, ..before.secrets.clone() },
            false => SecretsNow { generation: before.secrets.generation + 1, changed_at: at, changed },
        };
        let applied = Arc::new(Applied {
            revision: config.revision.clone(),
            generation: before.generation + 1,
            at,
            secrets,
            by: by.to_owned(),
            restart_needed,
            warnings: config.warnings.clone(),
        });
        self.parts.live.set(next);
        self.parts.publisher.apply(Arc::clone(&config));
        self.parts.keep.set(config.records);
        self.parts.doors.set(&config);
        self.running.store(config);
        self.applied.store(Arc::clone(&applied));
        self.accepted(text);
        Ok(applied)
    }

    /// Whatever was wrong before is fixed now.
    fn accepted(&self, text: Option<&str>) {
        let applied = self.applied();
        self.refused.store(None);
        if let (Some(files), Some(text)) = (self.parts.files.clone(), text) {
            let (text, generation) = (text.to_owned(), applied.generation);
            // Best effort, and not worth waiting for: a failure is counted there.
            self.parts.tasks.spawn_blocking(move || files.keep_config(&text, generation));
        }
        let Applied { revision, generation, by, restart_needed, secrets, .. } = &*applied;
        let secrets_changed = &secrets.changed;
        info!(%revision, generation, %by, ?restart_needed, ?secrets_changed, "configuration {revision} is in force");
        for Problem { path, message } in &applied.warnings {
            warn!("configuration: {path} {message}");
        }
        self.note_start();
        let (state, reason) = match restart_needed.is_empty() {
            true => (State::Ok, format!("revision {revision} is in force")),
            false => {
                let waiting = restart_needed.join(", ");
                (State::Ok, format!("revision {revision} is in force; a restart applies {waiting}"))
            }
        };
        self.tell(state, reason);
    }

    fn note_start(&self) {
        let Applied { revision, generation, at, by, restart_needed, secrets, .. } = &*self.applied();
        self.parts.notes.send(NewEvent {
            at: *at,
            subject: SUBJECT.to_owned(),
            kind: "config_applied".to_owned(),
            actor: by.clone(),
            text: format!("configuration {revision} is in force"),
            detail: json!({"revision": revision, "generation": generation, "restart_needed": restart_needed,
                           "secrets_changed": secrets.changed}),
        });
    }

    fn refuse(&self, refused: Refused) -> Arc<Refused> {
        self.failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let refused = Arc::new(refused);
        let Refused { at, by, reason, problems } = &*refused;
        let revision = self.applied().revision.clone();
        warn!(%by, "configuration refused, {revision} stays in force: {reason}");
        for Problem { path, message } in problems {
            warn!("configuration: {path} {message}");
        }
        let told: Vec<String> = problems
            .iter()
            .take(MAX_PROBLEMS_NOTED)
            .map(|Problem { path, message }| format!("{path} {message}"))
            .collect();
        self.parts.notes.send(NewEvent {
            at: *at,
            subject: SUBJECT.to_owned(),
            kind: "config_refused".to_owned(),
            actor: by.clone(),
            text: format!("a configuration was refused, {revision} stays in force: {reason}"),
            detail: json!({"revision": revision, "problems": told}),
        });
        self.refused.store(Some(Arc::clone(&refused)));
        self.tell(
            State::Degraded,
            format!("the file was refused ({reason}); revision {revision} stays in force"),
        );
        refused
    }

    /// The word that health has for the component `config`.
    fn tell(&self, state: State, reason: String) {
        self.parts.observer.tell(Group::Config, Told { state, reason, at: self.parts.clock.now() });
    }

    /// For processes without control, which report for themselves.
    pub(crate) fn told(&self) -> Told {
        let revision = &self.applied().revision;
        match self.refused() {
            Some(refused) => Told {
                state: State::Degraded,
                reason: format!(
                    "the file was refused ({}); revision {revision} stays in force",
                    refused.reason
                ),
                at: refused.at,
            },
            None => Told {
                state: State::Ok,
                reason: format!("revision {revision} is in force"),
                at: self.applied().at,
            },
        }
    }
}
