//! Keeps the gateway's `Snapshot` current: configuration, imported apps and keys, and what control has overridden.
//!
//! Promises: the gateway always has a whole snapshot; while the store is away the last good one stays.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use mainstay_base::{Secret, Snapshot};
use mainstay_control::Overrides;
use mainstay_store::{Store, StoreError};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::Config,
    routes::{self, Published},
};

/// How long a change made by another process may go unnoticed.
const POLL: Duration = Duration::from_millis(250);

pub(crate) struct Publisher {
    config: Arc<Config>,
    store: Store,
    engine_key: Secret,
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// What the present snapshot was made from; the lock also keeps publications in order.
    made_from: Mutex<Option<Versions>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Versions {
    apps: i64,
    overrides: i64,
}

impl Publisher {
    pub(crate) fn new(config: Arc<Config>, store: Store, engine_key: Secret) -> Publisher {
        let snapshot = routes::snapshot(&config, &Published::default(), &engine_key, 0);
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        Publisher { config, store, engine_key, snapshot, made_from: Mutex::new(None) }
    }

    pub(crate) fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.snapshot)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.snapshot.load().generation
    }

    /// Publishes a new snapshot when something has changed.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let mut made_from = self.made_from.lock().await;
        let overrides = Overrides::read(&self.store).await?;
        let versions =
            Versions { apps: self.store.apps().generation().await?, overrides: overrides.revision };
        if *made_from == Some(versions) {
            return Ok(());
        }
        let published = Published {
            apps: self.store.apps().list().await?,
            keys: self.store.apps().keys().await?,
            drained: overrides.drained_providers(),
            ..Published::default()
        };
        let generation = self.generation() + 1;
        let snapshot = routes::snapshot(&self.config, &published, &self.engine_key, generation);
        info!(
            generation,
            keys = snapshot.app.keys.len(),
            drained = ?snapshot.model.drained,
            "snapshot {generation} is published"
        );
        self.snapshot.store(Arc::new(snapshot));
        *made_from = Some(versions);
        Ok(())
    }

    pub(crate) async fn run(self: Arc<Publisher>, stop: CancellationToken) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(POLL) => {}
            }
            match self.refresh().await {
                Ok(()) if failing => {
                    info!("the store answers again; routes are current");
                    failing = false;
                }
                Ok(()) => {}
                Err(error) if !failing => {
                    warn!(%error, "routes stay as they were last known: the store does not answer");
                    failing = true;
                }
                Err(_) => {}
            }
        }
    }
}
