//! What docs/metrics.md and the files in deploy/ say, against what is exported.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use serde_json::Value;

use super::{Metrics, dify, notices, slo, tests::everything_else};

fn read(path: &str) -> String {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Name and kind of each metric: counters as their samples are called.
fn exported() -> BTreeMap<String, String> {
    let (metrics, mut now) = everything_else();
    now.dify = Some(dify::tests::everything("x"));
    now.slo = slo::tests::everything("x");
    now.notices = Some(notices::tests::everything("x"));
    let text = Metrics::text(&metrics, &now);
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .map(|(name, kind)| match kind {
            "counter" => (format!("{name}_total"), kind.to_owned()),
            _ => (name.to_owned(), kind.to_owned()),
        })
        .collect()
}

#[test]
fn every_metric_is_documented_with_its_kind_and_no_other_is() {
    let rows: BTreeMap<String, String> = read("docs/metrics.md")
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `mainstay_")?.split('|');
            let name = cells.next()?.trim().trim_end_matches('`');
            Some((format!("mainstay_{name}"), cells.next()?.trim().to_owned()))
        })
        .collect();
    assert_eq!(rows, exported());
}

/// The words of an expression that name a metric of ours.
fn names(expression: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = expression.split(|letter| !is_part(letter));
    words.filter(|word| word.starts_with("mainstay_")).map(str::to_owned).collect()
}

fn unknown(expression: &str) -> Vec<String> {
    let exported = exported();
    let is_known = |name: &String| {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().any(|end| {
            let base = name.strip_suffix(end);
            base.is_some_and(|base| exported.get(base).is_some_and(|kind| kind == "histogram"))
        });
        of_histogram || exported.get(name).is_some_and(|kind| kind != "histogram")
    };
    names(expression).into_iter().filter(|name| !is_known(name)).collect()
}

/// Each text under such a key, however deep.
fn texts<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if name == key => found.push(text),
                    _ => texts(value, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        _ => {}
    }
}

#[test]
fn a_name_that_is_not_exported_is_found() {
    assert_eq!(unknown("rate(mainstay_dify_runs[5m])"), ["mainstay_dify_runs"]);
    assert_eq!(unknown("mainstay_dify_run_seconds"), ["mainstay_dify_run_seconds"]);
    assert_eq!(unknown("sum(rate(mainstay_dify_run_seconds_bucket[5m])) by (le)"), Vec::<String>::new());
}

#[test]
fn the_dashboard_asks_for_what_is_exported() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/mainstay-dify.json")).unwrap();
    let mut expressions = Vec::new();
    texts(&dashboard["panels"], "expr", &mut expressions);
    assert!(expressions.len() >= 20, "{}", expressions.len());
    for expression in expressions {
        assert_eq!(unknown(expression), Vec::<String>::new(), "{expression}");
        assert!(!names(expression).is_empty(), "{expression}");
    }
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has its own id");
    for panel in panels {
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{panel}");
    }
}

#[test]
fn each_alert_asks_for_what_is_exported_and_leads_to_a_section_that_is_there() {
    let rules: Value = serde_saphyr::from_str(&read("deploy/prometheus/mainstay-dify.rules.yml")).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    let alerts: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    let mut seen = BTreeSet::new();
    for alert in alerts {
        let name = alert["alert"].as_str().unwrap();
        assert!(seen.insert(name), "{name} is there twice");
        let expression = alert["expr"].as_str().unwrap();
        assert!(!names(expression).is_empty(), "{name}");
        assert_eq!(unknown(expression), Vec::<String>::new(), "{name}");
        assert!(alert["for"].is_string() && alert["labels"]["severity"].is_string(), "{name}");
        assert!(alert["annotations"]["summary"].is_string(), "{name}");
        let runbook = alert["annotations"]["runbook"].as_str().unwrap();
        let (file, section) = runbook.split_once('#').unwrap();
        let titles = read(file);
        let mut anchors = titles.lines().filter(|line| line.starts_with('#')).map(anchor);
        assert!(anchors.any(|anchor| anchor == section), "{name}: {runbook}");
    }
    for word in ["Consumer", "Worker", "Zombie", "Failure", "Component", "Backlog"] {
        assert!(seen.iter().any(|name| name.contains(word)), "{word}");
    }
}

/// As GitHub makes it.
fn anchor(title: &str) -> String {
    let words = title.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}
