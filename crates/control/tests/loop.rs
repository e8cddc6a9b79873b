//! The closed loop on a real database: something breaks, it is seen, told, dealt with, verified, and the story can be
//! read under one id.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mainstay_base::{
    Class, Clock, Secret, Standing, Usd,
    snapshot::{Dialect, Price, Provider, ProviderKey, Timeouts},
    standing::KeyStanding,
};
use mainstay_control::{
    CallbackBody, Change, Control, EngineProbe, Facade, Observer, Options, Overrides, Peers, Ports,
    ProbeKind, ProviderPeer, Receiver, Restarted, RunRequest, Served, Slot, SlotState, State, Supervisor,
    UpstreamPeer,
};
use mainstay_net::{Client, ClientOptions};
use mainstay_store::{
    Store, StoreError,
    model::{Alert, AlertFilter, AlertState, ExecutionFilter, Severity, TimelineFilter, Worker},
};
use mainstay_testkit::{HttpServer, http_server::whole, wait_until};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

const LIMIT: Duration = Duration::from_secs(60);

/// A process: what the supervisor says of it, whether it beats, and what ends it when dropped.
type Process = (Slot, Arc<AtomicBool>, Option<DropGuard>);

/// A process table in memory. A process beats until it is stopped.
struct Processes {
    store: Store,
    slots: Mutex<HashMap<u32, Process>>,
    restarts_fail: AtomicBool,
    restarts: Mutex<Vec<u32>>,
}

impl Processes {
    fn start(store: &Store, count: u32) -> Arc<Processes> {
        let processes = Arc::new(Processes {
            store: store.clone(),
            slots: Mutex::default(),
            restarts_fail: AtomicBool::new(false),
            restarts: Mutex::default(),
        });
        for slot in 0..count {
            processes.spawn(slot, 100 + slot);
        }
        processes
    }

    fn spawn(&self, slot: u32, pid: u32) {
        let started_at = Clock::System.now();
        let (beats, gone) = (Arc::new(AtomicBool::new(true)), CancellationToken::new());
        let worker = Worker {
            id: mainstay_base::id::new(),
            slot: i64::from(slot),
            pid: i64::from(pid),
            host: "here".to_owned(),
            started_at,
            beat_at: started_at,
            jobs: 0,
        };
        let (store, is_beating, is_gone) = (self.store.clone(), beats.clone(), gone.clone());
        tokio::spawn(is_gone.run_until_cancelled_owned(async move {
            loop {
                if is_beating.load(Ordering::SeqCst) {
                    let _ = store.workers().beat(worker.clone()).await;
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }));
        let row = Slot { slot, pid: Some(pid), state: SlotState::Running, started_at, restarts: 0 };
        self.slots.lock().insert(slot, (row, beats, Some(gone.drop_guard())));
    }

    /// As SIGSTOP does: the process is there and does nothing.
    fn wedge(&self, slot: u32) {
        self.slots.lock()[&slot].1.store(false, Ordering::SeqCst);
    }

    fn kill(&self, slot: u32) {
        let mut slots = self.slots.lock();
        let (row, _, gone) = slots.get_mut(&slot).unwrap();
        row.state = SlotState::Exited("signal 9".to_owned());
        drop(gone.take());
    }
}

impl Supervisor for Processes {
    fn list(&self) -> Vec<Slot> {
        let mut slots: Vec<Slot> = self.slots.lock().values().map(|(row, _, _)| row.clone()).collect();
        slots.sort_by_key(|slot| slot.slot);
        slots
    }

    fn restart(&self, slot: u32, _: String) -> BoxFuture<'static, Result<Restarted, String>> {
        self.restarts.lock().push(slot);
        if self.restarts_fail.load(Ordering::SeqCst) {
            return Box::pin(async { Err("cannot start a process: out of memory".to_owned()) });
        }
        let old_pid = self.slots.lock()[&slot].0.pid;
        let new_pid = old_pid.map(|pid| pid + 1000);
        self.spawn(slot, new_pid.unwrap_or(1));
        Box::pin(async move { Ok(Restarted { old_pid, new_pid }) })
    }
}

struct Engine;

impl EngineProbe for Engine {
    fn probe(&self) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}

struct NoBodies;

impl CallbackBody for NoBodies {
    fn body(&self, _: String) -> BoxFuture<'static, Result<Option<Bytes>, StoreError>> {
        Box::pin(async { Ok(None) })
    }
}

struct Bench {
    _folder: tempfile::TempDir,
    store: Store,
    processes: Arc<Processes>,
}

impl Bench {
    async fn new(workers: u32) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        let options = mainstay_store::Options { url, clock: Clock::System };
        Store::migrate(&options).await.unwrap();
        let store = Store::open(options).await.unwrap();
        let processes = Processes::start(&store, workers);
        Bench { _folder: folder, store, processes }
    }

    fn control(&self, holder: &str, providers: Vec<ProviderPeer>, receivers: Vec<Receiver>) -> Control {
        let upstreams = vec![UpstreamPeer { name: "embedded".to_owned(), base_url: None }];
        let (_, peers) = watch::channel(Arc::new(Peers { upstreams, providers }));
        let (_, options) = watch::channel(Arc::new(Options { receivers, ..Options::new(holder, "here") }));
        Control::start(Ports {
            store: self.store.clone(),
            client: Client::new(ClientOptions::default()).unwrap(),
            clock: Clock::System,
            supervisor: Some(self.processes.clone()),
            engine: Some(Arc::new(Engine)),
            dify: None,
            peers,
            observer: Observer::default(),
            callbacks: Arc::new(NoBodies),
            options,
        })
    }
}

async fn until_state(facade: &Facade, component: &str, state: State) {
    wait_until(&format!("{component} is {state:?}"), LIMIT, || async {
        facade.report().component(component).is_some_and(|found| found.state == state).then_some(())
    })
    .await;
}

async fn alert_of(facade: &Facade, component: &str, accept: impl Fn(&Alert) -> bool) -> Alert {
    wait_until(&format!("an alert of {component}"), LIMIT, || async {
        let filter = AlertFilter { subject: Some(component.to_owned()), limit: 10, ..AlertFilter::default() };
        facade.alerts(filter).await.unwrap().into_iter().find(|alert| accept(alert))
    })
    .await
}

/// The kinds of an incident's events, oldest first.
async fn story(facade: &Facade, incident: &str) -> Vec<(String, String)> {
    let filter = TimelineFilter {
        subject: Some(incident.to_owned()),
        after: Some(0),
        limit: 200,
        ..Default::default()
    };
    let events = facade.timeline(filter).await.unwrap();
    events.into_iter().map(|event| (event.event.kind, event.event.text)).collect()
}

fn kinds(story: &[(String, String)]) -> Vec<&str> {
    story.iter().map(|(kind, _)| kind.as_str()).collect()
}

/// Whether `wanted` occur in this order, with anything between.
fn in_order(story: &[(String, String)], wanted: &[&str]) -> bool {
    let mut found = story.iter();
    wanted.iter().all(|kind| found.any(|(have, _)| have == kind))
}

/// The story once these have occurred in this order: an alert's row may be a moment ahead of its line in the story.
async fn told(facade: &Facade, incident: &str, wanted: &[&str]) -> Vec<(String, String)> {
    wait_until(&format!("a story of {wanted:?}"), LIMIT, || async {
        let story = story(facade, incident).await;
        in_order(&story, wanted).then_some(story)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wedged_worker_is_seen_told_restarted_verified_and_closed_in_one_story() {
    let receiver = HttpServer::start(|_| async { whole(200, "text/plain", "") }).await;
    let bench = Bench::new(2).await;
    let receivers = vec![Receiver::webhook("on-call", &receiver.url(), None)];
    let control = bench.control("a", Vec::new(), receivers);
    let facade = control.facade();
    until_state(&facade, "workers", State::Ok).await;
    assert_eq!(facade.report().state, State::Ok, "{:?}", facade.report());

    let old_pid = bench.processes.list()[0].pid;
    bench.processes.wedge(0);
    let alert = alert_of(&facade, "worker:0", |alert| alert.state == AlertState::Resolved).await;
    assert_eq!(*bench.processes.restarts.lock(), [0], "one restart, of the sick one");
    assert_ne!(bench.processes.list()[0].pid, old_pid);
    until_state(&facade, "workers", State::Ok).await;

    let wanted = ["health", "alert", "runbook", "action", "change", "action_done", "verified", "alert"];
    let story = told(&facade, &alert.id, &wanted).await;
    assert_eq!(kinds(&story).iter().filter(|kind| **kind == "page").count(), 0, "{story:#?}");
    let executions = facade.executions(ExecutionFilter { limit: 10, ..Default::default() }).await.unwrap();
    let [execution] = executions.as_slice() else { panic!("{executions:#?}") };
    assert_eq!((execution.state.as_str(), execution.ended), ("healthy", true));
    assert_eq!(execution.alert_id.as_ref(), Some(&alert.id));
    let rows = bench.store.workers().list().await.unwrap();
    assert!(rows.iter().all(|row| Some(row.pid) != old_pid.map(i64::from)), "the old process is forgotten");

    wait_until("both notices", LIMIT, || async { (receiver.requests().len() >= 2).then_some(()) }).await;
    let types: Vec<String> = receiver
        .requests()
        .iter()
        .map(|request| {
            serde_json::from_slice::<serde_json::Value>(request.body()).unwrap()["type"].to_string()
        })
        .collect();
    assert_eq!(types, ["\"alert.firing\"", "\"alert.resolved\""]);
    assert!(bench.store.timeline().verify().await.unwrap().is_ok(), "the chain is whole");
    control.shutdown(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_fails_twice_calls_a_person_and_nothing_more_is_done() {
    let bench = Bench::new(2).await;
    bench.processes.restarts_fail.store(true, Ordering::SeqCst);
    let control = bench.control("a", Vec::new(), Vec::new());
    let facade = control.facade();
    until_state(&facade, "workers", State::Ok).await;
    bench.processes.kill(1);
    let alert = alert_of(&facade, "worker:1", |alert| alert.severity == Severity::Page).await;
    assert_eq!(*bench.processes.restarts.lock(), [1, 1]);
    told(&facade, &alert.id, &["alert", "action", "action_failed", "action", "action_failed", "page"]).await;

    // A person acknowledges, repairs, and runs the runbook by hand.
    use mainstay_control::Acknowledged::{Before, Now, Resolved};
    assert_eq!(facade.acknowledge(&alert.id, "kim", "looking").await.unwrap(), Now);
    assert_eq!(facade.acknowledge(&alert.id, "kim", "looking").await.unwrap(), Before);
    bench.processes.restarts_fail.store(false, Ordering::SeqCst);
    let request = RunRequest {
        runbook: "restart-service".to_owned(),
        component: "worker:1".to_owned(),
        actor: "kim".to_owned(),
        why: "memory is there again".to_owned(),
        dry_run: false,
    };
    let id = facade.run(request).await.unwrap();
    alert_of(&facade, "worker:1", |alert| alert.state == AlertState::Resolved).await;
    assert_eq!(facade.execution(&id).await.unwrap().unwrap().state, "healthy");
    assert_eq!(bench.processes.restarts.lock().len(), 3);
    assert_eq!(facade.acknowledge(&alert.id, "kim", "").await.unwrap(), Resolved);
    told(&facade, &alert.id, &["acknowledged", "runbook_asked", "action", "verified", "alert"]).await;
    control.shutdown(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_control_says_what_it_would_do_and_acts_when_it_is_unfrozen() {
    let bench = Bench::new(2).await;
    let control = bench.control("a", Vec::new(), Vec::new());
    let facade = control.facade();
    until_state(&facade, "workers", State::Ok).await;
    facade.freeze("kim", "a change is under way").await.unwrap();
    bench.processes.wedge(0);
    let alert = alert_of(&facade, "worker:0", |alert| alert.state == AlertState::Firing).await;
    wait_until("the notice", LIMIT, || async {
        kinds(&story(&facade, &alert.id).await).contains(&"frozen").then_some(())
    })
    .await;
    let dry = RunRequest {
        runbook: "restart-service".to_owned(),
        component: "worker:0".to_owned(),
        actor: "kim".to_owned(),
        why: "what would it do".to_owned(),
        dry_run: true,
    };
    let id = facade.run(dry).await.unwrap();
    wait_until("the dry run", LIMIT, || async {
        facade.execution(&id).await.unwrap().is_some_and(|run| run.state == "dry_run").then_some(())
    })
    .await;
    assert!(bench.processes.restarts.lock().is_empty());
    facade.unfreeze("kim", "done").await.unwrap();
    alert_of(&facade, "worker:0", |alert| alert.state == AlertState::Resolved).await;
    assert_eq!(*bench.processes.restarts.lock(), [0]);
    control.shutdown(LIMIT).await;
}

fn provider(name: &str, server: &HttpServer, models: &[&str]) -> ProviderPeer {
    let provider = Provider {
        name: name.to_owned(),
        dialect: Dialect::OpenAi,
        base_url: server.url(),
        keys: Vec::new(),
        timeouts: Timeouts::default(),
        first_token: Duration::from_secs(10),
        speaks_responses: true,
    };
    let served = |model: &&str| Served {
        model: (*model).to_owned(),
        target: Some(format!("{model}-at-{name}")),
        price: None,
    };
    ProviderPeer {
        provider: Arc::new(provider),
        serves: models.iter().map(served).collect(),
        probe: ProbeKind::Models,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_provider_is_taken_out_and_put_back_and_the_last_one_is_left_in() {
    let sick = Arc::new(AtomicBool::new(false));
    let is_sick = sick.clone();
    let failing = HttpServer::start(move |_| {
        let status = if is_sick.load(Ordering::SeqCst) { 500 } else { 200 };
        async move { whole(status, "application/json", "{}") }
    })
    .await;
    let good = HttpServer::start(|_| async { whole(200, "application/json", "{}") }).await;
    let down = HttpServer::start(|_| async { whole(503, "application/json", "{}") }).await;
    let bench = Bench::new(1).await;
    let providers = vec![
        provider("first", &failing, &["gpt"]),
        provider("second", &good, &["gpt"]),
        provider("only", &down, &["rare"]),
    ];
    let control = bench.control("a", providers, Vec::new());
    let facade = control.facade();
    let overrides = facade.overrides();
    until_state(&facade, "provider:second", State::Ok).await;
    until_state(&facade, "provider:first", State::Ok).await;

    sick.store(true, Ordering::SeqCst);
    wait_until("the detour", LIMIT, || async {
        overrides.borrow().drained.contains_key("first").then_some(())
    })
    .await;
    sick.store(false, Ordering::SeqCst);
    let alert = alert_of(&facade, "provider:first", |alert| alert.state == AlertState::Resolved).await;
    assert!(overrides.borrow().drained.is_empty());
    told(&facade, &alert.id, &["alert", "action", "change", "health", "change", "verified", "alert"]).await;

    // Nobody else serves its model: it stays in, and a person is told why.
    let refused = alert_of(&facade, "provider:only", |alert| alert.severity == Severity::Page).await;
    let story = told(&facade, &refused.id, &["page"]).await;
    let says_why = |(kind, text): &(String, String)| kind == "page" && text.contains("model rare");
    assert!(story.iter().any(says_why), "{story:#?}");
    control.shutdown(LIMIT).await;
}

fn change(why: &str, dry_run: bool, force: bool) -> Change {
    Change { actor: "kim".to_owned(), why: why.to_owned(), dry_run, force }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_drains_fails_over_and_puts_back_and_never_by_accident() {
    let good = HttpServer::start(|_| async { whole(200, "application/json", "{}") }).await;
    let bench = Bench::new(1).await;
    let providers = vec![
        provider("first", &good, &["gpt"]),
        provider("second", &good, &["gpt", "rare"]),
        provider("alien", &good, &["other"]),
    ];
    let control = bench.control("a", providers, Vec::new());
    let facade = control.facade();
    for name in ["first", "second", "alien"] {
        until_state(&facade, &format!("provider:{name}"), State::Ok).await;
    }
    let refused = facade.drain("nobody", change("", false, false)).await.unwrap_err().to_string();
    assert_eq!(refused, "there is no provider `nobody`; there are: alien, first, second");
    let refused = facade.drain("second", change("", false, false)).await.unwrap_err().to_string();
    assert!(refused.ends_with("left for model rare"), "{refused}");

    let planned = facade.drain("first", change("maintenance", true, false)).await.unwrap();
    assert_eq!((planned.changed, planned.models[0].answered_by.clone()), (false, vec!["second".to_owned()]));
    assert!(Overrides::read(&bench.store).await.unwrap().drained.is_empty(), "a dry run changes nothing");
    let done = facade.drain("first", change("maintenance", false, false)).await.unwrap();
    assert_eq!((done.changed, done.undo.as_str()), (true, "mainstay provider restore first"));
    let again = facade.drain("first", change("again", false, false)).await.unwrap();
    assert!(!again.changed && again.text.contains("already, by kim: maintenance"), "{}", again.text);
    let refused = facade.drain("second", change("", false, false)).await.unwrap_err().to_string();
    assert!(refused.contains("model gpt, model rare"), "the only one left: {refused}");
    let forced = facade.drain("second", change("all of it", false, true)).await.unwrap();
    assert_eq!(forced.warnings.len(), 2, "{:?}", forced.warnings);
    facade.restore("second", change("enough", false, false)).await.unwrap();

    let failover = |from: &'static str, to: &'static str, force| {
        let facade = facade.clone();
        async move { facade.failover(from, to, change("slow", false, force)).await }
    };
    for (from, to, says) in [
        ("second", "second", "itself"),
        ("second", "alien", "no model is served by both"),
        ("second", "first", "out of rotation"),
        ("second", "nobody", "there is no provider `nobody`"),
    ] {
        let refused = failover(from, to, false).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    let done = failover("second", "first", true).await.unwrap();
    assert!(done.warnings.contains(&"first has no target for model rare".to_owned()), "{:?}", done.warnings);
    facade.restore("first", change("back", false, false)).await.unwrap();
    let stored = Overrides::read(&bench.store).await.unwrap();
    assert_eq!((stored.drained.len(), stored.failovers().len()), (0, 1));
    assert_eq!((stored.failovers[0].who.as_str(), stored.failovers[0].why.as_str()), ("kim", "slow"));
    let refused = failover("first", "second", false).await.unwrap_err().to_string();
    assert!(refused.contains("failing over to first itself"), "{refused}");
    assert!(facade.undo_failover("second", change("fast again", false, false)).await.unwrap().changed);
    assert!(!facade.undo_failover("second", change("", false, false)).await.unwrap().changed);

    let story = story(&facade, "provider:first").await;
    assert_eq!(kinds(&story), ["provider.drain", "provider.restore"], "{story:#?}");
    assert!(bench.store.timeline().verify().await.unwrap().is_ok());
    control.shutdown(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_out_for_maintenance_stays_out_until_a_person_puts_it_back() {
    let good = HttpServer::start(|_| async { whole(200, "application/json", "{}") }).await;
    let down = HttpServer::start(|_| async { whole(503, "application/json", "{}") }).await;
    let bench = Bench::new(1).await;
    let control = bench.control(
        "a",
        vec![provider("first", &down, &["gpt"]), provider("second", &good, &["gpt"])],
        Vec::new(),
    );
    let facade = control.facade();
    until_state(&facade, "provider:second", State::Ok).await;
    facade.drain("first", change("maintenance", false, false)).await.unwrap();
    let alert = alert_of(&facade, "provider:first", |alert| alert.state == AlertState::Firing).await;
    assert_eq!(alert.rule, "provider-incident");
    // What the runbook would do within a round, it has had several rounds to do.
    told(&facade, &alert.id, &["alert"]).await;
    let mut reports = facade.reports();
    for _ in 0..5 {
        reports.changed().await.unwrap();
    }
    let none = facade.executions(ExecutionFilter { limit: 10, ..Default::default() }).await.unwrap();
    assert!(none.is_empty(), "{none:?}");
    let stored = Overrides::read(&bench.store).await.unwrap();
    assert!(stored.drained["first"].is_by_hand());
    control.shutdown(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_by_hand_calls_with_each_key_and_a_refused_one_is_alerted_until_it_works() {
    const ANSWER: &str = r#"{"id":"x","object":"chat.completion","created":1,"model":"gpt-at-first","choices":[
        {"index":0,"message":{"role":"assistant","content":"pong"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10}}"#;
    let repaired = Arc::new(AtomicBool::new(false));
    let is_repaired = repaired.clone();
    let server = HttpServer::start(move |request| {
        let is_bad = request.headers().get("authorization").is_some_and(|value| value == "Bearer sk-bad");
        let refused = is_bad && !is_repaired.load(Ordering::SeqCst);
        async move {
            match refused {
                true => whole(
                    401,
                    "application/json",
                    r#"{"error":{"message":"no: sk-bad","code":"invalid_api_key"}}"#,
                ),
                false => whole(200, "application/json", ANSWER),
            }
        }
    })
    .await;
    let bench = Bench::new(1).await;
    let mut peer = provider("first", &server, &["gpt"]);
    peer.provider = Arc::new(Provider {
        keys: vec![
            ProviderKey::token("main", Secret::new("sk-good")),
            ProviderKey::token("spare", Secret::new("sk-bad")),
        ],
        ..Provider::clone(&peer.provider)
    });
    peer.serves[0].price = Some(Price { input: Usd(1_000_000), output: Usd(2_000_000), cached_input: None });
    let control = bench.control("a", vec![peer], Vec::new());
    let facade = control.facade();
    until_state(&facade, "provider:first", State::Ok).await;
    let report = facade.test("first", Some("gpt"), "kim").await.unwrap();
    assert!(!report.ok && report.model == "gpt-at-first", "{report:?}");
    let [main, spare] = report.calls.as_slice() else { panic!("{report:?}") };
    assert_eq!((main.ok, main.status, main.cost), (true, Some(200), Some(Usd(11))));
    assert_eq!((spare.status, spare.class), (Some(401), Some(Class::BadKey)));
    assert!(!spare.said.as_deref().unwrap_or_default().contains("sk-bad"), "{spare:?}");
    let refused = facade.test("first", Some("claude"), "kim").await.unwrap_err().to_string();
    assert!(refused.contains("serves no model `claude`; it serves: gpt, gpt-at-first"), "{refused}");

    let alert =
        alert_of(&facade, "provider-key:first/spare", |alert| alert.state == AlertState::Firing).await;
    assert_eq!(alert.rule, "provider-key-refused");
    assert!(alert.summary.contains("first refuses key spare"), "{}", alert.summary);
    assert_eq!(facade.report().component("provider:first").unwrap().state, State::Ok);
    repaired.store(true, Ordering::SeqCst);
    assert!(facade.test("first", None, "kim").await.unwrap().ok);
    alert_of(&facade, "provider-key:first/spare", |alert| alert.state == AlertState::Resolved).await;

    // One that was used up is used again when it answers. That a limited one answers once says nothing of its limit, but
    // a person may have all of them tried.
    let rests = |key: &str, why| KeyStanding {
        provider: "first".to_owned(),
        key: key.to_owned(),
        rests_until: Some(Clock::System.now() + LIMIT),
        why: Some(why),
        in_flight: 0,
    };
    let keys = vec![rests("main", Class::QuotaExhausted), rests("spare", Class::RateLimited)];
    let standing = Standing { at: Clock::System.now(), keys, ..Standing::default() };
    bench.store.standings().put("here:1", &standing).await.unwrap();
    assert_eq!(facade.test("first", None, "kim").await.unwrap().woken, ["main"]);
    let restored = facade.restore("first", change("paid", false, false)).await.unwrap();
    assert!(restored.changed, "{restored:?}");
    assert!(restored.text.ends_with("its resting keys are tried again: main, spare"), "{restored:?}");
    assert!(Overrides::read(&bench.store).await.unwrap().woken.contains_key("first"));
    control.shutdown(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_controls_one_acts_and_the_other_takes_over() {
    let bench = Bench::new(2).await;
    let first = bench.control("a", Vec::new(), Vec::new());
    wait_until("a leader", LIMIT, || async { first.facade().is_leader().then_some(()) }).await;
    let second = bench.control("b", Vec::new(), Vec::new());
    let facade = second.facade();
    until_state(&facade, "workers", State::Ok).await;
    assert!(!facade.is_leader());
    bench.processes.wedge(0);
    alert_of(&facade, "worker:0", |alert| alert.state == AlertState::Resolved).await;
    assert_eq!(bench.processes.restarts.lock().len(), 1, "one of them acted");

    first.shutdown(LIMIT).await;
    wait_until("the other leads", LIMIT, || async { facade.is_leader().then_some(()) }).await;
    bench.processes.kill(1);
    alert_of(&facade, "worker:1", |alert| alert.state == AlertState::Resolved).await;
    assert_eq!(*bench.processes.restarts.lock(), [0, 1]);
    second.shutdown(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_refused_with_a_reason() {
    let bench = Bench::new(1).await;
    let control = bench.control("a", Vec::new(), Vec::new());
    let facade = control.facade();
    until_state(&facade, "worker:0", State::Ok).await;
    for (runbook, component, says) in [
        ("reboot-everything", "worker:0", "there are: provider-detour, restart-service"),
        ("restart-service", "worker:7", "no such component"),
        ("restart-service", "store", "worker components"),
    ] {
        let request = RunRequest {
            runbook: runbook.to_owned(),
            component: component.to_owned(),
            actor: "kim".to_owned(),
            why: "why not".to_owned(),
            dry_run: false,
        };
        let refused = facade.run(request).await.expect_err("refused").to_string();
        assert!(refused.contains(says), "{refused}");
    }
    control.shutdown(LIMIT).await;
}
