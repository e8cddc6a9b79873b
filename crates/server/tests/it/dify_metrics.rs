//! `/metrics` of an instance that looks after a Dify: its tables in a real PostgreSQL, a real Redis, a real worker. What
//! docs/metrics.md names is there, with its labels and with figures that can be true.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_testkit::wait_until;
use mainstay_wire::celery::NewTask;

use crate::{
    dify_world::World,
    support::{Home, Process, SOON, wait_for_instance},
};

const GENERATE: &str = include_str!("../../../dify/tests/generate.sql");
const DOCUMENTED: &str = include_str!("../../../../docs/metrics.md");
/// What is told of rates is told after a minute at the earliest.
const LATER: [&str; 1] = ["mainstay_dify_queue_wait_seconds"];
/// As the page bounds them, and `other`.
const MAX_APPS: usize = 201;
const MANY: u64 = 230;
/// A wrong key, which two looks find.
const WRONG: (&str, &str) = ("CODE_EXECUTION_API_KEY", "not-the-key");

/// What happened before the start is not counted, but what is said of it afterwards is: once in this minute and once in the
/// next, so that one of them comes after the start.
const BEFORE: &str = include_str!("dify_metrics_before.sql");
const AFTER: &str = include_str!("dify_metrics_after.sql");

/// Labels of each name under `mainstay_dify_`, as operators read them.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let rows = DOCUMENTED.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `mainstay_dify_")?.split(" | ");
        let name = format!("mainstay_dify_{}", cells.next()?.trim_end_matches('`'));
        let labels = cells.nth(1)?.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some((name, labels))
    });
    rows.collect()
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// Nothing in this world has a quote, a comma or a brace in its name.
fn samples(page: &str) -> Vec<Sample> {
    let lines = page.lines().filter(|line| line.starts_with("mainstay_dify_"));
    let sample = |line: &str| {
        let (head, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = head.split_once('{').unwrap_or((head, "}"));
        let pairs = labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (name, value) = pair.split_once("=\"").unwrap();
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        };
        Sample { name: name.to_owned(), labels: pairs.map(pair).collect(), value: value.parse().unwrap() }
    };
    lines.map(sample).collect()
}

/// As it is documented: a histogram has three names.
fn base(sample: &Sample) -> &str {
    let ends = ["_bucket", "_sum", "_count"];
    let of_histogram = sample.name.starts_with("mainstay_dify_run_seconds_");
    let end = ends.iter().find(|end| of_histogram && sample.name.ends_with(*end));
    end.map_or(sample.name.as_str(), |end| sample.name.trim_end_matches(end))
}

async fn page(home: &Home) -> Vec<Sample> {
    samples(&home.admin().get("/metrics").await.text)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_name_is_there_with_its_labels_and_a_plausible_figure() {
    let Some(world) = World::start().await else { return };
    let role = world.role("reader");
    world.write_env("metrics.env", &role, &[(WRONG.0, WRONG.1.to_owned())]);
    let home = &world.home;
    let init = home.run(&["init", "--dify-env", "metrics.env", "--output", "found.toml"]);
    let found = std::fs::read_to_string(home.path("found.toml")).unwrap_or_else(|_| panic!("{init:?}"));
    home.configure(&format!("[workers]\ncount = 0\n{found}"));
    world.run_sql(&format!("{GENERATE}{BEFORE}"));
    // No worker takes from it.
    for id in ["r-1", "r-2", "r-3"] {
        let kwargs = serde_json::Map::new();
        let task = NewTask { task: "tasks.x", queue: "retention", id, delivery_tag: id, kwargs: &kwargs };
        world.redis(&["LPUSH", "retention", &String::from_utf8_lossy(task.encode().as_ref())]);
    }
    let process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(home, &process).await;
    world.run_sql(AFTER);

    let documented = documented();
    assert!(documented.len() >= 24, "{documented:?}");
    let told = wait_until("every documented name is told, and every run", 2 * SOON, || async {
        let told = page(home).await;
        let names: BTreeSet<&str> = told.iter().map(base).collect();
        let missing: Vec<&String> = documented
            .keys()
            .filter(|name| !names.contains(name.as_str()) && !LATER.contains(&name.as_str()))
            .collect();
        let runs = sum(&told, "mainstay_dify_runs_total", &[]);
        let is_whole = missing.is_empty() && runs >= 400.0 + MANY as f64;
        if !is_whole {
            println!("{runs} runs; missing: {missing:?}");
        }
        is_whole.then_some(told)
    })
    .await;

    for sample in &told {
        let labels = documented.get(base(sample)).unwrap_or_else(|| panic!("not documented: {sample:?}"));
        let mut given: BTreeSet<String> = sample.labels.keys().cloned().collect();
        assert_eq!(given.remove("le"), sample.name.ends_with("_bucket"), "{sample:?}");
        assert_eq!(given, *labels, "{sample:?}");
        assert!(sample.value.is_finite() && sample.value >= 0.0, "{sample:?}");
        assert!(sample.labels.values().all(|value| !value.is_empty()), "{sample:?}");
    }
    // Each run, whatever it is told under; a twentieth of the generated ones failed, by two errors.
    let runs = 400.0 + MANY as f64;
    let input: u32 = (1001..=1400).map(|number| 80 + number % 300).sum();
    for (name, labels, expected) in [
        ("mainstay_dify_runs_total", &[][..], runs),
        ("mainstay_dify_runs_total", &[("status", "failed")], 20.0),
        ("mainstay_dify_failures_total", &[], 20.0),
        ("mainstay_dify_failures_total", &[("class", "http_request")], 10.0),
        ("mainstay_dify_failures_total", &[("class", "provider_rate_limited")], 10.0),
        ("mainstay_dify_run_seconds_count", &[], runs),
        ("mainstay_dify_run_seconds_bucket", &[("le", "+Inf")], runs),
        ("mainstay_dify_tokens_total", &[("direction", "input")], f64::from(input)),
        ("mainstay_dify_cost_total", &[("currency", "USD")], 400.0 * 0.000_024),
        ("mainstay_dify_queue_depth", &[("queue", "retention")], 3.0),
        ("mainstay_dify_queue_consumers", &[("queue", "retention")], 0.0),
        ("mainstay_dify_queue_consumers", &[("queue", "mail")], 1.0),
        ("mainstay_dify_broker_seen", &[], 1.0),
        ("mainstay_dify_workers", &[("state", "answering")], 1.0),
        ("mainstay_dify_workers", &[("state", "silent")], 0.0),
        ("mainstay_dify_worker_slots", &[], 2.0),
        ("mainstay_dify_unacked", &[], 0.0),
        ("mainstay_dify_component_up", &[("component", "database")], 1.0),
        ("mainstay_dify_component_state", &[("component", "database"), ("state", "ok")], 1.0),
    ] {
        let sum = sum(&told, name, labels);
        assert!((sum - expected).abs() < 1e-6, "{name} {labels:?} is {sum}, and not {expected}");
    }
    let waited = sum(&told, "mainstay_dify_waited_runs_total", &[]);
    assert!((400.0..=runs).contains(&waited), "{waited}");
    let components: BTreeSet<&str> = told.iter().filter_map(|sample| label(sample, "component")).collect();
    for component in ["api", "web", "database", "redis", "broker", "plugin-daemon", "sandbox", "vector"] {
        assert!(components.contains(component), "{component} is not in {components:?}");
    }
    assert!(sum(&told, "mainstay_dify_reading_lag_seconds", &[]) < 60.0);
    wait_until("the wrong key is told", SOON, || async {
        let told = page(home).await;
        (sum(&told, "mainstay_dify_component_state", &[("component", "sandbox"), ("state", "ok")]) < 0.5
            && told.iter().any(|sample| label(sample, "id").is_some_and(|id| id.starts_with("sandbox"))))
        .then_some(())
    })
    .await;

    let apps: BTreeSet<&str> = told.iter().filter_map(|sample| label(sample, "app_id")).collect();
    assert!(apps.len() <= MAX_APPS && apps.contains("other"), "{} apps", apps.len());
}

fn label<'a>(sample: &'a Sample, name: &str) -> Option<&'a str> {
    sample.labels.get(name).map(String::as_str)
}

/// Over all series that have these labels.
fn sum(told: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let is_asked = |sample: &&Sample| {
        sample.name == name && labels.iter().all(|(name, value)| label(sample, name) == Some(value))
    };
    told.iter().filter(is_asked).map(|sample| sample.value).sum()
}
