//! What was counted, by one label: by app, mode, endpoint, version, node, model, provider or queue.

use std::collections::BTreeMap;

use mainstay_base::Micros;
use mainstay_store::{
    Store, StoreError,
    model::{DifySeries, DifyTotal, Sketch},
};
use serde::Serialize;

/// The label that figures are told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    App,
    Mode,
    /// Service API, web app, installed app, webhook, schedule, debugger.
    Endpoint,
    /// A version of a workflow.
    Version,
    /// A type of nodes.
    Node,
    Model,
    Provider,
    /// Where triggered runs waited.
    Queue,
}

impl By {
    pub const ALL: [(&'static str, By); 8] = [
        ("app", By::App),
        ("mode", By::Mode),
        ("endpoint", By::Endpoint),
        ("version", By::Version),
        ("node", By::Node),
        ("model", By::Model),
        ("provider", By::Provider),
        ("queue", By::Queue),
    ];

    pub fn parse(word: &str) -> Option<By> {
        By::ALL.into_iter().find_map(|(name, by)| (name == word).then_some(by))
    }

    fn kinds(self) -> &'static [&'static str] {
        match self {
            By::App | By::Mode | By::Version => &["run", "message", "node"],
            By::Endpoint => &["run", "message"],
            By::Node => &["node"],
            By::Model | By::Provider => &["node", "message"],
            By::Queue => &["trigger"],
        }
    }

    fn value(self, series: &DifySeries) -> &str {
        match self {
            By::App => &series.app_id,
            By::Mode => &series.mode,
            By::Endpoint => &series.origin,
            By::Version => &series.version,
            By::Node | By::Queue => &series.node_type,
            By::Model => &series.model,
            By::Provider => &series.provider,
        }
    }

    /// Whether a series is counted, and whether what it used is. A run and its nodes are one run that used what its
    /// nodes did; a chatflow's answer is its run seen from the other side.
    fn takes(self, series: &DifySeries) -> (bool, bool) {
        let is_answer = series.kind == "message" && series.mode != "advanced-chat";
        let is_unit = series.kind == "run" || is_answer;
        match self {
            By::App | By::Mode | By::Version => (is_unit, series.kind != "run"),
            // Nodes do not know where their run came from: a run's own tokens are taken, which have no price.
            By::Endpoint => (is_unit, is_unit),
            By::Node => (true, true),
            By::Model | By::Provider => {
                let is_use = !series.model.is_empty() && (series.kind == "node" || is_answer);
                (is_use, is_use)
            }
            By::Queue => (true, false),
        }
    }
}

/// What has one value of a label.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    pub value: String,
    /// Of an app; of what has several, one of them.
    #[serde(skip)]
    pub(super) mode: String,
    /// Runs and answers of apps without runs; nodes, calls of models or triggers where those are told.
    pub count: i64,
    pub failed: i64,
    /// By class.
    pub failures: BTreeMap<String, i64>,
    pub p50_ms: Option<i64>,
    pub p95_ms: Option<i64>,
    pub mean_wait_ms: Option<i64>,
    pub tokens: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
    /// Millionths, by currency; a model without a price adds nothing.
    pub cost_micros: BTreeMap<String, i64>,
}

/// Those with most failures first, then those with most of all. `app`: only of this one.
pub async fn usage(
    store: &Store,
    source: &str,
    by: By,
    app: Option<&str>,
    since: Micros,
    until: Micros,
) -> Result<Vec<Figures>, StoreError> {
    let mut totals = Vec::new();
    for kind in by.kinds() {
        totals.extend(store.dify().totals(source, kind, since, until).await?);
    }
    totals.retain(|total| app.is_none_or(|app| total.series.app_id == app));
    Ok(told(by, &totals))
}

/// As [`usage`]. Pure.
pub(super) fn told(by: By, totals: &[DifyTotal]) -> Vec<Figures> {
    #[derive(Default)]
    struct Sum {
        figures: Figures,
        sketch: Sketch,
        waits: i64,
        wait_us: i64,
    }
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for total in totals {
        let series = &total.series;
        let (counts, uses) = by.takes(series);
        if !by.kinds().contains(&series.kind.as_str()) || (!counts && !uses) {
            continue;
        }
        let Sum { figures, sketch, waits, wait_us } = sums.entry(by.value(series)).or_default();
        if figures.mode.is_empty() {
            figures.mode.clone_from(&series.mode);
        }
        if counts {
            figures.count += total.count;
            sketch.merge(&total.sketch);
            *waits += total.waits;
            *wait_us = wait_us.saturating_add(total.wait_us);
            if !series.class.is_empty() {
                figures.failed += total.count;
                *figures.failures.entry(series.class.clone()).or_default() += total.count;
            }
        }
        if uses {
            figures.tokens = figures.tokens.saturating_add(total.tokens);
            figures.input_tokens = figures.input_tokens.saturating_add(total.input_tokens);
            figures.output_tokens = figures.output_tokens.saturating_add(total.output_tokens);
            if total.price_nanos > 0 {
                *figures.cost_micros.entry(series.currency.clone()).or_default() += total.price_nanos / 1000;
            }
        }
    }
    let whole = |(value, sum): (&str, Sum)| {
        let Sum { figures, sketch, waits, wait_us } = sum;
        Figures {
            value: value.to_owned(),
            p50_ms: sketch.quantile(0.5).map(|us| us / 1000),
            p95_ms: sketch.quantile(0.95).map(|us| us / 1000),
            mean_wait_ms: (waits > 0).then(|| wait_us / waits / 1000),
            ..figures
        }
    };
    let mut all: Vec<Figures> = sums.into_iter().map(whole).collect();
    all.sort_by_key(|figures| (-figures.failed, -figures.count));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(count: i64, series: DifySeries) -> DifyTotal {
        let mut sketch = Sketch::default();
        (0..count).for_each(|_| sketch.add(2_000_000));
        let is_node = series.kind == "node";
        DifyTotal {
            took_us: count * 2_000_000,
            waits: count,
            wait_us: count * 30_000,
            tokens: count * 10,
            input_tokens: if is_node { count * 7 } else { 0 },
            output_tokens: if is_node { count * 3 } else { 0 },
            price_nanos: if is_node { count * 5_000 } else { 0 },
            sketch,
            count,
            series,
        }
    }

    fn series(kind: &str, change: impl FnOnce(&mut DifySeries)) -> DifySeries {
        let mut series =
            DifySeries { kind: kind.to_owned(), mode: "workflow".to_owned(), ..DifySeries::default() };
        change(&mut series);
        series
    }

    fn lines(by: By, totals: &[DifyTotal]) -> Vec<String> {
        let cost = |figures: &Figures| figures.cost_micros.values().sum::<i64>();
        let line = |row: Figures| {
            format!("{} {}/{} tokens {} cost {}", row.value, row.failed, row.count, row.tokens, cost(&row))
        };
        told(by, totals).into_iter().map(line).collect()
    }

    /// Ten runs with a model call each, two of which failed, and four answers of an app without runs.
    fn day() -> Vec<DifyTotal> {
        let set = |field: &mut String, text: &str| text.clone_into(field);
        let run = |class: &str, origin: &str| {
            series("run", |series| {
                set(&mut series.class, class);
                set(&mut series.origin, origin);
                set(&mut series.version, "v1");
            })
        };
        let node = |kind: &str, model: &str| {
            series("node", |series| {
                set(&mut series.version, "v1");
                set(&mut series.node_type, kind);
                set(&mut series.model, model);
                set(&mut series.currency, "USD");
            })
        };
        let answer = |mode: &str| {
            series("message", |series| {
                set(&mut series.mode, mode);
                set(&mut series.origin, "web-app");
                set(&mut series.model, "gpt");
            })
        };
        vec![
            total(8, run("", "service-api")),
            total(2, run("provider_rate_limited", "web-app")),
            total(10, node("llm", "gpt")),
            total(10, node("start", "")),
            total(4, answer("chat")),
            // The same as runs, seen from the other side.
            total(3, answer("advanced-chat")),
            total(5, series("trigger", |series| set(&mut series.node_type, "workflow_team"))),
        ]
    }

    #[test]
    fn each_label_counts_what_it_is_about_once() {
        let day = day();
        assert_eq!(lines(By::Version, &day), ["v1 2/10 tokens 200 cost 100", " 0/4 tokens 70 cost 0"]);
        assert_eq!(
            lines(By::Endpoint, &day),
            ["web-app 2/6 tokens 60 cost 0", "service-api 0/8 tokens 80 cost 0"]
        );
        assert_eq!(lines(By::Model, &day), ["gpt 0/14 tokens 140 cost 50"]);
        let nodes = lines(By::Node, &day);
        assert_eq!(nodes, ["llm 0/10 tokens 100 cost 50", "start 0/10 tokens 100 cost 50"]);
        assert_eq!(lines(By::Queue, &day), ["workflow_team 0/5 tokens 0 cost 0"]);
        let [runs, ..] = &told(By::Version, &day)[..] else { panic!("no figures") };
        assert_eq!(runs.failures, BTreeMap::from([("provider_rate_limited".to_owned(), 2)]));
        assert_eq!((runs.mean_wait_ms, runs.p50_ms.is_some()), (Some(30), true));
    }

    #[test]
    fn every_label_has_a_word() {
        for (word, by) in By::ALL {
            assert_eq!(By::parse(word), Some(by));
        }
        assert_eq!(By::parse("apps"), None);
    }
}
