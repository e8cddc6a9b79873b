//! Keeps the gateway's `Snapshot` current: configuration, imported apps and keys, and what control has overridden.
//!
//! Promises: the gateway always has a whole snapshot; while the store is away the last good one stays, and it is kept
//! on disk for a start without the store; a new configuration is published whether the store answers or not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use mainstay_base::{Clock, Micros, Secret, Snapshot};
use mainstay_control::Overrides;
use mainstay_store::{Store, StoreError};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::Config,
    failure::chain,
    last_good::StateFiles,
    routes::{self, Published},
};

/// How long a change made by another process may go unnoticed.
const POLL: Duration = Duration::from_millis(250);
/// A store that takes longer is as good as away; the question is asked again.
const STORE_WAIT: Duration = Duration::from_secs(5);

pub(crate) struct Publisher {
    store: Store,
    engine_key: Secret,
    clock: Clock,
    files: Option<StateFiles>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// Puts readings of the store in order.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// Whether this process has a store whose schema it knows.
    joined: AtomicBool,
}

/// What the present snapshot was made from.
struct State {
    config: Arc<Config>,
    published: Published,
    versions: Option<Versions>,
    /// Why the store cannot be asked, since when.
    trouble: Option<(String, Micros)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Versions {
    apps: i64,
    overrides: i64,
}

impl Publisher {
    pub(crate) fn new(
        config: Arc<Config>,
        store: Store,
        engine_key: Secret,
        clock: Clock,
        files: Option<StateFiles>,
    ) -> Publisher {
        let published = Published::default();
        let snapshot = routes::snapshot(&config, &published, &engine_key, 0);
        Publisher {
            store,
            engine_key,
            clock,
            files,
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
            turn: tokio::sync::Mutex::new(()),
            state: Mutex::new(State { config, published, versions: None, trouble: None }),
            joined: AtomicBool::new(true),
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.snapshot)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.snapshot.load().generation
    }

    /// Why the store cannot be asked, since when; `None` while it answers.
    pub(crate) fn trouble(&self) -> Option<(String, Micros)> {
        self.state.lock().trouble.clone()
    }

    /// Publishes what was kept on disk, because the store is away; the store is joined when it is back.
    pub(crate) fn publish_kept(&self, published: Published, why: String) {
        self.joined.store(false, Ordering::Release);
        let mut state = self.state.lock();
        state.published = published;
        state.trouble = Some((why, self.clock.now()));
        self.publish(&state);
    }

    /// Publishes routes of another configuration, over what was last read of the store. Gives the generation.
    pub(crate) fn apply(&self, config: Arc<Config>) -> u64 {
        let mut state = self.state.lock();
        state.config = config;
        self.publish(&state)
    }

    /// Publishes a new snapshot when something has changed in the store.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let overrides = Overrides::read(&self.store).await?;
        let versions =
            Versions { apps: self.store.apps().generation().await?, overrides: overrides.revision };
        if self.state.lock().versions == Some(versions) {
            return Ok(());
        }
        let published = Published {
            apps: self.store.apps().list().await?,
            keys: self.store.apps().keys().await?,
            drained: overrides.drained_providers(),
            failovers: overrides.failovers(),
            woken: overrides.woken(),
        };
        let kept = published.clone();
        {
            let mut state = self.state.lock();
            state.published = published;
            state.versions = Some(versions);
            self.publish(&state);
        }
        self.keep(kept).await;
        Ok(())
    }

    /// The caller holds the lock, so publications are in order.
    fn publish(&self, state: &State) -> u64 {
        let generation = self.generation() + 1;
        let snapshot = routes::snapshot(&state.config, &state.published, &self.engine_key, generation);
        info!(
            generation,
            keys = snapshot.app.keys.len(),
            models = snapshot.model.models.len(),
            drained = ?snapshot.model.drained,
            "snapshot {generation} is published"
        );
        for name in routes::drained_chains(&snapshot.model) {
            warn!("every provider of the model {name} is out of rotation; a drained one answers");
        }
        self.snapshot.store(Arc::new(snapshot));
        generation
    }

    async fn keep(&self, published: Published) {
        let Some(files) = self.files.clone() else { return };
        let at = self.clock.now();
        // Waiting for the disk must not hold up other tasks; a panic there would be told by the count missing.
        let _ = tokio::task::spawn_blocking(move || files.keep_published(&published, at)).await;
    }

    pub(crate) async fn run(self: Arc<Publisher>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(POLL) => {}
            }
            let followed = tokio::time::timeout(STORE_WAIT, self.follow()).await;
            let outcome = followed.unwrap_or_else(|_| Err(format!("no answer within {STORE_WAIT:?}")));
            self.note(outcome);
        }
    }

    /// A store that was away at the start may have come back with a schema that is not ours.
    async fn follow(&self) -> Result<(), String> {
        if !self.joined.load(Ordering::Acquire) {
            let url = self.state.lock().config.store_url.clone();
            self.store.verify(url.expose()).await.map_err(|error| chain(&error))?;
            self.joined.store(true, Ordering::Release);
        }
        self.refresh().await.map_err(|error| error.to_string())
    }

    fn note(&self, outcome: Result<(), String>) {
        let mut state = self.state.lock();
        match (outcome, state.trouble.is_some()) {
            (Ok(()), true) => {
                info!("the store answers again; routes are current");
                state.trouble = None;
            }
            (Err(error), false) => {
                warn!(%error, "routes stay as they were last known: the store does not answer");
                state.trouble = Some((error, self.clock.now()));
            }
            (Ok(()), false) | (Err(_), true) => {}
        }
    }
}
