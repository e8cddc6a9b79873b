//! One running instance: listeners, planes, workers, wired by role, started in order and ended within a bound.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use mainstay_base::{Clock, Micros, Secret, id, snapshot::Target};
use mainstay_control::{
    Control, Facade, Observer, Peers, ProbeKind, ProviderPeer, Report, State, UpstreamPeer,
};
use mainstay_gateway::{Gateway, ListenLimits, records};
use mainstay_net::{Body, BodyError, Client, ClientOptions};
use mainstay_standby::Standby;
use mainstay_store::{Options, Store, model::Severity};
use mainstay_wire::webhook;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use tracing::{info, warn};

use crate::{
    adapters::{AppsPort, CallbackPort, DurablePort, EmbeddedPort, ProbePort},
    cli::Role,
    config::{self, Config, EMBEDDED},
    embedded,
    failure::{Failure, chain},
    health_routes,
    metrics::{Metrics, Now},
    orders::{self, Orders, UpstreamApp, millis},
    publisher::Publisher,
    records::{Consumer, Unstored},
    routes::declared_id,
    supervisor::{self, Supervisor},
};

/// How long answers in progress may take to end once shutdown has begun, on each listener.
const LISTEN_GRACE: Duration = Duration::from_secs(10);
/// How long runs in this process may go on after the listeners have closed.
const RUN_GRACE: Duration = Duration::from_secs(5);
/// How long control may take to end what it is doing.
const CONTROL_GRACE: Duration = Duration::from_secs(3);
/// What tasks may take beyond the workers' own grace before the process ends without them.
const LAST_TASKS: Duration = Duration::from_secs(10);
/// A scrape or a health check does not wait longer for the store.
const ASK_STORE: Duration = Duration::from_secs(2);

/// A started instance.
pub(crate) struct Service {
    pub(crate) admin: SocketAddr,
    pub(crate) app: Option<SocketAddr>,
    pub(crate) model: Option<SocketAddr>,
    /// Lets the commands of this user in; made at each start.
    pub(crate) token: Secret,
    pub(crate) store: Store,
    pub(crate) standby: Standby,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) facade: Option<Facade>,
    pub(crate) supervisor: Option<Supervisor>,
    control: Option<Control>,
    /// Control follows it; it stays as it is until configuration can be loaded again.
    _peers: watch::Sender<Arc<Peers>>,
    stop: CancellationToken,
    stop_workers: CancellationToken,
    tasks: TaskTracker,
    worker_tasks: TaskTracker,
    worker_grace: Duration,
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
        let config = Arc::new(config);
        let clock = Clock::System;
        let bound = bind(&config, role).await?;
        let (admin, app, model) = (address(&bound.admin)?, optional(&bound.app)?, optional(&bound.model)?);
        let store = open_store(&config, &clock).await?;
        let client = Client::new(ClientOptions::default())
            .map_err(|error| Failure::problem("cannot set up an HTTP client", chain(&error), ""))?;
        let engine_key =
            config.engine.model_key.clone().unwrap_or_else(|| Secret::new(format!("mk-{}", id::new())));
        let publisher = Arc::new(Publisher::new(Arc::clone(&config), store.clone(), engine_key.clone()));
        publisher.refresh().await.map_err(|error| {
            Failure::unreachable("cannot read the apps", chain(&error), "see mainstay migrate")
        })?;
        let orders = orders(&config, &engine_key, model);
        let (engine, standby) = embedded::build(&orders, &store, &client, &clock);

        let (stop, stop_workers) = (CancellationToken::new(), CancellationToken::new());
        let (tasks, worker_tasks) = (TaskTracker::new(), TaskTracker::new());
        let supervisor = (matches!(role, Role::All | Role::Worker) && config.workers.count > 0).then(|| {
            let spec = supervisor::Spec {
                orders,
                store: store.clone(),
                clock: clock.clone(),
                grace: config.workers.grace,
            };
            Supervisor::start(config.workers.count, &spec, &worker_tasks, &stop_workers)
        });
        let observer = Observer::default();
        let (peers, peers_seen) = watch::channel(Arc::new(peers(&config)));
        let control = if matches!(role, Role::All | Role::Control) {
            Some(Control::start(mainstay_control::Ports {
                store: store.clone(),
                client: client.clone(),
                clock: clock.clone(),
                supervisor: supervisor.clone().map(|supervisor| Arc::new(supervisor) as Arc<_>),
                engine: config.engine.enabled.then(|| Arc::new(ProbePort::new(engine)) as Arc<_>),
                peers: peers_seen,
                observer: observer.clone(),
                callbacks: Arc::new(CallbackPort { standby: standby.clone() }),
                options: control_options(&config)?,
            }))
        } else {
            None
        };
        let facade = control.as_ref().map(Control::facade);

        let metrics = Metrics::new();
        let unstored = Unstored::default();
        let mut gateway = None;
        if matches!(role, Role::All | Role::Gateway) {
            let (sender, receiver) = records::channel(records::QUEUE);
            let consumer = Consumer {
                store: store.clone(),
                observer: observer.clone(),
                metrics: metrics.clone(),
                keep_success: config.records.keep_success,
                unstored: unstored.clone(),
            };
            tasks.spawn(consumer.run(receiver));
            let started = Gateway::new(mainstay_gateway::Ports {
                snapshot: publisher.snapshot(),
                client: client.clone(),
                embedded: config
                    .engine
                    .enabled
                    .then(|| Arc::new(embedded_port(&config, &store, &standby)) as Arc<_>),
                durable: Some(Arc::new(durable(&config, &standby)) as Arc<_>),
                records: sender,
                clock: clock.clone(),
                limits: gateway_limits(&config),
            });
            serve_gateway(&started, bound.app, bound.model, &config, &tasks, &stop);
            gateway = Some(started);
        }
        tasks.spawn(Arc::clone(&publisher).run(stop.clone()));

        let token = admin_token
            .unwrap_or_else(|| Secret::new(format!("mt-{}{}", id::new(), id::new()).replace('-', "")));
        let insight = Arc::new(Insight {
            store: store.clone(),
            facade: facade.clone(),
            gateway,
            metrics,
            unstored,
            publisher: Arc::clone(&publisher),
            supervisor: supervisor.clone(),
            clock: clock.clone(),
            started_at: clock.now(),
        });
        let mut router = health_routes::router(insight);
        if let Some(facade) = &facade {
            router =
                router.merge(console(&config, &store, facade, &standby, &publisher, &token, &clock, &stop));
        }
        serve_admin(bound.admin, router, &config, &tasks, &stop);
        Ok(Service {
            admin,
            app,
            model,
            token,
            store,
            standby,
            publisher,
            facade,
            supervisor,
            control,
            _peers: peers,
            stop,
            stop_workers,
            tasks,
            worker_tasks,
            worker_grace: config.workers.grace,
        })
    }

    pub(crate) fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Listeners first, then runs, workers and control; each within its own bound.
    pub(crate) async fn shutdown(self) {
        info!("shutting down");
        self.stop.cancel();
        self.stop_workers.cancel();
        let workers = async {
            self.worker_tasks.close();
            self.worker_tasks.wait().await;
        };
        let rest = async {
            tokio::time::sleep(Duration::ZERO).await;
            self.standby.shutdown(RUN_GRACE).await;
            if let Some(control) = self.control {
                control.shutdown(CONTROL_GRACE).await;
            }
            self.tasks.close();
            self.tasks.wait().await;
        };
        let bound = LISTEN_GRACE.max(self.worker_grace) + LAST_TASKS;
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

pub(crate) async fn open_store(config: &Config, clock: &Clock) -> Result<Store, Failure> {
    let options = Options { url: config.store_url.clone(), clock: clock.clone() };
    Store::open(options).await.map_err(|error| {
        Failure::unreachable(
            "cannot open the store",
            chain(&error),
            "run mainstay migrate, or check store.url",
        )
    })
}

fn orders(config: &Config, engine_key: &Secret, model: Option<SocketAddr>) -> Orders {
    let own = model.map(|address| format!("http://{address}/v1"));
    let fallback = || format!("http://{}/v1", config.listeners.model);
    let upstream = |upstream: &Arc<mainstay_base::snapshot::Upstream>| match &upstream.target {
        Target::Http { base_url } => {
            Some(orders::Upstream::new(&upstream.name, base_url, &upstream.timeouts))
        }
        Target::Embedded => None,
    };
    let upstream_app =
        |app: &config::App| UpstreamApp { app_id: declared_id(&app.name), key: app.key.expose().to_owned() };
    Orders {
        slot: 0,
        worker_id: String::new(),
        host: host(),
        store_url: config.store_url.clone(),
        concurrency: config.workers.concurrency,
        lease_ms: millis(config.workers.lease),
        grace_ms: millis(config.workers.grace),
        run_timeout_ms: millis(config.engine.run_timeout),
        model_url: config.engine.model_url.clone().or(own).unwrap_or_else(fallback),
        model_key: engine_key.expose().to_owned(),
        http_request: config.engine.http_request.clone(),
        upstreams: config.upstreams.iter().filter_map(upstream).collect(),
        upstream_apps: config.apps.iter().map(upstream_app).collect(),
        log_json: config.log.json,
        log_filter: config.log.filter.clone(),
    }
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn embedded_port(config: &Config, store: &Store, standby: &Standby) -> EmbeddedPort {
    let standbys = config
        .apps
        .iter()
        .filter_map(|app| Some((declared_id(&app.name), (app.standby.clone()?, app.mode))))
        .collect();
    EmbeddedPort { standby: standby.clone(), store: store.clone(), standbys: Arc::new(standbys) }
}

fn durable(config: &Config, standby: &Standby) -> DurablePort {
    DurablePort {
        standby: standby.clone(),
        idempotent_apps: config
            .apps
            .iter()
            .filter(|app| app.idempotent)
            .map(|app| app.name.clone())
            .collect(),
        signs_callbacks: config.callbacks.secret.is_some(),
    }
}

fn gateway_limits(config: &Config) -> mainstay_gateway::Limits {
    let body_bytes = config.limits.body_bytes;
    let default = mainstay_gateway::Limits::default();
    mainstay_gateway::Limits {
        max_run_body_bytes: default.max_run_body_bytes.min(body_bytes),
        max_model_body_bytes: default.max_model_body_bytes.min(body_bytes),
        max_embedded_body_bytes: default.max_embedded_body_bytes.min(body_bytes),
        ..default
    }
}

fn listen_limits(config: &Config) -> ListenLimits {
    ListenLimits {
        max_connections: config.limits.connections,
        shutdown_grace: LISTEN_GRACE,
        ..ListenLimits::default()
    }
}

fn serve_gateway(
    gateway: &Gateway,
    app: Option<TcpListener>,
    model: Option<TcpListener>,
    config: &Config,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let limits = listen_limits(config);
    if let Some(listener) = app {
        let gateway = gateway.clone();
        let handler = move |request| {
            let gateway = gateway.clone();
            async move { gateway.app(request).await }
        };
        tasks.spawn(mainstay_gateway::listen(listener, handler, stop.clone(), limits));
    }
    if let Some(listener) = model {
        let gateway = gateway.clone();
        let handler = move |request| {
            let gateway = gateway.clone();
            async move { gateway.model(request).await }
        };
        tasks.spawn(mainstay_gateway::listen(listener, handler, stop.clone(), limits));
    }
}

/// The admin listener has the data plane's own guards against slow and many callers.
fn serve_admin(
    listener: TcpListener,
    router: Router,
    config: &Config,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let handler = move |request: Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move {
            let answer: Response<axum::body::Body> = router
                .oneshot(request.map(axum::body::Body::new))
                .map(|answer| match answer {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                })
                .await;
            answer.map(|body| -> Body { body.map_err(BodyError::other).boxed_unsync() })
        }
    };
    tasks.spawn(mainstay_gateway::listen(listener, handler, stop.clone(), listen_limits(config)));
}

fn control_options(config: &Config) -> Result<mainstay_control::Options, Failure> {
    let host = host();
    let mut options = mainstay_control::Options::new(format!("{host}:{}", std::process::id()), host);
    for receiver in &config.receivers {
        options.receivers.push(mainstay_control::Receiver {
            name: receiver.name.clone(),
            url: receiver.url.clone(),
            key: receiver.secret.as_ref().map(|secret| key("receiver", secret)).transpose()?,
            min_severity: Severity::Info,
        });
    }
    options.callback_key =
        config.callbacks.secret.as_ref().map(|secret| key("callbacks", secret)).transpose()?;
    options.callback_rule = config.callbacks.reach.rule();
    options.retention.runs = config.retention.runs;
    options.retention.records = config.retention.records;
    Ok(options)
}

fn key(what: &str, secret: &Secret) -> Result<webhook::Key, Failure> {
    webhook::Key::parse(secret.expose()).map_err(|error| {
        Failure::usage(format!("cannot sign webhooks of {what}"), error, "see mainstay check")
    })
}

/// Who is called, as health and runbooks see them.
fn peers(config: &Config) -> Peers {
    let mut upstreams: Vec<UpstreamPeer> = config
        .upstreams
        .iter()
        .map(|upstream| UpstreamPeer {
            name: upstream.name.clone(),
            base_url: match &upstream.target {
                Target::Http { base_url } => Some(base_url.clone()),
                Target::Embedded => None,
            },
        })
        .collect();
    if config.engine.enabled {
        upstreams.push(UpstreamPeer { name: EMBEDDED.to_owned(), base_url: None });
    }
    let models_of = |name: &str| {
        let mut models: Vec<String> = config
            .model
            .routes
            .iter()
            .filter(|route| route.targets.iter().any(|(provider, _)| provider.name == name))
            .map(|route| route.model.clone())
            .collect();
        if config.model.other_models_to.iter().any(|provider| provider.name == name) {
            models.push("*".to_owned());
        }
        models
    };
    let providers = config
        .providers
        .iter()
        .map(|provider| ProviderPeer {
            name: provider.name.clone(),
            base_url: provider.base_url.clone(),
            key: provider.key.clone(),
            models: models_of(&provider.name),
            probe: ProbeKind::Models,
        })
        .collect();
    Peers { upstreams, providers }
}

#[expect(clippy::too_many_arguments, reason = "wiring: everything that the console may reach, by name")]
fn console(
    config: &Config,
    store: &Store,
    facade: &Facade,
    standby: &Standby,
    publisher: &Arc<Publisher>,
    token: &Secret,
    clock: &Clock,
    stop: &CancellationToken,
) -> Router {
    let mut tokens: Vec<(String, Secret)> =
        config.admin_tokens.iter().map(|token| (token.name.clone(), token.token.clone())).collect();
    tokens.push(("local".to_owned(), token.clone()));
    mainstay_console::router(mainstay_console::Ports {
        store: store.clone(),
        control: Arc::new(facade.clone()),
        apps: Arc::new(AppsPort { standby: standby.clone(), publisher: Arc::clone(publisher) }),
        tokens,
        clock: clock.clone(),
        secure_cookies: false,
        shutdown: stop.clone(),
    })
}

/// What `/health`, `/readyz` and `/metrics` look at.
pub(crate) struct Insight {
    store: Store,
    facade: Option<Facade>,
    gateway: Option<Gateway>,
    metrics: Metrics,
    unstored: Unstored,
    publisher: Arc<Publisher>,
    supervisor: Option<Supervisor>,
    clock: Clock,
    started_at: Micros,
}

impl Insight {
    /// Control's report; a process without control can only say that it serves.
    pub(crate) fn report(&self) -> Arc<Report> {
        if let Some(facade) = &self.facade {
            return facade.report();
        }
        let mut report = Report::unknown(self.clock.now());
        report.state = State::Ok;
        report.since = self.started_at;
        report.reason =
            "this process serves; components are judged by the processes that run control".to_owned();
        Arc::new(report)
    }

    pub(crate) fn is_ready(&self) -> Result<(), String> {
        let routes = self.publisher.generation() > 0;
        match &self.facade {
            _ if !routes => Err("no routes were published yet".to_owned()),
            Some(facade) if !facade.report().is_ready() => Err(facade.report().reason.clone()),
            _ => Ok(()),
        }
    }

    pub(crate) async fn metrics(&self) -> String {
        let queue = tokio::time::timeout(ASK_STORE, self.store.jobs().stats()).await;
        let slots = self.supervisor.as_ref().map(mainstay_control::Supervisor::list).unwrap_or_default();
        self.metrics.text(&Now {
            gateway: self.gateway.as_ref().map(Gateway::stats),
            records_unstored: self.unstored.count(),
            generation: self.publisher.generation(),
            queue: queue.ok().and_then(Result::ok),
            slots,
            report: self.facade.as_ref().map(Facade::report),
        })
    }
}
