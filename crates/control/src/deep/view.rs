//! What health is told of a Dify, one part a component. Pure.

use mainstay_base::{Finding, Micros, Severity};
use mainstay_dify::probe::{Report, State};

use super::Latest;
use crate::{
    doctor::{self, Diagnosis},
    health,
};

/// The part that stands for queues and workers together.
pub const QUEUES: &str = "queues";

/// One part of a Dify, as health judges it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartFacts {
    /// `api`, `database`, …, `queues`.
    pub name: String,
    pub state: health::State,
    pub reason: String,
    pub at: Option<Micros>,
    /// The worst of it, with cause and remedy.
    pub finding: Option<Finding>,
}

/// A part whose trouble follows from another's is not judged: the other has the incident.
pub fn parts(latest: &Latest) -> Vec<PartFacts> {
    let Some(diagnosis) = &latest.diagnosis else { return Vec::new() };
    let mut parts: Vec<PartFacts> = latest
        .looked
        .iter()
        .map(|looked| {
            let name = looked.component.as_str();
            match &looked.stands {
                Some(report) => part(name, report, looked.at, diagnosis),
                None => PartFacts {
                    name: name.to_owned(),
                    state: health::State::Unknown,
                    reason: format!("looked at once: {}", looked.last.reason),
                    at: Some(looked.at),
                    finding: None,
                },
            }
        })
        .collect();
    parts.extend(queues(diagnosis));
    parts
}

fn part(name: &str, report: &Report, at: Micros, diagnosis: &Diagnosis) -> PartFacts {
    let (mut state, mut reason) = (state_of(report.state), report.reason.clone());
    // The diagnosis has the worst first, and symptoms under their cause only.
    let own = |finding: &&Finding| report.findings.iter().any(|own| own.id == finding.id);
    let mut of_this = diagnosis.findings.iter().filter(|finding| finding.component == name);
    let finding = of_this.find(own).cloned();
    if let (true, None) = (state.is_trouble(), &finding)
        && let Some(cause) = diagnosis.findings.iter().find(|finding| doctor::explains(finding, name))
    {
        state = health::State::Unknown;
        reason = format!("follows from dify:{}: {}", cause.component, cause.what);
    }
    PartFacts { name: name.to_owned(), state, reason, at: Some(at), finding }
}

fn state_of(state: State) -> health::State {
    match state {
        State::Ok | State::NotConfigured => health::State::Ok,
        State::Unknown => health::State::Unknown,
        State::Degraded => health::State::Degraded,
        State::Down => health::State::Down,
    }
}

/// Queues, workers and beat, and what nobody works on any more: everything that no probe has said. `None` without a broker.
fn queues(diagnosis: &Diagnosis) -> Option<PartFacts> {
    let broker = diagnosis.reports.iter().find(|report| report.component == "broker")?;
    if broker.state == State::NotConfigured {
        return None;
    }
    let is_of_queues = |finding: &&Finding| {
        let component = finding.component.as_str();
        let is_whole = ["beat", "runs", "indexing"].contains(&component);
        component.starts_with("queue:") || component.starts_with("worker") || is_whole
    };
    // Without the broker nothing is known of them, and the broker has the incident.
    let is_known = broker.state != State::Down;
    let worst = diagnosis.findings.iter().find(is_of_queues).filter(|_| is_known);
    let (state, reason) = match worst {
        Some(finding) if finding.severity == Severity::Critical => {
            (health::State::Down, finding.what.clone())
        }
        Some(finding) if finding.severity == Severity::Warning => {
            (health::State::Degraded, finding.what.clone())
        }
        _ if !is_known => (health::State::Unknown, format!("follows from dify:broker: {}", broker.reason)),
        _ => {
            let waiting: u64 = diagnosis.queues.iter().map(|queue| queue.waiting).sum();
            let workers = diagnosis.workers.len();
            (health::State::Ok, format!("{waiting} messages wait, {workers} workers answer"))
        }
    };
    let finding = worst.filter(|_| state.is_trouble()).cloned();
    Some(PartFacts { name: QUEUES.to_owned(), state, reason, at: Some(diagnosis.at), finding })
}
