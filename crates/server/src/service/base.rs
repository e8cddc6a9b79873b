//! What all parts of an instance share, and how each part is made from it.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, extract::ConnectInfo};
use http::Request;
use http_body_util::BodyExt;
use mainstay_base::{Clock, Secret};
use mainstay_console::AdminTokens;
use mainstay_control::{Control, Facade, Observer};
use mainstay_dify::{db::Reader, signature::Catalogue};
use mainstay_engine::Engine;
use mainstay_gateway::{Gateway, Limits, ListenLimits, records};
use mainstay_net::{Body, BodyError, Client, ClientOptions};
use mainstay_standby::Standby;
use mainstay_store::Store;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use tracing::warn;

use super::store::{self, Instead, Opened};
use crate::{
    adapters::{AppsPort, CallbackPort, DurablePort, EmbeddedPort, ProbePort},
    allowance::AllowancePort,
    cli::Role,
    config::{Config, StorePlace},
    deployment,
    dify_port::DifyPort,
    failure::{Failure, chain},
    last_good::StateFiles,
    live::Live,
    metrics::Numbers,
    notes,
    orders::Orders,
    otlp::{self, Exporter, Otlp},
    publisher::Publisher,
    records::{Consumer, Keep},
    reload::{self, Doors, Origin, Reloader},
    route_port::RoutePort,
    sli::Slis,
    slo_routes::Slos,
    standings,
    supervisor::{self, Supervisor},
    token,
    wiring::{self, DRAIN_GRACE},
};

/// What all parts of an instance share.
pub(super) struct Base {
    pub(super) config: Arc<Config>,
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) client: Client,
    /// Lets the embedded engine's LLM nodes through the model listener.
    pub(super) engine_key: Secret,
    pub(super) publisher: Arc<Publisher>,
    /// Where state is kept for a start without the store.
    pub(super) files: Option<StateFiles>,
    /// The one connection of this process to the database of the Dify that the configuration names.
    pub(super) dify_reader: Option<Reader>,
    /// What its errors mean.
    pub(super) catalogue: Catalogue,
    pub(super) stop: CancellationToken,
    pub(super) stop_workers: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) worker_tasks: TaskTracker,
}

impl Base {
    pub(super) async fn open(config: Config, role: Role, keep_state: bool) -> Result<Base, Failure> {
        refuse_lonely_workers(&config, role)?;
        let config = Arc::new(config);
        let clock = Clock::System;
        let place = StorePlace { url: config.store_url.clone(), state_dir: config.state_dir.clone() };
        let files = if keep_state { StateFiles::of(&place) } else { None };
        let Opened { store, instead } = store::open(&config, &clock, role, files.as_ref()).await?;
        let client = Client::new(ClientOptions::default())
            .map_err(|error| Failure::problem("cannot set up an HTTP client", chain(&error), ""))?;
        let engine_key = config.engine.model_key.clone().unwrap_or_else(|| token::random("mk-"));
        let publisher = Arc::new(Publisher::new(
            Arc::clone(&config),
            store.clone(),
            engine_key.clone(),
            clock.clone(),
            files.clone(),
        ));
        match instead {
            Some(Instead { published, why }) => publisher.publish_kept(published, why),
            None => publisher.refresh().await.map_err(|error| {
                Failure::unreachable("cannot read the apps", chain(&error), "see mainstay migrate")
            })?,
        }
        let database = config.dify.as_ref().and_then(|dify| dify.database.as_ref());
        let catalogue = config.dify.as_ref().map(deployment::catalogue).transpose()?;
        Ok(Base {
            dify_reader: database.map(Reader::new),
            catalogue: catalogue.unwrap_or_else(|| Catalogue::built_in().clone()),
            config,
            clock,
            store,
            client,
            engine_key,
            publisher,
            files,
            stop: CancellationToken::new(),
            stop_workers: CancellationToken::new(),
            tasks: TaskTracker::new(),
            worker_tasks: TaskTracker::new(),
        })
    }

    /// With one process for all and a file of its own, whatever runs outside the queue ran in a process that died.
    pub(super) async fn fail_abandoned_runs(&self, role: Role) {
        if role != Role::All || self.config.store_url.sqlite_path().is_none() {
            return;
        }
        let why = "The process that executed it has ended.";
        match self.store.runs().fail_abandoned(self.clock.now(), why).await {
            Ok(0) => {}
            Ok(runs) => warn!(runs, "runs whose process has died were marked as failed"),
            Err(error) => warn!(%error, "cannot look for runs whose process has died"),
        }
    }

    pub(super) fn supervisor(&self, role: Role, orders: watch::Receiver<Arc<Orders>>) -> Option<Supervisor> {
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

    /// The configuration of the start is in force with this.
    pub(super) fn reloader(
        &self,
        origin: Origin,
        live: Live,
        keep: Arc<Keep>,
        observer: Observer,
        doors: Doors,
    ) -> Arc<Reloader> {
        let (notes, writer) = notes::channel(self.store.clone());
        self.tasks.spawn(writer.run(self.stop.clone()));
        let parts = reload::Parts {
            publisher: Arc::clone(&self.publisher),
            live,
            keep,
            doors,
            observer,
            files: self.files.clone(),
            notes,
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        };
        Arc::new(Reloader::new(Arc::clone(&self.config), origin, parts))
    }

    pub(super) fn control(
        &self,
        standby: &Standby,
        engine: Engine,
        supervisor: Option<&Supervisor>,
        observer: &Observer,
        live: &Live,
        dify: Option<&mainstay_control::deep::Watch>,
    ) -> Control {
        Control::start(mainstay_control::Ports {
            store: self.store.clone(),
            client: self.client.clone(),
            clock: self.clock.clone(),
            supervisor: supervisor.cloned().map(|supervisor| Arc::new(supervisor) as Arc<_>),
            engine: self.config.engine.enabled.then(|| Arc::new(ProbePort::new(engine)) as Arc<_>),
            dify: dify.cloned(),
            peers: live.peers(),
            observer: observer.clone(),
            callbacks: Arc::new(CallbackPort { standby: standby.clone() }),
            options: live.options(),
        })
    }

    pub(super) fn otlp(&self) -> Option<(Otlp, Exporter)> {
        let config = self.config.otlp.as_ref()?;
        otlp::start(config, self.client.clone(), self.publisher.snapshot(), self.clock.clone())
    }

    pub(super) fn gateway(&self, standby: &Standby, consumer: Consumer) -> Gateway {
        let (records, received) = records::channel(records::QUEUE);
        self.tasks.spawn(consumer.run(received));
        let embedded = EmbeddedPort { standby: standby.clone(), store: self.store.clone() };
        Gateway::new(mainstay_gateway::Ports {
            snapshot: self.publisher.snapshot(),
            client: self.client.clone(),
            embedded: self.config.engine.enabled.then(|| Arc::new(embedded) as Arc<_>),
            durable: Some(Arc::new(DurablePort { standby: standby.clone() }) as Arc<_>),
            allowance: Some(Arc::new(AllowancePort {
                store: self.store.clone(),
                tasks: self.tasks.clone(),
                stop: self.stop.clone(),
            }) as Arc<_>),
            records,
            clock: self.clock.clone(),
            limits: Limits::default(),
        })
    }

    /// What records are counted into for service levels, written to the store from now on.
    pub(super) fn count_slis(&self) -> Slis {
        let slis = Slis::new(self.publisher.snapshot());
        self.tasks.spawn(slis.clone().run(self.store.clone(), self.clock.clone(), self.stop.clone()));
        slis
    }

    pub(super) fn slos(&self) -> Slos {
        Slos { store: self.store.clone(), clock: self.clock.clone(), dify: wiring::dify_source(&self.config) }
    }

    pub(super) fn serve_gateway(
        &self,
        gateway: &Gateway,
        app: Option<TcpListener>,
        model: Option<TcpListener>,
        limits: &watch::Receiver<ListenLimits>,
        observer: Observer,
    ) {
        let (store, stop) = (self.store.clone(), self.stop.clone());
        self.tasks.spawn(standings::run(wiring::instance(), gateway.clone(), observer, store, stop));
        let listeners = TaskTracker::new();
        if let Some(listener) = app {
            let gateway = gateway.clone();
            let handler = move |request, peer: SocketAddr| {
                let gateway = gateway.clone();
                async move { gateway.app(request, Some(peer.ip())).await }
            };
            listeners.spawn(mainstay_gateway::listen(listener, handler, self.stop.clone(), limits.clone()));
        }
        if let Some(listener) = model {
            let gateway = gateway.clone();
            let handler = move |request, _peer| {
                let gateway = gateway.clone();
                async move { gateway.model(request).await }
            };
            listeners.spawn(mainstay_gateway::listen(listener, handler, self.stop.clone(), limits.clone()));
        }
        listeners.close();
        let gateway = gateway.clone();
        self.tasks.spawn(async move {
            listeners.wait().await;
            gateway.finish(DRAIN_GRACE).await;
        });
    }

    pub(super) fn console(
        &self,
        facade: &Facade,
        standby: &Standby,
        tokens: &AdminTokens,
        queues: Option<&mainstay_control::queue::Watch>,
        watch: Option<&mainstay_control::deep::Watch>,
    ) -> Router {
        let watch = watch.cloned();
        let dify = self.config.dify.as_ref().map(|dify| DifyPort {
            name: dify.name.clone(),
            facade: facade.clone(),
            catalogue: self.catalogue.clone(),
            queues: queues.cloned(),
            diagnosis: Box::new(move || watch.as_ref()?.latest().diagnosis.clone()),
        });
        mainstay_console::router(mainstay_console::Ports {
            store: self.store.clone(),
            control: Arc::new(facade.clone()),
            apps: Arc::new(AppsPort { standby: standby.clone(), publisher: Arc::clone(&self.publisher) }),
            routes: Arc::new(RoutePort::new(
                self.publisher.snapshot(),
                self.store.clone(),
                self.clock.clone(),
            )),
            dify: dify.map(|dify| Arc::new(dify) as Arc<_>),
            tokens: tokens.clone(),
            clock: self.clock.clone(),
            secure_cookies: self.config.listeners.admin_https,
            shutdown: self.stop.clone(),
        })
    }

    /// Looks at Dify's queues from now on, where the configuration names a Dify with a broker.
    pub(super) fn watch_queues(&self) -> Option<mainstay_control::queue::Watch> {
        let deployment = self.config.dify.as_ref()?;
        let state = self.files.as_ref().and_then(|files| files.config_path().parent());
        let folder = state.and_then(|state| std::path::absolute(state.join("purged")).ok());
        let watch = mainstay_control::queue::Watch::new(deployment, self.clock.clone(), folder)?;
        self.tasks.spawn(watch.clone().run(self.stop.clone()));
        if let Some(reader) = self.dify_reader.clone() {
            let source = mainstay_control::queue::Source {
                reader,
                store: self.store.clone(),
                name: deployment.name.clone(),
                longest_run: mainstay_dify::celery::act::longest_run(deployment),
            };
            self.tasks.spawn(source.run(watch.clone(), self.clock.clone(), self.stop.clone()));
        }
        Some(watch)
    }

    /// What Prometheus is told of the Dify that the configuration names.
    pub(super) fn numbers(&self) -> Option<Arc<Numbers>> {
        let deployment = self.config.dify.as_ref()?;
        Some(Arc::new(Numbers::new(self.store.clone(), self.clock.clone(), deployment.name.clone())))
    }

    /// The admin listener has the data plane's own guards against slow and many callers.
    pub(super) fn serve_admin(
        &self,
        listener: TcpListener,
        router: Router,
        limits: watch::Receiver<ListenLimits>,
    ) {
        let handler = move |mut request: Request<hyper::body::Incoming>, peer: SocketAddr| {
            let router = router.clone();
            request.extensions_mut().insert(ConnectInfo(peer));
            async move {
                let answer = router.oneshot(request.map(axum::body::Body::new)).await;
                let answer = answer.unwrap_or_else(|never| match never {});
                answer.map(|body| -> Body { body.map_err(BodyError::other).boxed_unsync() })
            }
        };
        self.tasks.spawn(mainstay_gateway::listen(listener, handler, self.stop.clone(), limits));
    }
}

fn refuse_lonely_workers(config: &Config, role: Role) -> Result<(), Failure> {
    if role == Role::Worker && config.engine.enabled && config.engine.model_key.is_none() {
        return Err(Failure::usage(
            "cannot run workers alone",
            "engine.model_key is not set: the model listener of another process would refuse their LLM nodes",
            "give engine.model_key (and engine.model_url) the same value for every role",
        ));
    }
    Ok(())
}
