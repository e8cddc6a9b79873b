//! A deployment of which only Redis and its workers are there, and looks at it by a clock of their own.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use mainstay_base::{Clock, Finding, Micros};
use mainstay_control::queue::{Judge, Limits, Rows, Verdicts};
use mainstay_dify::{
    Deployment,
    celery::{
        Observer, Options, Seen,
        act::{self, Action, Done, Refused, Terms},
    },
    deployment::{Redis, RedisAt, Tls},
    redis::{Link, Waits, cmd},
};
use mainstay_testkit::{
    celery::{Broker, RunningWorker, Worker},
    proxy::Proxy,
};
use mainstay_wire::celery::NewTask;
use serde_json::{Map, Value};

pub(crate) const INDEXING: &str = "tasks.document_indexing_task.priority_document_indexing_task";
pub(crate) const WORKFLOW: &str =
    "tasks.app_generate.workflow_execute_task.workflow_based_app_execution_task";
pub(crate) const POLLER: &str = "schedule.workflow_schedule_task.poll_workflow_schedules";
const PATIENT: Waits = Waits { connect: Duration::from_secs(60), response: Duration::from_secs(60) };
/// A stuck worker is named within this, by the clock of the looks.
pub(crate) const NAMED_WITHIN: Duration = Duration::from_secs(60);

pub(crate) struct World {
    deployment: Deployment,
    pub(crate) broker: Broker,
    pub(crate) link: Link,
    pub(crate) observer: Observer,
    pub(crate) judge: Judge,
    /// The looks' clock runs faster than the machine's, so that a minute of it is some seconds.
    pub(crate) clock: Micros,
    sent: u64,
}

/// Between two looks by their clock, and by the machine's.
pub(crate) const LOOK: Duration = Duration::from_secs(5);
pub(crate) const REAL: Duration = Duration::from_millis(700);

impl World {
    pub(crate) fn start() -> Option<World> {
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
        Some(World { deployment, broker, link, observer, judge, clock: Clock::System.now(), sent: 0 })
    }

    /// Another one that looks: it hears heartbeats and asks the workers once only.
    pub(crate) fn meter(&self) -> Observer {
        let options = Options { waits: PATIENT, remote_every: Duration::MAX, ..Options::default() };
        Observer::new(&self.deployment, options).unwrap()
    }

    pub(crate) async fn push(&mut self, queue: &str, task: &str, kwargs: &Value, count: usize) {
        let kwargs: Map<String, Value> = kwargs.as_object().unwrap().clone();
        for _ in 0..count {
            self.sent += 1;
            let id = format!("{queue}-{}", self.sent);
            let message = NewTask { task, queue, id: &id, delivery_tag: &id, kwargs: &kwargs }.encode();
            self.link.ask::<u64>(cmd("LPUSH").arg(queue).arg(message)).await.unwrap();
        }
    }

    pub(crate) async fn look(&mut self) -> Verdicts {
        self.clock = self.clock + LOOK;
        let seen = self.observer.observe(self.clock).await.unwrap();
        self.judge.step(&seen, &Rows::default())
    }

    /// Looks until something is found; by the looks' clock, within a limit.
    pub(crate) async fn named(&mut self, id: &str, within: Duration) -> Finding {
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

    pub(crate) async fn worker(
        &mut self,
        name: &str,
        queues: &[&str],
        concurrency: u32,
    ) -> Option<RunningWorker> {
        self.worker_over(None, name, queues, concurrency).await
    }

    /// One that reaches the broker by way of a proxy.
    pub(crate) async fn worker_over(
        &mut self,
        proxy: Option<&Proxy>,
        name: &str,
        queues: &[&str],
        concurrency: u32,
    ) -> Option<RunningWorker> {
        let worker = Worker { name, pool: "gevent", concurrency, queues, key_prefix: "" };
        let running = match proxy {
            Some(proxy) => worker.start(&self.broker.through(proxy.address))?,
            None => worker.start(&self.broker)?,
        };
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

impl World {
    /// Plans an action and does it, by the looks' clock.
    pub(crate) async fn act(&mut self, action: Action, force: bool) -> Result<Done, Refused> {
        let terms = Terms { force, folder: None };
        let plan = act::plan(&mut self.observer, action, &terms, self.clock).await?;
        act::perform(&mut self.observer, plan, &terms, self.clock).await
    }

    /// Why it is not even planned.
    pub(crate) async fn refusal(&mut self, action: Action) -> String {
        let terms = Terms { force: false, folder: None };
        act::plan(&mut self.observer, action, &terms, self.clock).await.unwrap_err().to_string()
    }

    /// Asks everybody until something is seen, while the looks' clock stands.
    pub(crate) async fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(&Seen) -> Option<T>) -> T {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let seen = self.observer.fresh(self.clock).await.unwrap();
            if let Some(found) = wanted(&seen) {
                return found;
            }
            assert!(Instant::now() < until, "not seen: {what}: {seen:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Looks over so many minutes of their clock; every id that was found, and the findings of the last look.
    pub(crate) async fn minutes(&mut self, minutes: u32) -> (BTreeSet<String>, Vec<Finding>) {
        let (mut ids, mut last) = (BTreeSet::new(), Vec::new());
        for _ in 0..minutes {
            self.clock = self.clock + (Duration::from_secs(60) - LOOK);
            last = self.look().await.findings;
            ids.extend(last.iter().map(|finding| finding.id.clone()));
        }
        (ids, last)
    }
}
