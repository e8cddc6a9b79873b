//! How the gateway's targets stand at the moment of a scrape.

use mainstay_base::{Standing, standing::BreakerState};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use super::names::Names;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTarget {
    provider: String,
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKey {
    provider: String,
    key: String,
}

/// Distinct names of models that get series of their own over the life of the process: where names of no route are
/// passed on, callers choose them.
const MAX_NAMES: usize = 200;

pub(super) struct Targets {
    models: Names,
    breaker: Family<OfTarget, Gauge>,
    in_flight: Family<OfTarget, Gauge>,
    ejected: Family<OfTarget, Gauge>,
    resting: Family<OfKey, Gauge>,
}

impl Targets {
    pub(super) fn new() -> Targets {
        Targets {
            models: Names::new(MAX_NAMES),
            breaker: Family::default(),
            in_flight: Family::default(),
            ejected: Family::default(),
            resting: Family::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("target_breaker_state", "0 closed, 1 half open, 2 open", self.breaker.clone());
        registry.register("target_in_flight", "Calls at a target now", self.in_flight.clone());
        registry.register("target_ejected", "1 while a target is set aside", self.ejected.clone());
        registry.register(
            "provider_key_resting",
            "1 while a provider's key is out of use",
            self.resting.clone(),
        );
    }

    /// What is gone from the configuration goes from the metrics.
    pub(super) fn set(&self, standing: &Standing) {
        for family in [&self.breaker, &self.in_flight, &self.ejected] {
            family.clear();
        }
        self.resting.clear();
        for target in &standing.targets {
            let model = self.models.label(&target.model);
            let labels = OfTarget { provider: target.provider.clone(), model };
            let state = match target.breaker {
                BreakerState::Closed => 0,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            };
            let is_ejected = i64::from(target.ejected_until.is_some_and(|until| until > standing.at));
            // Several may share the label `other`: the worst of them is told.
            worst(&self.breaker, &labels, state);
            worst(&self.ejected, &labels, is_ejected);
            self.in_flight.get_or_create(&labels).inc_by(i64::from(target.in_flight));
        }
        for key in &standing.keys {
            let labels = OfKey { provider: key.provider.clone(), key: key.key.clone() };
            let rests = key.rests_until.is_some_and(|until| until > standing.at);
            self.resting.get_or_create(&labels).set(i64::from(rests));
        }
    }
}

fn worst(family: &Family<OfTarget, Gauge>, labels: &OfTarget, value: i64) {
    let gauge = family.get_or_create(labels);
    gauge.set(gauge.get().max(value));
}
