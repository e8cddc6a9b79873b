//! One running instance: listeners, planes, workers, wired by role, started in order and ended within a bound.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use http::Request;
use http_body_util::BodyExt;
use mainstay_base::{Clock, Secret};
use mainstay_control::{Control, Facade, Observer, Peers};
use mainstay_engine::Engine;
use mainstay_gateway::{Gateway, PeerAddress, records};
use mainstay_net::{Body, BodyError, Client, ClientOptions};
use mainstay_standby::Standby;
use mainstay_store::{Options, Store};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use tracing::{info, warn};

use crate::{
    adapters::{AppsPort, CallbackPort, ProbePort},
    cli::Role,
    config::Config,
    embedded,
    failure::{Failure, chain},
    health_routes,
    insight::Insight,
    metrics::Metrics,
    orders::Orders,
    publisher::Publisher,
    records::{Consumer, Unstored},
    supervisor::{self, Supervisor},
    token,
    wiring::{self, LISTEN_GRACE},
};

/// How long runs in this process may go on after the listeners have closed.
const RUN_GRACE: Duration = Duration::from_secs(5);
/// How long control may take to end what it is doing.
const CONTROL_GRACE: Duration = Duration::from_secs(3);
/// What tasks may take beyond the workers' own grace before the process ends without them.
const LAST_TASKS: Duration = Duration::from_secs(10);
/// A started instance.
pub(crate) struct Service {
    pub(crate) admin: SocketAddr,
    pub(crate) app: Option<SocketAddr>,
    pub(crate) model: Option<SocketAddr>,
    /// Lets the commands of this user in; made at each start.
    pub(crate) token: Secret,
    pub(crate) standby: Standby,
    pub(crate) facade: Option<Facade>,
    pub(crate) supervisor: Option<Supervisor>,
    control: Option<Control>,
    base: Base,
    /// Control follows it; it stays as it is until configuration can be loaded again.
    _peers: watch::Sender<Arc<Peers>>,
}

/// The addresses of an instance, bound before anything else so that a taken port is the first thing to be told.
struct Bound {
    admin: TcpListener,
    app: Option<TcpListener>,
    model: Option<TcpListener>,
}

impl Service {
    pub(crate) async fn start(
        config: Config,
        role: Role,
        admin_token: Option<Secret>,
    ) -> Result<Service, Failure> {
        let bound = bind(&config, role).await?;
        let (admin, app, model) = (address(&bound.admin)?, optional(&bound.app)?, optional(&bound.model)?);
        let base = Base::open(config, role).await?;
        let orders = wiring::orders(
            &base.config,
            &base.engine_key,
            model.map(|address| format!("http://{address}/v1")),
        );
        base.fail_abandoned_runs(role).await;
        let (engine, standby) = embedded::build(&orders, &base.store, &base.client, &base.clock);
        let supervisor = base.supervisor(role, orders);
        let observer = Observer::default();
        let (peers, peers_seen) = watch::channel(Arc::new(wiring::peers(&base.config)));
        let control = match role {
            Role::All | Role::Control => {
                Some(base.control(&standby, engine, supervisor.as_ref(), &observer, peers_seen)?)
            }
            Role::Gateway | Role::Worker => None,
        };
        let facade = control.as_ref().map(Control::facade);
        let (metrics, unstored) = (Metrics::new(), Unstored::default());
        let gateway = matches!(role, Role::All | Role::Gateway).then(|| {
            let consumer = Consumer {
                store: base.store.clone(),
                observer,
                metrics: metrics.clone(),
                keep_success: base.config.records.keep_success,
                unstored: unstored.clone(),
            };
            let gateway = base.gateway(&standby, consumer);
            base.serve_gateway(&gateway, bound.app, bound.model);
            gateway
        });
        base.tasks.spawn(Arc::clone(&base.publisher).run(base.stop.clone()));
        let token = admin_token.unwrap_or_else(|| token::random("mt-"));
        let mut router = health_routes::router(Arc::new(Insight {
            store: base.store.clone(),
            facade: facade.clone(),
            gateway,
            metrics,
            unstored,
            publisher: Arc::clone(&base.publisher),
            supervisor: supervisor.clone(),
            clock: base.clock.clone(),
            started_at: base.clock.now(),
        }));
        if let Some(facade) = &facade {
            router = router.merge(base.console(facade, &standby, &token));
        }
        base.serve_admin(bound.admin, router);
        Ok(Service { admin, app, model, token, standby, facade, supervisor, control, base, _peers: peers })
    }

    pub(crate) fn store(&self) -> &Store {
        &self.base.store
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.base.publisher
    }

    pub(crate) fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Listeners first, then runs, workers and control; each within its own bound.
    pub(crate) async fn shutdown(self) {
        info!("shutting down");
        let Base { config, stop, stop_workers, tasks, worker_tasks, .. } = self.base;
        stop.cancel();
        stop_workers.cancel();
        let workers = async {
            worker_tasks.close();
            worker_tasks.wait().await;
        };
        let rest = async {
            self.standby.shutdown(RUN_GRACE).await;
            if let Some(control) = self.control {
                control.shutdown(CONTROL_GRACE).await;
            }
            tasks.close();
            tasks.wait().await;
        };
        let bound = LISTEN_GRACE.max(config.workers.grace) + LAST_TASKS;
        if tokio::time::timeout(bound, async { tokio::join!(workers, rest) }).await.is_err() {
            warn!("not everything ended within {bound:?}");
        }
    }
}

async fn bind(config: &Config, role: Role) -> Result<Bound, Failure> {
    let listeners = &config.listeners;
    let routes = matches!(role, Role::All | Role::Gateway);
    Ok(Bound {
        admin: listen("admin", listeners.admin).await?,
        app: if routes { Some(listen("app", listeners.app).await?) } else { None },
        model: if routes { Some(listen("model", listeners.model).await?) } else { None },
    })
}

async fn listen(name: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::unreachable(
            format!("cannot listen on {address} for {name}"),
            error,
            format!(
                "free the port, or choose another with listeners.{name} or --{name} (port 0 takes a free one)"
            ),
        )
    })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::problem("a listener has no address", error, ""))
}

fn optional(listener: &Option<TcpListener>) -> Result<Option<SocketAddr>, Failure> {
    listener.as_ref().map(address).transpose()
}

/// What all parts of an instance share.
struct Base {
    config: Arc<Config>,
    clock: Clock,
    store: Store,
    client: Client,
    /// Lets the embedded engine's LLM nodes through the model listener.
    engine_key: Secret,
    publisher: Arc<Publisher>,
    stop: CancellationToken,
    stop_workers: CancellationToken,
    tasks: TaskTracker,
    worker_tasks: TaskTracker,
}

impl Base {
    async fn open(config: Config, role: Role) -> Result<Base, Failure> {
        if role == Role::Worker && config.engine.enabled && config.engine.model_key.is_none() {
            return Err(Failure::usage(
                "cannot run workers alone",
                "engine.model_key is not set: the model listener of another process would refuse their LLM nodes",
                "give engine.model_key (and engine.model_url) the same value for every role",
            ));
        }
        let config = Arc::new(config);
        let clock = Clock::System;
        let store = open_store(&config, &clock).await?;
        let client = Client::new(ClientOptions::default())
            .map_err(|error| Failure::problem("cannot set up an HTTP client", chain(&error), ""))?;
        let engine_key = config.engine.model_key.clone().unwrap_or_else(|| token::random("mk-"));
        let publisher = Arc::new(Publisher::new(Arc::clone(&config), store.clone(), engine_key.clone()));
        publisher.refresh().await.map_err(|error| {
            Failure::unreachable("cannot read the apps", chain(&error), "see mainstay migrate")
        })?;
        Ok(Base {
            config,
            clock,
            store,
            client,
            engine_key,
            publisher,
            stop: CancellationToken::new(),
            stop_workers: CancellationToken::new(),
            tasks: TaskTracker::new(),
            worker_tasks: TaskTracker::new(),
        })
    }

    /// With one process for all and a file of its own, whatever runs outside the queue ran in a process that died.
    async fn fail_abandoned_runs(&self, role: Role) {
        if role != Role::All || !self.config.store_url.starts_with("sqlite:") {
            return;
        }
        let why = "The process that executed it has ended.";
        match self.store.runs().fail_abandoned(self.clock.now(), why).await {
            Ok(0) => {}
            Ok(runs) => warn!(runs, "runs whose process has died were marked as failed"),
            Err(error) => warn!(%error, "cannot look for runs whose process has died"),
        }
    }

    fn supervisor(&self, role: Role, orders: Orders) -> Option<Supervisor> {
        let workers = self.config.workers;
        if workers.count == 0 || matches!(role, Role::Gateway | Role::Control) {
            return None;
        }
        let spec = supervisor::Spec {
            orders,
            store: self.store.clone(),
            clock: self.clock.clone(),
            grace: workers.grace,
        };
        Some(Supervisor::start(workers.count, &spec, &self.worker_tasks, &self.stop_workers))
    }

    fn control(
        &self,
        standby: &Standby,
        engine: Engine,
        supervisor: Option<&Supervisor>,
        observer: &Observer,
        peers: watch::Receiver<Arc<Peers>>,
    ) -> Result<Control, Failure> {
        Ok(Control::start(mainstay_control::Ports {
            store: self.store.clone(),
            client: self.client.clone(),
            clock: self.clock.clone(),
            supervisor: supervisor.cloned().map(|supervisor| Arc::new(supervisor) as Arc<_>),
            engine: self.config.engine.enabled.then(|| Arc::new(ProbePort::new(engine)) as Arc<_>),
            peers,
            observer: observer.clone(),
            callbacks: Arc::new(CallbackPort { standby: standby.clone() }),
            options: wiring::control_options(&self.config)?,
        }))
    }

    fn gateway(&self, standby: &Standby, consumer: Consumer) -> Gateway {
        let (records, received) = records::channel(records::QUEUE);
        self.tasks.spawn(consumer.run(received));
        let embedded = wiring::embedded_port(&self.config, &self.store, standby);
        Gateway::new(mainstay_gateway::Ports {
            snapshot: self.publisher.snapshot(),
            client: self.client.clone(),
            embedded: self.config.engine.enabled.then(|| Arc::new(embedded) as Arc<_>),
            durable: Some(Arc::new(wiring::durable(&self.config, standby)) as Arc<_>),
            allowance: None,
            records,
            clock: self.clock.clone(),
            limits: wiring::gateway_limits(&self.config),
        })
    }

    fn serve_gateway(&self, gateway: &Gateway, app: Option<TcpListener>, model: Option<TcpListener>) {
        let limits = wiring::listen_limits(&self.config);
        if let Some(listener) = app {
            let gateway = gateway.clone();
            let handler = move |request| {
                let gateway = gateway.clone();
                async move { gateway.app(request).await }
            };
            self.tasks.spawn(mainstay_gateway::listen(listener, handler, self.stop.clone(), limits));
        }
        if let Some(listener) = model {
            let gateway = gateway.clone();
            let handler = move |request| {
                let gateway = gateway.clone();
                async move { gateway.model(request).await }
            };
            self.tasks.spawn(mainstay_gateway::listen(listener, handler, self.stop.clone(), limits));
        }
    }

    fn console(&self, facade: &Facade, standby: &Standby, token: &Secret) -> Router {
        let configured =
            self.config.admin_tokens.iter().map(|token| (token.name.clone(), token.token.clone()));
        mainstay_console::router(mainstay_console::Ports {
            store: self.store.clone(),
            control: Arc::new(facade.clone()),
            apps: Arc::new(AppsPort { standby: standby.clone(), publisher: Arc::clone(&self.publisher) }),
            tokens: configured.chain([("local".to_owned(), token.clone())]).collect(),
            clock: self.clock.clone(),
            secure_cookies: self.config.listeners.admin_https,
            shutdown: self.stop.clone(),
        })
    }

    /// The admin listener has the data plane's own guards against slow and many callers.
    fn serve_admin(&self, listener: TcpListener, router: Router) {
        let handler = move |mut request: Request<hyper::body::Incoming>| {
            let router = router.clone();
            if let Some(PeerAddress(peer)) = request.extensions().get::<PeerAddress>().copied() {
                request.extensions_mut().insert(ConnectInfo(peer));
            }
            async move {
                let answer = router.oneshot(request.map(axum::body::Body::new)).await;
                let answer = answer.unwrap_or_else(|never| match never {});
                answer.map(|body| -> Body { body.map_err(BodyError::other).boxed_unsync() })
            }
        };
        let limits = wiring::listen_limits(&self.config);
        self.tasks.spawn(mainstay_gateway::listen(listener, handler, self.stop.clone(), limits));
    }
}

async fn open_store(config: &Config, clock: &Clock) -> Result<Store, Failure> {
    let options = Options { url: config.store_url.clone(), clock: clock.clone() };
    Store::open(options).await.map_err(|error| {
        Failure::unreachable(
            "cannot open the store",
            chain(&error),
            "run mainstay migrate, or check store.url",
        )
    })
}
