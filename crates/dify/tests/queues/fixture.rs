//! A deployment of which only the two Redis are there.

use std::{path::Path, time::Duration};

use mainstay_base::{Clock, Micros};
use mainstay_dify::{
    Deployment,
    celery::{Observer, Options, Seen},
    deployment::{Redis, RedisAt, Tls},
    redis::{Link, Waits, cmd},
};
use mainstay_testkit::{
    celery::{Broker, RunningWorker, Worker},
    wait_until,
};
use mainstay_wire::celery::NewTask;
use serde_json::{Map, Value};

pub(crate) const INDEXING: &str = "tasks.document_indexing_task.priority_document_indexing_task";
pub(crate) const WORKFLOW: &str = "tasks.async_workflow_tasks.execute_workflow_team";
/// A worker needs a second or two to start, more on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// For a machine on which everything else runs too.
pub(crate) const PATIENT: Waits = Waits { connect: LONG, response: LONG };

pub(crate) struct World {
    pub(crate) broker: Broker,
    pub(crate) deployment: Deployment,
    pub(crate) link: Link,
    pub(crate) observer: Observer,
}

impl World {
    /// `None` where no Redis was prepared.
    pub(crate) fn start(key_prefix: &str) -> Option<World> {
        World::over(Broker::start()?, key_prefix)
    }

    pub(crate) fn over(broker: Broker, key_prefix: &str) -> Option<World> {
        let redis = redis(&broker.host, broker.port, broker.database, key_prefix);
        let mut deployment = Deployment::named("test");
        deployment.redis = Some(redis.clone());
        deployment.broker = Some(redis.clone());
        let observer = Observer::new(&deployment, Options::default())?;
        Some(World { broker, deployment, link: Link::new(&redis, PATIENT), observer }.again())
    }

    /// With an observer that begins anew, of the deployment as it is now.
    pub(crate) fn again(mut self) -> World {
        let options = Options { waits: PATIENT, remote_every: Duration::ZERO, ..Options::default() };
        self.observer = Observer::new(&self.deployment, options).unwrap();
        self
    }

    pub(crate) async fn look(&mut self) -> Seen {
        self.observer.observe(now()).await.unwrap()
    }

    /// Puts tasks into a queue as Dify does, ids by number.
    pub(crate) async fn push(&mut self, queue: &str, task: &str, kwargs: &Value, count: usize) {
        let kwargs: Map<String, Value> = kwargs.as_object().unwrap().clone();
        for number in 0..count {
            let id = format!("{queue}-{number}");
            let message = NewTask { task, queue, id: &id, delivery_tag: &id, kwargs: &kwargs }.encode();
            let key = self.link.key(queue);
            self.link.ask::<u64>(cmd("LPUSH").arg(key).arg(message)).await.unwrap();
        }
    }

    /// A worker that answers already.
    pub(crate) async fn worker(&mut self, worker: Worker<'_>) -> Option<RunningWorker> {
        let running = worker.start(&self.broker)?;
        let name = running.name.clone();
        self.until("the worker answers", |seen| answer(seen, &name).map(drop)).await;
        Some(running)
    }

    /// Looks until something is seen.
    pub(crate) async fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(&Seen) -> Option<T>) -> T {
        let observer = tokio::sync::Mutex::new(&mut self.observer);
        let seen = std::cell::RefCell::new(&mut wanted);
        wait_until(what, LONG, || async {
            let look = observer.lock().await.observe(now()).await.unwrap();
            (seen.borrow_mut())(&look)
        })
        .await
    }
}

pub(crate) fn redis(host: &str, port: u16, database: u32, key_prefix: &str) -> Redis {
    Redis {
        at: RedisAt::Server { host: host.to_owned(), port },
        user: None,
        password: None,
        database,
        tls: Tls::Off,
        key_prefix: key_prefix.to_owned(),
    }
}

pub(crate) fn now() -> Micros {
    Clock::System.now()
}

/// What a worker said, when it answered the last question.
pub(crate) fn answer(seen: &Seen, worker: &str) -> Option<mainstay_dify::celery::Answer> {
    let worker = seen.workers.iter().find(|there| there.name == worker)?;
    worker.answer.clone().filter(|answer| worker.silent_rounds == 0 && answer.queues.is_some())
}

pub(crate) fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}
