use mainstay_base::{Evidence, Finding, Severity, finding::Subject};
use mainstay_dify::{
    probe::{Component, Pace, State},
    signature::Catalogue,
};

use tokio::time::Instant;

use super::{
    standing::Standing,
    turn::{Told, Turn},
    *,
};
use crate::{doctor, health};

fn report(component: Component, state: State, id: &str) -> Report {
    let mut report = Report::not_looked_yet(component);
    report.state = state;
    report.reason = format!("{} is {}", component.as_str(), state.as_str());
    if !id.is_empty() {
        report.findings.push(Finding {
            id: id.to_owned(),
            severity: if state == State::Down { Severity::Critical } else { Severity::Warning },
            component: component.as_str().to_owned(),
            subject: Subject::default(),
            what: report.reason.clone(),
            cause: "a cause".to_owned(),
            remedy: "a remedy".to_owned(),
            evidence: vec![Evidence::new("asked", "answered")],
        });
    }
    report
}

/// `o` ok, `d` degraded, `x` down, `?` unknown: what is believed after each look.
fn believed(looks: &str) -> String {
    let mut standing = Standing::default();
    let letter = |standing: &Standing| match standing.report.as_ref().map(|report| report.state) {
        None => '-',
        Some(State::Ok | State::NotConfigured) => 'o',
        Some(State::Unknown) => '?',
        Some(State::Degraded) => 'd',
        Some(State::Down) => 'x',
    };
    let take = |look: char| {
        let state = match look {
            'o' => State::Ok,
            'd' => State::Degraded,
            'x' => State::Down,
            _ => State::Unknown,
        };
        standing.take(report(Component::Api, state, ""));
        letter(&standing)
    };
    looks.chars().map(take).collect()
}

#[test]
fn a_state_is_believed_when_two_looks_agree_that_the_last_one_is_over() {
    for (looks, expected) in [
        ("ooo", "ooo"),
        ("oxo", "ooo"),
        ("oxoxoxox", "oooooooo"),
        ("oxxox", "ooxxx"),
        ("oxxoo", "ooxxo"),
        ("oxdd", "oodd"),
        ("xx", "-x"),
        ("xo", "-o"),
        ("?xx", "??x"),
        ("ox?", "oo?"),
    ] {
        assert_eq!(believed(looks), expected, "{looks}");
    }
}

/// Through the store, to a process that has seen nothing itself.
fn handed_on(turn: &Turn, now: Micros) -> Turn {
    let told = serde_json::to_string(&turn.told().unwrap()).unwrap();
    let told: Told = serde_json::from_str(&told).unwrap();
    let component = told.component().unwrap();
    let mut other = Turn::new(Instant::now());
    other.hear(told, now, component, &Pace::default());
    other
}

#[tokio::test(start_paused = true)]
async fn who_goes_on_from_what_another_saw_keeps_its_pace_its_count_and_its_doubt() {
    let now = Micros(1_795_000_000_000_000);
    let looked = |component, states: &[State]| {
        let mut turn = Turn::new(Instant::now());
        for state in states {
            turn.take(report(component, *state, ""), now - Duration::from_secs(100));
        }
        turn
    };
    let due_in = |turn: &Turn| turn.next_at.saturating_duration_since(Instant::now()).as_secs();
    let canary = handed_on(&looked(Component::Canary, &[State::Ok, State::Ok]), now);
    assert_eq!(
        (due_in(&canary), canary.looks),
        (500, 2),
        "a run costs something: it comes when it would have come"
    );
    let api = handed_on(&looked(Component::Api, &[State::Ok]), now);
    assert_eq!(due_in(&api), 0);
    let mut doubted = handed_on(&looked(Component::Api, &[State::Ok, State::Down]), now);
    assert_eq!(doubted.standing.report.as_ref().map(|report| report.state), Some(State::Ok));
    doubted.take(report(Component::Api, State::Down, ""), now);
    assert_eq!(doubted.standing.report.as_ref().map(|report| report.state), Some(State::Down), "seen twice");
}

fn latest(reports: Vec<(Component, Report)>, findings: Vec<Finding>) -> Latest {
    let looked = reports.iter().map(|(component, report)| Looked {
        component: *component,
        at: Micros(1),
        looks: 2,
        stands: Some(report.clone()),
        last: report.clone(),
        out_since: None,
    });
    let mut facts = doctor::Facts { deployment: "dify".to_owned(), ..doctor::Facts::default() };
    let looked: Vec<Looked> = looked.collect();
    facts.reports = reports.into_iter().map(|(_, report)| report).collect();
    facts.queues.findings = findings;
    Latest { by: None, looked, diagnosis: Some(Arc::new(doctor::judge(facts, Catalogue::built_in()))) }
}

#[test]
fn one_cause_is_one_part_in_trouble_and_what_follows_from_it_is_not_judged() {
    let found = parts(&latest(
        vec![
            (Component::Database, report(Component::Database, State::Down, "database-down")),
            (Component::Api, report(Component::Api, State::Down, "api-database")),
            (Component::Broker, report(Component::Broker, State::Ok, "")),
            (Component::Sandbox, report(Component::Sandbox, State::Degraded, "sandbox-busy")),
        ],
        vec![],
    ));
    let told: Vec<(&str, health::State, Option<&str>)> = found
        .iter()
        .map(|part| (part.name.as_str(), part.state, part.finding.as_ref().map(|found| found.id.as_str())))
        .collect();
    assert_eq!(
        told,
        [
            ("database", health::State::Down, Some("database-down")),
            ("api", health::State::Unknown, None),
            ("broker", health::State::Ok, None),
            ("sandbox", health::State::Degraded, Some("sandbox-busy")),
            ("queues", health::State::Ok, None),
        ]
    );
    assert_eq!(found[1].reason, "follows from dify:database: database is down");
}

#[test]
fn queues_and_workers_are_one_part() {
    let finding = |id: &str, component: &str, severity| Finding {
        id: id.to_owned(),
        severity,
        component: component.to_owned(),
        subject: Subject::default(),
        what: format!("{id} at {component}"),
        cause: "a cause".to_owned(),
        remedy: "a remedy".to_owned(),
        evidence: vec![Evidence::new("asked", "answered")],
    };
    let broker = |state, id: &str| vec![(Component::Broker, report(Component::Broker, state, id))];
    let queues = |latest: &Latest| parts(latest).into_iter().find(|part| part.name == QUEUES).unwrap();
    let lost = finding("worker-lost", "worker:a", Severity::Critical);
    let found = queues(&latest(broker(State::Ok, ""), vec![lost.clone()]));
    assert_eq!(
        (found.state, found.finding.map(|found| found.id)),
        (health::State::Down, Some("worker-lost".to_owned()))
    );
    let broken = finding("broken-message", "queue:mail", Severity::Warning);
    assert_eq!(queues(&latest(broker(State::Ok, ""), vec![broken])).state, health::State::Degraded);
    // Without the broker nothing is known of them, and the broker has the incident.
    let found = queues(&latest(broker(State::Down, "redis-down"), vec![lost]));
    assert_eq!((found.state, found.finding), (health::State::Unknown, None));
    assert!(parts(&latest(vec![(Component::Api, report(Component::Api, State::Ok, ""))], vec![])).len() == 1);
}
