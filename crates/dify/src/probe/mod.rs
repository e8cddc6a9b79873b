//! One look at each component of a Dify: is it well, why not, how long did it take, and what does that prove.
//!
//! Promises: a probe ends within [`Component::deadline`], whatever the other side does; a component is never looked at
//! twice at a time, so that one which hangs gathers no probes; nothing is written but the marker in storage, which is
//! taken away again, and what Dify itself records of the canary's run. Says how often at the most, and keeps no clock of its
//! own. Refuses to know: who is told.

mod api;
mod ask;
mod canary;
mod database;
mod inside;
mod pace;
mod plugin_daemon;
mod redis;
mod report;
mod sandbox;
mod storage;
#[cfg(test)]
mod tests;
mod vector;
mod web;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use mainstay_net::Client;
use tokio::time::{Instant, timeout};

use crate::{
    Deployment,
    db::Reader,
    deployment::Storage,
    redis::{Link, Waits},
};
use ask::Ask;

pub use pace::Pace;
pub use report::{Report, State};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    Api,
    Web,
    Database,
    PluginDatabase,
    Redis,
    Broker,
    PluginDaemon,
    Sandbox,
    SsrfProxy,
    Vector,
    Storage,
    Keys,
    Canary,
}

impl Component {
    pub const ALL: [Component; 13] = [
        Component::Api,
        Component::Web,
        Component::Database,
        Component::PluginDatabase,
        Component::Redis,
        Component::Broker,
        Component::PluginDaemon,
        Component::Sandbox,
        Component::SsrfProxy,
        Component::Vector,
        Component::Storage,
        Component::Keys,
        Component::Canary,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Component::Api => "api",
            Component::Web => "web",
            Component::Database => "database",
            Component::PluginDatabase => "plugin-database",
            Component::Redis => "redis",
            Component::Broker => "broker",
            Component::PluginDaemon => "plugin-daemon",
            Component::Sandbox => "sandbox",
            Component::SsrfProxy => "ssrf-proxy",
            Component::Vector => "vector",
            Component::Storage => "storage",
            Component::Keys => "keys",
            Component::Canary => "canary",
        }
    }

    /// The component that is called so.
    pub fn named(name: &str) -> Option<Component> {
        Component::ALL.into_iter().find(|component| component.as_str() == name)
    }

    /// What is certain when it is well.
    pub fn proves(self) -> &'static str {
        match self {
            Component::Api => "the API serves requests and reads its database",
            Component::Web => "the web server answers",
            Component::Database => "PostgreSQL answers our role, and has room for connections",
            Component::PluginDatabase => "PostgreSQL answers our role for the plugin daemon's database",
            Component::Redis => "the app's Redis answers, takes writes and saves",
            Component::Broker => "Celery's Redis answers, takes writes and saves",
            Component::PluginDaemon => "the plugin daemon answers, and takes our key",
            Component::Sandbox => "the sandbox runs code",
            Component::SsrfProxy => "the proxy for HTTP nodes accepts connections",
            Component::Vector => "the vector store is ready, and is not read-only where it says so",
            Component::Storage => "a file can be written, read and deleted in Dify's storage",
            Component::Keys => "every workspace has the private key of its credentials",
            Component::Canary => "a run goes the whole way: API, queue, worker, model, events and back",
        }
    }

    /// What may be broken all the same.
    pub fn leaves_open(self) -> &'static str {
        match self {
            Component::Api => {
                "Redis, queues, workers, plugins and vectors; other replicas behind the same address"
            }
            Component::Web => "whether the console can log in: its URLs and the API behind it",
            Component::Database | Component::PluginDatabase => {
                "whether Dify's own pool has a connection left"
            }
            Component::Redis | Component::Broker => "whether API and worker use this same Redis",
            Component::PluginDaemon => "whether each plugin runs, and its provider answers",
            Component::Sandbox => "whether it does so under load",
            Component::SsrfProxy => "whether its rules let a target through",
            Component::Vector => "whether every segment has its vector",
            Component::Storage => "whether the containers may write there with their own user",
            Component::Keys => "whether the keys fit the database: only a decryption shows that",
            Component::Canary => "the other apps, models and knowledge bases",
        }
    }

    /// When a probe is given up.
    pub fn deadline(self) -> Duration {
        match self {
            // A run waits in a queue and for a model.
            Component::Canary => Duration::from_secs(15),
            // Up to a minute's worth of small questions, one after the other.
            Component::Vector => Duration::from_secs(10),
            _ => Duration::from_secs(8),
        }
    }
}

/// Looks at the components of one deployment. Holds at most one connection to each database and each Redis.
pub struct Prober {
    deployment: Deployment,
    client: Client,
    database: Option<Reader>,
    plugin_database: Option<Reader>,
    vector_database: Option<Reader>,
    waits: Waits,
    under_way: [Arc<AtomicBool>; Component::ALL.len()],
}

impl Prober {
    /// Connects to nothing yet.
    pub fn new(deployment: Deployment, client: Client) -> Prober {
        let database = deployment.database.as_ref().map(Reader::new);
        let plugin_database = deployment.plugin_database.as_ref().map(Reader::new);
        Prober::with(deployment, client, database, plugin_database)
    }

    /// With the connections that others have already.
    pub fn with(
        deployment: Deployment,
        client: Client,
        database: Option<Reader>,
        plugin_database: Option<Reader>,
    ) -> Prober {
        // A vector store in Dify's own database is asked over the same connection.
        let own = deployment.vector.as_ref().and_then(|vector| vector.database.as_ref());
        let vector_database = own.map(|own| match (&deployment.database, &database) {
            (Some(main), Some(reader)) if main == own => reader.clone(),
            _ => Reader::new(own),
        });
        Prober {
            deployment,
            client,
            database,
            plugin_database,
            vector_database,
            waits: Waits { connect: Duration::from_secs(2), response: Duration::from_secs(2) },
            under_way: Default::default(),
        }
    }

    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The connection to the main database, for whoever reads it besides.
    pub fn database(&self) -> Option<&Reader> {
        self.database.as_ref()
    }

    pub fn plugin_database(&self) -> Option<&Reader> {
        self.plugin_database.as_ref()
    }

    /// Whether the configuration names what a component is looked at by.
    pub fn looks_at(&self, component: Component) -> bool {
        let Deployment { api_url, web_url, redis, broker, vector, plugin_daemon, sandbox, storage, .. } =
            &self.deployment;
        let is_folder = matches!(storage, Some(Storage::Folder(_)));
        match component {
            Component::Api => api_url.is_some(),
            Component::Web => web_url.is_some(),
            Component::Database => self.database.is_some(),
            Component::PluginDatabase => self.plugin_database.is_some(),
            Component::Redis => redis.is_some(),
            Component::Broker => broker.is_some(),
            Component::PluginDaemon => plugin_daemon.is_some(),
            Component::Sandbox => sandbox.is_some(),
            Component::SsrfProxy => self.deployment.ssrf_proxy_url.is_some(),
            Component::Vector => {
                vector.as_ref().is_some_and(|vector| vector.url.is_some() || vector.database.is_some())
            }
            Component::Storage => is_folder,
            Component::Keys => is_folder && self.database.is_some(),
            Component::Canary => api_url.is_some() && self.deployment.canary.is_some(),
        }
    }

    /// Whether a look at it has not come back: also one that was given up and whose thread a frozen disk holds.
    pub fn is_under_way(&self, component: Component) -> bool {
        self.under_way[component as usize].load(Ordering::Acquire)
    }

    /// Looks at `components` at the same time; `each` hears of each as it is done. In the order of `components`.
    pub async fn all(&self, components: &[Component], mut each: impl FnMut(&Report)) -> Vec<Report> {
        let numbered = components.iter().enumerate();
        let mut running: FuturesUnordered<_> =
            numbered.map(|(at, component)| async move { (at, self.probe(*component).await) }).collect();
        let mut reports = Vec::with_capacity(components.len());
        while let Some((at, report)) = running.next().await {
            each(&report);
            reports.push((at, report));
        }
        reports.sort_by_key(|(at, _)| *at);
        reports.into_iter().map(|(_, report)| report).collect()
    }

    /// Looks at one component. A component that the configuration does not name is not configured.
    pub async fn probe(&self, component: Component) -> Report {
        let Some(under_way) = UnderWay::start(&self.under_way[component as usize]) else {
            let reason = "the look before this one has not come back yet";
            return Report::of(component).with(State::Unknown, reason);
        };
        let began = Instant::now();
        let deadline = component.deadline();
        let looked = timeout(deadline, self.look(component, under_way)).await;
        let mut report = looked.unwrap_or_else(|_| report::no_answer(component, deadline));
        if report.state != State::NotConfigured && report.latency_ms.is_none() {
            report.latency_ms = u64::try_from(began.elapsed().as_millis()).ok();
        }
        report
    }

    async fn look(&self, component: Component, under_way: UnderWay) -> Report {
        let Deployment { api_url, web_url, redis, broker, vector, plugin_daemon, sandbox, .. } =
            &self.deployment;
        let ask = Ask { client: &self.client };
        let looked = match component {
            Component::Api => {
                option(api_url, |url| Box::pin(api::look(ask, url, &self.deployment.sizes))).await
            }
            Component::Web => option(web_url, |url| Box::pin(web::look(ask, url))).await,
            Component::Database | Component::PluginDatabase => {
                let reader = match component {
                    Component::Database => &self.database,
                    _ => &self.plugin_database,
                };
                option(reader, |reader| Box::pin(database::look(component, reader))).await
            }
            Component::Redis | Component::Broker => {
                let at = if component == Component::Redis { redis } else { broker };
                option(at, |at| {
                    Box::pin(async { redis::look(component, &mut Link::new(at, self.waits)).await })
                })
                .await
            }
            Component::PluginDaemon => {
                option(plugin_daemon, |daemon| Box::pin(plugin_daemon::look(ask, daemon))).await
            }
            Component::Sandbox => option(sandbox, |sandbox| Box::pin(sandbox::look(ask, sandbox))).await,
            Component::SsrfProxy => {
                option(&self.deployment.ssrf_proxy_url, |url| Box::pin(web::proxy(ask, url))).await
            }
            Component::Vector => {
                let database = self.vector_database.as_ref();
                option(vector, |vector| Box::pin(vector::look(ask, vector, database))).await
            }
            Component::Storage => {
                option(&self.deployment.storage, |storage| Box::pin(storage::look(storage, under_way))).await
            }
            Component::Keys => match (&self.deployment.storage, &self.database) {
                (Some(storage), Some(reader)) => Some(storage::keys(storage, reader, under_way).await),
                _ => None,
            },
            Component::Canary => match (api_url, &self.deployment.canary) {
                (Some(url), Some(canary)) => Some(canary::look(ask, url, canary).await),
                _ => None,
            },
        };
        looked.unwrap_or_else(|| Report::not_configured(component))
    }
}

type Looking<'a> = std::pin::Pin<Box<dyn Future<Output = Report> + Send + 'a>>;

async fn option<'a, T>(part: &'a Option<T>, look: impl FnOnce(&'a T) -> Looking<'a>) -> Option<Report> {
    match part {
        Some(part) => Some(look(part).await),
        None => None,
    }
}

/// That a component is looked at, until the value is gone: also in a thread that a frozen disk holds.
struct UnderWay(Arc<AtomicBool>);

impl UnderWay {
    fn start(flag: &Arc<AtomicBool>) -> Option<UnderWay> {
        let was = flag.swap(true, Ordering::AcqRel);
        (!was).then(|| UnderWay(flag.clone()))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
