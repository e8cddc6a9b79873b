//! What records say of model calls: attempts, first tokens, tokens and cost, and what the gateway itself takes.

use std::sync::{Arc, OnceLock, atomic::AtomicU64};

use mainstay_base::{
    Record,
    record::{Attempt, AttemptRole},
};
use parking_lot::RwLock;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::names::{Known, Names, OTHER, hash_of};

/// Distinct models, keys and apps that get series of their own.
const MAX_NAMES: usize = 200;
/// Distinct spenders (provider, model, key and app together) that get series of their own. A key without an app of its
/// own lets its caller choose one for each call.
const MAX_SPENDERS: usize = 2000;
/// The label of what a call does not have.
const NONE: &str = "none";
const FIRST_TOKEN_SECONDS: [f64; 12] = [0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
/// The gateway takes microseconds.
const OVERHEAD_SECONDS: [f64; 11] =
    [0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTry {
    provider: String,
    model: String,
    /// `ok`, or why it was not the answer.
    class: &'static str,
    role: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTarget {
    provider: String,
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSpender {
    provider: String,
    model: String,
    key: String,
    app: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTokens {
    provider: String,
    model: String,
    key: String,
    app: String,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPath {
    path: &'static str,
}

type Histograms<Labels> = Family<Labels, Histogram, fn() -> Histogram>;

pub(super) struct Model {
    providers: Names,
    models: Names,
    keys: Names,
    apps: Names,
    /// Spenders that have series of their own.
    spenders: RwLock<Known<Spender>>,
    attempts: Family<OfTry, Counter>,
    first_token: Histograms<OfTarget>,
    tokens: Family<OfTokens, Counter>,
    cost: Family<OfSpender, Counter<f64, AtomicU64>>,
    shared: Counter,
    overhead: Histograms<OfPath>,
}

impl Model {
    pub(super) fn new() -> Model {
        let names = || Names::new(MAX_NAMES);
        Model {
            providers: names(),
            models: names(),
            keys: names(),
            apps: names(),
            spenders: RwLock::new(Known::new(MAX_SPENDERS)),
            attempts: Family::default(),
            first_token: Family::new_with_constructor(|| Histogram::new(FIRST_TOKEN_SECONDS)),
            tokens: Family::default(),
            cost: Family::default(),
            shared: Counter::default(),
            overhead: Family::new_with_constructor(|| Histogram::new(OVERHEAD_SECONDS)),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "model_attempts",
            "Tries of model targets by what came of them (class) and why they were made (role: first, retry, fallback, \
             hedge, continuation)",
            self.attempts.clone(),
        );
        registry.register_with_unit(
            "model_first_token",
            "From an attempt's start to its first content",
            Unit::Seconds,
            self.first_token.clone(),
        );
        registry.register("model_tokens", "Tokens by who spent them", self.tokens.clone());
        registry.register("model_cost_usd", "Dollars by who spent them", self.cost.clone());
        registry.register(
            "model_shared",
            "Calls answered by another call, identical and in flight",
            self.shared.clone(),
        );
        registry.register_with_unit(
            "gateway_overhead",
            "The time of a request less the time during which some upstream or provider was being waited for",
            Unit::Seconds,
            self.overhead.clone(),
        );
    }

    pub(super) fn observe(&self, path: &'static str, record: &Record) {
        if !record.attempts.is_empty() {
            let seconds = overhead_us(record) as f64 / 1e6;
            self.overhead.get_or_create(&OfPath { path }).observe(seconds);
        }
        if record.path != mainstay_base::record::Path::Model {
            return;
        }
        if record.shared_with.is_some() {
            self.shared.inc();
        }
        let key = record.key.as_deref().unwrap_or(NONE);
        let app = record.app.as_deref().unwrap_or(NONE);
        for attempt in &record.attempts {
            self.attempt(attempt, key, app);
        }
    }

    fn attempt(&self, attempt: &Attempt, key: &str, app: &str) {
        let spender = self.spender([&attempt.upstream, attempt.model.as_deref().unwrap_or(NONE), key, app]);
        spender.tries(self, attempt).inc();
        if let Some(us) = attempt.first_token_us {
            spender.first_token(self).observe(us as f64 / 1e6);
        }
        for (direction, tokens) in [("input", attempt.input_tokens), ("output", attempt.output_tokens)] {
            if let Some(tokens) = tokens.filter(|tokens| *tokens > 0) {
                spender.tokens(self, direction).inc_by(tokens);
            }
        }
        if let Some(cost) = attempt.cost.filter(|cost| cost.0 > 0) {
            spender.cost(self).inc_by(cost.dollars());
        }
    }

    /// By provider, model, key and app.
    fn spender(&self, names: [&str; 4]) -> Arc<Spender> {
        let hash = hash_of(&names);
        let found = self.spenders.read().get(hash).filter(|spender| spender.is_of(names)).cloned();
        if let Some(spender) = found {
            return spender;
        }
        let [provider, model, key, app] = names;
        let (provider, model) = (self.providers.label(provider), self.models.label(model));
        let labels = [provider, model, self.keys.label(key), self.apps.label(app)];
        let spender = Arc::new(Spender::new(names, labels));
        let kept = self.spenders.write().keep(hash, spender.clone());
        // Two of one hash are one too many as well.
        kept.filter(|kept| kept.is_of(names)).unwrap_or_else(|| Arc::new(spender.beyond_bound()))
    }
}

/// The series of one spender, each looked up once: labels are cloned and hashed for every look.
struct Spender {
    /// Provider, model, key and app as records have them.
    names: [String; 4],
    /// The same as labels: beyond the bounds they are [`OTHER`].
    labels: [String; 4],
    /// Of attempts that were the answer at the first try.
    answered: OnceLock<Counter>,
    first_token: OnceLock<Histogram>,
    input: OnceLock<Counter>,
    output: OnceLock<Counter>,
    cost: OnceLock<Counter<f64, AtomicU64>>,
}

impl Spender {
    fn new(names: [&str; 4], labels: [String; 4]) -> Spender {
        Spender {
            names: names.map(str::to_owned),
            labels,
            answered: OnceLock::new(),
            first_token: OnceLock::new(),
            input: OnceLock::new(),
            output: OnceLock::new(),
            cost: OnceLock::new(),
        }
    }

    fn beyond_bound(&self) -> Spender {
        let [provider, model, ..] = self.labels.clone();
        let names = self.names.each_ref().map(String::as_str);
        Spender::new(names, [provider, model, OTHER.to_owned(), OTHER.to_owned()])
    }

    fn is_of(&self, names: [&str; 4]) -> bool {
        self.names.each_ref().map(String::as_str) == names
    }

    fn tries(&self, model: &Model, attempt: &Attempt) -> Counter {
        let class = match (attempt.class, &attempt.error) {
            (Some(class), _) => class.as_str(),
            (None, Some(_)) => "failed",
            (None, None) => "ok",
        };
        let role = role(attempt.role);
        let look_up = || {
            let [provider, name, ..] = self.labels.clone();
            model.attempts.get_or_create(&OfTry { provider, model: name, class, role }).clone()
        };
        match (class, attempt.role) {
            ("ok", AttemptRole::First) => self.answered.get_or_init(look_up).clone(),
            _ => look_up(),
        }
    }

    fn first_token(&self, model: &Model) -> &Histogram {
        self.first_token.get_or_init(|| {
            let [provider, name, ..] = self.labels.clone();
            model.first_token.get_or_create(&OfTarget { provider, model: name }).clone()
        })
    }

    fn tokens(&self, model: &Model, direction: &'static str) -> &Counter {
        let place = if direction == "input" { &self.input } else { &self.output };
        place.get_or_init(|| {
            let [provider, name, key, app] = self.labels.clone();
            model.tokens.get_or_create(&OfTokens { provider, model: name, key, app, direction }).clone()
        })
    }

    fn cost(&self, model: &Model) -> &Counter<f64, AtomicU64> {
        self.cost.get_or_init(|| {
            let [provider, name, key, app] = self.labels.clone();
            model.cost.get_or_create(&OfSpender { provider, model: name, key, app }).clone()
        })
    }
}

fn role(role: AttemptRole) -> &'static str {
    match role {
        AttemptRole::First => "first",
        AttemptRole::Retry => "retry",
        AttemptRole::Fallback => "fallback",
        AttemptRole::Hedge => "hedge",
        AttemptRole::Continuation => "continuation",
    }
}

/// The total less the union of the attempts: hedges overlap.
fn overhead_us(record: &Record) -> u64 {
    let span = |attempt: &Attempt| (attempt.started_us, attempt.started_us.saturating_add(attempt.took_us));
    if let [attempt] = record.attempts.as_slice() {
        let (start, end) = span(attempt);
        return record.took_us.saturating_sub(end.min(record.took_us).saturating_sub(start));
    }
    let mut spans: Vec<(u64, u64)> = record.attempts.iter().map(span).collect();
    spans.sort_unstable();
    let (mut waited, mut until) = (0_u64, 0_u64);
    for (start, end) in spans {
        let end = end.min(record.took_us);
        waited += end.saturating_sub(start.max(until));
        until = until.max(end);
    }
    record.took_us.saturating_sub(waited)
}

#[cfg(test)]
pub(super) mod tests {
    use mainstay_base::record::Path;

    use super::*;

    // A caller whose key has no app of its own names another one with each call: 200 apps times all models were series.
    #[test]
    fn a_caller_that_names_ever_new_apps_makes_no_endless_series() {
        let mut registry = Registry::default();
        let metrics = Model::new();
        metrics.register(&mut registry);
        for number in 0..60_000_usize {
            let attempt = Attempt {
                upstream: "one".to_owned(),
                model: Some(format!("model-{}", number % 150)),
                input_tokens: Some(1),
                cost: Some(mainstay_base::Usd(1)),
                ..Attempt::default()
            };
            let app = Some(format!("app-{}", number / 150));
            metrics.observe("model", &Record { app, attempts: vec![attempt], ..Record::blank(Path::Model) });
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let spent: Vec<&str> = text.lines().filter(|line| line.starts_with("model_tokens_total{")).collect();
        assert!(spent.len() <= MAX_SPENDERS + 150, "{}", spent.len());
        let sum: u64 =
            spent.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        assert_eq!(sum, 60_000, "every token is counted somewhere");
    }

    // Callers name models and apps as they like, and one broken line makes a scraper give up the whole page.
    #[test]
    fn a_label_holds_whatever_a_name_does() {
        for name in [
            "a\"} 1\nforged{x=\"",
            "back\\slash\\",
            "two\nlines\r\n",
            "<script>'&,=}{ #",
            "\u{1b}[31m\u{202e}",
            "名前 😀",
            &"w".repeat(500),
        ] {
            let mut registry = Registry::default();
            let metrics = Model::new();
            metrics.register(&mut registry);
            let attempt = Attempt {
                upstream: name.to_owned(),
                model: Some(name.to_owned()),
                output_tokens: Some(1),
                first_token_us: Some(1),
                cost: Some(mainstay_base::Usd(1)),
                ..Attempt::default()
            };
            let (app, key) = (Some(name.to_owned()), Some(name.to_owned()));
            metrics.observe(
                "model",
                &Record { app, key, attempts: vec![attempt], ..Record::blank(Path::Model) },
            );
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
            assert!(samples.len() > 20, "{text}");
            for line in samples {
                assert!(is_a_sample(line), "{name:?}: {line:?}");
            }
        }
    }

    /// By the grammar of the text format: in a value only `\\`, `\"` and `\n` are escaped, and all three must be.
    pub(in crate::metrics) fn is_a_sample(line: &str) -> bool {
        let is_word =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let is_number = |text: &str| text.parse::<f64>().is_ok();
        let Some((name, mut rest)) = line.split_once('{') else {
            return line.split_once(' ').is_some_and(|(name, value)| is_word(name) && is_number(value));
        };
        loop {
            let Some((label, after)) = rest.split_once("=\"") else { return false };
            let mut is_escaped = false;
            let end = after.find(|letter| {
                let ends = letter == '"' && !is_escaped;
                is_escaped = letter == '\\' && !is_escaped;
                ends
            });
            let Some(end) = end.filter(|_| is_word(label)) else { return false };
            match after[end + 1..].split_at_checked(1) {
                Some((",", more)) => rest = more,
                Some(("}", value)) => {
                    return is_word(name) && value.strip_prefix(' ').is_some_and(is_number);
                }
                _ => return false,
            }
        }
    }

    #[test]
    fn overhead_is_what_no_attempt_covers() {
        let check = |took_us, spans: &[(u64, u64)], expected| {
            let attempts = spans
                .iter()
                .map(|(started_us, took_us)| Attempt {
                    started_us: *started_us,
                    took_us: *took_us,
                    ..Attempt::default()
                })
                .collect();
            let record = Record { took_us, attempts, ..Record::blank(Path::Model) };
            assert_eq!(overhead_us(&record), expected, "{spans:?}");
        };
        check(100, &[(10, 80)], 20);
        check(100, &[(10, 30), (50, 40)], 30);
        // A hedge runs beside the first attempt; the loser ends after the answer.
        check(100, &[(10, 80), (40, 100)], 10);
        check(100, &[(40, 20), (10, 80)], 20);
        check(100, &[], 100);
    }
}
