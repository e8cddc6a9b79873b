//! From what was counted to good and total of one objective. Pure.

use mainstay_store::model::{DifyCounted, DifySeries, SliCounts, SliSeries};
use serde::Serialize;

use super::{
    blame,
    document::{Document, Selector, Sli, Source},
    endpoint,
};

/// Runs of authors who try their apps out.
const DEBUGGING: &str = "debugging";
/// The status of a retrieval that found nothing.
const EMPTY: &str = "empty";

/// Good and total events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    pub good: u64,
    pub total: u64,
}

impl Figures {
    pub fn bad(self) -> u64 {
        self.total.saturating_sub(self.good)
    }

    pub(super) fn add(&mut self, other: Figures) {
        self.good += other.good;
        self.total += other.total;
    }

    fn of(good: i64, total: i64) -> Figures {
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        Figures { good: count(good), total: count(total) }
    }
}

/// Where a document's figures come from, or why from nowhere. `has_dify`: a Dify with a database is configured.
pub fn source(document: &Document, has_dify: bool) -> Result<Source, String> {
    let Document { sli, source, selector, .. } = document;
    let is_of_dify =
        matches!(sli, Sli::QueueWait { .. } | Sli::RetrievalEmptiness | Sli::SchedulePunctuality { .. });
    // What the gateway alone tells apart.
    let is_of_gateway = matches!(sli, Sli::FirstToken { .. })
        || selector.path.is_some()
        || selector.endpoint.is_some()
        || selector.provider.is_some()
        || selector.model.is_some();
    let wants_dify = match source {
        Source::Dify => true,
        Source::Gateway => false,
        Source::Auto => is_of_dify || (has_dify && !is_of_gateway),
    };
    match (wants_dify, has_dify) {
        (true, false) => Err("the configuration names no Dify with a database to read it of".to_owned()),
        (true, true) => Ok(Source::Dify),
        (false, _) if selector.mode.as_deref() == Some("rag-pipeline") => {
            Err("runs of pipelines do not come through the gateway; they are read of a Dify's database"
                .to_owned())
        }
        (false, _) => Ok(Source::Gateway),
    }
}

/// Whether the gateway's series is one of those that are meant.
pub(super) fn selects(selector: &Selector, series: &SliSeries) -> bool {
    let Selector { path, app, mode, endpoint, model, provider, version } = selector;
    let is = |wanted: &Option<String>, has: &str| wanted.as_ref().is_none_or(|wanted| wanted == has);
    let of_model = model.is_some() || provider.is_some();
    // What is not said: an app's runs, unless a model is meant.
    let path = match path.as_deref() {
        Some(path) => path == series.path,
        None => series.path == if of_model { "model" } else { "app" },
    };
    let endpoint = match endpoint.as_deref() {
        Some("any") => true,
        Some(endpoint) => endpoint == series.endpoint,
        None if series.path == "app" => endpoint::RUNS.contains(&series.endpoint.as_str()),
        None => true,
    };
    let app = app.as_ref().is_none_or(|app| *app == series.app || *app == series.app_id);
    path && endpoint
        && app
        && is(mode, &series.mode)
        && is(model, &series.model)
        && is(provider, &series.provider)
        && is(version, &series.version)
}

/// What the gateway counted of a series, for an objective about it.
pub(super) fn of_gateway(sli: Sli, counts: &SliCounts) -> Figures {
    let micros = |threshold: std::time::Duration| i64::try_from(threshold.as_micros()).unwrap_or(i64::MAX);
    match sli {
        // Of freshness it is the good ones that are asked for.
        Sli::Availability | Sli::RunFreshness { .. } => Figures::of(counts.good, counts.good + counts.bad()),
        Sli::Latency { threshold } => {
            Figures::of(counts.took.at_most(micros(threshold)), counts.took.count())
        }
        Sli::FirstToken { threshold } => {
            Figures::of(counts.first_token.at_most(micros(threshold)), counts.first_token.count())
        }
        Sli::QueueWait { .. } | Sli::RetrievalEmptiness | Sli::SchedulePunctuality { .. } => {
            Figures::default()
        }
    }
}

/// The kinds of what is counted of a Dify that any objective is about.
pub(super) const KINDS: &[&str] = &["run", "message", "trigger", "retrieval", "schedule"];

/// Whether a series of a Dify is one of those that are meant.
pub(super) fn selects_dify(sli: Sli, selector: &Selector, series: &DifySeries) -> bool {
    let Selector { path, app, mode, endpoint, model, provider, version } = selector;
    let is = |wanted: &Option<String>, has: &str| wanted.as_ref().is_none_or(|wanted| wanted == has);
    let kind = match sli {
        Sli::QueueWait { .. } => series.kind == "trigger",
        Sli::SchedulePunctuality { .. } => series.kind == "schedule",
        Sli::RetrievalEmptiness => series.kind == "retrieval",
        // A chatflow's answer is its run seen from the other side.
        _ => series.kind == "run" || (series.kind == "message" && series.mode != "advanced-chat"),
    };
    kind && series.origin != DEBUGGING
        && path.as_deref().is_none_or(|path| path == "app")
        && is(app, &series.app_id)
        && is(mode, &series.mode)
        && is(endpoint, &series.origin)
        && is(model, &series.model)
        && is(provider, &series.provider)
        && is(version, &series.version)
}

/// What was counted of a Dify's series, for an objective about it.
pub(super) fn of_dify(sli: Sli, series: &DifySeries, counted: &DifyCounted) -> Figures {
    let micros = |threshold: std::time::Duration| i64::try_from(threshold.as_micros()).unwrap_or(i64::MAX);
    let blame = blame::of_dify(&series.status, &series.class);
    if blame == Some(mainstay_base::Blame::Client) {
        return Figures::default();
    }
    match sli {
        Sli::Availability | Sli::RunFreshness { .. } => {
            Figures::of(if blame.is_none() { counted.count } else { 0 }, counted.count)
        }
        Sli::Latency { .. } if blame.is_some() => Figures::default(),
        Sli::Latency { threshold } => {
            Figures::of(counted.took.at_most(micros(threshold)), counted.took.count())
        }
        Sli::QueueWait { threshold } => {
            Figures::of(counted.wait.at_most(micros(threshold)), counted.wait.count())
        }
        // One that never fired did not wait.
        Sli::SchedulePunctuality { threshold } => {
            Figures::of(counted.wait.at_most(micros(threshold)), counted.count)
        }
        Sli::RetrievalEmptiness => {
            Figures::of(if series.status == EMPTY { 0 } else { counted.count }, counted.count)
        }
        Sli::FirstToken { .. } => Figures::default(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mainstay_base::Blame;
    use mainstay_store::model::Sketch;

    use super::*;

    fn selector(pairs: &[(&str, &str)]) -> Selector {
        let mut document = serde_json::json!({ "name": "a", "target": 99, "sli": { "kind": "availability" }, "selector": {} });
        for (key, value) in pairs {
            document["selector"][key] = (*value).into();
        }
        super::super::document(&document).unwrap().selector
    }

    fn series(path: &str, mode: &str, endpoint: &str) -> SliSeries {
        SliSeries {
            path: path.to_owned(),
            app_id: "77".to_owned(),
            app: "Guide".to_owned(),
            mode: mode.to_owned(),
            endpoint: endpoint.to_owned(),
            provider: if path == "model" { "openai" } else { "" }.to_owned(),
            ..SliSeries::default()
        }
    }

    #[test]
    fn a_mode_means_its_runs_and_not_the_small_calls_around_them() {
        let (run, list) = (series("app", "chat", "chat-messages"), series("app", "chat", "other"));
        let call = series("model", "", "chat/completions");
        for (pairs, expected) in [
            (vec![], [true, false, false]),
            (vec![("mode", "chat")], [true, false, false]),
            (vec![("mode", "workflow")], [false, false, false]),
            (vec![("endpoint", "any")], [true, true, false]),
            (vec![("endpoint", "other")], [false, true, false]),
            (vec![("app", "Guide")], [true, false, false]),
            (vec![("app", "77")], [true, false, false]),
            (vec![("path", "model")], [false, false, true]),
            (vec![("provider", "openai")], [false, false, true]),
            (vec![("provider", "azure")], [false, false, false]),
        ] {
            let selector = selector(&pairs);
            assert_eq!([&run, &list, &call].map(|series| selects(&selector, series)), expected, "{pairs:?}");
        }
    }

    #[test]
    fn the_callers_doing_is_neither_good_nor_bad() {
        let mut counts = SliCounts { good: 90, ..SliCounts::default() };
        counts.blamed[Blame::Client.index()] = 1_000;
        counts.blamed[Blame::Provider.index()] = 7;
        counts.blamed[Blame::Gateway.index()] = 3;
        (0..90).for_each(|number| counts.took.add(number * 100_000));
        assert_eq!(of_gateway(Sli::Availability, &counts), Figures { good: 90, total: 100 });
        let Figures { good, total } = of_gateway(Sli::Latency { threshold: Duration::from_secs(5) }, &counts);
        assert_eq!(total, 90, "what failed was not slow");
        assert!((45..=55).contains(&good), "{good}");
        let mut wait = Sketch::default();
        wait.add(1_000);
        let counted = DifyCounted { count: 5, wait, ..DifyCounted::default() };
        let of = |sli, status: &str, class: &str| {
            let series =
                DifySeries { status: status.to_owned(), class: class.to_owned(), ..DifySeries::default() };
            of_dify(sli, &series, &counted)
        };
        assert_eq!(of(Sli::Availability, "failed", "provider_error"), Figures { good: 0, total: 5 });
        assert_eq!(of(Sli::Availability, "failed", "content_filter"), Figures::default());
        assert_eq!(of(Sli::Availability, "succeeded", ""), Figures { good: 5, total: 5 });
        let wait = Sli::QueueWait { threshold: Duration::from_secs(1) };
        assert_eq!(of(wait, "succeeded", ""), Figures { good: 1, total: 1 });
        let late = Sli::SchedulePunctuality { threshold: Duration::from_secs(1) };
        assert_eq!(of(late, "fired", ""), Figures { good: 1, total: 5 });
        assert_eq!(of(Sli::RetrievalEmptiness, "found", ""), Figures { good: 5, total: 5 });
        assert_eq!(of(Sli::RetrievalEmptiness, "empty", ""), Figures { good: 0, total: 5 });
    }

    #[test]
    fn what_has_no_source_says_why() {
        for document in super::super::defaults::documents() {
            let (with, without) = (source(&document, true), source(&document, false));
            let name = document.name.as_str();
            match document.sli {
                Sli::RetrievalEmptiness | Sli::QueueWait { .. } | Sli::SchedulePunctuality { .. } => {
                    assert_eq!((with, without.is_err()), (Ok(Source::Dify), true), "{name}");
                }
                _ if name.starts_with("rag-pipeline") => assert!(with.is_ok() && without.is_err(), "{name}"),
                _ if name.starts_with("model") || name.starts_with("endpoint") => {
                    assert_eq!((with, without), (Ok(Source::Gateway), Ok(Source::Gateway)), "{name}");
                }
                _ => assert_eq!((with, without), (Ok(Source::Dify), Ok(Source::Gateway)), "{name}"),
            }
        }
    }
}
