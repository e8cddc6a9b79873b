//! What is known of targets, put together: what gateways say of now (standings) and what records say of the last while.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::{
    Class, Micros, Record, Standing, Usd,
    standing::{BreakerState, KeyStanding, TargetStanding},
};
use mainstay_store::model::{CallFilter, Stood};
use serde::Serialize;

use crate::{App, Failure};

/// Spans of records to count, the longest first: the first that fits into one page, else the last.
const SPANS: [Duration; 3] = [Duration::from_secs(3_600), Duration::from_secs(600), Duration::from_secs(60)];

/// What records say of a span of time.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Recent {
    pub(crate) span_s: u64,
    /// More was recorded in that time than was counted.
    pub(crate) is_partial: bool,
    pub(crate) calls: u64,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) cost: Option<Usd>,
    #[serde(skip)]
    targets: BTreeMap<(String, String), Tally>,
}

/// One target's part of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Tally {
    pub(crate) attempts: u64,
    /// Calls that it answered.
    pub(crate) answers: u64,
    pub(crate) failures: BTreeMap<&'static str, u64>,
    pub(crate) cost: Option<Usd>,
    /// Of all answered calls.
    pub(crate) share_percent: u64,
    pub(crate) first_token_ms_p50: Option<u64>,
    pub(crate) first_token_ms_p95: Option<u64>,
    #[serde(skip)]
    first_tokens_us: Vec<u64>,
}

impl Tally {
    /// The commonest failures, for a line.
    pub(crate) fn failure_words(&self) -> String {
        let mut failures: Vec<_> = self.failures.iter().collect();
        failures.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let word = |(class, count): &(&&str, &u64)| format!("{} × {}", count, class.replace('_', " "));
        failures.iter().take(4).map(word).collect::<Vec<_>>().join(", ")
    }

    fn add(&mut self, other: &Tally) {
        self.attempts += other.attempts;
        self.answers += other.answers;
        for (class, count) in &other.failures {
            *self.failures.entry(class).or_default() += count;
        }
        self.cost = sum(self.cost, other.cost);
        self.share_percent += other.share_percent;
        self.first_tokens_us.extend(&other.first_tokens_us);
    }

    fn settle(&mut self) {
        self.first_tokens_us.sort_unstable();
        let at = |percent: usize| {
            let last = self.first_tokens_us.len().checked_sub(1)?;
            self.first_tokens_us.get(last * percent / 100).map(|us| us / 1_000)
        };
        (self.first_token_ms_p50, self.first_token_ms_p95) = (at(50), at(95));
    }
}

impl Recent {
    /// Of all models, or of one.
    pub(crate) async fn read(app: &App, model: Option<&str>) -> Result<Recent, Failure> {
        let now = app.ports.clock.now();
        let mut found = Recent::default();
        for span in SPANS {
            let filter = CallFilter {
                since: now - span,
                until: now + Duration::from_micros(1),
                model: model.map(str::to_owned),
                ..CallFilter::default()
            };
            let page = app.ports.store.records().calls(filter).await?;
            found = Recent::of(&page.calls);
            (found.span_s, found.is_partial) = (span.as_secs(), page.next.is_some());
            if !found.is_partial {
                break;
            }
        }
        Ok(found)
    }

    fn of(calls: &[Record]) -> Recent {
        let mut recent = Recent::default();
        for call in calls {
            recent.count(call);
        }
        let answered = recent.targets.values().map(|tally| tally.answers).sum::<u64>().max(1);
        for tally in recent.targets.values_mut() {
            tally.share_percent = tally.answers * 100 / answered;
            tally.settle();
        }
        recent
    }

    fn count(&mut self, call: &Record) {
        self.calls += 1;
        self.cost = sum(self.cost, call.cost);
        match call.outcome {
            mainstay_base::record::Outcome::Ok => self.answered += 1,
            mainstay_base::record::Outcome::CallerGone => {}
            _ => self.failed += 1,
        }
        for attempt in &call.attempts {
            let model = attempt.model.clone().or_else(|| call.model.clone()).unwrap_or_default();
            let tally = self.targets.entry((attempt.upstream.clone(), model)).or_default();
            tally.attempts += 1;
            tally.cost = sum(tally.cost, attempt.cost);
            tally.first_tokens_us.extend(attempt.first_token_us);
            match attempt.class {
                Some(class) => *tally.failures.entry(class.as_str()).or_default() += 1,
                None if attempt.error.is_some() => *tally.failures.entry("unknown").or_default() += 1,
                None => tally.answers += 1,
            }
        }
    }

    pub(crate) fn target(&self, provider: &str, model: &str) -> Tally {
        self.targets.get(&(provider.to_owned(), model.to_owned())).cloned().unwrap_or_default()
    }

    pub(crate) fn provider(&self, provider: &str) -> Tally {
        let mut whole = Tally::default();
        for (_, tally) in self.targets.iter().filter(|((name, _), _)| name == provider) {
            whole.add(tally);
        }
        whole.settle();
        whole
    }
}

fn sum(one: Option<Usd>, other: Option<Usd>) -> Option<Usd> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one + other),
        (one, other) => one.or(other),
    }
}

/// How targets and keys stand now, over all gateways that are heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Now {
    stood: Vec<Stood>,
}

impl Now {
    pub(crate) async fn read(app: &App) -> Result<Now, Failure> {
        Ok(Now { stood: app.ports.store.standings().list(Standing::MAX_AGE).await? })
    }

    pub(crate) fn instances(&self) -> usize {
        self.stood.len()
    }

    /// The worst that any gateway says; what they hold themselves is added up.
    pub(crate) fn target(&self, provider: &str, model: &str) -> Option<TargetStanding> {
        let all = self.stood.iter().flat_map(|stood| &stood.standing.targets);
        let ours = all.filter(|target| target.provider == provider && target.model == model);
        ours.cloned().reduce(worse_target)
    }

    pub(crate) fn key(&self, provider: &str, key: &str) -> Option<KeyStanding> {
        let all = self.stood.iter().flat_map(|stood| &stood.standing.keys);
        all.filter(|one| one.provider == provider && one.key == key).cloned().reduce(|one, other| {
            let in_flight = one.in_flight.saturating_add(other.in_flight);
            let worse = if other.rests_until > one.rests_until { other } else { one };
            KeyStanding { in_flight, ..worse }
        })
    }
}

fn worse_target(one: TargetStanding, other: TargetStanding) -> TargetStanding {
    let rank = |target: &TargetStanding| match target.breaker {
        BreakerState::Closed => 0,
        BreakerState::HalfOpen => 1,
        BreakerState::Open => 2,
    };
    let in_flight = one.in_flight.saturating_add(other.in_flight);
    let (calls, failures) =
        (one.calls.saturating_add(other.calls), one.failures.saturating_add(other.failures));
    let least = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
    let requests_left = least(one.requests_left, other.requests_left);
    let tokens_left = least(one.tokens_left, other.tokens_left);
    let first_token_ms_p50 = one.first_token_ms_p50.max(other.first_token_ms_p50);
    let first_token_ms_p95 = one.first_token_ms_p95.max(other.first_token_ms_p95);
    let worse = if rank(&other) > rank(&one) { other } else { one };
    TargetStanding {
        in_flight,
        calls,
        failures,
        requests_left,
        tokens_left,
        first_token_ms_p50,
        first_token_ms_p95,
        ..worse
    }
}

/// One target as the pages show it.
#[derive(Serialize)]
pub(crate) struct TargetRow {
    pub(crate) provider: String,
    pub(crate) model: String,
    /// The names under which callers ask for it.
    pub(crate) asked_as: Vec<String>,
    pub(crate) priority: u32,
    pub(crate) weight: u32,
    /// `None`: no gateway says anything of it.
    pub(crate) standing: Option<TargetStanding>,
    pub(crate) recent: Tally,
    /// Why its provider is out of rotation.
    pub(crate) drained: Option<String>,
    /// Who takes its calls first, by hand.
    pub(crate) fails_over_to: Option<String>,
}

impl TargetRow {
    pub(crate) fn breaker(&self) -> &'static str {
        self.standing.as_ref().map_or("unknown", |standing| standing.breaker.as_str())
    }

    pub(crate) fn since(&self) -> Option<Micros> {
        self.standing
            .as_ref()
            .filter(|standing| standing.breaker != BreakerState::Closed)
            .map(|one| one.since)
    }

    pub(crate) fn last_failure(&self) -> Option<Class> {
        self.standing.as_ref().and_then(|standing| standing.last_failure)
    }

    /// As gateways say of now, else as recorded.
    pub(crate) fn first_token(&self) -> String {
        let now = self.standing.as_ref().map(|one| (one.first_token_ms_p50, one.first_token_ms_p95));
        let (p50, p95) = now
            .filter(|(p50, _)| p50.is_some())
            .unwrap_or((self.recent.first_token_ms_p50, self.recent.first_token_ms_p95));
        pair(&p50, &p95)
    }

    pub(crate) fn left(&self) -> String {
        let Some(standing) = &self.standing else { return "–".to_owned() };
        let parts = [(standing.requests_left, "requests"), (standing.tokens_left, "tokens")];
        let words = parts.iter().filter_map(|(left, unit)| left.map(|left| format!("{left} {unit}")));
        let words: Vec<String> = words.collect();
        if words.is_empty() { "–".to_owned() } else { words.join(", ") }
    }
}

/// Dollars, or a dash.
pub(crate) fn dollars(cost: &Option<Usd>) -> String {
    cost.map_or_else(|| "–".to_owned(), |cost| cost.to_string())
}

/// Two quantiles, or a dash.
pub(crate) fn pair(p50: &Option<u64>, p95: &Option<u64>) -> String {
    match (p50, p95) {
        (Some(p50), Some(p95)) => format!("{p50} / {p95} ms"),
        (Some(p50), None) => format!("{p50} ms"),
        _ => "–".to_owned(),
    }
}
