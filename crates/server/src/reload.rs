//! Puts a changed configuration in force while streams run on.
//!
//! Promises: a file is taken whole or refused whole, with every problem; the last good one stays in force; what needs
//! a restart is named and not applied; secrets behind references are read again; every outcome is told in health, in
//! the metrics, and in the timeline as soon as the store takes it.

use std::{path::PathBuf, sync::Arc};

use arc_swap::{ArcSwap, ArcSwapOption};
use mainstay_base::{Clock, Micros};
use mainstay_control::{Group, Observer, Peers, State, Told};
use mainstay_store::model::NewEvent;
use serde_json::json;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    config::{self, Config, Follow, LoadError, Problem},
    failure::chain,
    last_good::StateFiles,
    notes::Notes,
    publisher::Publisher,
    records::Keep,
    wiring,
};

/// The subject of the timeline's events.
const SUBJECT: &str = "config";
/// Problems that one event of the timeline tells; the log and the answer have all.
const MAX_PROBLEMS_NOTED: usize = 20;

/// Where the configuration came from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// Made in this process: it cannot be loaded again.
    BuiltIn,
    File {
        path: PathBuf,
        text: String,
    },
    /// The file at `path` could not be used; the last accepted text is in force instead.
    LastGood {
        path: PathBuf,
        refused: Refused,
    },
}

impl Origin {
    fn path(&self) -> Option<PathBuf> {
        match self {
            Origin::BuiltIn => None,
            Origin::File { path, .. } | Origin::LastGood { path, .. } => Some(path.clone()),
        }
    }
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) revision: String,
    /// 1 at the start; grows with each that is applied.
    pub(crate) generation: u64,
    pub(crate) at: Micros,
    pub(crate) by: String,
    /// Sections whose change waits for a restart.
    pub(crate) restart_needed: Vec<&'static str>,
    pub(crate) warnings: Vec<Problem>,
}

/// A configuration that was not put in force.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) at: Micros,
    pub(crate) by: String,
    /// In one line.
    pub(crate) reason: String,
    pub(crate) problems: Vec<Problem>,
}

impl Refused {
    pub(crate) fn new(error: &LoadError, by: &str, at: Micros) -> Refused {
        let problems = match error {
            LoadError::Problems(problems) => problems.clone(),
            LoadError::Read { .. } | LoadError::TooLarge { .. } | LoadError::Syntax { .. } => Vec::new(),
        };
        Refused { at, by: by.to_owned(), reason: chain(error), problems }
    }
}

/// Why nothing was loaded.
#[derive(Debug)]
pub(crate) enum NotReloaded {
    /// This process was not started from a file.
    NoFile,
    Refused(Arc<Refused>),
}

pub(crate) struct Reloader {
    pub(crate) parts: Parts,
    path: Option<PathBuf>,
    running: ArcSwap<Config>,
    applied: ArcSwap<Applied>,
    refused: ArcSwapOption<Refused>,
    failures: std::sync::atomic::AtomicU64,
    turn: tokio::sync::Mutex<()>,
}

/// Whom a new configuration is given to.
pub(crate) struct Parts {
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) peers: watch::Sender<Arc<Peers>>,
    pub(crate) keep: Arc<Keep>,
    pub(crate) observer: Observer,
    pub(crate) files: Option<StateFiles>,
    pub(crate) notes: Notes,
    pub(crate) clock: Clock,
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
            warnings: config.warnings.clone(),
        };
        let reloader = Reloader {
            path: origin.path(),
            running: ArcSwap::new(config),
            applied: ArcSwap::from_pointee(applied),
            refused: ArcSwapOption::empty(),
            failures: 0.into(),
            turn: tokio::sync::Mutex::new(()),
            parts,
        };
        match origin {
            Origin::BuiltIn => {}
            Origin::File { text, .. } => reloader.accepted(&text),
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

    /// One at a time; each reads the file anew.
    pub(crate) async fn reload(&self, by: &str) -> Result<Arc<Applied>, NotReloaded> {
        let path = self.path.clone().ok_or(NotReloaded::NoFile)?;
        let _turn = self.turn.lock().await;
        // The file and the secrets may be on a slow network share.
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        match read {
            Ok(Ok((config, text))) => Ok(self.apply(config, &text, by)),
            Ok(Err(error)) => {
                Err(NotReloaded::Refused(self.refuse(Refused::new(&error, by, self.parts.clock.now()))))
            }
            Err(panicked) => Err(NotReloaded::Refused(self.refuse(Refused {
                at: self.parts.clock.now(),
                by: by.to_owned(),
                reason: format!("the configuration could not be read: {panicked}"),
                problems: Vec::new(),
            }))),
        }
    }

    fn apply(&self, new: Config, text: &str, by: &str) -> Arc<Applied> {
        let (config, restart_needed) = self.running.load().adopt(new);
        let config = Arc::new(config);
        let before = self.applied();
        let applied = Arc::new(Applied {
            revision: config.revision.clone(),
            generation: before.generation + 1,
            at: self.parts.clock.now(),
            by: by.to_owned(),
            restart_needed,
            warnings: config.warnings.clone(),
        });
        self.parts.publisher.apply(Arc::clone(&config));
        self.parts.peers.send_replace(Arc::new(wiring::peers(&config)));
        self.parts.keep.set(config.records);
        self.running.store(config);
        self.applied.store(Arc::clone(&applied));
        self.accepted(text);
        applied
    }

    /// Whatever was wrong before is fixed now.
    fn accepted(&self, text: &str) {
        let applied = self.applied();
        self.refused.store(None);
        if let Some(files) = self.parts.files.clone() {
            let text = text.to_owned();
            // Best effort, and not worth waiting for: a failure is counted there.
            tokio::task::spawn_blocking(move || files.keep_config(&text));
        }
        let Applied { revision, generation, by, restart_needed, .. } = &*applied;
        info!(%revision, generation, %by, ?restart_needed, "configuration {revision} is in force");
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
        let Applied { revision, generation, at, by, restart_needed, .. } = &*self.applied();
        self.parts.notes.send(NewEvent {
            at: *at,
            subject: SUBJECT.to_owned(),
            kind: "config_applied".to_owned(),
            actor: by.clone(),
            text: format!("configuration {revision} is in force"),
            detail: json!({"revision": revision, "generation": generation, "restart_needed": restart_needed}),
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

fn read(path: &std::path::Path) -> Result<(Config, String), LoadError> {
    let text = config::read_file(path)?;
    let name = path.display().to_string();
    let config = config::parse(&name, &text, &config::environment(), Follow::Yes)?;
    Ok((config, text))
}
