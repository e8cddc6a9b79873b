//! What a probe found.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::{Evidence, Finding, Severity, finding::Subject};
use serde::{Deserialize, Serialize};

use super::Component;
use crate::signature::Catalogue;

/// From good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    NotConfigured,
    Ok,
    /// It was looked at, and cannot be judged.
    Unknown,
    Degraded,
    Down,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::NotConfigured => "not configured",
            State::Ok => "ok",
            State::Unknown => "unknown",
            State::Degraded => "degraded",
            State::Down => "down",
        }
    }
}

/// One component, as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// `api`, `database`, …
    pub component: String,
    pub state: State,
    /// One phrase.
    pub reason: String,
    pub latency_ms: Option<u64>,
    /// What is certain when it is well, and what may be broken all the same.
    pub proves: String,
    pub leaves_open: String,
    /// Numbers and versions that were read on the way. No secrets.
    pub facts: BTreeMap<String, String>,
    pub findings: Vec<Finding>,
}

impl Report {
    pub(super) fn of(component: Component) -> Report {
        Report {
            component: component.as_str().to_owned(),
            state: State::Ok,
            reason: String::new(),
            latency_ms: None,
            proves: component.proves().to_owned(),
            leaves_open: component.leaves_open().to_owned(),
            facts: BTreeMap::new(),
            findings: Vec::new(),
        }
    }

    pub fn not_configured(component: Component) -> Report {
        Report::of(component).with(State::NotConfigured, "the configuration names none")
    }

    /// Before the first look has ended.
    pub fn not_looked_yet(component: Component) -> Report {
        Report::of(component).with(State::Unknown, "not looked at yet")
    }

    pub(super) fn with(mut self, state: State, reason: impl Into<String>) -> Report {
        self.state = state;
        self.reason = reason.into();
        self
    }

    pub(super) fn took(&mut self, took: Duration) {
        self.latency_ms = u64::try_from(took.as_millis()).ok();
    }

    pub(super) fn fact(&mut self, name: &str, value: impl ToString) {
        self.facts.insert(name.to_owned(), cut(&value.to_string()));
    }

    /// Adds a problem; the state gets as bad as it. The first of the worst is the reason.
    pub(super) fn problem(&mut self, problem: Problem<'_>) {
        let finding = problem.finding(&self.component);
        let state = match finding.severity {
            Severity::Note => State::Ok,
            Severity::Warning => State::Degraded,
            Severity::Critical => State::Down,
        };
        if state > self.state {
            self.state = state;
            self.reason = finding.what.clone();
        }
        self.findings.push(finding);
    }

    /// As [`Report::problem`], for one that ends the probe.
    pub(super) fn failed(mut self, problem: Problem<'_>) -> Report {
        self.problem(problem);
        self
    }
}

/// A finding in the making. Cause and remedy are the catalogue's where it has the id as a state, or as a row.
pub(super) struct Problem<'a> {
    pub(super) id: &'a str,
    pub(super) severity: Severity,
    pub(super) what: String,
    /// Empty: the catalogue's.
    pub(super) cause: &'a str,
    pub(super) remedy: &'a str,
    pub(super) asked: String,
    pub(super) answered: String,
}

impl Problem<'_> {
    fn finding(self, component: &str) -> Finding {
        let Problem { id, severity, what, cause, remedy, asked, answered } = self;
        let catalogue = Catalogue::built_in();
        let row = catalogue.state(id).or_else(|| catalogue.get(id));
        let or = |own: &str, known: Option<&String>| match (own.is_empty(), known) {
            (true, Some(known)) => known.clone(),
            _ => own.to_owned(),
        };
        Finding {
            id: id.to_owned(),
            severity,
            component: component.to_owned(),
            subject: Subject::default(),
            what,
            cause: or(cause, row.map(|row| &row.cause)),
            remedy: or(remedy, row.map(|row| &row.remedy)),
            evidence: vec![Evidence::new(cut(&asked), cut(&answered))],
        }
    }
}

/// For a probe that did not come back: the other side accepts and says nothing, and what lies below gave no error.
pub(super) fn no_answer(component: Component, deadline: Duration) -> Report {
    let name = component.as_str();
    Report::of(component).failed(Problem {
        id: &format!("{name}-silent"),
        severity: Severity::Critical,
        what: format!("{name} gave no answer within {} s", deadline.as_secs()),
        cause: "It accepts and does not answer: overloaded, frozen, or a firewall drops what it says.",
        remedy: "Look at its load and its log, and at what is between here and there.",
        asked: format!("the probe of {name}"),
        answered: "(nothing)".to_owned(),
    })
}

const MAX_WORDS: usize = 400;

/// What others said may be long; this much of it is enough.
pub(super) fn cut(text: &str) -> String {
    let clean = text.chars().map(|letter| if letter.is_control() && letter != '\n' { ' ' } else { letter });
    let mut short: String = clean.take(MAX_WORDS).collect();
    if short.len() < text.len() && text.chars().nth(MAX_WORDS).is_some() {
        short.push('…');
    }
    short
}
