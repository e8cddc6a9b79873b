//! Notices to receivers: what this process did, and what waits for each. docs/metrics.md names every one.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use mainstay_base::Micros;
use mainstay_control::{Group, Report, delivery::Tries};
use mainstay_store::Waiting;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode_registry},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// What is looked up when somebody asks. Receivers are configured, so few.
#[derive(Default)]
pub(crate) struct NoticesNow {
    pub(crate) tries: BTreeMap<String, Tries>,
    /// `None` when the store has not said yet.
    pub(crate) waiting: Option<Arc<Vec<Waiting>>>,
    pub(crate) at: Micros,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReceiver {
    receiver: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTry {
    receiver: String,
    /// `delivered`, `again` or `given_up`.
    outcome: &'static str,
}

pub(super) fn write(text: &mut String, now: &NoticesNow, report: Option<&Report>) {
    let mut registry = Registry::with_prefix("mainstay");
    let tried: Family<OfTry, Counter> = Family::default();
    for (receiver, Tries { delivered, again, given_up }) in &now.tries {
        for (outcome, count) in [("delivered", delivered), ("again", again), ("given_up", given_up)] {
            tried.get_or_create(&OfTry { receiver: receiver.clone(), outcome }).inc_by(*count);
        }
    }
    registry.register("notices", "Tries of this process to tell receivers of alerts", tried);
    if let Some(waiting) = &now.waiting {
        stand(&mut registry, waiting, now.at, report);
    }
    // Writing to a string cannot fail.
    let _ = encode_registry(text, &registry);
}

fn stand(registry: &mut Registry, waiting: &[Waiting], now: Micros, report: Option<&Report>) {
    let counts: Family<OfReceiver, Gauge> = Family::default();
    let ages: Family<OfReceiver, Gauge<f64, AtomicU64>> = Family::default();
    let configured = report.into_iter().flat_map(|report| &report.components);
    for component in configured.filter(|component| component.group == Group::Receiver) {
        let of = OfReceiver { receiver: component.name.clone() };
        counts.get_or_create(&of).set(0);
        ages.get_or_create(&of).set(0.0);
    }
    for Waiting { receiver, waiting, oldest_at, .. } in waiting {
        let of = OfReceiver { receiver: receiver.clone() };
        counts.get_or_create(&of).set(*waiting);
        let age = oldest_at.map_or(0.0, |oldest| now.since(oldest).as_secs_f64());
        ages.get_or_create(&of).set(age);
    }
    registry.register("notices_waiting", "Notices not delivered yet and not given up", counts);
    registry.register("notices_oldest_seconds", "Age of the oldest notice that waits, else 0", ages);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::metrics) fn everything(receiver: &str) -> NoticesNow {
        let waiting = Waiting {
            receiver: receiver.to_owned(),
            waiting: 2,
            oldest_at: Some(Micros(1_000_000)),
            ..Waiting::default()
        };
        let tries = Tries { delivered: 3, again: 2, given_up: 1 };
        NoticesNow {
            tries: [(receiver.to_owned(), tries)].into(),
            waiting: Some(Arc::new(vec![waiting])),
            at: Micros(5_000_000),
        }
    }

    #[test]
    fn what_waits_is_told_with_its_age() {
        let mut text = String::new();
        write(&mut text, &everything("chat"), None);
        for line in [
            "mainstay_notices_total{receiver=\"chat\",outcome=\"again\"} 2",
            "mainstay_notices_waiting{receiver=\"chat\"} 2",
            "mainstay_notices_oldest_seconds{receiver=\"chat\"} 4.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
