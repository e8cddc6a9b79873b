//! The embedded Dify: the Service API of one app over the engine and the store, byte shapes included; and what a
//! worker does for a durable run.
//!
//! Promises: a bad request is refused with Dify's error body before anything is stored; a run that began is finished
//! and stored whether or not its caller stays; a slow reader of a stream slows nobody but its own run, and that only
//! for [`STALL_LIMIT`](stream::STALL_LIMIT). Refuses to know: who may call (the gateway checked the key), listeners,
//! configuration files, and how nodes are executed.

pub mod apps;
mod call;
mod catalog;
mod chat;
mod durable;
mod execution;
mod files;
mod options;
mod prepare;
mod reply;
mod result;
mod service;
mod stream;
mod tasks;

use std::{sync::Arc, time::Duration};

use http::Response;
use mainstay_base::Clock;
use mainstay_engine::Engine;
use mainstay_net::{Body, Client};
use mainstay_store::Store;
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use call::{MAX_BODY_BYTES, MAX_UPLOAD_BYTES, ServiceCall};
pub use durable::{Endpoint, MAX_IDEMPOTENCY_KEY, Submission, Target};
pub use options::{Options, RetryLimits, Upstream, Upstreams};
pub use stream::{PING_EVERY, STALL_LIMIT};

/// What the embedded Dify needs from outside.
pub struct Ports {
    pub store: Store,
    pub engine: Engine,
    /// For durable runs of apps that live in a real Dify.
    pub client: Client,
    pub clock: Clock,
}

/// Cheap to clone; clones share caches, running tasks and limits.
#[derive(Clone)]
pub struct Standby {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    engine: Engine,
    client: Client,
    clock: Clock,
    options: Options,
    upstreams: RwLock<Arc<Upstreams>>,
    catalog: catalog::Catalog,
    end_users: chat::EndUsers,
    tasks: tasks::Tasks,
    active: Arc<Semaphore>,
    running: TaskTracker,
    /// Cancelled when the process must end before its runs did.
    ending: CancellationToken,
}

impl Standby {
    pub fn new(ports: Ports, options: Options) -> Standby {
        let Ports { store, engine, client, clock } = ports;
        let inner = Inner {
            catalog: catalog::Catalog::new(store.clone()),
            end_users: chat::EndUsers::default(),
            tasks: tasks::Tasks::default(),
            active: Arc::new(Semaphore::new(options.max_active_runs)),
            running: TaskTracker::new(),
            ending: CancellationToken::new(),
            upstreams: RwLock::new(Arc::new(options.upstreams.clone())),
            store,
            engine,
            client,
            clock,
            options,
        };
        Standby { inner: Arc::new(inner) }
    }

    /// Real Difys were added, changed or taken out. A run goes on by those that it began with.
    pub fn set_upstreams(&self, upstreams: Upstreams) {
        *self.inner.upstreams.write() = Arc::new(upstreams);
    }

    fn upstreams(&self) -> Arc<Upstreams> {
        self.inner.upstreams.read().clone()
    }

    /// Answers one call of the Service API. The gateway has checked the key; `call.app_id` says whose it was.
    pub async fn call(&self, call: ServiceCall) -> Response<Body> {
        let is_head = call.method == http::Method::HEAD;
        let answer = match self.dispatch(call).await {
            Ok(answer) => answer,
            Err(error) => reply::refusal(&error),
        };
        let (mut head, body) = self.stamped(answer).into_parts();
        if is_head {
            head.headers.remove(http::header::CONTENT_LENGTH);
            return Response::from_parts(head, mainstay_net::empty());
        }
        Response::from_parts(head, body)
    }

    /// Waits for the runs of this process, then stops those that are left and stores them as stopped.
    pub async fn shutdown(&self, patience: Duration) {
        self.inner.running.close();
        if tokio::time::timeout(patience, self.inner.running.wait()).await.is_err() {
            self.inner.ending.cancel();
            let _ = tokio::time::timeout(LAST_WRITES, self.inner.running.wait()).await;
        }
    }

    fn stamped(&self, answer: Response<Body>) -> Response<Body> {
        reply::stamped(answer, &self.inner.options.environment)
    }
}

/// How long stopped runs may take to be stored when the process ends.
const LAST_WRITES: Duration = Duration::from_secs(5);
