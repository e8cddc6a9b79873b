//! The objectives that hold where nobody wrote others: for every mode of app, every endpoint that executes one, and the
//! models' path. They are not in the store: a document of the same name takes the place of one, and removing it brings
//! it back.

use std::time::Duration;

use super::{
    document::{Alerting, Document, MODES, Selector, Sli, Source, Window},
    endpoint,
};

/// Percent of runs that end well.
const RUNS_GOOD: f64 = 99.0;
/// Percent that are fast enough: what is slow is worth a look and rarely a call at night.
const FAST: f64 = 95.0;

/// All of them, by name.
pub fn documents() -> Vec<Document> {
    let mut all = Vec::new();
    for mode in MODES {
        let selector = Selector { mode: Some(mode.to_owned()), ..Selector::default() };
        let of = format!("runs of {mode} apps");
        all.push(one(format!("{mode}-availability"), Sli::Availability, &selector, RUNS_GOOD, &of));
        let latency = Sli::Latency { threshold: slow(mode) };
        all.push(one(format!("{mode}-latency"), latency, &selector, FAST, &of));
    }
    for endpoint in endpoint::RUNS {
        let selector = Selector {
            path: Some("app".to_owned()),
            endpoint: Some(endpoint.to_owned()),
            ..Selector::default()
        };
        let name = format!("endpoint-{}-availability", endpoint.replace('/', "-"));
        let of = format!("calls of /v1/{endpoint} through the gateway");
        let document = one(name, Sli::Availability, &selector, RUNS_GOOD, &of);
        all.push(Document { source: Source::Gateway, ..document });
    }
    all.extend(models());
    all.extend(queues());
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

fn models() -> Vec<Document> {
    let of_models = |endpoint: Option<&str>| Selector {
        path: Some("model".to_owned()),
        endpoint: endpoint.map(str::to_owned),
        ..Selector::default()
    };
    let gateway = |document| Document { source: Source::Gateway, ..document };
    let mut all = Vec::new();
    for endpoint in ["chat/completions", "completions", "responses", "embeddings", "rerank"] {
        let name = format!("model-{}-availability", endpoint.replace('/', "-"));
        let of = format!("calls of /v1/{endpoint}");
        all.push(gateway(one(name, Sli::Availability, &of_models(Some(endpoint)), RUNS_GOOD, &of)));
    }
    let first = Sli::FirstToken { threshold: Duration::from_secs(10) };
    let chat = of_models(Some("chat/completions"));
    all.push(gateway(one("model-first-token".to_owned(), first, &chat, FAST, "streamed calls of models")));
    all
}

fn queues() -> Vec<Document> {
    let all = Selector::default();
    let wait = Sli::QueueWait { threshold: Duration::from_secs(30) };
    let late = Sli::SchedulePunctuality { threshold: Duration::from_secs(60) };
    let dify = |document| Document { source: Source::Dify, ..document };
    vec![
        dify(one("queue-wait".to_owned(), wait, &all, FAST, "triggered runs in Dify's queues")),
        dify(one("schedule-punctuality".to_owned(), late, &all, FAST, "runs by Dify's schedules")),
        dify(one(
            "retrieval-emptiness".to_owned(),
            Sli::RetrievalEmptiness,
            &all,
            90.0,
            "retrievals of knowledge",
        )),
    ]
}

/// A page for a slow run would be wrong for most; agents and pipelines take minutes by nature.
fn slow(mode: &str) -> Duration {
    Duration::from_secs(match mode {
        "chat" | "completion" => 30,
        "workflow" | "advanced-chat" => 120,
        _ => 300,
    })
}

fn one(name: String, sli: Sli, selector: &Selector, target: f64, of: &str) -> Document {
    // Slowness is shown and told of; who wants to be called for it turns it on.
    let alerting = match sli {
        Sli::Availability => Alerting::On,
        _ => Alerting::Shadow,
    };
    Document {
        name,
        description: format!("{target} % of {of}: {}", sli.words()),
        sli,
        source: Source::Auto,
        selector: selector.clone(),
        target,
        window: Window::Rolling { days: 30 },
        owner: String::new(),
        alerting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_and_every_endpoint_has_one_and_names_are_their_own() {
        let all = documents();
        let has = |test: &dyn Fn(&Document) -> bool| all.iter().any(test);
        for mode in MODES {
            assert!(has(&|document| document.selector.mode.as_deref() == Some(mode)), "{mode}");
        }
        for endpoint in endpoint::RUNS.iter().chain(&endpoint::CALLS) {
            assert!(has(&|document| document.selector.endpoint.as_deref() == Some(*endpoint)), "{endpoint}");
        }
        let names: std::collections::BTreeSet<_> = all.iter().map(|document| &document.name).collect();
        assert_eq!(names.len(), all.len());
    }
}
