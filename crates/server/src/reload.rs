//! Puts a changed configuration in force while streams run on.
//!
//! Promises: a file is taken whole or refused whole, with every problem; the last good one stays in force; what needs
//! a restart is named and not applied; secrets behind references are read again; every outcome is told in health, in
//! the metrics, and in the timeline as soon as the store takes it. A file that is being written is not read, and one
//! that is suddenly empty is refused: it is a copy that failed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use mainstay_base::{Clock, Micros, Secret};
use mainstay_console::AdminTokens;
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

/// How long a file must stay as it is before it counts as written, and how often that is looked for.
const SETTLED: Duration = Duration::from_millis(100);
const MAX_LOOKS: usize = 20;
/// A file or a secret on a share that does not answer.
const READ_WAIT: Duration = Duration::from_secs(30);

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
    pub(crate) secrets: SecretsNow,
    pub(crate) warnings: Vec<Problem>,
}

/// Which values of secrets are in force, without telling any: a revision knows references only.
#[derive(Clone, Debug)]
pub(crate) struct SecretsNow {
    /// 1 at the start; grows with each reload that found another value behind a reference.
    pub(crate) generation: u64,
    pub(crate) changed_at: Micros,
    /// The references with another value than before the last reload.
    pub(crate) changed: Vec<String>,
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
            LoadError::Read { .. }
            | LoadError::TooLarge { .. }
            | LoadError::Syntax { .. }
            | LoadError::Empty { .. }
            | LoadError::Changing { .. }
            | LoadError::Silent { .. } => Vec::new(),
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
    /// Everything comes from the environment when the file of the start is empty.
    may_be_empty: bool,
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
    pub(crate) doors: Doors,
    pub(crate) observer: Observer,
    pub(crate) files: Option<StateFiles>,
    pub(crate) notes: Notes,
    pub(crate) clock: Clock,
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
        match read(&path, self.may_be_empty).await {
            Ok((config, text)) => Ok(self.apply(config, &text, by)),
            Err(error) => {
                Err(NotReloaded::Refused(self.refuse(Refused::new(&error, by, self.parts.clock.now()))))
            }
        }
    }

    fn apply(&self, new: Config, text: &str, by: &str) -> Arc<Applied> {
        let changed = new.secrets.changed_since(&self.running.load().secrets);
        let (config, restart_needed) = self.running.load().adopt(new);
        let config = Arc::new(config);
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
        self.parts.publisher.apply(Arc::clone(&config));
        self.parts.peers.send_replace(Arc::new(wiring::peers(&config)));
        self.parts.keep.set(config.records);
        self.parts.doors.set(&config);
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
            let (text, generation) = (text.to_owned(), applied.generation);
            // Best effort, and not worth waiting for: a failure is counted there.
            tokio::task::spawn_blocking(move || files.keep_config(&text, generation));
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

/// The file and the secrets may be on a slow network share; one that says nothing keeps nobody else from trying later.
async fn read(path: &Path, may_be_empty: bool) -> Result<(Config, String), LoadError> {
    let name = path.display().to_string();
    let silent = |_| LoadError::Silent { path: name.clone(), waited: READ_WAIT };
    tokio::time::timeout(READ_WAIT, async {
        let look = || {
            let path = path.to_owned();
            aside(move || config::read_again(&path))
        };
        let text = settled(path, look).await?;
        if text.trim().is_empty() && !may_be_empty {
            return Err(LoadError::Empty { path: name.clone() });
        }
        let name = name.clone();
        aside(move || {
            let config = config::parse(&name, &text, &config::environment(), Follow::Yes)?;
            Ok((config, text))
        })
        .await
    })
    .await
    .unwrap_or_else(|elapsed| Err(silent(elapsed)))
}

/// The text, once two looks have found the same.
async fn settled<Look: Future<Output = Result<String, LoadError>>>(
    path: &Path,
    mut look: impl FnMut() -> Look,
) -> Result<String, LoadError> {
    let mut before = look().await?;
    for _ in 0..MAX_LOOKS {
        tokio::time::sleep(SETTLED).await;
        let now = look().await?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
    Err(LoadError::Changing { path: path.display().to_string() })
}

/// Away from the threads that serve.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    let panicked = |error: tokio::task::JoinError| LoadError::Read {
        path: "the configuration".to_owned(),
        source: std::io::Error::other(error),
    };
    tokio::task::spawn_blocking(work).await.map_err(panicked)?
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(looks: &[&str], expected: Option<&str>) {
        let mut looks = looks.iter().cycle();
        let look = || std::future::ready(Ok(looks.next().copied().unwrap_or_default().to_owned()));
        let read = settled(Path::new("f"), look).await;
        assert_eq!(read.ok().as_deref(), expected);
    }

    // Half of a file may be a valid configuration: one without the providers of the other half.
    #[tokio::test]
    async fn a_file_that_is_being_written_is_read_when_it_stays_as_it_is() {
        check(&["whole"], Some("whole")).await;
        check(&["", "ha", "half", "whole", "whole"], Some("whole")).await;
        check(&["one", "other"], None).await;
    }
}
