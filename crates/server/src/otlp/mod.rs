//! Traces and metrics to an OpenTelemetry collector, by OTLP over HTTP (protobuf), with the semantic conventions for
//! generative AI (v1.37).
//!
//! Promises: never slows the data plane: what does not fit is dropped and counted; no content, no key and no end user
//! is ever sent; a collector that is away costs a bounded amount of memory, and nothing else.

mod batch;
mod exposition;
mod genai;
mod send;
mod spans;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use mainstay_base::{Clock, Record, record::Outcome, snapshot::Snapshot};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::{genai::GenAi, send::Collector};
use crate::{config, insight::Insight, metrics::OtlpNow, records};

/// Requests that wait to be sent; one takes a few kilobytes.
const WAITING: usize = 4096;
/// The last spans may take so long at the end of the process.
const LAST_CALLS: Duration = Duration::from_secs(5);

/// What the record consumer knows of it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Otlp {
    inner: Arc<Inner>,
}

struct Inner {
    traces: Option<mpsc::Sender<Box<Record>>>,
    keep_success: f64,
    /// Calls of models since the start; `None`: no metrics are sent.
    genai: Option<Mutex<GenAi>>,
    counts: Counts,
    snapshot: Arc<ArcSwap<Snapshot>>,
}

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
}

/// What sends, until it is told to stop.
pub(crate) struct Exporter {
    otlp: Otlp,
    collector: Collector,
    traces: Option<mpsc::Receiver<Box<Record>>>,
    every: Duration,
    clock: Clock,
}

/// Both halves: who is offered records, and who sends them. `None`: this binary was built without.
pub(crate) fn start(
    config: &config::Otlp,
    client: mainstay_net::Client,
    snapshot: Arc<ArcSwap<Snapshot>>,
    clock: Clock,
) -> Option<(Otlp, Exporter)> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let inner = Inner {
        traces: config.traces.then_some(sender),
        keep_success: config.keep_success,
        genai: config.metrics.then(|| Mutex::new(GenAi::new(clock.now()))),
        counts: Counts::default(),
        snapshot,
    };
    let otlp = Otlp { inner: Arc::new(inner) };
    let collector = Collector::new(config, client);
    let traces = config.traces.then_some(receiver);
    Some((otlp.clone(), Exporter { otlp, collector, traces, every: config.every, clock }))
}

impl Otlp {
    /// Takes what it wants of a record. Never waits.
    pub(crate) fn offer(&self, record: &Record) {
        if let Some(genai) = &self.inner.genai {
            genai.lock().observe(record, &self.inner.snapshot.load());
        }
        let Some(traces) = &self.inner.traces else { return };
        let is_wanted = record.span.is_sampled
            && (record.outcome != Outcome::Ok || records::is_kept(record, self.inner.keep_success));
        if is_wanted && traces.try_send(Box::new(record.clone())).is_err() {
            self.inner.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn now(&self) -> OtlpNow {
        let Counts { sent, dropped, failures } = &self.inner.counts;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        OtlpNow { sent: load(sent), dropped: load(dropped), failures: load(failures) }
    }
}

impl Exporter {
    /// Until `stop`; then what waits is sent, for a while.
    pub(crate) async fn run(self, insight: Arc<Insight>, stop: CancellationToken) {
        let Exporter { otlp, collector, traces, every, clock } = self;
        let metrics = async {
            if otlp.inner.genai.is_some() {
                batch::metrics(&otlp, &collector, &insight, every, &clock, &stop).await;
            }
        };
        let traces = async {
            if let Some(traces) = traces {
                batch::traces(&otlp, &collector, traces, &stop).await;
            }
        };
        let both = async { tokio::join!(metrics, traces) };
        let ended = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_CALLS).await;
        };
        tokio::select! {
            _ = both => {}
            () = ended => {}
        }
    }
}
