//! Takes the gateway's records: every one is observed and measured; failures and a share of successes are stored, within
//! a bound a second.
//!
//! Promises: never slows the data plane; what it costs is bounded however many requests there are; a record that is not
//! stored for want of room, or because the store did not take it, is counted.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use mainstay_base::{Record, record::Outcome};
use mainstay_control::Observer;
use mainstay_gateway::RecordReceiver;
use mainstay_store::Store;
use tokio::{sync::mpsc, time::Instant};
use tracing::warn;

use crate::{config, metrics::Metrics, otlp::Otlp, sli::Slis};

/// Records looked at together, and stored in one transaction.
const MAX_BATCH: usize = 256;
/// Records that come within it are looked at together: what wakes this reader, and what the store syncs, is paid for
/// once for all of them.
const GATHER: Duration = Duration::from_millis(100);
/// Records looked at before others have their turn: a request that waits behind a whole batch is late by a millisecond.
const AT_A_STRETCH: usize = 32;
/// Batches that wait for the store; beyond it they are given up and counted.
const WAITING: usize = 32;
/// A store that is down gets so many tries for one batch before the batch is given up and counted.
const TRIES: u32 = 3;
const TRY_PAUSE: Duration = Duration::from_millis(250);
/// A store that takes longer for a batch is as good as down.
const STORE_WAIT: Duration = Duration::from_secs(5);

type Batch = Arc<[Record]>;

/// Counts what was lost between a record and its row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unstored(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    refused: AtomicU64,
    beyond_bound: AtomicU64,
}

impl Unstored {
    /// The store did not take them.
    pub(crate) fn count(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// There were more than are stored in a second.
    pub(crate) fn beyond_bound(&self) -> u64 {
        self.0.beyond_bound.load(Ordering::Relaxed)
    }
}

/// What is kept; it may change while records come.
#[derive(Debug)]
pub(crate) struct Keep(ArcSwap<config::Records>);

impl Keep {
    pub(crate) fn new(records: config::Records) -> Keep {
        Keep(ArcSwap::from_pointee(records))
    }

    pub(crate) fn set(&self, records: config::Records) {
        self.0.store(Arc::new(records));
    }
}

pub(crate) struct Consumer {
    pub(crate) store: Store,
    pub(crate) observer: Observer,
    pub(crate) metrics: Metrics,
    pub(crate) keep: Arc<Keep>,
    pub(crate) unstored: Unstored,
    pub(crate) slis: Slis,
    pub(crate) otlp: Option<Otlp>,
}

impl Consumer {
    /// Until every sender is gone; what is in the channel by then is still stored.
    pub(crate) async fn run(self, records: RecordReceiver) {
        let (batches, waiting) = mpsc::channel(WAITING);
        let writer = Writer { store: self.store.clone(), unstored: self.unstored.clone() };
        tokio::join!(self.look(records, batches), writer.run(waiting));
    }

    /// Never waits for the store: health and metrics know of each request while it is away.
    async fn look(self, mut records: RecordReceiver, batches: mpsc::Sender<Batch>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let mut bound = Bound::new(self.keep.0.load().max_stored_a_second);
        let started = Instant::now();
        while records.recv_many(&mut batch, MAX_BATCH).await > 0 {
            let is_full = batch.len() == MAX_BATCH;
            for some in batch.chunks(AT_A_STRETCH) {
                for record in some {
                    self.observer.observe(record);
                    self.metrics.observe(record);
                    if let Some(otlp) = &self.otlp {
                        otlp.offer(record);
                    }
                }
                self.slis.observe(some);
                tokio::task::yield_now().await;
            }
            let keep = **self.keep.0.load();
            let now = started.elapsed();
            let mut wanted = 0;
            batch.retain(|record| {
                let is_wanted = is_kept(record, keep.keep_success);
                wanted += usize::from(is_wanted);
                is_wanted && bound.admits(record.outcome, keep.max_stored_a_second, now)
            });
            self.unstored.0.beyond_bound.fetch_add((wanted - batch.len()) as u64, Ordering::Relaxed);
            if !batch.is_empty() {
                self.hand_over(batch.drain(..).collect(), &batches);
            }
            if !is_full && !records.is_closed() {
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    fn hand_over(&self, batch: Batch, batches: &mpsc::Sender<Batch>) {
        let count = batch.len() as u64;
        if batches.try_send(batch).is_err() {
            self.unstored.0.refused.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// Takes batches to the store, one after the other.
struct Writer {
    store: Store,
    unstored: Unstored,
}

impl Writer {
    async fn run(self, mut waiting: mpsc::Receiver<Batch>) {
        while let Some(batch) = waiting.recv().await {
            if self.store(batch).await.is_break() {
                let mut late = 0;
                while let Ok(batch) = waiting.try_recv() {
                    late += batch.len() as u64;
                }
                self.unstored.0.refused.fetch_add(late, Ordering::Relaxed);
            }
        }
    }

    /// Breaks when the store is silent: what waits behind would only wait as long.
    async fn store(&self, batch: Batch) -> ControlFlow<()> {
        let count = batch.len() as u64;
        for attempt in 1..=TRIES {
            let records = self.store.records();
            let insert = records.insert_batch(batch.clone());
            let outcome = tokio::time::timeout(STORE_WAIT, insert).await;
            match outcome.map_err(|_| format!("no answer within {STORE_WAIT:?}")) {
                Ok(Ok(())) => break,
                Ok(Err(error)) if attempt == TRIES => self.give_up(count, &error.to_string()),
                // Who waits in silence is not asked again: each asking would wait behind the one before.
                Err(error) => {
                    self.give_up(count, &error);
                    return ControlFlow::Break(());
                }
                Ok(Err(_)) => tokio::time::sleep(TRY_PAUSE).await,
            }
        }
        ControlFlow::Continue(())
    }

    fn give_up(&self, count: u64, error: &str) {
        self.unstored.0.refused.fetch_add(count, Ordering::Relaxed);
        warn!(%error, "{count} records of requests could not be stored");
    }
}

/// Failures always; of successes a share that is the same for the same request everywhere.
pub(crate) fn is_kept(record: &Record, keep_success: f64) -> bool {
    if record.outcome != Outcome::Ok || keep_success >= 1.0 {
        return true;
    }
    let hash = blake3::hash(record.request_id.as_bytes());
    let mut first = [0_u8; 4];
    first.copy_from_slice(&hash.as_bytes()[..4]);
    f64::from(u32::from_le_bytes(first)) / f64::from(u32::MAX) < keep_success
}

/// How many records may be stored now: one second's worth at once, refilled evenly. The last part of it is for
/// failures alone, so that a flood of successes never hides them.
struct Bound {
    left: f64,
    filled_at: Duration,
}

/// The share that successes may not touch.
const FOR_FAILURES: f64 = 0.2;

impl Bound {
    fn new(a_second: f64) -> Bound {
        Bound { left: a_second, filled_at: Duration::ZERO }
    }

    fn admits(&mut self, outcome: Outcome, a_second: f64, now: Duration) -> bool {
        let passed = now.saturating_sub(self.filled_at).as_secs_f64();
        self.left = (self.left + passed * a_second).min(a_second);
        self.filled_at = now;
        let floor = if outcome == Outcome::Ok { a_second * FOR_FAILURES } else { 0.0 };
        let is_admitted = self.left >= floor + 1.0;
        if is_admitted {
            self.left -= 1.0;
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use mainstay_base::{Clock, record::Path};
    use mainstay_store::Options;

    use super::*;
    use crate::metrics::Now;

    fn record(number: usize, outcome: Outcome) -> Record {
        Record { request_id: format!("request-{number}"), outcome, ..Record::blank(Path::App) }
    }

    // A store that was away held up the reader: health was blind and records found no room, each time for as long.
    #[tokio::test]
    async fn every_record_is_seen_while_the_store_takes_none() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("away.db").display());
        let store = Store::attach(Options { url, clock: Clock::System }).unwrap();
        let (metrics, unstored) = (Metrics::new(), Unstored::default());
        let keep = config::Records { keep_success: 1.0, max_stored_a_second: 1e6 };
        let consumer = Consumer {
            store,
            observer: Observer::default(),
            metrics: metrics.clone(),
            keep: Arc::new(Keep::new(keep)),
            unstored: unstored.clone(),
            slis: Slis::new(Arc::default()),
            otlp: None,
        };
        let (sender, received) = mainstay_gateway::records::channel(mainstay_gateway::records::QUEUE);
        (0..4000).for_each(|number| sender.send(record(number, Outcome::Failed)));
        let running = tokio::spawn(consumer.run(received));
        mainstay_testkit::wait_until("all are counted", Duration::from_secs(30), || async {
            let text = metrics.text(&Now::default());
            text.lines()
                .any(|line| line.starts_with("mainstay_requests_total{") && line.ends_with(" 4000"))
                .then_some(())
        })
        .await;
        assert!(unstored.count() < 2000, "{} were given up before all were seen", unstored.count());
        drop(sender);
        running.await.unwrap();
        assert_eq!(unstored.count(), 4000, "and each of them is counted");
    }

    #[test]
    fn failures_are_always_kept_and_successes_by_their_share() {
        let kept = |share| (0..1000).filter(|number| is_kept(&record(*number, Outcome::Ok), share)).count();
        assert_eq!(kept(0.0), 0);
        assert_eq!(kept(1.0), 1000);
        assert!((400..600).contains(&kept(0.5)), "{}", kept(0.5));
        assert!((0..1000).all(|number| is_kept(&record(number, Outcome::Cut), 0.0)));
    }

    #[test]
    fn a_flood_of_successes_leaves_room_for_failures_and_no_second_exceeds_the_bound() {
        let mut bound = Bound::new(100.0);
        let mut stored = (0, 0);
        // Ten seconds, 10,000 successes and 50 failures in each.
        for tick in 0..100_500_u32 {
            let now = Duration::from_secs(10).mul_f64(f64::from(tick) / 100_500.0);
            let outcome = if tick % 201 == 0 { Outcome::Failed } else { Outcome::Ok };
            if bound.admits(outcome, 100.0, now) {
                match outcome {
                    Outcome::Ok => stored.0 += 1,
                    _ => stored.1 += 1,
                }
            }
        }
        assert_eq!(stored.1, 500, "every failure");
        assert!((400..=1100).contains(&(stored.0 + stored.1)), "{stored:?}");
    }
}
