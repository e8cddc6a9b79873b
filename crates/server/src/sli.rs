//! Counts records for service levels, and takes what was counted to the store every few seconds.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use mainstay_base::{AppMode, Clock, Record, Snapshot, id};
use mainstay_control::slo::{Rollup, Totals};
use mainstay_store::{
    Store,
    model::{SliBatch, SliSeries},
};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Seldom enough to cost little, often enough that an outage is paged within a minute.
const EVERY: Duration = Duration::from_secs(1);
const STORE_WAIT: Duration = Duration::from_secs(5);
/// Batches of one turn: after the store was away there are many.
const MOST_BATCHES: usize = 8;

/// What this process has counted. Clones count together.
#[derive(Clone)]
pub(crate) struct Slis {
    rollup: Arc<Mutex<Rollup>>,
    snapshot: Arc<ArcSwap<Snapshot>>,
}

impl Slis {
    pub(crate) fn new(snapshot: Arc<ArcSwap<Snapshot>>) -> Slis {
        // A name that no other process has, and not this one after a restart: what it counts is its own.
        Slis { rollup: Arc::new(Mutex::new(Rollup::new(id::new()))), snapshot }
    }

    /// Those that have ended since the last time.
    pub(crate) fn observe(&self, records: &[Record]) {
        let snapshot = self.snapshot.load();
        let mode_of = |app: &str| mode(&snapshot, app);
        let mut rollup = self.rollup.lock();
        records.iter().for_each(|record| rollup.take(record, &mode_of));
    }

    /// Each series with what was counted of it since the start, and rows that were given up.
    pub(crate) fn totals(&self) -> (Vec<(SliSeries, Totals)>, u64) {
        let rollup = self.rollup.lock();
        let totals = rollup.totals().map(|(series, totals)| (series.clone(), *totals)).collect();
        (totals, rollup.lost())
    }

    /// Until `stop`; what was counted by then is still written.
    pub(crate) async fn run(self, store: Store, clock: Clock, stop: CancellationToken) {
        let mut failing = false;
        loop {
            let ends = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(EVERY) => false,
            };
            let outcome = self.flush(&store, &clock).await;
            match (&outcome, failing) {
                (Err(error), false) => {
                    warn!(%error, "what is counted for service levels waits for the store")
                }
                (Ok(()), true) => info!("what was counted for service levels is stored again"),
                _ => {}
            }
            failing = outcome.is_err();
            if ends {
                break;
            }
        }
    }

    async fn flush(&self, store: &Store, clock: &Clock) -> Result<(), String> {
        for _ in 0..MOST_BATCHES {
            let batch = self.rollup.lock().batch(clock.now());
            let is_empty = |batch: &SliBatch| batch.minutes.is_empty() && batch.hours.is_empty();
            let slis = store.slis();
            let outcome = match is_empty(&batch) {
                true => Ok(Ok(())),
                false => tokio::time::timeout(STORE_WAIT, slis.put(batch.clone())).await,
            };
            self.rollup.lock().written(&batch, matches!(outcome, Ok(Ok(()))));
            match outcome {
                Ok(Ok(())) if is_empty(&batch) => return Ok(()),
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err(format!("no answer within {STORE_WAIT:?}")),
            }
        }
        Ok(())
    }
}

/// Apps are few, and each is looked for once.
fn mode(snapshot: &Snapshot, app_id: &str) -> Option<AppMode> {
    snapshot.app.keys.values().find(|route| route.app_id == app_id).map(|route| route.mode)
}
