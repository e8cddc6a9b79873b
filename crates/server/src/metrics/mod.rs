//! `/metrics`: what Prometheus reads. Labels come from configuration and fixed words; what callers may choose (names of
//! models and apps) is bounded, and the rest of it is `other`.

mod dify;
mod model;
mod names;
mod notices;
mod own;
#[cfg(test)]
mod published;
mod slo;
mod standing;

use std::sync::Arc;

use mainstay_base::{Micros, Record, Standing, record::Path};
use mainstay_control::{Report, Slot, SlotState, State};
use mainstay_gateway::Stats;
use mainstay_store::model::QueueStats;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

pub(crate) use self::dify::{DifyNow, Numbers};
use self::names::Names;
pub(crate) use self::notices::NoticesNow;
pub(crate) use self::slo::SloNow;

/// Distinct upstreams and providers that get series of their own.
const MAX_PEERS: usize = 200;
/// From an answer of the embedded engine to a run at Dify's own limit.
const SECONDS: [f64; 14] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0, 1200.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    path: &'static str,
    outcome: &'static str,
    /// Whose doing a failure was; `none` for a success.
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPath {
    path: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPeer {
    path: &'static str,
    /// A configured name.
    upstream: String,
    /// `ok` or `failed`.
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfComponent {
    component: String,
}

type Histograms = Family<OfPath, Histogram, fn() -> Histogram>;

/// Cheap to clone; clones count together.
#[derive(Clone)]
pub(crate) struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    turn: Mutex<()>,
    /// Configured names; a reload brings others.
    peers: Names,
    registry: Registry,
    requests: Family<Request, Counter>,
    seconds: Histograms,
    first_byte: Histograms,
    attempts: Family<OfPeer, Counter>,
    tokens: Family<OfPath, Counter>,
    in_flight: Gauge,
    records_lost: Gauge,
    records_unstored: Gauge,
    generation: Gauge,
    jobs: Family<OfState, Gauge>,
    oldest_queued_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
    workers: Family<OfState, Gauge>,
    worker_restarts: Gauge,
    health: Family<OfComponent, Gauge>,
    own: own::Own,
    model: model::Model,
    standing: standing::Targets,
    dify: dify::Dify,
    slo: slo::Slo,
}

/// What is looked up when somebody asks.
#[derive(Default)]
pub(crate) struct Now {
    pub(crate) gateway: Option<Stats>,
    pub(crate) records_unstored: u64,
    pub(crate) generation: u64,
    /// `None` when the store could not say.
    pub(crate) queue: Option<QueueStats>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) report: Option<Arc<Report>>,
    pub(crate) records_beyond_bound: u64,
    pub(crate) config: Option<ConfigNow>,
    pub(crate) state_write_failures: u64,
    /// `None`: nothing is sent to a collector.
    pub(crate) otlp: Option<OtlpNow>,
    pub(crate) store_joined: bool,
    pub(crate) standing: Option<Standing>,
    /// `None`: the configuration names no Dify, or another process looks after it.
    pub(crate) dify: Option<DifyNow>,
    pub(crate) slo: SloNow,
    /// `None`: this process does not run control.
    pub(crate) notices: Option<NoticesNow>,
}

/// Sending to an OpenTelemetry collector, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OtlpNow {
    /// Requests whose spans were taken.
    pub(crate) sent: u64,
    /// Requests whose spans were not.
    pub(crate) dropped: u64,
    /// Batches that were given up.
    pub(crate) failures: u64,
}

/// The configuration in force.
pub(crate) struct ConfigNow {
    pub(crate) revision: String,
    pub(crate) generation: u64,
    pub(crate) applied_at: Micros,
    pub(crate) failures: u64,
    pub(crate) secrets_generation: u64,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        fn histogram() -> Histogram {
            Histogram::new(SECONDS)
        }
        let mut inner = Inner {
            turn: Mutex::default(),
            peers: Names::new(MAX_PEERS),
            registry: Registry::with_prefix("mainstay"),
            requests: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            first_byte: Family::new_with_constructor(histogram),
            attempts: Family::default(),
            tokens: Family::default(),
            in_flight: Gauge::default(),
            records_lost: Gauge::default(),
            records_unstored: Gauge::default(),
            generation: Gauge::default(),
            jobs: Family::default(),
            oldest_queued_seconds: Gauge::default(),
            workers: Family::default(),
            worker_restarts: Gauge::default(),
            health: Family::default(),
            own: own::Own::default(),
            model: model::Model::new(),
            standing: standing::Targets::new(),
            dify: dify::Dify::new(),
            slo: slo::Slo::new(),
        };
        let registry = &mut inner.registry;
        registry.register("requests", "Requests by path, outcome and whose doing", inner.requests.clone());
        registry.register(
            "request_seconds",
            "From the first byte in to the last byte out",
            inner.seconds.clone(),
        );
        registry.register(
            "first_byte_seconds",
            "From the first byte in to the first byte out",
            inner.first_byte.clone(),
        );
        registry.register("attempts", "Tries of upstreams and providers", inner.attempts.clone());
        registry.register("tokens", "Tokens that answers reported", inner.tokens.clone());
        registry.register("requests_in_flight", "Admitted and not ended", inner.in_flight.clone());
        registry.register("records_lost", "Records that found no room", inner.records_lost.clone());
        registry.register(
            "records_unstored",
            "Records that the store did not take",
            inner.records_unstored.clone(),
        );
        registry.register("snapshot_generation", "The snapshot that is routed by", inner.generation.clone());
        registry.register("jobs", "Queued runs by state", inner.jobs.clone());
        registry.register(
            "oldest_queued_seconds",
            "How long the longest waiting due run has waited",
            inner.oldest_queued_seconds.clone(),
        );
        registry.register("workers", "Worker processes of this host by state", inner.workers.clone());
        registry.register(
            "worker_restarts",
            "Worker processes started in place of others",
            inner.worker_restarts.clone(),
        );
        registry.register(
            "component_up",
            "1 when the component is ok, else 0; why is told at /health",
            inner.health.clone(),
        );
        inner.own.register(registry);
        inner.model.register(registry);
        inner.standing.register(registry);
        Metrics { inner: Arc::new(inner) }
    }

    pub(crate) fn observe(&self, record: &Record) {
        let path = match record.path {
            Path::App => "app",
            Path::Model => "model",
        };
        let inner = &self.inner;
        let kind = record.kind.map_or("none", mainstay_base::Kind::as_str);
        inner.requests.get_or_create(&Request { path, outcome: record.outcome.as_str(), kind }).inc();
        let of_path = OfPath { path };
        inner.seconds.get_or_create(&of_path).observe(record.took_us as f64 / 1e6);
        if let Some(us) = record.first_byte_us {
            inner.first_byte.get_or_create(&of_path).observe(us as f64 / 1e6);
        }
        if let Some(tokens) = record.total_tokens {
            inner.tokens.get_or_create(&of_path).inc_by(tokens);
        }
        inner.model.observe(path, record);
        for attempt in &record.attempts {
            let outcome = if attempt.error.is_none() { "ok" } else { "failed" };
            let upstream = inner.peers.label(&attempt.upstream);
            inner.attempts.get_or_create(&OfPeer { path, upstream, outcome }).inc();
        }
    }

    pub(crate) fn text(&self, now: &Now) -> String {
        let inner = &self.inner;
        // Two scrapes at once would each clear what the other has set.
        let _turn = inner.turn.lock();
        if let Some(stats) = now.gateway {
            inner.in_flight.set(stats.in_flight as i64);
            inner.records_lost.set(signed(stats.records_lost));
        }
        inner.records_unstored.set(signed(now.records_unstored));
        inner.generation.set(signed(now.generation));
        // What cannot be known now is not told as it once was.
        inner.jobs.clear();
        inner.oldest_queued_seconds.set(f64::NAN);
        if let Some(queue) = &now.queue {
            for (state, count) in [
                ("queued", queue.queued),
                ("delayed", queue.delayed),
                ("leased", queue.leased),
                ("expired", queue.expired),
                ("dead", queue.dead),
            ] {
                inner.jobs.get_or_create(&OfState { state }).set(count);
            }
            inner.oldest_queued_seconds.set(queue.oldest_queued_us as f64 / 1e6);
        }
        let running = now.slots.iter().filter(|slot| slot.state == SlotState::Running).count();
        inner.workers.get_or_create(&OfState { state: "running" }).set(running as i64);
        inner.workers.get_or_create(&OfState { state: "exited" }).set((now.slots.len() - running) as i64);
        inner.worker_restarts.set(now.slots.iter().map(|slot| i64::from(slot.restarts)).sum());
        inner.health.clear();
        if let Some(report) = &now.report {
            for component in &report.components {
                let up = i64::from(component.state == State::Ok);
                inner.health.get_or_create(&OfComponent { component: component.id.clone() }).set(up);
            }
        }
        inner.own.set(now);
        if let Some(standing) = &now.standing {
            inner.standing.set(standing);
        }
        let mut text = String::new();
        // Writing to a string cannot fail; a metric that cannot be encoded is left out.
        let _ = encode_registry(&mut text, &inner.registry);
        if let Some(dify) = &now.dify {
            inner.dify.write(&mut text, dify);
        }
        inner.slo.write(&mut text, &now.slo);
        if let Some(notices) = &now.notices {
            notices::write(&mut text, notices, now.report.as_deref());
        }
        let _ = encode_eof(&mut text);
        text
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use mainstay_base::{
        Standing,
        record::Attempt,
        standing::{BreakerState, KeyStanding, TargetStanding},
    };
    use mainstay_control::{Component, Group, Told};

    use super::*;

    fn now(component: &str, model: &str) -> Now {
        let told = Told { state: State::Ok, reason: String::new(), at: Micros(1) };
        let mut report = Report::unknown(Micros(1));
        report.components =
            vec![Component { id: component.to_owned(), ..Component::told(Group::Config, &told, Micros(1)) }];
        let target = TargetStanding {
            provider: "one".to_owned(),
            model: model.to_owned(),
            breaker: BreakerState::Closed,
            since: Micros(1),
            probe_at: None,
            ejected_until: None,
            in_flight: 1,
            calls: 1,
            failures: 0,
            last_failure: None,
            last_failure_at: None,
            last_success_at: None,
            first_token_ms_p50: None,
            first_token_ms_p95: None,
            requests_left: None,
            tokens_left: None,
        };
        let standing =
            Standing { at: Micros(1), snapshot_generation: 1, targets: vec![target], ..Standing::default() };
        Now { report: Some(Arc::new(report)), standing: Some(standing), ..Now::default() }
    }

    /// Everything but a Dify, so that each metric has a sample.
    pub(super) fn everything_else() -> (Metrics, Now) {
        let metrics = Metrics::new();
        let attempt = Attempt {
            upstream: "one".to_owned(),
            model: Some("m".to_owned()),
            input_tokens: Some(1),
            first_token_us: Some(1),
            cost: Some(mainstay_base::Usd(1)),
            ..Attempt::default()
        };
        metrics.observe(&Record {
            first_byte_us: Some(1),
            total_tokens: Some(1),
            attempts: vec![attempt],
            ..Record::blank(Path::Model)
        });
        let mut now = now("config", "m");
        now.queue = Some(QueueStats::default());
        now.otlp = Some(OtlpNow::default());
        let key = KeyStanding {
            provider: "one".to_owned(),
            key: "k".to_owned(),
            rests_until: None,
            why: None,
            in_flight: 0,
        };
        now.standing.as_mut().unwrap().keys.push(key);
        now.config = Some(ConfigNow {
            revision: "r".to_owned(),
            generation: 1,
            applied_at: Micros(1),
            failures: 0,
            secrets_generation: 1,
        });
        (metrics, now)
    }

    // A provider that a reload removed stayed up for ever.
    #[test]
    fn what_is_gone_is_not_told_any_more() {
        let metrics = Metrics::new();
        let queue = Some(QueueStats { queued: 3, ..QueueStats::default() });
        let before = metrics.text(&Now { queue, ..now("provider:gone", "m") });
        assert!(
            before.contains("provider:gone") && before.contains("mainstay_jobs{state=\"queued\"} 3"),
            "{before}"
        );
        let after = metrics.text(&now("provider:new", "m"));
        assert!(after.contains("provider:new") && !after.contains("provider:gone"), "{after}");
        assert!(
            !after.contains("mainstay_jobs{") && after.contains("mainstay_oldest_queued_seconds NaN"),
            "{after}"
        );
    }

    // Names of no route are their callers' words.
    #[test]
    fn targets_of_ever_new_names_make_no_endless_series() {
        let metrics = Metrics::new();
        let mut seen = std::collections::HashSet::new();
        for number in 0..1000 {
            let text = metrics.text(&now("config", &format!("model-{number}")));
            seen.extend(text.lines().filter(|line| line.contains("target_in_flight{")).map(str::to_owned));
        }
        assert!(seen.len() <= MAX_PEERS + 1, "{}", seen.len());
    }
}
