//! The instance itself: its configuration, its state files, its hold on the store.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{Now, OtlpNow, signed};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRevision {
    revision: String,
}

#[derive(Default)]
pub(super) struct Own {
    records_beyond_bound: Gauge,
    revision: Family<OfRevision, Gauge>,
    config_generation: Gauge,
    config_applied_at: Gauge<f64, AtomicU64>,
    secrets_generation: Gauge,
    reload_failures: Gauge,
    state_write_failures: Gauge,
    store_joined: Gauge,
    otlp: Family<OfOutcome, Gauge>,
}

/// Of a request's spans or of a batch: `sent`, `dropped`, `failed`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOutcome {
    outcome: &'static str,
}

impl Own {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "records_beyond_bound",
            "Records that were not stored because of records.max_stored_a_second",
            self.records_beyond_bound.clone(),
        );
        registry.register(
            "config_applied_revision",
            "1 for the configuration that is in force",
            self.revision.clone(),
        );
        registry.register(
            "config_generation",
            "Configurations applied since the start",
            self.config_generation.clone(),
        );
        registry.register(
            "config_applied_timestamp_seconds",
            "When the configuration was applied",
            self.config_applied_at.clone(),
        );
        registry.register(
            "config_secrets_generation",
            "Grows with each reload that found another secret behind a reference",
            self.secrets_generation.clone(),
        );
        registry.register(
            "config_reload_failures_total",
            "Configurations that were refused since the start",
            self.reload_failures.clone(),
        );
        registry.register(
            "state_write_failures",
            "State files that could not be written",
            self.state_write_failures.clone(),
        );
        registry.register(
            "store_joined",
            "1 while the store answers the gateway, else 0",
            self.store_joined.clone(),
        );
        registry.register(
            "otlp_requests",
            "Requests whose spans a collector took (sent) or not (dropped), and batches that were given up (failed)",
            self.otlp.clone(),
        );
    }

    pub(super) fn set(&self, now: &Now) {
        self.records_beyond_bound.set(signed(now.records_beyond_bound));
        self.state_write_failures.set(signed(now.state_write_failures));
        self.store_joined.set(i64::from(now.store_joined));
        if let Some(OtlpNow { sent, dropped, failures }) = now.otlp {
            for (outcome, count) in [("sent", sent), ("dropped", dropped), ("failed", failures)] {
                self.otlp.get_or_create(&OfOutcome { outcome }).set(signed(count));
            }
        }
        let Some(config) = &now.config else { return };
        self.revision.clear();
        self.revision.get_or_create(&OfRevision { revision: config.revision.clone() }).set(1);
        self.config_generation.set(signed(config.generation));
        self.config_applied_at.set(config.applied_at.0 as f64 / 1e6);
        self.secrets_generation.set(signed(config.secrets_generation));
        self.reload_failures.set(signed(config.failures));
    }
}
