//! Worlds in, reports out.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::{Kind, Micros, Record, record};
use mainstay_store::model::QueueStats;

use super::{
    Observer, PeerFacts, ProbeFacts, Read, Report, Role, State, Traffic, WorkerFacts, World, decide,
};
use crate::ports::{Slot, SlotState};

const NOW: Micros = Micros(1_800_000_000_000_000);

fn read<T>(value: T) -> Option<Read<T>> {
    Some(Read { at: NOW, value: Ok(value), failures: 0 })
}

fn unread<T>(failures: u32) -> Option<Read<T>> {
    Some(Read { at: NOW, value: Err("connection refused".to_owned()), failures })
}

fn slot(number: u32, state: SlotState) -> Slot {
    let started_at = NOW - Duration::from_secs(100);
    Slot { slot: number, pid: Some(100 + number), state, started_at, restarts: 0 }
}

fn beating(number: i64, silent_ms: u64) -> WorkerFacts {
    WorkerFacts {
        id: format!("w{number}"),
        slot: number,
        pid: 100 + number,
        host: "here".to_owned(),
        jobs: 0,
        started_at: NOW,
        silent: Duration::from_millis(silent_ms),
    }
}

fn peer(name: &str, probe: Option<ProbeFacts>) -> PeerFacts {
    PeerFacts { name: name.to_owned(), probe, ..PeerFacts::default() }
}

fn well() -> Option<ProbeFacts> {
    Some(ProbeFacts { at: NOW, error: None, bad_in_a_row: 0, good_in_a_row: 3 })
}

fn failing(times: u32) -> Option<ProbeFacts> {
    Some(ProbeFacts {
        at: NOW,
        error: Some("answered 500".to_owned()),
        bad_in_a_row: times,
        good_in_a_row: 0,
    })
}

/// Everything is well: two workers, the engine, one upstream, two providers.
fn good_world() -> World {
    World {
        store: read(Duration::from_millis(1)),
        engine: Some(peer("", well())),
        queue: read(QueueStats::default()),
        host: "here".to_owned(),
        slots: vec![slot(0, SlotState::Running), slot(1, SlotState::Running)],
        workers: read(vec![beating(0, 400), beating(1, 900)]),
        dify: Vec::new(),
        upstreams: vec![peer("dify", well())],
        providers: vec![peer("a", well()), peer("b", well())],
        receivers: Vec::new(),
        told: BTreeMap::default(),
        previous: None,
    }
}

fn changed(change: impl FnOnce(&mut World)) -> Report {
    let mut world = good_world();
    change(&mut world);
    decide(&world, NOW)
}

#[test]
fn each_world_has_its_state_and_its_culprit() {
    use State::{Degraded, Down, Ok, Unknown};
    type Change = fn(&mut World);
    let table: &[(&str, Change, State, &str, State)] = &[
        ("all is well", |_| {}, Ok, "store", Ok),
        ("the store hiccups once", |w| w.store = unread(1), Degraded, "store", Degraded),
        ("the store is away", |w| w.store = unread(2), Degraded, "store", Down),
        ("the store is away, so is the engine", |w| w.store = unread(2), Degraded, "engine", Down),
        (
            "the store is away and nobody else answers",
            |w| {
                w.store = unread(2);
                w.upstreams.clear();
            },
            Down,
            "store",
            Down,
        ),
        ("the store is slow", |w| w.store = read(Duration::from_millis(700)), Degraded, "store", Degraded),
        ("the store was never asked", |w| w.store = None, Unknown, "store", Unknown),
        (
            "a worker is silent",
            |w| w.workers = read(vec![beating(0, 3_000), beating(1, 0)]),
            Degraded,
            "worker:0",
            Down,
        ),
        (
            "a silent worker degrades the workers",
            |w| w.workers = read(vec![beating(0, 3_000), beating(1, 0)]),
            Degraded,
            "workers",
            Degraded,
        ),
        (
            "a worker is slow but beats",
            |w| w.workers = read(vec![beating(0, 2_999), beating(1, 0)]),
            Ok,
            "worker:0",
            Ok,
        ),
        (
            "a worker process has ended",
            |w| w.slots[1] = slot(1, SlotState::Exited("signal 9".to_owned())),
            Degraded,
            "worker:1",
            Down,
        ),
        (
            "a worker just started",
            |w| {
                w.workers = read(vec![beating(0, 0)]);
                w.slots[1].started_at = NOW - Duration::from_secs(2);
            },
            Ok,
            "worker:1",
            Unknown,
        ),
        ("a worker never beat", |w| w.workers = read(vec![beating(0, 0)]), Degraded, "worker:1", Down),
        ("only the process before it beat", |w| w.slots[1].pid = Some(999), Degraded, "worker:1", Down),
        ("heartbeats cannot be read", |w| w.workers = unread(1), Ok, "worker:0", Unknown),
        (
            "all workers are silent",
            |w| w.workers = read(vec![beating(0, 9_000), beating(1, 9_000)]),
            Degraded,
            "workers",
            Down,
        ),
        (
            "a worker of another host is silent",
            |w| {
                let mut foreign = beating(0, 9_000);
                foreign.host = "there".to_owned();
                w.workers = read(vec![beating(0, 0), beating(1, 0), foreign]);
            },
            Degraded,
            "worker:there:0",
            Down,
        ),
        (
            "jobs wait for a while",
            |w| {
                w.queue =
                    read(QueueStats { queued: 9, oldest_queued_us: 31_000_000, ..QueueStats::default() })
            },
            Degraded,
            "queue",
            Degraded,
        ),
        (
            "jobs wait for long",
            |w| {
                w.queue =
                    read(QueueStats { queued: 9, oldest_queued_us: 301_000_000, ..QueueStats::default() })
            },
            Degraded,
            "queue",
            Down,
        ),
        (
            "jobs wait and nobody takes them",
            |w| {
                w.queue = read(QueueStats { queued: 1, ..QueueStats::default() });
                w.workers = read(vec![beating(0, 9_000), beating(1, 9_000)]);
            },
            Degraded,
            "queue",
            Down,
        ),
        (
            "an upstream fails a probe",
            |w| w.upstreams[0].probe = failing(1),
            Degraded,
            "upstream:dify",
            Degraded,
        ),
        ("an upstream fails probes", |w| w.upstreams[0].probe = failing(2), Degraded, "upstream:dify", Down),
        (
            "nobody answers the app path",
            |w| {
                w.upstreams[0].probe = failing(2);
                w.engine = Some(peer("", failing(2)));
            },
            Down,
            "engine",
            Down,
        ),
        ("a provider fails", |w| w.providers[0].probe = failing(2), Degraded, "provider:a", Down),
        (
            "all providers fail",
            |w| w.providers.iter_mut().for_each(|provider| provider.probe = failing(2)),
            Degraded,
            "provider:b",
            Down,
        ),
        (
            "without an app path, providers are the answerers",
            |w| {
                w.engine = None;
                w.upstreams.clear();
                w.providers.iter_mut().for_each(|provider| provider.probe = failing(2));
            },
            Down,
            "provider:a",
            Down,
        ),
        ("a provider was never asked", |w| w.providers[1].probe = None, Ok, "provider:b", Unknown),
    ];
    for (what, change, overall, component, state) in table {
        let report = changed(change);
        let found = report.component(component).unwrap_or_else(|| panic!("{what}: no {component}"));
        assert_eq!(found.state, *state, "{what}: {component}: {}", found.reason);
        assert_eq!(report.state, *overall, "{what}: {}", report.reason);
        assert_eq!(report.http_status() == 503, *overall == Down, "{what}");
    }
}

#[test]
fn enough_real_traffic_decides_and_probes_do_only_without_it() {
    let traffic = |good, bad, bad_in_a_row, good_in_a_row| Traffic {
        good,
        bad,
        bad_in_a_row,
        good_in_a_row,
        last_at: Some(NOW),
        last_error: Some("answered 502".to_owned()),
        trouble: None,
    };
    for (what, traffic, probe, expected) in [
        ("all good", traffic(20, 0, 0, 20), failing(9), State::Ok),
        ("half bad", traffic(10, 10, 1, 0), well(), State::Down),
        ("one in eight bad", traffic(35, 5, 1, 0), well(), State::Degraded),
        ("one of many bad", traffic(99, 1, 1, 0), well(), State::Ok),
        ("a single failure", traffic(9, 1, 1, 0), well(), State::Ok),
        ("the last four bad", traffic(96, 4, 4, 0), well(), State::Down),
        ("back after trouble", traffic(5, 15, 0, 5), failing(3), State::Ok),
        ("not back yet", traffic(4, 15, 0, 4), well(), State::Down),
        ("too few to say, probe well", traffic(0, 3, 3, 0), well(), State::Ok),
        ("too few to say, probe bad", traffic(3, 0, 0, 3), failing(2), State::Down),
        ("idle after trouble, probe well", traffic(0, 0, 9, 0), well(), State::Ok),
        ("idle after trouble, probe bad", traffic(0, 0, 9, 0), failing(2), State::Down),
        ("a few good ones and no probe", traffic(2, 0, 0, 2), None, State::Ok),
        ("nothing at all", Traffic::default(), None, State::Unknown),
    ] {
        let report = changed(|world| {
            world.providers[0].traffic = traffic;
            world.providers[0].probe = probe;
        });
        let found = report.component("provider:a").unwrap();
        assert_eq!(found.state, expected, "{what}: {}", found.reason);
    }
}

#[test]
fn since_moves_only_when_the_state_does() {
    let first = changed(|_| {});
    let later = NOW + Duration::from_secs(60);
    let same = decide(&World { previous: Some(first.clone()), ..good_world() }, later);
    assert_eq!((same.since, same.component("store").unwrap().since), (NOW, NOW));
    let worse = decide(&World { previous: Some(same), store: unread(2), ..good_world() }, later);
    assert_eq!((worse.since, worse.component("store").unwrap().since), (later, later));
    assert_eq!(worse.component("queue").unwrap().since, NOW, "others are as before");
}

#[test]
fn a_provider_out_of_rotation_says_so_whatever_its_state() {
    let report = changed(|world| world.providers[0].drained = Some("by kim: maintenance".to_owned()));
    let reason = &report.component("provider:a").unwrap().reason;
    assert!(reason.starts_with("out of rotation (by kim: maintenance); answers probes"), "{reason}");
}

#[test]
fn the_report_reads_well_as_json() {
    let json = serde_json::to_value(changed(|_| {})).unwrap();
    assert_eq!(json["state"], "ok");
    assert_eq!(json["components"][0]["id"], "store");
    assert_eq!(json["components"][0]["last_check"], "2027-01-15T08:00:00.000000Z");
}

#[test]
fn nothing_was_checked_yet_is_neither_well_nor_ready() {
    let report = decide(&World::default(), NOW);
    assert_eq!(report.state, State::Unknown);
    assert!(!report.is_ready() && report.http_status() == 200);
}

fn record(
    path: record::Path,
    attempts: &[(&str, Option<u16>)],
    outcome: record::Outcome,
    kind: Option<Kind>,
) -> Record {
    let attempts = attempts.iter().map(|(upstream, status)| record::Attempt {
        upstream: (*upstream).to_owned(),
        status: *status,
        ..record::Attempt::default()
    });
    Record { opened_at: NOW, outcome, kind, attempts: attempts.collect(), ..Record::blank(path) }
}

/// It says nothing of the peer, good or bad.
const NOT_COUNTED: u32 = 9;

#[test]
fn a_peer_is_blamed_for_its_own_failures_and_for_nobody_elses() {
    use record::{
        Outcome::{CallerGone, Cut, Failed, Ok},
        Path::{App, Model},
    };
    for (what, record, role, bad) in [
        ("an answer", record(Model, &[("p", Some(200))], Ok, None), Role::Provider, 0),
        (
            "a server error",
            record(Model, &[("p", Some(503))], Failed, Some(Kind::Upstream)),
            Role::Provider,
            1,
        ),
        ("no answer", record(Model, &[("p", None)], Failed, Some(Kind::Unavailable)), Role::Provider, 1),
        ("a bad request", record(Model, &[("p", Some(400))], Failed, Some(Kind::Caller)), Role::Provider, 0),
        (
            "our key refused",
            record(Model, &[("p", Some(401))], Failed, Some(Kind::Upstream)),
            Role::Provider,
            NOT_COUNTED,
        ),
        (
            "our rate limited",
            record(Model, &[("p", Some(429))], Failed, Some(Kind::OverBudget)),
            Role::Provider,
            NOT_COUNTED,
        ),
        (
            "the caller's key refused",
            record(App, &[("p", Some(401))], Failed, Some(Kind::Denied)),
            Role::Upstream,
            0,
        ),
        ("a broken stream", record(App, &[("p", Some(200))], Cut, Some(Kind::Upstream)), Role::Upstream, 1),
        ("a caller that left", record(App, &[("p", Some(200))], CallerGone, None), Role::Upstream, 0),
        ("the first of two", record(App, &[("p", Some(502)), ("q", Some(200))], Ok, None), Role::Upstream, 1),
        (
            "the second of two",
            record(App, &[("q", Some(502)), ("p", Some(200))], Ok, None),
            Role::Upstream,
            0,
        ),
    ] {
        let observer = Observer::default();
        observer.observe(&record);
        let traffic = observer.traffic(role, "p", NOW);
        let expected = if bad == NOT_COUNTED { (0, 0) } else { (1, bad) };
        assert_eq!((traffic.total(), traffic.bad), expected, "{what}");
    }
}

#[test]
fn the_window_forgets_what_is_old_and_a_late_record_does_not_bring_it_back() {
    let observer = Observer::default();
    let at = |seconds: i64| {
        let mut record = record(record::Path::App, &[("p", Some(500))], record::Outcome::Failed, None);
        record.opened_at = Micros(NOW.0 + seconds * 1_000_000);
        record
    };
    let total =
        |seconds: i64| observer.traffic(Role::Upstream, "p", Micros(NOW.0 + seconds * 1_000_000)).total();
    for second in 0..10 {
        observer.observe(&at(second));
    }
    assert_eq!((total(9), total(14), total(19), total(30)), (10, 10, 5, 0));
    observer.observe(&at(30));
    observer.observe(&at(0)); // shares a bucket with second 30
    assert_eq!(total(30), 1);
}

// Reloads come and go with names: a provider that was new was never counted once so many had been.
#[test]
fn a_peer_beyond_the_limit_takes_the_place_of_the_most_silent() {
    let observer = Observer::default();
    for number in 0..300_u32 {
        let name = format!("peer-{number}");
        let mut record = record(record::Path::App, &[(&name, Some(200))], record::Outcome::Ok, None);
        record.opened_at = NOW - Duration::from_millis(u64::from(300 - number));
        observer.observe(&record);
    }
    let total = |name: &str| observer.traffic(Role::Upstream, name, NOW).total();
    assert_eq!((total("peer-0"), total("peer-43"), total("peer-44"), total("peer-299")), (0, 0, 1, 1));
}
