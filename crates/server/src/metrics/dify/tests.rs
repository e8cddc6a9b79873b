use mainstay_base::{Evidence, Finding, finding::Subject};
use mainstay_control::queue::{QueueView, Verdicts};
use mainstay_dify::celery::{Answer, Seen, Worker};

use super::*;

/// A Dify of which everything is known, whose names are all this one.
pub(in crate::metrics) fn everything(name: &str) -> DifyNow {
    let count = |kind, mode: &str, class: &str| {
        let mut sketch = Sketch::default();
        sketch.add(700_000);
        sketch.add(70_000_000);
        Count {
            kind,
            app_id: name.to_owned(),
            app: name.to_owned(),
            mode: mode.to_owned(),
            status: name.to_owned(),
            class: class.to_owned(),
            currency: name.to_owned(),
            count: 2,
            took_us: 70_700_000,
            waits: 2,
            wait_us: 3_000_000,
            tokens: 60,
            input_tokens: 30,
            output_tokens: 20,
            price_nanos: 1_500_000_000,
            sketch,
        }
    };
    let queue = QueueView {
        name: name.to_owned(),
        waiting: 7,
        by_step: [7, 0, 0, 0],
        consumers: vec!["celery@one".to_owned()],
        oldest_s: Some(12.5),
        oldest_is_at_least: false,
        rates: None,
        drain: Drain::Within { expected_s: 90.0, earliest_s: 60.0, latest_s: None },
        wait_s: Some(30.0),
        sampled: 0,
        tasks: Vec::new(),
        subjects: Vec::new(),
    };
    let growing = QueueView {
        name: "growing".to_owned(),
        drain: Drain::Growing { per_s: 0.5 },
        wait_s: None,
        ..queue.clone()
    };
    let finding = Finding {
        id: name.to_owned(),
        severity: Severity::Critical,
        component: "workers".to_owned(),
        subject: Subject::default(),
        what: String::new(),
        cause: String::new(),
        remedy: String::new(),
        evidence: vec![Evidence::new("", "")],
    };
    let answer = Answer { concurrency: Some(4), ..Answer::default() };
    let worker = Worker { name: "celery@one".to_owned(), answer: Some(answer), ..Worker::default() };
    let report = Report {
        component: "vector".to_owned(),
        state: State::Degraded,
        reason: String::new(),
        latency_ms: Some(1500),
        proves: String::new(),
        leaves_open: String::new(),
        facts: std::collections::BTreeMap::new(),
        findings: Vec::new(),
    };
    DifyNow {
        counts: Some(vec![
            count("run", "workflow", ""),
            count("run", "workflow", "rate_limit"),
            count("message", "advanced-chat", ""),
            count("node", "workflow", ""),
            count("feedback", "chat", ""),
        ]),
        reading_lag_s: Some(1.5),
        queues: Some(Arc::new(Latest {
            seen: Some(Seen { workers: vec![worker], ..Seen::default() }),
            verdicts: Verdicts { findings: vec![finding], queues: vec![queue, growing] },
        })),
        components: vec![report],
    }
}

fn page(dify: &Dify, now: &DifyNow) -> String {
    let mut text = String::new();
    dify.write(&mut text, now);
    text
}

#[test]
fn what_was_counted_is_told_by_app() {
    let text = page(&Dify::new(), &everything("x"));
    let app = "app_id=\"x\",app=\"x\"";
    for line in [
        // Two runs and two failed ones; a chatflow's answer is its run seen from the other side.
        &format!("mainstay_dify_runs_total{{{app},mode=\"workflow\",status=\"x\"}} 4"),
        &format!("mainstay_dify_failures_total{{{app},class=\"rate_limit\"}} 2"),
        "mainstay_dify_run_seconds_bucket{le=\"1.0\",mode=\"workflow\"} 2",
        "mainstay_dify_run_seconds_bucket{le=\"60.0\",mode=\"workflow\"} 2",
        "mainstay_dify_run_seconds_bucket{le=\"120.0\",mode=\"workflow\"} 4",
        "mainstay_dify_run_seconds_bucket{le=\"+Inf\",mode=\"workflow\"} 4",
        "mainstay_dify_run_seconds_count{mode=\"workflow\"} 4",
        "mainstay_dify_run_seconds_sum{mode=\"workflow\"} 141.4",
        &format!("mainstay_dify_waited_runs_total{{{app}}} 4"),
        &format!("mainstay_dify_wait_seconds_total{{{app}}} 6.0"),
        &format!("mainstay_dify_tokens_total{{{app},direction=\"input\"}} 60"),
        &format!("mainstay_dify_tokens_total{{{app},direction=\"unknown\"}} 20"),
        &format!("mainstay_dify_cost_total{{{app},currency=\"x\"}} 3.0"),
        &format!("mainstay_dify_feedback_total{{{app},mode=\"chat\",status=\"x\"}} 2"),
        "mainstay_dify_queue_depth{queue=\"x\"} 7.0",
        "mainstay_dify_queue_drain_seconds{queue=\"x\"} 90.0",
        "mainstay_dify_queue_growth_per_second{queue=\"x\"} 0.0",
        "mainstay_dify_queue_growth_per_second{queue=\"growing\"} 0.5",
        "mainstay_dify_workers{state=\"answering\"} 1",
        "mainstay_dify_worker_slots 4",
        "mainstay_dify_component_up{component=\"vector\"} 1",
        "mainstay_dify_component_state{component=\"vector\",state=\"degraded\"} 1",
        "mainstay_dify_component_latency_seconds{component=\"vector\"} 1.5",
        "mainstay_dify_findings{id=\"x\",severity=\"critical\"} 1",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
    // Nobody knows when a queue that grows is empty.
    assert!(!text.contains("queue_drain_seconds{queue=\"growing\"}"), "{text}");
}

#[test]
fn what_is_not_known_is_not_told() {
    assert!(page(&Dify::new(), &DifyNow::default()).lines().all(|line| line.starts_with('#')));
}

#[test]
fn apps_without_end_make_bounded_series_and_lose_no_run() {
    let dify = Dify::new();
    let mut now = everything("x");
    let one = now.counts.as_ref().unwrap()[0].clone();
    let many = (0..1000).map(|number| Count { app_id: format!("app-{number}"), ..one.clone() });
    now.counts = Some(many.collect());
    let text = page(&dify, &now);
    let runs: Vec<&str> = text.lines().filter(|line| line.starts_with("mainstay_dify_runs_total{")).collect();
    assert_eq!(runs.len(), MAX_APPS + 1);
    let sum: u64 = runs.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(sum, 2000);
    assert!(text.contains("app_id=\"other\",app=\"other\""));
}

// An app may be called anything, and one broken line makes a scraper give up the whole page.
#[test]
fn hostile_names_are_labels_and_nothing_else() {
    for name in [
        "a\"} 1\nforged{x=\"",
        "back\\slash\\",
        "two\nlines\r\n",
        "<script>'&,=}{ #",
        "\u{1b}[31m\u{202e}",
        "名前 😀",
        "",
    ] {
        let text = page(&Dify::new(), &everything(name));
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(samples.len() > 30, "{text}");
        for line in samples {
            assert!(crate::metrics::model::tests::is_a_sample(line), "{name:?}: {line:?}");
        }
    }
}
