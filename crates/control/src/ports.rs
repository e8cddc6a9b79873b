//! What control is given: handles it reads and the few things that only the process around it can do.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mainstay_base::{
    Clock, Micros,
    snapshot::{LogicalModel, Price, Provider},
};
use mainstay_store::{Store, StoreError};
use serde::Serialize;
use tokio::sync::watch;

use crate::{deep, health::Observer, options::Options};

/// Everything [`Control::start`](crate::Control::start) needs.
#[derive(Clone)]
pub struct Ports {
    pub store: Store,
    pub client: mainstay_net::Client,
    pub clock: Clock,
    /// `None`: no worker process here is ours to restart.
    pub supervisor: Option<Arc<dyn Supervisor>>,
    /// `None`: there is no embedded engine.
    pub engine: Option<Arc<dyn EngineProbe>>,
    /// Who is called. Sent anew when the configuration is loaded again.
    pub peers: watch::Receiver<Arc<Peers>>,
    /// `None`: the configuration names no Dify to look after.
    pub dify: Option<deep::Watch>,
    /// The server feeds it every record of the gateway.
    pub observer: Observer,
    pub callbacks: Arc<dyn CallbackBody>,
    pub options: watch::Receiver<Arc<Options>>,
}

/// Whoever starts and stops the worker processes of this host.
pub trait Supervisor: Send + Sync {
    fn list(&self) -> Vec<Slot>;

    /// Ends the process of a slot for certain (a stopped process too) and starts a new one in its place. Must not
    /// give its answer before the old process is gone: its jobs are handed to others then.
    fn restart(&self, slot: u32, reason: String) -> BoxFuture<'static, Result<Restarted, String>>;
}

/// One place for a worker process, which outlives the processes in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Slot {
    pub slot: u32,
    pub pid: Option<u32>,
    pub state: SlotState,
    /// When the present process was started.
    pub started_at: Micros,
    pub restarts: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    Running,
    /// With how it ended, in words (`exit status 1`, `signal 9`).
    Exited(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restarted {
    pub old_pid: Option<u32>,
    pub new_pid: Option<u32>,
}

/// Runs something trivial through the embedded engine.
pub trait EngineProbe: Send + Sync {
    fn probe(&self) -> BoxFuture<'static, Result<(), String>>;
}

/// Makes the body of a callback from the finished run, in the shape its receiver expects.
pub trait CallbackBody: Send + Sync {
    /// `None` when there is no such run any more. The same run gives the same body.
    fn body(&self, run_id: String) -> BoxFuture<'static, Result<Option<Bytes>, StoreError>>;
}

/// The services that are called, as far as health and the runbooks are concerned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Peers {
    pub upstreams: Vec<UpstreamPeer>,
    pub providers: Vec<ProviderPeer>,
}

/// An answerer of the app path.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamPeer {
    /// The name under which records know it.
    pub name: String,
    /// Without `/v1`. `None`: this is the embedded engine.
    pub base_url: Option<String>,
}

/// A model provider.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderPeer {
    pub provider: Arc<Provider>,
    /// What callers may ask for that this provider is a target of.
    pub serves: Vec<Served>,
    pub probe: ProbeKind,
}

/// One model of a provider, as callers know it and as the provider does.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// The name callers ask for. [`OTHER_MODELS`] stands for all names without a route.
    pub model: String,
    /// The provider's name of it; `None` for [`OTHER_MODELS`], where it is whatever the caller says.
    pub target: Option<String>,
    pub price: Option<Price>,
}

/// Stands for all model names that no route mentions.
pub const OTHER_MODELS: &str = "*";

impl ProviderPeer {
    /// With what the routes say it serves.
    pub fn new<'a>(
        provider: &Arc<Provider>,
        models: impl IntoIterator<Item = &'a LogicalModel>,
        takes_other_models: bool,
        probe: ProbeKind,
    ) -> ProviderPeer {
        let mut serves = Vec::new();
        for model in models {
            let ours = model.targets.iter().filter(|target| target.provider.name == provider.name);
            serves.extend(ours.map(|target| Served {
                model: model.name.clone(),
                target: Some(target.model.clone()),
                price: target.price,
            }));
        }
        if takes_other_models {
            serves.push(Served { model: OTHER_MODELS.to_owned(), target: None, price: None });
        }
        ProviderPeer { provider: Arc::clone(provider), serves, probe }
    }

    pub fn name(&self) -> &str {
        &self.provider.name
    }

    pub fn serves(&self, model: &str) -> bool {
        self.serves.iter().any(|served| served.model == model)
    }

    /// The names callers ask for, each once; those without a route last.
    pub fn models(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.serves.iter().map(|served| served.model.as_str()).collect();
        names.sort_unstable_by_key(|name| (*name == OTHER_MODELS, *name));
        names.dedup();
        names
    }
}

impl Peers {
    pub fn provider(&self, name: &str) -> Option<&ProviderPeer> {
        self.providers.iter().find(|peer| peer.name() == name)
    }
}

/// How an idle provider is asked whether it is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProbeKind {
    /// The provider's list of models: costs nothing, and does not prove that completions work. Bedrock, whose lists
    /// are elsewhere, is only connected to.
    #[default]
    Models,
    /// The shortest call of this model (the provider's name of it): a few tokens each time.
    Chat { model: String },
}
