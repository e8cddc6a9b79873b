//! Recording and alerting rules for those who keep Prometheus, generated from the objectives. Pure.
//!
//! An availability objective over what the gateway counts gets the multiwindow, multi-burn-rate rules over
//! `mainstay_sli_events_total`, each factor capped as [`burn::Rule::reachable_factor`] says. Of every other objective only
//! Mainstay has the figures (thresholds, and what was read of a Dify, are in no counter): its alerts ask `mainstay_slo_…`.

use std::{collections::BTreeSet, time::Duration};

use mainstay_base::Micros;
use mainstay_signal::slo::burn;
use mainstay_wire::yaml;
use serde_json::{Value, json};

use super::{
    document::{Alerting, Document, Selector, Sli, Source},
    endpoint, figures,
    terms::objective,
};

const RECORDED: &str = "slo:mainstay_sli_errors:ratio_rate";
const DOCS: &str = "docs/slo.md#prometheus";

/// A file of rules, in YAML, for those that tell somebody. `has_dify`: the database of a Dify is read, which decides where
/// figures come from.
pub fn write(documents: &[Document], has_dify: bool) -> String {
    let told = documents.iter().filter(|document| document.alerting == Alerting::On);
    let groups: Vec<Value> = told
        .filter(|document| figures::source(document, has_dify).is_ok())
        .map(|document| {
            let rules = if is_counted(document, has_dify) { counted(document) } else { judged(document) };
            json!({ "name": format!("mainstay-slo-{}", document.name), "rules": rules })
        })
        .collect();
    yaml::write(&[json!({ "groups": groups })])
}

/// Whether a counter of ours tells all that it asks for.
fn is_counted(document: &Document, has_dify: bool) -> bool {
    let Document { sli, selector, .. } = document;
    *sli == Sli::Availability
        && figures::source(document, has_dify) == Ok(Source::Gateway)
        && selector.model.is_none()
        && selector.version.is_none()
}

fn counted(document: &Document) -> Vec<Value> {
    // A calendar window spends as a rolling one of its length does.
    let objective = objective(document, Micros(0));
    let windows: BTreeSet<Duration> = burn::RULES.iter().flat_map(|rule| [rule.long, rule.short]).collect();
    let slo = json!({ "slo": document.name });
    let mut rules: Vec<Value> = windows
        .into_iter()
        .map(|window| {
            json!({ "record": format!("{RECORDED}{}", span(window)), "expr": share(&document.selector, window), "labels": slo })
        })
        .collect();
    rules.extend(burn::RULES.iter().map(|rule| {
        let least = rule.reachable_factor(&objective) * objective.allowed();
        let name = if rule.pages { "MainstaySloBurnsFast" } else { "MainstaySloBurnsSlowly" };
        let over = |window| format!("{RECORDED}{}{{slo={}}} > {}", span(window), quoted(&document.name), rounded(least));
        let summary = format!(
            "{}: {{{{ $value | humanizePercentage }}}} fail, {:.1} times what its target of {} % allows, over {}",
            document.name,
            least / objective.allowed(),
            document.target,
            span(rule.long)
        );
        let expr = format!("{} and {}", over(rule.long), over(rule.short));
        let mut alert = alert(name, expr, document, rule.pages, &summary);
        // Two of one name are told apart by it.
        alert["labels"]["window"] = json!(span(rule.long));
        alert
    }));
    rules
}

/// What only Mainstay judges, by what it says itself.
fn judged(document: &Document) -> Vec<Value> {
    let slo = quoted(&document.name);
    let most = |metric: &str| format!("max without (instance) ({metric})");
    vec![
        alert(
            "MainstaySloPages",
            format!("{} > 0", most(&format!("mainstay_slo_page{{slo={slo}}}"))),
            document,
            true,
            &format!("{}: missed so badly that somebody has to come", document.name),
        ),
        alert(
            "MainstaySloBlind",
            format!("{} > 0", most(&format!("mainstay_slo_state{{slo={slo}, state=\"blind\"}}"))),
            document,
            false,
            &format!("{}: nothing can be said of it", document.name),
        ),
    ]
}

fn alert(name: &str, expr: String, document: &Document, pages: bool, summary: &str) -> Value {
    let severity = if pages { "critical" } else { "warning" };
    let mut labels = json!({ "severity": severity, "slo": document.name });
    if !document.owner.is_empty() {
        labels["owner"] = json!(document.owner);
    }
    json!({
        "alert": name,
        "expr": expr,
        "labels": labels,
        "annotations": { "summary": summary, "runbook": DOCS },
    })
}

/// The share that failed, of those that were not their caller's own mistake.
fn share(selector: &Selector, window: Duration) -> String {
    let of = |outcome: &str| {
        let labels = [outcome.to_owned()].into_iter().chain(labels(selector)).collect::<Vec<_>>().join(",");
        format!("sum(rate(mainstay_sli_events_total{{{labels}}}[{}]))", span(window))
    };
    format!("{} / {}", of("outcome!~\"good|client\""), of("outcome!=\"client\""))
}

/// As [`figures::selects`] chooses the same from the same series.
fn labels(selector: &Selector) -> Vec<String> {
    let path = match (&selector.path, &selector.provider) {
        (Some(path), _) => path,
        (None, Some(_)) => "model",
        (None, None) => "app",
    };
    let mut labels = vec![format!("path={}", quoted(path))];
    match selector.endpoint.as_deref() {
        Some("any") => {}
        Some(endpoint) => labels.push(format!("endpoint={}", quoted(endpoint))),
        None if path == "app" => labels.push(format!("endpoint=~{}", quoted(&endpoint::RUNS.join("|")))),
        None => {}
    }
    let rest = [("app", &selector.app), ("mode", &selector.mode), ("provider", &selector.provider)];
    labels.extend(
        rest.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", quoted(value.as_deref()?)))),
    );
    labels
}

/// A text of PromQL; its escapes are those of JSON for all that a name may hold.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// `5m`, `6h`, `3d`.
fn span(span: Duration) -> String {
    let minutes = span.as_secs() / 60;
    match minutes {
        _ if minutes.is_multiple_of(24 * 60) => format!("{}d", minutes / (24 * 60)),
        _ if minutes.is_multiple_of(60) => format!("{}h", minutes / 60),
        _ => format!("{minutes}m"),
    }
}

/// Without the digits that arithmetic leaves behind.
fn rounded(share: f64) -> f64 {
    (share * 1e9).round() / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slo::{defaults, document};

    fn rules(text: &str) -> Vec<Value> {
        let files = yaml::documents(text).unwrap();
        let groups = files[0]["groups"].as_array().unwrap().clone();
        groups.into_iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    }

    fn one(value: Value) -> Document {
        document(&value).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    #[test]
    fn a_counted_objective_has_every_window_once_and_factors_that_can_be_reached() {
        let loose = one(json!({"name": "loose", "sli": {"kind": "availability"}, "target": 90.0,
            "selector": {"path": "model", "provider": "a\"b"}, "owner": "ann"}));
        let rules = rules(&write(&[loose], false));
        let recorded: BTreeSet<&str> = rules.iter().filter_map(|rule| rule["record"].as_str()).collect();
        assert_eq!(recorded.len(), 7, "{recorded:?}");
        let alerts: Vec<&Value> = rules.iter().filter(|rule| rule["alert"].is_string()).collect();
        assert_eq!(alerts.len(), 4);
        // 14.4 times a tenth is more than everything: 0.8 is the most that is asked for.
        assert_eq!(
            alerts[0]["expr"],
            "slo:mainstay_sli_errors:ratio_rate1h{slo=\"loose\"} > 0.8 and slo:mainstay_sli_errors:ratio_rate5m{slo=\"loose\"} > 0.8"
        );
        assert_eq!(alerts[1]["expr"].as_str().unwrap().matches("> 0.6").count(), 2);
        assert_eq!(
            alerts[0]["labels"],
            json!({"severity": "critical", "slo": "loose", "owner": "ann", "window": "1h"})
        );
        let five =
            rules.iter().find(|rule| rule["record"] == "slo:mainstay_sli_errors:ratio_rate5m").unwrap();
        assert_eq!(
            five["expr"],
            "sum(rate(mainstay_sli_events_total{outcome!~\"good|client\",path=\"model\",provider=\"a\\\"b\"}[5m])) / \
             sum(rate(mainstay_sli_events_total{outcome!=\"client\",path=\"model\",provider=\"a\\\"b\"}[5m]))"
        );
    }

    #[test]
    fn what_no_counter_tells_asks_mainstay_and_what_tells_nobody_has_no_rule() {
        let slow = json!({"name": "slow", "sli": {"kind": "latency", "threshold_ms": 1000}, "target": 95.0});
        let of_model = json!({"name": "m", "sli": {"kind": "availability"}, "target": 99.0, "selector": {"model": "gpt"}});
        let shadow =
            json!({"name": "s", "sli": {"kind": "availability"}, "target": 99.0, "alerting": "shadow"});
        let text = write(&[one(slow), one(of_model), one(shadow)], false);
        let rules = rules(&text);
        assert_eq!(rules.len(), 4, "{text}");
        assert!(rules.iter().all(|rule| rule["expr"].as_str().unwrap().contains("mainstay_slo_")), "{text}");
    }

    #[test]
    fn the_default_set_has_rules_that_know_their_endpoints() {
        let all = defaults::documents();
        let text = write(&all, false);
        assert!(
            text.contains("workflows/run|chat-messages|completion-messages") || text.contains("endpoint="),
            "{text}"
        );
        assert!(!rules(&text).is_empty());
    }
}
