//! A changed policy tried on recorded calls: a form on the models' page, and what came of it, before and after.

use std::collections::BTreeMap;

use askama::Template;
use http::StatusCode;
use mainstay_base::Usd;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

use super::{given, models};
use crate::{
    App, Failure, Simulation,
    action::{Action, Done},
    auth::Actor,
    page::{Around, Chrome},
    show,
};

/// The longest policy that is tried on the past.
pub(crate) const POLICY_MAX: usize = 512 * 1024;
/// Rows of one table; the JSON has all.
const ROWS_MAX: usize = 50;

/// As [`Simulation`]; a form's fields are all text.
#[derive(Deserialize)]
pub(crate) struct Input {
    policy: String,
    #[serde(deserialize_with = "number")]
    since_s: u64,
    #[serde(default)]
    model: Option<String>,
    #[serde(default, deserialize_with = "number")]
    seed: u64,
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let whole = match Value::deserialize(deserializer)? {
        Value::String(text) if text.is_empty() => Some(0),
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    whole.ok_or_else(|| D::Error::custom("expected a whole number"))
}

/// Tries a changed policy on recorded calls.
pub(crate) struct Simulate;

impl Action for Simulate {
    type Input = Input;
    const BODY_MAX: usize = POLICY_MAX;

    async fn perform(app: &App, actor: &Actor, _: &str, input: Input) -> Result<Done, Failure> {
        let Input { policy, since_s, model, seed } = input;
        let what = Simulation { policy, since_s, model: given(model), seed };
        let (asked, policy) = (what.model.clone(), what.policy.clone());
        let body = app.ports.routes.simulate(what).await.map_err(|error| models::refused(&error))?;
        let told = Told::deserialize(&body).map_err(|error| Failure::bug(&error))?;
        let chrome = Chrome::new(app, actor, around()).await;
        let form = Form { model: asked.as_deref().unwrap_or_default(), since_s, policy: &policy, seed };
        let page = SimulatedHtml { chrome: &chrome, rows: told.rows(), told: &told, form };
        let page = page.render().map_err(|error| Failure::bug(&error))?;
        let to = "/models".to_owned();
        Ok(Done { status: StatusCode::OK, body, to, notice: "nothing", page: Some(page) })
    }
}

fn around() -> Around {
    let title = "Simulated".to_owned();
    Around { title, section: "models", topics: "", notice: None, twin: String::new() }
}

#[derive(Template)]
#[template(path = "simulated.html")]
struct SimulatedHtml<'a> {
    chrome: &'a Chrome,
    told: &'a Told,
    rows: Vec<Row>,
    form: Form<'a>,
}

/// What was asked, so that it can be asked again.
pub(crate) struct Form<'a> {
    pub(crate) model: &'a str,
    pub(crate) since_s: u64,
    pub(crate) policy: &'a str,
    pub(crate) seed: u64,
}

impl Form<'_> {
    pub(crate) fn empty() -> Form<'static> {
        Form { model: "", since_s: 86_400, policy: "", seed: 0 }
    }

    pub(crate) fn is_span(&self, seconds: &u64) -> bool {
        self.since_s == *seconds
    }
}

/// Spans that the form offers, in seconds.
pub(crate) const SPANS: [(u64, &str); 5] = [
    (3_600, "the last hour"),
    (21_600, "6 hours"),
    (86_400, "24 hours"),
    (259_200, "3 days"),
    (604_800, "7 days"),
];

/// What a page shows of a simulation; the JSON has more.
#[derive(Deserialize)]
pub(crate) struct Told {
    read: ReadTold,
    report: Report,
}

#[derive(Deserialize)]
struct ReadTold {
    since_s: u64,
    calls: u64,
    left_out: u64,
    is_whole: bool,
    #[serde(default)]
    needs_unknown: u64,
    #[serde(default)]
    notes: Vec<String>,
}

#[derive(Deserialize)]
struct Report {
    seed: u64,
    recorded: Side,
    baseline: Side,
    changed: Side,
    fidelity: Fidelity,
}

#[derive(Deserialize)]
struct Side {
    whole: Figures,
    models: BTreeMap<String, Figures>,
    targets: BTreeMap<String, Target>,
    unknown_targets: Vec<String>,
}

#[derive(Deserialize)]
struct Figures {
    calls: u64,
    failed: u64,
    unanswerable: u64,
    success_share: Option<f64>,
    first_token: Quantiles,
    total: Quantiles,
    attempts_per_call: Option<f64>,
    cost: Usd,
}

#[derive(Deserialize)]
struct Quantiles {
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Target {
    attempts: u64,
    answers: u64,
    failures: u64,
    breaker_opens: u64,
}

#[derive(Deserialize)]
struct Fidelity {
    is_faithful: bool,
}

/// One figure of all three, and whether the change makes it better.
struct Row {
    name: &'static str,
    recorded: String,
    current: String,
    changed: String,
    difference: String,
    /// A tone's class; empty: neither.
    tone: &'static str,
}

type Figure = fn(&Figures) -> Option<f64>;
type Words = fn(f64) -> String;

/// Name, figure, words, whether more is better.
const ROWS: [(&str, Figure, Words, bool); 11] = [
    ("Answered", |figures| figures.success_share, percent, true),
    ("Failed", |figures| Some(figures.failed as f64), whole, false),
    ("Cannot be told", |figures| Some(figures.unanswerable as f64), whole, false),
    ("First token p50", |figures| figures.first_token.p50_ms, milliseconds, false),
    ("First token p95", |figures| figures.first_token.p95_ms, milliseconds, false),
    ("First token p99", |figures| figures.first_token.p99_ms, milliseconds, false),
    ("Whole answer p50", |figures| figures.total.p50_ms, milliseconds, false),
    ("Whole answer p95", |figures| figures.total.p95_ms, milliseconds, false),
    ("Whole answer p99", |figures| figures.total.p99_ms, milliseconds, false),
    ("Attempts a call", |figures| figures.attempts_per_call, attempts, false),
    ("Cost", |figures| Some(figures.cost.0 as f64), dollars, false),
];

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn whole(number: f64) -> String {
    show::count(&(number as i64))
}

fn milliseconds(ms: f64) -> String {
    format!("{} ms", show::count(&(ms.round() as i64)))
}

fn attempts(number: f64) -> String {
    format!("{number:.3}")
}

fn dollars(micros: f64) -> String {
    // Cents, and as many places more as say something.
    let exact = Usd(micros as i64).to_string();
    let cents = exact.find('.').map_or(exact.len(), |point| point + 3);
    exact[..cents.max(exact.trim_end_matches('0').len())].to_owned()
}

impl Told {
    fn rows(&self) -> Vec<Row> {
        let Report { recorded, baseline, changed, .. } = &self.report;
        let row = |(name, figure, words, more_is_better): &(&'static str, Figure, Words, bool)| {
            let said = |side: &Side| figure(&side.whole).map_or_else(|| "–".to_owned(), words);
            let before_and_after = figure(&baseline.whole).zip(figure(&changed.whole));
            let (difference, tone) = before_and_after.map_or_else(
                || ("–".to_owned(), ""),
                |(is, was)| difference(is, was, *words, *more_is_better),
            );
            Row {
                name,
                recorded: said(recorded),
                current: said(baseline),
                changed: said(changed),
                difference,
                tone,
            }
        };
        ROWS.iter().map(row).collect()
    }

    /// Targets of any side, those that changed most first: name, recorded, current, changed.
    fn targets(&self) -> Vec<(&str, Target, Target, Target)> {
        let Report { recorded, baseline, changed, .. } = &self.report;
        let sides = [recorded, baseline, changed];
        let mut names: Vec<&str> =
            sides.iter().flat_map(|side| side.targets.keys()).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        let of = |side: &Side, name: &str| side.targets.get(name).copied().unwrap_or_default();
        let mut rows: Vec<_> = names
            .iter()
            .map(|name| (*name, of(recorded, name), of(baseline, name), of(changed, name)))
            .collect();
        rows.sort_by_key(|(_, _, was, is)| std::cmp::Reverse(is.answers.abs_diff(was.answers)));
        rows.truncate(ROWS_MAX);
        rows
    }

    /// Models, where there are several: name, before, after.
    fn models(&self) -> Vec<(&str, &Figures, &Figures)> {
        let Report { baseline, changed, .. } = &self.report;
        let both = baseline
            .models
            .iter()
            .filter_map(|(name, was)| changed.models.get(name).map(|is| (name.as_str(), was, is)));
        let mut rows: Vec<_> = both.collect();
        rows.sort_by_key(|(_, was, _)| std::cmp::Reverse(was.calls));
        rows.truncate(ROWS_MAX);
        rows
    }

    /// Whether the replay of the policy in force is near enough to what was recorded.
    fn is_faithful(&self) -> bool {
        self.report.fidelity.is_faithful
    }

    /// `24 hours`, `90 minutes`.
    fn span(&self) -> String {
        match self.read.since_s {
            3_600 => "last hour".to_owned(),
            seconds if seconds % 86_400 == 0 && seconds > 86_400 => format!("last {} days", seconds / 86_400),
            seconds if seconds % 3_600 == 0 => format!("last {} hours", seconds / 3_600),
            seconds if seconds % 60 == 0 => format!("last {} minutes", seconds / 60),
            seconds => format!("last {seconds} s"),
        }
    }
}

impl Figures {
    fn answered(&self) -> String {
        self.success_share.map_or_else(|| "–".to_owned(), percent)
    }

    fn p95(&self) -> String {
        self.total.p95_ms.map_or_else(|| "–".to_owned(), milliseconds)
    }
}

/// In words with a sign, and the tone of it. What shows no difference is none.
fn difference(was: f64, is: f64, words: Words, more_is_better: bool) -> (String, &'static str) {
    let by = words((is - was).abs());
    if by == words(0.0) {
        return ("same".to_owned(), "");
    }
    let sign = if is > was { "+" } else { "−" };
    let is_better = (is > was) == more_is_better;
    (format!("{sign}{by}"), if is_better { "better" } else { "worse" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_has_a_sign_and_says_whether_it_is_good() {
        for (was, is, words, more_is_better, said) in [
            (0.90, 0.95, percent as Words, true, ("+5.00 %", "better")),
            (0.95, 0.90, percent, true, ("−5.00 %", "worse")),
            (800.0, 300.0, milliseconds, false, ("−500 ms", "better")),
            (800.0, 800.2, milliseconds, false, ("same", "")),
            (1_000_000.0, 3_500_000.0, dollars, false, ("+$2.50", "worse")),
        ] {
            let (by, tone) = difference(was, is, words, more_is_better);
            assert_eq!((by.as_str(), tone), said);
        }
    }
}
