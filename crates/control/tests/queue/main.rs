//! Verdicts on real Celery workers over a real Redis: each trouble is provoked and named within a minute, and a busy
//! deployment gives none.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up should fail")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use mainstay_base::{Clock, Finding, Micros};
use mainstay_control::queue::{Judge, Limits, Rows, Verdicts};
use mainstay_dify::{
    Deployment,
    celery::{Observer, Options},
    deployment::{Redis, RedisAt, Tls},
    redis::{Link, Waits, cmd},
};
use mainstay_testkit::celery::{Broker, RunningWorker, Worker};
use mainstay_wire::celery::NewTask;
use serde_json::{Map, Value, json};

const INDEXING: &str = "tasks.document_indexing_task.priority_document_indexing_task";
const WORKFLOW: &str = "tasks.app_generate.workflow_execute_task.workflow_based_app_execution_task";
const POLLER: &str = "schedule.workflow_schedule_task.poll_workflow_schedules";
const PATIENT: Waits = Waits { connect: Duration::from_secs(60), response: Duration::from_secs(60) };
/// A stuck worker is named within this, by the clock of the looks.
const NAMED_WITHIN: Duration = Duration::from_secs(60);

struct World {
    broker: Broker,
    link: Link,
    observer: Observer,
    judge: Judge,
    /// The looks' clock runs faster than the machine's, so that a minute of it is some seconds.
    clock: Micros,
    sent: u64,
}

/// Between two looks by their clock, and by the machine's.
const LOOK: Duration = Duration::from_secs(5);
const REAL: Duration = Duration::from_millis(700);

impl World {
    fn start() -> Option<World> {
        let broker = Broker::start()?;
        let redis = Redis {
            at: RedisAt::Server { host: broker.host.clone(), port: broker.port },
            user: None,
            password: None,
            database: broker.database,
            tls: Tls::Off,
            key_prefix: String::new(),
        };
        let mut deployment = Deployment::named("test");
        deployment.redis = Some(redis.clone());
        deployment.broker = Some(redis.clone());
        let observer = Observer::new(&deployment, Options { waits: PATIENT, ..Options::default() })?;
        let link = Link::new(&redis, PATIENT);
        let judge = Judge::new(Limits::default());
        Some(World { broker, link, observer, judge, clock: Clock::System.now(), sent: 0 })
    }

    async fn push(&mut self, queue: &str, task: &str, kwargs: &Value, count: usize) {
        let kwargs: Map<String, Value> = kwargs.as_object().unwrap().clone();
        for _ in 0..count {
            self.sent += 1;
            let id = format!("{queue}-{}", self.sent);
            let message = NewTask { task, queue, id: &id, delivery_tag: &id, kwargs: &kwargs }.encode();
            self.link.ask::<u64>(cmd("LPUSH").arg(queue).arg(message)).await.unwrap();
        }
    }

    async fn look(&mut self) -> Verdicts {
        self.clock = self.clock + LOOK;
        let seen = self.observer.observe(self.clock).await.unwrap();
        self.judge.step(&seen, &Rows::default())
    }

    /// Looks until something is found; by the looks' clock, within a limit.
    async fn named(&mut self, id: &str, within: Duration) -> Finding {
        let began = self.clock;
        loop {
            let verdicts = self.look().await;
            if let Some(found) = verdicts.findings.iter().find(|finding| finding.id == id) {
                return found.clone();
            }
            let took = self.clock.since(began);
            assert!(took < within, "{id} was not found in {took:?}: {:?}", verdicts.findings);
            tokio::time::sleep(REAL).await;
        }
    }

    async fn worker(&mut self, name: &str, queues: &[&str], concurrency: u32) -> Option<RunningWorker> {
        let worker = Worker { name, pool: "gevent", concurrency, queues, key_prefix: "" };
        let running = worker.start(&self.broker)?;
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let seen = self.observer.fresh(self.clock).await.unwrap();
            if seen
                .workers
                .iter()
                .any(|there| there.name == running.name && there.heard.is_some() && there.answer.is_some())
            {
                return Some(running);
            }
            assert!(Instant::now() < until, "{name} does not answer");
        }
    }
}

#[tokio::test]
async fn a_queue_that_nobody_consumes_and_one_that_grows_are_named() {
    let Some(mut world) = World::start() else { return };
    let Some(_worker) = world.worker("flows", &["workflow_based_app_execution"], 2).await else { return };
    world.push("priority_dataset", INDEXING, &json!({ "tenant_id": "t1", "dataset_id": "d1" }), 3).await;
    let found = world.named("S18", NAMED_WITHIN).await;
    assert_eq!(found.subject.queue.as_deref(), Some("priority_dataset"));
    assert_eq!(found.subject.task.as_deref(), Some(INDEXING));
    assert_eq!(found.subject.tenant.as_deref(), Some("t1"));
    // More comes than two places can do: each task takes 20 s, and one comes at every look.
    let payload = json!({ "payload": json!({ "app_id": "app-1" }).to_string(), "seconds": 20 });
    world.push("workflow_based_app_execution", WORKFLOW, &payload, 6).await;
    let mut found = None;
    for _ in 0..40 {
        world.push("workflow_based_app_execution", WORKFLOW, &payload, 2).await;
        let verdicts = world.look().await;
        found = verdicts.findings.into_iter().find(|finding| finding.id == "S22");
        if found.is_some() {
            break;
        }
    }
    let found = found.expect("it was found saturated");
    assert_eq!(found.subject.app.as_deref(), Some("app-1"));
    assert!(found.cause.contains("all 2 places"), "{}", found.cause);
}

#[tokio::test]
async fn a_list_of_a_workspace_that_stands_is_named() {
    let Some(mut world) = World::start() else { return };
    let list = "tenant_self_document_indexing_task_queue:t1";
    world.link.ask::<u64>(cmd("LPUSH").arg(list).arg("__WRAPPER__:{}")).await.unwrap();
    let mut last = Verdicts::default();
    for _ in 0..40 {
        last = world.look().await;
    }
    let found = last.findings.iter().find(|finding| finding.id == "S19").expect("a stale list is found");
    assert_eq!(found.subject.tenant.as_deref(), Some("t1"));
}

#[tokio::test]
async fn a_stopped_worker_is_wedged_a_killed_one_is_lost_and_a_thawed_one_is_well() {
    let Some(mut world) = World::start() else { return };
    let Some(mut worker) = world.worker("w", &["priority_dataset", "schedule_poller"], 2).await else {
        return;
    };
    world.push("priority_dataset", INDEXING, &json!({ "app_id": "app-1", "seconds": 300 }), 1).await;
    for _ in 0..4 {
        let verdicts = world.look().await;
        assert!(verdicts.findings.is_empty(), "{:?}", verdicts.findings);
        tokio::time::sleep(REAL).await;
    }
    worker.freeze();
    let found = world.named("worker-wedged", NAMED_WITHIN).await;
    assert_eq!(found.subject.worker.as_deref(), Some("w@test"));
    assert_eq!(
        (found.subject.task.as_deref(), found.subject.app.as_deref()),
        (Some(INDEXING), Some("app-1"))
    );
    worker.thaw();
    let until = Instant::now() + Duration::from_secs(60);
    while !world.look().await.findings.is_empty() {
        assert!(Instant::now() < until, "it is well again");
        tokio::time::sleep(REAL).await;
    }
    worker.kill();
    let found = world.named("worker-lost", NAMED_WITHIN).await;
    assert!(found.what.contains("nobody consumes"), "{}", found.what);
    assert!(found.cause.contains(INDEXING), "what it ran is named: {}", found.cause);
}

#[tokio::test]
async fn a_beat_that_stops_is_missed_and_a_second_one_is_noticed() {
    let Some(mut world) = World::start() else { return };
    let Some(_worker) = world.worker("w", &["schedule_poller"], 2).await else { return };
    // A tick each twelve looks, which are a minute of theirs.
    let mut ticks: BTreeMap<u32, usize> = BTreeMap::new();
    for minute in 0..7 {
        // From the fourth minute on, twice.
        ticks.insert(minute * 12, 1);
        if minute >= 3 {
            ticks.insert(minute * 12 + 6, 1);
        }
    }
    let mut last = Verdicts::default();
    for look in 0..84 {
        world.push("schedule_poller", POLLER, &json!({}), ticks.get(&look).copied().unwrap_or(0)).await;
        last = world.look().await;
        if look < 36 {
            assert!(last.findings.is_empty(), "look {look}: {:?}", last.findings);
        }
    }
    assert_eq!(
        last.findings.first().map(|finding| finding.id.as_str()),
        Some("beat-doubled"),
        "{:?}",
        last.findings
    );
    world.named("beat-missing", Duration::from_secs(400)).await;
}

#[tokio::test]
async fn a_busy_deployment_gives_no_verdict() {
    let Some(mut world) = World::start() else { return };
    let queues = ["priority_dataset", "workflow_based_app_execution", "schedule_poller"];
    let Some(_one) = world.worker("one", &queues, 4).await else { return };
    for look in 0..30_u32 {
        // Bursts that both queues work off, a tick each minute.
        let burst = usize::try_from(look * 7 % 5).unwrap();
        world.push("priority_dataset", INDEXING, &json!({ "seconds": 0.05 }), burst).await;
        world.push("workflow_based_app_execution", WORKFLOW, &json!({ "seconds": 0.1 }), 2).await;
        world.push("schedule_poller", POLLER, &json!({}), usize::from(look % 12 == 0)).await;
        let verdicts = world.look().await;
        assert!(verdicts.findings.is_empty(), "look {look}: {:?}", verdicts.findings);
        tokio::time::sleep(REAL).await;
    }
}

/// Ten minutes in real time with every kind of traffic, then each trouble with the time until it was named. Run by
/// `cargo xtask bench queue`, which says for how long.
#[tokio::test]
#[ignore = "takes ten minutes and more: cargo xtask bench queue"]
#[expect(clippy::disallowed_methods, reason = "the command says for how long")]
async fn soak_in_real_time() {
    let seconds = std::env::var("TEST_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
    let Some(mut world) = World::start() else { return };
    let queues = ["priority_dataset", "workflow_based_app_execution", "schedule_poller", "dataset", "mail"];
    let Some(one) = world.worker("one", &queues, 4).await else { return };
    let Some(mut two) = world.worker("two", &queues, 4).await else { return };
    let (mut chance, mut false_verdicts, mut pushed) =
        (mainstay_signal::simulate::Chance::new(5), Vec::new(), 0);
    let began = Instant::now();
    let (mut minute, mut peak) = (0, 0);
    while began.elapsed() < Duration::from_secs(seconds) {
        // Three quarters of what eight places do, 30 of 40 seconds a look, with a burst of a minute's work now and then.
        let burst = if chance.draw() < 0.03 { 100 } else { 0 };
        let (flows, documents) = (20 + burst / 2, (chance.draw() * 20.0) as usize + burst / 2);
        let took = |seconds: f64| json!({ "tenant_id": "t", "app_id": "a", "seconds": seconds });
        let length = 0.2 + chance.draw() * 2.0;
        world.push("workflow_based_app_execution", WORKFLOW, &took(length), flows).await;
        world.push("priority_dataset", INDEXING, &took(length / 4.0), documents).await;
        world.push("dataset", INDEXING, &took(0.1), usize::from(chance.draw() < 0.3)).await;
        pushed += flows + documents;
        if began.elapsed().as_secs() / 60 >= minute {
            minute += 1;
            world.push("schedule_poller", POLLER, &json!({}), 1).await;
        }
        let verdicts = world.look_now().await;
        peak = peak.max(verdicts.queues.iter().map(|queue| queue.waiting).max().unwrap_or(0));
        false_verdicts.extend(verdicts.findings.into_iter().map(|finding| finding.what));
        tokio::time::sleep(LOOK).await;
    }
    println!(
        "soak: {seconds} s, {pushed} tasks, at most {peak} waiting, {} false verdicts",
        false_verdicts.len()
    );
    two.kill();
    println!("killed worker: named after {:.0} s", world.named_after("worker-lost").await);
    one.freeze();
    println!("stopped worker: named after {:.0} s", world.named_after("worker-wedged").await);
    one.thaw();
    world.push("plugin", INDEXING, &json!({}), 1).await;
    println!("queue without a consumer: named after {:.0} s", world.named_after("S18").await);
    world.push("workflow_based_app_execution", WORKFLOW, &json!({ "seconds": 60 }), 10).await;
    println!("saturated queue: named after {:.0} s", world.named_after("S22").await);
    let Some(computes) = world.worker("three", &["mail"], 2).await else { return };
    world.push("mail", INDEXING, &json!({ "computes": 90 }), 1).await;
    println!("worker held whole by one task: named after {:.0} s", world.named_after("worker-wedged").await);
    drop(computes);
    assert!(false_verdicts.is_empty(), "{false_verdicts:?}");
}

impl World {
    async fn look_now(&mut self) -> Verdicts {
        self.clock = Clock::System.now();
        let seen = self.observer.observe(self.clock).await.unwrap();
        self.judge.step(&seen, &Rows::default())
    }

    /// Seconds of the machine's clock until something was found; a queue gets more meanwhile.
    async fn named_after(&mut self, id: &str) -> f64 {
        let began = Instant::now();
        while !self.look_now().await.findings.iter().any(|finding| finding.id == id) {
            assert!(began.elapsed() < Duration::from_secs(300), "{id} was not found");
            if id == "S22" {
                self.push("workflow_based_app_execution", WORKFLOW, &json!({ "seconds": 60 }), 5).await;
            }
            tokio::time::sleep(LOOK).await;
        }
        began.elapsed().as_secs_f64()
    }
}
