//! One running instance: listeners, planes, workers, wired by role, started in order and ended within a bound.

mod base;
mod deep;
mod listeners;
mod reading;
mod store;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use mainstay_base::Secret;
use mainstay_console::AdminTokens;
use mainstay_control::{Control, Facade, Observer};
use mainstay_standby::Standby;
use mainstay_store::Store;
use tracing::{info, warn};

use self::base::Base;
use crate::{
    cli::Role,
    command::check,
    config::{Config, LoadError},
    config_routes, dify_health_routes, dify_routes, embedded,
    failure::Failure,
    health_routes,
    insight::Insight,
    live::Live,
    metrics::Metrics,
    publisher::Publisher,
    queue_routes::{self, Queues},
    records::{Consumer, Keep, Unstored},
    reload::{Doors, Origin, Reloader},
    slo_routes,
    supervisor::Supervisor,
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
    pub(crate) reloader: Arc<Reloader>,
    base: Base,
}

impl Service {
    /// From a configuration made in this process.
    pub(crate) async fn start(
        config: Config,
        role: Role,
        admin_token: Option<Secret>,
    ) -> Result<Service, Failure> {
        Service::start_from(config, Origin::BuiltIn, role, admin_token).await
    }

    /// From a configuration that can be loaded again.
    pub(crate) async fn start_from(
        config: Config,
        origin: Origin,
        role: Role,
        admin_token: Option<Secret>,
    ) -> Result<Service, Failure> {
        let bound = listeners::bind(&config, role).await?;
        let admin = listeners::address(&bound.admin)?;
        let (app, model) = (listeners::optional(&bound.app)?, listeners::optional(&bound.model)?);
        let base = Base::open(config, role, !matches!(origin, Origin::BuiltIn)).await?;
        let model_url = model.map(|address| format!("http://{address}/v1"));
        let orders = wiring::orders(&base.config, &base.engine_key, model_url);
        base.fail_abandoned_runs(role).await;
        let (engine, standby) = embedded::build(&orders, &base.store, &base.client, &base.clock);
        let live = Live::new(&base.config, orders, standby.clone())
            .map_err(|problem| check::failure("the configuration", &LoadError::Problems(vec![problem])))?;
        let supervisor = base.supervisor(role, live.orders());
        let observer = Observer::default();
        let keep = Arc::new(Keep::new(base.config.records));
        let token = admin_token.unwrap_or_else(|| token::random("mt-"));
        let tokens = AdminTokens::default();
        let doors = Doors { tokens: tokens.clone(), local: token.clone() };
        let limits = live.listen();
        let judges = matches!(role, Role::All | Role::Control);
        let queues = if judges { base.watch_queues() } else { None };
        let dify = if judges { base.watch_dify(queues.clone()) } else { None };
        let control = judges
            .then(|| base.control(&standby, engine, supervisor.as_ref(), &observer, &live, dify.as_ref()));
        let reloader = base.reloader(origin, live, Arc::clone(&keep), observer.clone(), doors);
        let facade = control.as_ref().map(Control::facade);
        let (metrics, unstored) = (Metrics::new(), Unstored::default());
        let mut slis = None;
        let (otlp, exporter) = base.otlp().unzip();
        let gateway = matches!(role, Role::All | Role::Gateway).then(|| {
            let (store, metrics, unstored) = (base.store.clone(), metrics.clone(), unstored.clone());
            let slis = slis.get_or_insert_with(|| base.count_slis()).clone();
            let (seen, otlp) = (observer.clone(), otlp.clone());
            let consumer = Consumer { store, observer: seen, metrics, keep, unstored, slis, otlp };
            let gateway = base.gateway(&standby, consumer);
            base.serve_gateway(&gateway, bound.app, bound.model, &limits, observer.clone());
            gateway
        });
        base.tasks.spawn(Arc::clone(&base.publisher).run(base.stop.clone()));
        let numbers = facade.as_ref().and_then(|_| base.numbers());
        let insight = Insight {
            store: base.store.clone(),
            facade: facade.clone(),
            gateway,
            metrics,
            unstored,
            otlp,
            publisher: Arc::clone(&base.publisher),
            supervisor: supervisor.clone(),
            reloader: Arc::clone(&reloader),
            files: base.files.clone(),
            clock: base.clock.clone(),
            started_at: base.clock.now(),
            dify: numbers.clone(),
            slis,
        };
        let insight = Arc::new(insight);
        if let Some(exporter) = exporter {
            base.tasks.spawn(exporter.run(Arc::clone(&insight), base.stop.clone()));
        }
        let mut router = health_routes::router(insight)
            .merge(config_routes::router(Arc::clone(&reloader), tokens.clone()));
        if let Some(facade) = &facade {
            if let (Some(numbers), Some(watch)) = (&numbers, &queues) {
                let _ = numbers.queues.set(watch.follow());
            }
            if let (Some(numbers), Some(watch)) = (&numbers, dify.clone()) {
                let _ = numbers.diagnosis.set(Box::new(move || watch.latest().diagnosis.clone()));
            }
            router = router.merge(base.console(facade, &standby, &tokens, queues.as_ref(), dify.as_ref()));
            let queues = Queues { facade: facade.clone(), watch: queues };
            router = router.merge(queue_routes::router(queues, tokens.clone()));
            router = router.merge(dify_routes::router(base.read_dify(&observer), tokens.clone()));
            router = router.merge(dify_health_routes::router(dify, tokens.clone()));
            router = router.merge(slo_routes::router(base.slos(), tokens.clone()));
        }
        base.serve_admin(bound.admin, router, limits);
        Ok(Service { admin, app, model, token, standby, facade, supervisor, control, reloader, base })
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
