//! What Dify itself never exports: runs and failures, durations, waits, tokens and cost by app; queues, workers and
//! components; what is wrong with them now. docs/metrics.md names every one.

mod counted;
#[cfg(test)]
pub(super) mod tests;

use std::sync::{Arc, atomic::AtomicU64};

use mainstay_base::Severity;
use mainstay_control::queue::{Drain, Latest};
use mainstay_dify::probe::{Report, State};
use mainstay_store::model::Sketch;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet, text::encode_registry},
    metrics::{MetricType, TypedMetric, counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use self::counted::Count;
pub(crate) use self::counted::Numbers;
use super::names::{Names, OTHER};

/// Distinct apps that get series of their own over the life of the process.
const MAX_APPS: usize = 200;
/// Distinct queues, as Redis and workers name them.
const MAX_QUEUES: usize = 60;
/// Distinct ids of findings: ours and the rows of the catalogue.
const MAX_FINDINGS: usize = 200;
/// Distinct modes of apps, states of runs and currencies, each: Dify has a handful.
const MAX_WORDS: usize = 20;
/// From an answer out of a cache to a run at Dify's own limit.
const RUN_SECONDS: [f64; 13] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0];

type Float = Gauge<f64, AtomicU64>;
type FloatCounter = Counter<f64, AtomicU64>;

/// What is known of one Dify when somebody asks.
#[derive(Default)]
pub(crate) struct DifyNow {
    /// Since this process began; `None` when the store could not say.
    counts: Option<Vec<Count>>,
    /// How old what is known of runs is.
    reading_lag_s: Option<f64>,
    queues: Option<Arc<Latest>>,
    components: Vec<Report>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRun {
    app_id: String,
    app: String,
    mode: String,
    status: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFailure {
    app_id: String,
    app: String,
    class: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfApp {
    app_id: String,
    app: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTokens {
    app_id: String,
    app: String,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCost {
    app_id: String,
    app: String,
    currency: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfMode {
    mode: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfQueue {
    queue: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfComponent {
    component: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfComponentState {
    component: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFinding {
    id: String,
    severity: &'static str,
}

/// The names that have series; they stay over the life of the process, so that a counter never goes back.
pub(super) struct Dify {
    apps: Names,
    modes: Names,
    statuses: Names,
    currencies: Names,
    queues: Names,
    findings: Names,
}

impl Dify {
    pub(super) fn new() -> Dify {
        Dify {
            apps: Names::new(MAX_APPS),
            modes: Names::new(MAX_WORDS),
            statuses: Names::new(MAX_WORDS),
            currencies: Names::new(MAX_WORDS),
            queues: Names::new(MAX_QUEUES),
            findings: Names::new(MAX_FINDINGS),
        }
    }

    /// Appends the page of one Dify. It is made anew each time: what is gone is not told any more.
    pub(super) fn write(&self, text: &mut String, now: &DifyNow) {
        let mut registry = Registry::with_prefix("mainstay_dify");
        if let Some(counts) = &now.counts {
            self.counts(&mut registry, counts);
        }
        if let Some(lag_s) = now.reading_lag_s {
            let gauge = Float::default();
            gauge.set(lag_s);
            registry.register("reading_lag_seconds", "How old what is known of runs is", gauge);
        }
        if let Some(latest) = &now.queues {
            self.queues(&mut registry, latest);
            self.workers(&mut registry, latest);
        }
        components(&mut registry, &now.components);
        self.findings(&mut registry, now);
        // Writing to a string cannot fail.
        let _ = encode_registry(text, &registry);
    }

    fn counts(&self, registry: &mut Registry, counts: &[Count]) {
        let runs: Family<OfRun, Counter> = Family::default();
        let failures: Family<OfFailure, Counter> = Family::default();
        let seconds: Family<OfMode, Durations> = Family::default();
        let waited: Family<OfApp, Counter> = Family::default();
        let wait_seconds: Family<OfApp, FloatCounter> = Family::default();
        let tokens: Family<OfTokens, Counter> = Family::default();
        let cost: Family<OfCost, FloatCounter> = Family::default();
        let feedback: Family<OfRun, Counter> = Family::default();
        for count in counts {
            let (app_id, app) = self.app(count);
            let mode = self.modes.label(word(&count.mode));
            let status = self.statuses.label(word(&count.status));
            if count.is_unit() {
                let labels = OfRun { app_id: app_id.clone(), app: app.clone(), mode: mode.clone(), status };
                runs.get_or_create(&labels).inc_by(count.count);
                seconds.get_or_create(&OfMode { mode }).add(&count.sketch, count.took_us);
                if !count.class.is_empty() {
                    let labels =
                        OfFailure { app_id: app_id.clone(), app: app.clone(), class: count.class.clone() };
                    failures.get_or_create(&labels).inc_by(count.count);
                }
                let labels = OfApp { app_id: app_id.clone(), app: app.clone() };
                if count.waits > 0 {
                    waited.get_or_create(&labels).inc_by(count.waits);
                    wait_seconds.get_or_create(&labels).inc_by(count.wait_us as f64 / 1e6);
                }
            } else if count.kind == "feedback" {
                let labels = OfRun { app_id: app_id.clone(), app: app.clone(), mode, status };
                feedback.get_or_create(&labels).inc_by(count.count);
            }
            if count.is_spending() {
                let named = count.input_tokens.saturating_add(count.output_tokens);
                for (direction, number) in [
                    ("input", count.input_tokens),
                    ("output", count.output_tokens),
                    ("unknown", count.tokens.saturating_sub(named)),
                ] {
                    if number > 0 {
                        let labels = OfTokens { app_id: app_id.clone(), app: app.clone(), direction };
                        tokens.get_or_create(&labels).inc_by(number);
                    }
                }
                if count.price_nanos > 0 {
                    let currency = self.currencies.label(word(&count.currency));
                    let labels = OfCost { app_id, app, currency };
                    cost.get_or_create(&labels).inc_by(count.price_nanos as f64 / 1e9);
                }
            }
        }
        registry.register("runs", "Runs, and answers of apps without runs, that have ended", runs);
        registry.register("failures", "Failed runs by the class of their error", failures);
        registry.register("run_seconds", "How long runs took", seconds);
        registry.register("waited_runs", "Runs of which it is known how long they waited in a queue", waited);
        registry.register("wait_seconds", "What those runs waited together", wait_seconds);
        registry.register("tokens", "Tokens that nodes and answers used", tokens);
        registry.register("cost", "What they cost, in the currency, where Dify knows a price", cost);
        registry.register("feedback", "Likes and dislikes, as status", feedback);
    }

    /// The labels of an app; many share `other`.
    fn app(&self, count: &Count) -> (String, String) {
        match self.apps.label(word(&count.app_id)) {
            other if other == OTHER => (other.clone(), other),
            app_id => {
                let app = if count.app.is_empty() { app_id.clone() } else { count.app.clone() };
                (app_id, app)
            }
        }
    }

    fn queues(&self, registry: &mut Registry, latest: &Latest) {
        let [depth, oldest, consumers, wait, drain, growth]: [Family<OfQueue, Float>; 6] = Default::default();
        for view in &latest.verdicts.queues {
            let labels = OfQueue { queue: self.queues.label(&view.name) };
            add(&depth, &labels, view.waiting as f64);
            add(&consumers, &labels, view.consumers.len() as f64);
            // Of several that share `other` the worst is told.
            most(&oldest, &labels, view.oldest_s);
            most(&wait, &labels, view.wait_s);
            let (drains, grows) = match &view.drain {
                Drain::Empty => (Some(0.0), Some(0.0)),
                Drain::TooSoon => (None, None),
                Drain::Growing { per_s } => (None, Some(*per_s)),
                Drain::Uncertain { not_before_s } => (Some(*not_before_s), Some(0.0)),
                Drain::Within { expected_s, .. } => (Some(*expected_s), Some(0.0)),
            };
            most(&drain, &labels, drains);
            most(&growth, &labels, grows);
        }
        registry.register("queue_depth", "Messages that wait", depth);
        registry.register("queue_consumers", "Workers that consume the queue and answer", consumers);
        registry.register("queue_oldest_seconds", "How long the oldest message waits, at least", oldest);
        registry.register("queue_wait_seconds", "What a message that comes now will wait about", wait);
        registry.register(
            "queue_drain_seconds",
            "When the queue will be empty, or cannot be before; not told while it grows",
            drain,
        );
        registry.register("queue_growth_per_second", "By how much a queue grows that does not drain", growth);
        let up = Gauge::<i64>::default();
        up.set(i64::from(latest.seen.is_some()));
        registry.register("broker_seen", "1 while the broker can be looked at, else 0", up);
    }

    fn workers(&self, registry: &mut Registry, latest: &Latest) {
        let Some(seen) = &latest.seen else { return };
        let workers: Family<OfState, Gauge> = Family::default();
        let tasks: Family<OfState, Gauge> = Family::default();
        let slots = Gauge::<i64>::default();
        let silent = seen.workers.iter().filter(|worker| worker.silent_rounds > 0).count();
        workers.get_or_create(&OfState { state: "answering" }).set((seen.workers.len() - silent) as i64);
        workers.get_or_create(&OfState { state: "silent" }).set(silent as i64);
        let (mut active, mut reserved) = (0, 0);
        let heard = seen.workers.iter().filter(|worker| worker.silent_rounds == 0);
        for answer in heard.filter_map(|worker| worker.answer.as_ref()) {
            slots.inc_by(super::signed(answer.concurrency.unwrap_or(0)));
            active += answer.active.len() as i64;
            reserved += answer.reserved.len() as i64;
        }
        tasks.get_or_create(&OfState { state: "active" }).set(active);
        tasks.get_or_create(&OfState { state: "reserved" }).set(reserved);
        registry.register("workers", "Celery workers by whether they answer", workers);
        registry.register("worker_slots", "Tasks that the workers which answer can do at a time", slots);
        registry.register(
            "worker_tasks",
            "Tasks that they do (active) or have taken ahead (reserved)",
            tasks,
        );
        let unacked = Gauge::<i64>::default();
        unacked.set(super::signed(seen.unacked.count));
        registry.register("unacked", "Messages that were given to workers and are not acknowledged", unacked);
    }

    fn findings(&self, registry: &mut Registry, now: &DifyNow) {
        let family: Family<OfFinding, Gauge> = Family::default();
        let of_queues = now.queues.iter().flat_map(|latest| &latest.verdicts.findings);
        for finding in now.components.iter().flat_map(|report| &report.findings).chain(of_queues) {
            let severity = match finding.severity {
                Severity::Note => "note",
                Severity::Warning => "warning",
                Severity::Critical => "critical",
            };
            let labels = OfFinding { id: self.findings.label(&finding.id), severity };
            family.get_or_create(&labels).inc();
        }
        registry.register("findings", "What is wrong now, as mainstay doctor names it", family);
    }
}

fn components(registry: &mut Registry, reports: &[Report]) {
    let state: Family<OfComponentState, Gauge> = Family::default();
    let up: Family<OfComponent, Gauge> = Family::default();
    let latency: Family<OfComponent, Float> = Family::default();
    for report in reports.iter().filter(|report| report.state != State::NotConfigured) {
        let labels = OfComponent { component: report.component.clone() };
        up.get_or_create(&labels).set(i64::from(report.state != State::Down));
        for (word, is) in [
            ("ok", State::Ok),
            ("unknown", State::Unknown),
            ("degraded", State::Degraded),
            ("down", State::Down),
        ] {
            let labels = OfComponentState { component: report.component.clone(), state: word };
            state.get_or_create(&labels).set(i64::from(report.state == is));
        }
        if let Some(latency_ms) = report.latency_ms {
            latency.get_or_create(&labels).set(latency_ms as f64 / 1e3);
        }
    }
    registry.register("component_up", "0 when the component is down, else 1", up);
    registry.register("component_state", "1 for the state that the component is in", state);
    registry.register("component_latency_seconds", "How long its last probe took", latency);
}

/// A label is never empty.
fn word(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

fn add(family: &Family<OfQueue, Float>, labels: &OfQueue, value: f64) {
    family.get_or_create(labels).inc_by(value);
}

fn most(family: &Family<OfQueue, Float>, labels: &OfQueue, value: Option<f64>) {
    if let Some(value) = value {
        let gauge = family.get_or_create(labels);
        gauge.set(gauge.get().max(value));
    }
}

/// A histogram of what was counted elsewhere.
#[derive(Debug, Default)]
struct Durations(Mutex<(Sketch, u64)>);

impl Durations {
    fn add(&self, sketch: &Sketch, took_us: u64) {
        let mut all = self.0.lock();
        all.0.merge(sketch);
        all.1 = all.1.saturating_add(took_us);
    }
}

impl TypedMetric for Durations {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (sketch, took_us) = &*self.0.lock();
        let count = unsigned(sketch.count());
        let mut before = 0;
        let bounds = RUN_SECONDS.iter().map(|bound| (*bound, unsigned(sketch.at_most((bound * 1e6) as i64))));
        let buckets: Vec<(f64, u64)> = bounds
            .chain([(f64::INFINITY, count)])
            .map(|(bound, until)| {
                let within = until.saturating_sub(before);
                before = until;
                (bound, within)
            })
            .collect();
        encoder.encode_histogram::<NoLabelSet>(*took_us as f64 / 1e6, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
