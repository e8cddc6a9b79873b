//! Takes the gateway's records: every one is observed and measured, failures and a share of successes are stored.
//!
//! Promises: never slows the data plane; a record that could not be stored is counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mainstay_base::{Record, record::Outcome};
use mainstay_control::Observer;
use mainstay_gateway::RecordReceiver;
use mainstay_store::Store;
use tracing::warn;

use crate::metrics::Metrics;

/// Records stored in one transaction.
const MAX_BATCH: usize = 256;
/// A store that is down gets so many tries for one batch before the batch is given up and counted.
const TRIES: u32 = 3;
const TRY_PAUSE: Duration = Duration::from_millis(250);

/// Counts what was lost between a record and its row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unstored(Arc<AtomicU64>);

impl Unstored {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub(crate) struct Consumer {
    pub(crate) store: Store,
    pub(crate) observer: Observer,
    pub(crate) metrics: Metrics,
    pub(crate) keep_success: f64,
    pub(crate) unstored: Unstored,
}

impl Consumer {
    /// Until every sender is gone; what is in the channel by then is still stored.
    pub(crate) async fn run(self, mut records: RecordReceiver) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while records.recv_many(&mut batch, MAX_BATCH).await > 0 {
            for record in &batch {
                self.observer.observe(record);
                self.metrics.observe(record);
            }
            batch.retain(|record| is_kept(record, self.keep_success));
            if !batch.is_empty() {
                self.store(std::mem::take(&mut batch)).await;
            }
            batch.clear();
        }
    }

    async fn store(&self, batch: Vec<Record>) {
        let count = batch.len() as u64;
        for attempt in 1..=TRIES {
            match self.store.records().insert_batch(batch.clone()).await {
                Ok(()) => return,
                Err(error) if attempt == TRIES => {
                    self.unstored.0.fetch_add(count, Ordering::Relaxed);
                    warn!(%error, "{count} records of requests could not be stored");
                }
                Err(_) => tokio::time::sleep(TRY_PAUSE).await,
            }
        }
    }
}

/// Failures always; of successes a share that is the same for the same request everywhere.
fn is_kept(record: &Record, keep_success: f64) -> bool {
    if record.outcome != Outcome::Ok {
        return true;
    }
    let hash = blake3::hash(record.request_id.as_bytes());
    let mut first = [0_u8; 4];
    first.copy_from_slice(&hash.as_bytes()[..4]);
    f64::from(u32::from_le_bytes(first)) / f64::from(u32::MAX) < keep_success || keep_success >= 1.0
}

#[cfg(test)]
mod tests {
    use mainstay_base::record::Path;

    use super::*;

    fn record(number: usize, outcome: Outcome) -> Record {
        Record { request_id: format!("request-{number}"), outcome, ..Record::blank(Path::App) }
    }

    #[test]
    fn failures_are_always_kept_and_successes_by_their_share() {
        let kept = |share| (0..1000).filter(|number| is_kept(&record(*number, Outcome::Ok), share)).count();
        assert_eq!(kept(0.0), 0);
        assert_eq!(kept(1.0), 1000);
        assert!((400..600).contains(&kept(0.5)), "{}", kept(0.5));
        assert!((0..1000).all(|number| is_kept(&record(number, Outcome::Cut), 0.0)));
    }
}
