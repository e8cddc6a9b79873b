//! What is counted for service levels by this process, and how each stands, as the store has it. docs/metrics.md names every
//! one.

use std::sync::atomic::AtomicU64;

use mainstay_base::Blame;
use mainstay_control::slo::{Totals, view::View};
use mainstay_store::model::SliSeries;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode_registry},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use serde_json::Value;

use super::names::Names;

/// Distinct apps, and distinct providers, that get series of their own over the life of the process.
const MAX_NAMES: usize = 200;
const STATES: [&str; 5] = ["ok", "at_risk", "exhausted", "blind", "no_data"];

type Float = Gauge<f64, AtomicU64>;

/// What is looked up when somebody asks.
#[derive(Default)]
pub(crate) struct SloNow {
    /// Of a process that carries requests.
    pub(crate) counted: Option<(Vec<(SliSeries, Totals)>, u64)>,
    /// `None` when the store could not say.
    pub(crate) slos: Option<Vec<View>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSeries {
    path: String,
    app: String,
    mode: String,
    endpoint: String,
    provider: String,
    /// `good`, or whose fault it was.
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSlo {
    slo: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    slo: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfWindow {
    slo: String,
    window: String,
}

pub(super) struct Slo {
    apps: Names,
    providers: Names,
}

impl Slo {
    pub(super) fn new() -> Slo {
        Slo { apps: Names::new(MAX_NAMES), providers: Names::new(MAX_NAMES) }
    }

    pub(super) fn write(&self, text: &mut String, now: &SloNow) {
        let mut registry = Registry::with_prefix("mainstay");
        if let Some((totals, lost)) = &now.counted {
            self.events(&mut registry, totals);
            let gauge = Gauge::<i64>::default();
            gauge.set(super::signed(*lost));
            registry.register("sli_rows_lost", "Counted minutes given up while the store was away", gauge);
        }
        if let Some(slos) = &now.slos {
            stand(&mut registry, slos);
        }
        // Writing to a string cannot fail.
        let _ = encode_registry(text, &registry);
    }

    fn events(&self, registry: &mut Registry, totals: &[(SliSeries, Totals)]) {
        let events: Family<OfSeries, Counter> = Family::default();
        for (series, Totals { good, blamed }) in totals {
            let label =
                |names: &Names, name: &str| if name.is_empty() { String::new() } else { names.label(name) };
            let of = |outcome| OfSeries {
                path: series.path.clone(),
                app: label(&self.apps, &series.app),
                mode: series.mode.clone(),
                endpoint: series.endpoint.clone(),
                provider: label(&self.providers, &series.provider),
                outcome,
            };
            events.get_or_create(&of("good")).inc_by(*good);
            for blame in Blame::ALL.into_iter().filter(|blame| blamed[blame.index()] > 0) {
                events.get_or_create(&of(blame.as_str())).inc_by(blamed[blame.index()]);
            }
        }
        registry.register("sli_events", "Requests by how they ended and whose fault it was", events);
    }
}

fn stand(registry: &mut Registry, slos: &[View]) {
    let states: Family<OfState, Gauge> = Family::default();
    let (targets, left): (Family<OfSlo, Float>, Family<OfSlo, Float>) = Default::default();
    let burns: Family<OfWindow, Float> = Family::default();
    let pages: Family<OfSlo, Gauge> = Family::default();
    for slo in slos {
        let of = || OfSlo { slo: slo.name.clone() };
        for state in STATES {
            states
                .get_or_create(&OfState { slo: slo.name.clone(), state })
                .set(i64::from(slo.state == state));
        }
        targets.get_or_create(&of()).set(slo.document["target"].as_f64().unwrap_or(f64::NAN) / 100.0);
        pages.get_or_create(&of()).set(i64::from(!slo.page.is_null()));
        if let Some(share) = slo.budget_left {
            left.get_or_create(&of()).set(share);
        }
        for burn in slo.burns.as_array().into_iter().flatten() {
            let hours = burn["long_s"].as_u64().unwrap_or(0) / 3_600;
            let window = OfWindow { slo: slo.name.clone(), window: format!("{hours}h") };
            burns.get_or_create(&window).set(burn.get("long").and_then(Value::as_f64).unwrap_or(f64::NAN));
        }
    }
    registry.register("slo_state", "1 for the state that it is in, else 0", states);
    registry.register("slo_target", "The share that must be good", targets);
    registry.register("slo_budget_left", "Share of the error budget that is left", left);
    registry.register("slo_burn_rate", "Failures in the window, in units of what is allowed", burns);
    registry.register("slo_page", "1 while it pages", pages);
}

#[cfg(test)]
pub(super) mod tests {
    use mainstay_base::Micros;
    use serde_json::json;

    use super::*;

    pub(crate) fn everything(name: &str) -> SloNow {
        let view = View {
            name: name.to_owned(),
            document: json!({ "target": 99.0 }),
            revision: 0,
            is_default: true,
            state: "at_risk".to_owned(),
            reason: String::new(),
            since: None,
            judged_at: Some(Micros(1)),
            achieved: Some(98.0),
            good: 98,
            total: 100,
            budget_left: Some(-1.0),
            offers: &[],
            burns: json!([{ "long_s": 3600, "long": 2.5 }]),
            page: json!({}),
            ticket: json!(null),
            source: None,
            detectors: json!(null),
        };
        let series = SliSeries { path: "app".to_owned(), app: name.to_owned(), ..SliSeries::default() };
        let totals = Totals { good: 98, blamed: [1, 0, 0, 0, 0, 2, 0] };
        SloNow { counted: Some((vec![(series, totals)], 0)), slos: Some(vec![view]) }
    }

    #[test]
    fn it_is_told_who_is_to_blame_and_how_fast_the_budget_burns() {
        let mut text = String::new();
        Slo::new().write(&mut text, &everything("a"));
        for line in [
            "mainstay_sli_events_total{path=\"app\",app=\"a\",mode=\"\",endpoint=\"\",provider=\"\",outcome=\"provider\"} 2",
            "mainstay_slo_state{slo=\"a\",state=\"at_risk\"} 1",
            "mainstay_slo_state{slo=\"a\",state=\"ok\"} 0",
            "mainstay_slo_burn_rate{slo=\"a\",window=\"1h\"} 2.5",
            "mainstay_slo_budget_left{slo=\"a\"} -1.0",
            "mainstay_slo_page{slo=\"a\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
