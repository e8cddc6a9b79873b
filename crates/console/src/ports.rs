//! What the console is given: handles it may read and the few things others do for it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use mainstay_base::{AppMode, Clock, Secret};
use mainstay_control::{
    Acknowledged, ControlError, Facade, Freeze, Overrides, Report, RunRefused, RunRequest,
};
use mainstay_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// Everything [`crate::router`] needs.
#[derive(Clone)]
pub struct Ports {
    pub store: Store,
    pub control: Arc<dyn Control>,
    pub apps: Arc<dyn Apps>,
    /// Admin tokens by name; the name is what the timeline keeps as the actor. An empty token lets nobody in.
    pub tokens: Vec<(String, Secret)>,
    pub clock: Clock,
    /// Whether browsers come by HTTPS, so that the cookie may be kept from plain HTTP.
    pub secure_cookies: bool,
    /// Ends live streams, which would otherwise outlast a graceful shutdown.
    pub shutdown: CancellationToken,
}

/// What control judges and does. Its facade is one; tests have another.
pub trait Control: Send + Sync {
    fn report(&self) -> Arc<Report>;
    fn overrides(&self) -> Arc<Overrides>;
    fn freeze_state(&self) -> Arc<Freeze>;
    fn acknowledge(
        &self,
        alert_id: String,
        actor: String,
    ) -> BoxFuture<'_, Result<Acknowledged, ControlError>>;
    /// Gives the id of the execution.
    fn run(&self, request: RunRequest) -> BoxFuture<'_, Result<String, RunRefused>>;
    fn set_freeze(&self, frozen: bool, actor: String, why: String) -> BoxFuture<'_, Result<(), StoreError>>;
    /// False when the provider was in rotation.
    fn restore_provider(&self, name: String, actor: String) -> BoxFuture<'_, Result<bool, ControlError>>;
}

impl Control for Facade {
    fn report(&self) -> Arc<Report> {
        Facade::report(self)
    }

    fn overrides(&self) -> Arc<Overrides> {
        Facade::overrides(self).borrow().clone()
    }

    fn freeze_state(&self) -> Arc<Freeze> {
        Facade::freeze_state(self)
    }

    fn acknowledge(
        &self,
        alert_id: String,
        actor: String,
    ) -> BoxFuture<'_, Result<Acknowledged, ControlError>> {
        Box::pin(async move { Facade::acknowledge(self, &alert_id, &actor, "in the console").await })
    }

    fn run(&self, request: RunRequest) -> BoxFuture<'_, Result<String, RunRefused>> {
        Box::pin(Facade::run(self, request))
    }

    fn set_freeze(&self, frozen: bool, actor: String, why: String) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if frozen { self.freeze(&actor, &why).await } else { self.unfreeze(&actor, &why).await }
        })
    }

    fn restore_provider(&self, name: String, actor: String) -> BoxFuture<'_, Result<bool, ControlError>> {
        Box::pin(async move { Facade::restore_provider(self, &name, &actor, "by hand").await })
    }
}

/// What the embedded Dify does with apps.
pub trait Apps: Send + Sync {
    /// Imports all files or none.
    fn import(&self, files: Vec<ImportFile>) -> BoxFuture<'static, Result<Vec<Imported>, ImportError>>;
}

/// One exported app, as YAML.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportFile {
    pub name: String,
    pub content: String,
}

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    pub file: String,
    pub app_id: String,
    pub name: String,
    pub mode: AppMode,
    pub version_id: String,
    pub version_number: i64,
    pub is_new_app: bool,
    /// The API key of a new app: told this once and not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
}

/// One reason why nothing was imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportProblem {
    pub file: String,
    /// Where in the file (`workflow.graph.nodes[3]`).
    pub path: String,
    pub node_id: Option<String>,
    pub node_type: Option<String>,
    pub message: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// All problems of all files. Nothing was changed.
    #[error("{} problems; nothing was imported", .0.len())]
    Problems(Vec<ImportProblem>),
    #[error("the apps could not be stored")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}
