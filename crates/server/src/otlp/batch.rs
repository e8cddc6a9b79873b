//! Gathers what is sent together: spans as they come, metrics at their pace.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mainstay_base::{Clock, Record};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    metrics::v1::{ResourceMetrics, ScopeMetrics},
    trace::v1::{ResourceSpans, ScopeSpans},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Otlp, exposition,
    genai::Providers,
    send::{Collector, Signal},
    spans,
};
use crate::insight::Insight;

/// Requests whose spans go together.
const MAX_BATCH: usize = 256;
/// Spans wait so long for others.
const GATHER: Duration = Duration::from_secs(2);

/// Until every request was sent that came before `stop`.
pub(super) async fn traces(
    otlp: &Otlp,
    collector: &Collector,
    mut waiting: mpsc::Receiver<Box<Record>>,
    stop: &CancellationToken,
) {
    let mut batch: Vec<Box<Record>> = Vec::with_capacity(MAX_BATCH);
    loop {
        let is_ending = tokio::select! {
            biased;
            () = stop.cancelled() => { waiting.close(); true }
            count = waiting.recv_many(&mut batch, MAX_BATCH) => count == 0,
        };
        if !is_ending && batch.len() < MAX_BATCH {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(GATHER) => {}
            }
        }
        while batch.len() < MAX_BATCH
            && let Ok(record) = waiting.try_recv()
        {
            batch.push(record);
        }
        if batch.is_empty() && is_ending {
            return;
        }
        send_spans(otlp, collector, &std::mem::take(&mut batch)).await;
    }
}

async fn send_spans(otlp: &Otlp, collector: &Collector, batch: &[Box<Record>]) {
    let providers = Providers::of(&otlp.inner.snapshot.load());
    let spans = batch.iter().flat_map(|record| spans::of(record, &providers)).collect();
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(collector.resource()),
            scope_spans: vec![ScopeSpans { scope: Some(Collector::scope()), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    };
    let counts = &otlp.inner.counts;
    match collector.send(Signal::Traces, &request).await {
        Ok(()) => counts.sent.fetch_add(batch.len() as u64, Ordering::Relaxed),
        Err(()) => {
            counts.failures.fetch_add(1, Ordering::Relaxed);
            counts.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed)
        }
    };
}

/// Everything that `/metrics` tells, and the histograms of the conventions for generative AI.
pub(super) async fn metrics(
    otlp: &Otlp,
    collector: &Collector,
    insight: &Arc<Insight>,
    every: Duration,
    clock: &Clock,
    stop: &CancellationToken,
) {
    let started_at = clock.now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        let now = clock.now();
        let mut metrics = exposition::metrics(&insight.metrics().await, started_at, now);
        metrics.extend(otlp.inner.genai.as_ref().map(|genai| genai.lock().metrics(now)).unwrap_or_default());
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(collector.resource()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(Collector::scope()),
                    metrics,
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        };
        // What is not told now is told with the next, because counts go on from the start.
        if collector.send(Signal::Metrics, &request).await.is_err() {
            otlp.inner.counts.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}
