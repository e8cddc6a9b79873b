//! Providers: whose failures count, who sees them, what breakers and keys say.

use std::time::Duration;

use mainstay_base::{
    Class, Fault, Micros, Record,
    record::{self, Attempt, Outcome, Path},
    standing::BreakerState,
};

use super::{
    Observer, PeerFacts, ProbeFacts, RefusedKey, Report, Role, State, TargetFacts, Traffic, World, decide,
};

const NOW: Micros = Micros(1_800_000_000_000_000);

fn attempt(provider: &str, class: Option<Class>) -> Attempt {
    Attempt {
        upstream: provider.to_owned(),
        model: Some("m".to_owned()),
        key: Some("main".to_owned()),
        status: class.is_none().then_some(200),
        class,
        error: class.map(|class| class.as_str().to_owned()),
        ..Attempt::default()
    }
}

/// A call by an app, `seconds` after the beginning.
fn call(app: &str, attempts: Vec<Attempt>, seconds: u64) -> Record {
    let is_ok = attempts.last().is_some_and(|last| last.class.is_none());
    Record {
        app: Some(app.to_owned()),
        opened_at: NOW + Duration::from_secs(seconds),
        outcome: if is_ok { Outcome::Ok } else { Outcome::Failed },
        attempts,
        ..Record::blank(Path::Model)
    }
}

fn seen(records: &[Record], at: u64) -> Traffic {
    let observer = Observer::default();
    records.iter().for_each(|record| observer.observe(record));
    observer.traffic(Role::Provider, "p", NOW + Duration::from_secs(at))
}

#[test]
fn each_class_counts_by_whose_fault_it_is() {
    for class in Class::ALL {
        let traffic = seen(&[call("a", vec![attempt("p", Some(class))], 0)], 0);
        let expected = match class.fault() {
            _ if class == Class::ModelMissing => (0, 0),
            Fault::Provider | Fault::Network => (0, 1),
            Fault::Caller if class != Class::NotConvertible => (1, 0),
            Fault::Caller | Fault::Key | Fault::Nobody => (0, 0),
        };
        assert_eq!((traffic.good, traffic.bad), expected, "{class:?}");
        assert_eq!(traffic.trouble.is_some(), expected.1 > 0, "{class:?}");
    }
}

#[test]
fn a_callers_own_haste_takes_no_provider_out() {
    // Reproduces: four calls with a `Mainstay-Deadline` shorter than any answer took a provider that was well out of rotation.
    let timed_out = |is_callers_haste| {
        let attempt = Attempt { is_callers_haste, ..attempt("p", Some(Class::TotalTimeout)) };
        let records: Vec<Record> = (0..6).map(|at| call("a", vec![attempt.clone()], at)).collect();
        let traffic = seen(&records, 6);
        (traffic.good, traffic.bad, traffic.trouble.is_some())
    };
    assert_eq!(timed_out(true), (0, 0, false));
    assert_eq!(
        timed_out(false),
        (0, 6, true),
        "the twin: time-outs that the provider was given its time for count"
    );
}

#[test]
fn apps_that_share_a_key_are_told_apart_and_by_name_where_it_is_known() {
    // Reproduces: all apps of the embedded engine call with one key, and were one caller, so that no incident opened.
    let by = |id: &str, seconds| Record {
        app: None,
        app_id: Some(id.to_owned()),
        key: Some("engine".to_owned()),
        ..call("", vec![attempt("p", Some(Class::ServerError))], seconds)
    };
    let request =
        Record { app_id: Some("id-1".to_owned()), path: Path::App, ..call("help-desk", Vec::new(), 2) };
    let trouble = seen(&[by("id-1", 0), by("id-2", 1), request], 3).trouble.unwrap();
    assert_eq!(trouble.callers, ["help-desk", "id-2"]);
    assert!(!trouble.is_of_one_caller());
}

#[test]
fn a_run_of_failures_is_told_with_its_share_its_callers_and_its_detour() {
    let failed = |app, at| {
        let attempts = vec![attempt("p", Some(Class::ServerError)), attempt("q", None)];
        call(app, attempts, at)
    };
    let mut records = vec![call("early", vec![attempt("p", None)], 0)];
    records.extend([failed("a", 1), failed("b", 2), call("c", vec![attempt("p", None)], 3)]);
    records.push(call("b", vec![attempt("p", Some(Class::Stall)), attempt("p", Some(Class::Closed))], 4));
    let trouble = seen(&records, 5).trouble.unwrap();
    assert_eq!((trouble.attempts, trouble.failures, trouble.share_percent), (5, 4, 80));
    assert_eq!(trouble.since, NOW + Duration::from_secs(1), "what was good before is not part of it");
    assert_eq!((trouble.callers.clone(), trouble.callers_well), (vec!["a".to_owned(), "b".to_owned()], 1));
    assert_eq!(trouble.classes["server_error"], 2);
    let words = trouble.words();
    assert!(
        words.contains("4 of 5 attempts failed (80 %); seen by a, b; answered instead: q/m (2)"),
        "{words}"
    );

    records.push(call("a", vec![attempt("p", None)], 100));
    records.push(failed("a", 101));
    let next = seen(&records, 102).trouble.unwrap();
    assert_eq!((next.attempts, next.since), (1, NOW + Duration::from_secs(101)), "a quiet minute ends a run");
    assert_eq!(seen(&records, 101 + 601).trouble, None, "old stories are not told");
}

fn facts(traffic: Traffic) -> PeerFacts {
    let probe = ProbeFacts { at: NOW, error: None, bad_in_a_row: 0, good_in_a_row: 3 };
    PeerFacts { name: "p".to_owned(), traffic, probe: Some(probe), keys: 2, ..PeerFacts::default() }
}

fn judged(facts: PeerFacts, previous: Option<Report>, now: Micros) -> Report {
    decide(&World { providers: vec![facts], previous, ..World::default() }, now)
}

fn state(report: &Report, id: &str) -> (State, String) {
    let component = report.component(id).unwrap_or_else(|| panic!("no {id}"));
    (component.state, component.reason.clone())
}

#[test]
fn what_one_caller_alone_sees_is_no_incident_and_what_the_only_caller_sees_is() {
    let bad = |app: &str| call(app, vec![attempt("p", Some(Class::ServerError))], 1);
    let good = |app: &str| call(app, vec![attempt("p", None)], 1);
    let later = NOW + Duration::from_secs(2);
    for (what, records, expected) in [
        ("the only caller", vec![bad("a"), bad("a"), bad("a"), bad("a")], State::Down),
        ("one of two", vec![bad("a"), bad("a"), good("b"), bad("a"), bad("a")], State::Ok),
        ("both", vec![bad("a"), bad("b"), good("b"), bad("a"), bad("a")], State::Down),
        ("two of three", vec![bad("a"), good("c"), bad("b"), bad("a"), bad("b")], State::Down),
    ] {
        let report = judged(facts(seen(&records, 2)), None, later);
        let (found, reason) = state(&report, "provider:p");
        assert_eq!(found, expected, "{what}: {reason}");
        assert!(report.component("provider:p").unwrap().trouble.is_some(), "{what}: told all the same");
        assert_eq!(reason.contains("only a sees it"), expected == State::Ok, "{what}: {reason}");
    }
}

#[test]
fn an_open_breaker_speaks_where_traffic_is_silent_and_probes_decide_what_is_drained() {
    let target = |model: &str, breaker, probe_in: Option<u64>| TargetFacts {
        model: model.to_owned(),
        breaker,
        probe_at: probe_in.map(|seconds| NOW + Duration::from_secs(seconds)),
        last_failure: Some(Class::Overloaded),
    };
    let open = |model| target(model, BreakerState::Open, Some(5));
    let closed = |model| target(model, BreakerState::Closed, None);
    let due = |model| target(model, BreakerState::Open, Some(0));
    let drained = Some("by kim: x".to_owned());
    for (what, targets, drained, expected) in [
        ("all open", vec![open("a"), open("b")], None, State::Down),
        ("one open", vec![open("a"), closed("b")], None, State::Degraded),
        ("none open", vec![closed("a"), closed("b")], None, State::Ok),
        ("its probe is due and nobody asked since", vec![due("a")], None, State::Ok),
        ("half open", vec![target("a", BreakerState::HalfOpen, None)], None, State::Ok),
        ("out of rotation: probes say it is well", vec![open("a")], drained, State::Ok),
        ("nothing is said", vec![], None, State::Ok),
    ] {
        let report = judged(PeerFacts { targets, drained, ..facts(Traffic::default()) }, None, NOW);
        let (found, reason) = state(&report, "provider:p");
        assert_eq!(found, expected, "{what}: {reason}");
    }
    let good: Vec<Record> = (0..5).map(|_| call("a", vec![attempt("p", None)], 0)).collect();
    let well = PeerFacts { targets: vec![open("a")], ..facts(seen(&good, 1)) };
    assert_eq!(state(&judged(well, None, NOW), "provider:p").0, State::Ok, "traffic is nearer to the truth");
}

#[test]
fn a_refused_key_is_a_component_of_its_own_until_it_works_or_is_gone() {
    let refused = |names: &[&str]| {
        let keys = names.iter().map(|name| RefusedKey { key: (*name).to_owned(), since: NOW });
        PeerFacts { keys_refused: keys.collect(), ..facts(Traffic::default()) }
    };
    let report = judged(refused(&["main"]), None, NOW);
    assert_eq!(state(&report, "provider-key:p/main").0, State::Down);
    let (found, reason) = state(&report, "provider:p");
    assert_eq!((found, reason.ends_with("key main refused")), (State::Ok, true), "{reason}");
    let all = judged(refused(&["main", "spare"]), None, NOW);
    assert_eq!(state(&all, "provider:p").0, State::Down, "nobody can ask it");

    let second = Duration::from_secs(1);
    let well = judged(refused(&[]), Some(report), NOW + second);
    assert_eq!(state(&well, "provider-key:p/main").0, State::Ok);
    let soon = judged(refused(&[]), Some(well), NOW + 30 * second);
    assert_eq!(state(&soon, "provider-key:p/main").0, State::Ok, "long enough for its alert to resolve");
    let later = judged(refused(&[]), Some(soon), NOW + 90 * second);
    assert!(later.component("provider-key:p/main").is_none());
}

#[test]
fn the_last_word_on_a_key_counts_in_whatever_order_words_come() {
    let observer = Observer::default();
    let refused = || observer.refused_keys("p").into_iter().map(|key| key.key).collect::<Vec<_>>();
    observer.observe(&call("a", vec![attempt("p", Some(Class::BadKey)), attempt("q", None)], 10));
    assert_eq!(refused(), ["main"]);
    observer.observe(&call("a", vec![attempt("p", None)], 5));
    assert_eq!(refused(), ["main"], "older news");
    observer.observe(&call("a", vec![attempt("p", Some(Class::RateLimited))], 11));
    assert_eq!(refused(), ["main"], "a limit says nothing of the key's rights");
    observer.observe(&call("a", vec![attempt("p", None)], 12));
    assert!(refused().is_empty());
    observer.observe(&call("a", vec![attempt("p", Some(Class::BadKey))], 13));
    observer.forget_keys("p");
    assert!(refused().is_empty(), "the key was replaced");
    let old = record::Attempt { status: Some(401), error: Some("401".to_owned()), ..attempt("p", None) };
    observer.observe(&call("a", vec![old], 14));
    assert_eq!(refused(), ["main"], "by its status, where no class is told");
}
