//! What the console is given: handles it may read and the few things others do for it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use mainstay_base::{AppMode, Clock, Micros, Snapshot};
use mainstay_control::{
    Acknowledged, Change, ControlError, Facade, Freeze, Operation, Overrides, Peers, Procedure,
    ProcedureRefused, Report, RunRefused, RunRequest, TestReport,
    alert::{
        AcknowledgedGroup, Group, GroupDetail, GroupView, NewOverride, NewSilence, NotDone, Remark, Roster,
        Shadow, What,
    },
    delivery::{Preview, PreviewRefused, ReceiverState, TestRefused},
    doctor::Diagnosis,
    queue::{Acted, Action, Latest, NotActed},
};
use mainstay_store::{
    Store, StoreError,
    model::{OnCallOverride, Silence},
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::auth::token::AdminTokens;

/// Everything [`crate::router`] needs.
#[derive(Clone)]
pub struct Ports {
    pub store: Store,
    pub control: Arc<dyn Control>,
    pub apps: Arc<dyn Apps>,
    pub routes: Arc<dyn Routes>,
    /// The Dify that the configuration names; `None`: it names none.
    pub dify: Option<Arc<dyn Dify>>,
    pub tokens: AdminTokens,
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
    /// Who is told of alerts, and how that goes.
    fn receivers(&self) -> BoxFuture<'_, Result<Vec<ReceiverState>, StoreError>>;
    /// Gives the id of the test notice's delivery.
    fn test_receiver(&self, name: String, actor: String) -> BoxFuture<'_, Result<String, TestRefused>>;
    /// What a receiver would be sent of an alert, or of the sample. Nothing is sent.
    fn preview(
        &self,
        receiver: String,
        what: What,
        alert: Option<String>,
    ) -> BoxFuture<'_, Result<Preview, PreviewRefused>>;
    /// Nobody is told of these alerts for a while.
    fn silence(&self, new: NewSilence, actor: String) -> BoxFuture<'_, Result<Silence, NotDone>>;
    fn unsilence(&self, id: String, actor: String) -> BoxFuture<'_, Result<(), NotDone>>;
    fn shadows(&self) -> BoxFuture<'_, Result<Vec<Shadow>, StoreError>>;
    /// Groups with what comes next of each.
    fn group_views(&self) -> BoxFuture<'_, Result<Vec<GroupView>, StoreError>>;
    fn group_view(&self, id: String) -> BoxFuture<'_, Result<Option<GroupDetail>, StoreError>>;
    fn acknowledge_group(
        &self,
        id: String,
        actor: String,
    ) -> BoxFuture<'_, Result<AcknowledgedGroup, ControlError>>;
    /// Of shadows: what would have been told.
    fn alert_groups(&self, shadow: bool) -> BoxFuture<'_, Result<Vec<Group>, StoreError>>;
    fn shadow(&self, matchers: Vec<String>, why: String, actor: String)
    -> BoxFuture<'_, Result<(), NotDone>>;
    fn promote(&self, matchers: Vec<String>, actor: String) -> BoxFuture<'_, Result<(), NotDone>>;
    /// What of routes, policies and schedules is probably not meant.
    fn alert_remarks(&self) -> Vec<Remark>;
    /// Who is on call, by schedule.
    fn rosters(&self) -> BoxFuture<'_, Result<Vec<Roster>, StoreError>>;
    fn override_call(
        &self,
        new: NewOverride,
        actor: String,
    ) -> BoxFuture<'_, Result<OnCallOverride, NotDone>>;
    fn release_call(&self, id: String, actor: String) -> BoxFuture<'_, Result<(), NotDone>>;
    fn peers(&self) -> Arc<Peers>;
    fn perform(&self, what: Operation, change: Change) -> BoxFuture<'_, Result<Procedure, ProcedureRefused>>;
    /// A real call of a provider's model.
    fn test(
        &self,
        provider: String,
        model: Option<String>,
        actor: String,
    ) -> BoxFuture<'_, Result<TestReport, ProcedureRefused>>;
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

    fn receivers(&self) -> BoxFuture<'_, Result<Vec<ReceiverState>, StoreError>> {
        Box::pin(Facade::receivers(self))
    }

    fn test_receiver(&self, name: String, actor: String) -> BoxFuture<'_, Result<String, TestRefused>> {
        Box::pin(async move { Facade::test_receiver(self, &name, &actor).await })
    }

    fn preview(
        &self,
        receiver: String,
        what: What,
        alert: Option<String>,
    ) -> BoxFuture<'_, Result<Preview, PreviewRefused>> {
        Box::pin(async move { Facade::preview(self, &receiver, what, alert.as_deref()).await })
    }

    fn silence(&self, new: NewSilence, actor: String) -> BoxFuture<'_, Result<Silence, NotDone>> {
        Box::pin(async move { Facade::silence(self, new, &actor).await })
    }

    fn unsilence(&self, id: String, actor: String) -> BoxFuture<'_, Result<(), NotDone>> {
        Box::pin(async move { Facade::unsilence(self, &id, &actor).await })
    }

    fn shadows(&self) -> BoxFuture<'_, Result<Vec<Shadow>, StoreError>> {
        Box::pin(Facade::shadows(self))
    }

    fn group_views(&self) -> BoxFuture<'_, Result<Vec<GroupView>, StoreError>> {
        Box::pin(Facade::group_views(self))
    }

    fn group_view(&self, id: String) -> BoxFuture<'_, Result<Option<GroupDetail>, StoreError>> {
        Box::pin(async move { Facade::group_view(self, &id).await })
    }

    fn acknowledge_group(
        &self,
        id: String,
        actor: String,
    ) -> BoxFuture<'_, Result<AcknowledgedGroup, ControlError>> {
        Box::pin(async move { Facade::acknowledge_group(self, &id, &actor, "in the console").await })
    }

    fn alert_groups(&self, shadow: bool) -> BoxFuture<'_, Result<Vec<Group>, StoreError>> {
        Box::pin(Facade::alert_groups(self, shadow))
    }

    fn shadow(
        &self,
        matchers: Vec<String>,
        why: String,
        actor: String,
    ) -> BoxFuture<'_, Result<(), NotDone>> {
        Box::pin(async move { Facade::shadow(self, matchers, &why, &actor).await })
    }

    fn promote(&self, matchers: Vec<String>, actor: String) -> BoxFuture<'_, Result<(), NotDone>> {
        Box::pin(async move { Facade::promote(self, &matchers, &actor).await })
    }

    fn alert_remarks(&self) -> Vec<Remark> {
        Facade::alert_remarks(self)
    }

    fn rosters(&self) -> BoxFuture<'_, Result<Vec<Roster>, StoreError>> {
        Box::pin(Facade::rosters(self))
    }

    fn override_call(
        &self,
        new: NewOverride,
        actor: String,
    ) -> BoxFuture<'_, Result<OnCallOverride, NotDone>> {
        Box::pin(async move { Facade::override_call(self, new, &actor).await })
    }

    fn release_call(&self, id: String, actor: String) -> BoxFuture<'_, Result<(), NotDone>> {
        Box::pin(async move { Facade::release_call(self, &id, &actor).await })
    }

    fn peers(&self) -> Arc<Peers> {
        Facade::peers(self)
    }

    fn perform(&self, what: Operation, change: Change) -> BoxFuture<'_, Result<Procedure, ProcedureRefused>> {
        Box::pin(Facade::perform(self, what, change))
    }

    fn test(
        &self,
        provider: String,
        model: Option<String>,
        actor: String,
    ) -> BoxFuture<'_, Result<TestReport, ProcedureRefused>> {
        Box::pin(async move { Facade::test(self, &provider, model.as_deref(), &actor).await })
    }
}

/// The Dify that is looked after.
pub trait Dify: Send + Sync {
    /// What operators call it; what was read of it is kept under this name.
    fn name(&self) -> String;
    /// The last look at its queues; `None`: it names no broker.
    fn queues(&self) -> Option<Arc<Latest>>;
    /// The last look at all of it; `None`: not yet.
    fn diagnosis(&self) -> Option<Arc<Diagnosis>>;
    /// Cause and remedy of the errors that a row of the catalogue knows, the operators' own rows among them.
    fn meaning(&self, signature: &str) -> Option<(String, String)>;
    /// Plans an action on its queues, and does it unless it is a dry run.
    fn act(&self, action: Action, change: Change) -> BoxFuture<'_, Result<Acted, NotActed>>;
}

/// How calls of models are routed.
pub trait Routes: Send + Sync {
    /// What this process routes by, or would.
    fn snapshot(&self) -> Arc<Snapshot>;
    /// Where a call would go now, and why. Nothing is sent.
    fn explain(&self, ask: RouteAsk) -> BoxFuture<'static, Result<Explained, RouteRefused>>;
    /// What recorded calls would have come to under another policy, as JSON.
    fn simulate(&self, what: Simulation) -> BoxFuture<'static, Result<serde_json::Value, RouteRefused>>;
}

/// A call that nobody has made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteAsk {
    /// The name that is asked for.
    pub model: String,
    /// The virtual key's name.
    pub key: Option<String>,
    pub region: Option<String>,
    pub data_class: Option<String>,
    pub input_tokens: u64,
    pub max_output_tokens: Option<u64>,
    pub tools: bool,
    pub vision: bool,
    pub structured_output: bool,
    /// Embeddings, which stay with one model.
    pub embeddings: bool,
    /// A call of `/v1/responses`.
    pub responses: bool,
    /// One that uses what cannot be converted: earlier responses, stored conversations, hosted tools, background.
    pub hosted: bool,
}

/// Where it would go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    pub model: String,
    pub generation: u64,
    pub strategy: String,
    /// Who is asked, in order.
    pub candidates: Vec<Step>,
    /// Who is not, and why.
    pub passed_over: Vec<Step>,
    /// Every breaker is open; the one whose probe is due first is asked all the same.
    pub is_last_resort: bool,
    /// When what is known of the targets was told; `None`: no gateway says anything, so all count as well.
    pub standing_at: Option<Micros>,
    /// What is not as in a real call.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub provider: String,
    pub model: String,
    /// Why it stands where it does; `None`: by its place in the chain.
    pub why: Option<String>,
}

/// A changed policy and the past that it is tried on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simulation {
    /// The changed configuration file, whole, as TOML.
    pub policy: String,
    /// How far back, in seconds.
    pub since_s: u64,
    /// Only calls of this model.
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default)]
    pub seed: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum RouteRefused {
    #[error("there is no model `{name}`; there are: {known}")]
    NoModel { name: String, known: String },
    #[error("there is no virtual key named `{name}`; there are: {known}")]
    NoKey { name: String, known: String },
    #[error("the key {key} may not ask for model {model}; it may ask for: {may}")]
    Forbidden { key: String, model: String, may: String },
    #[error("the policy cannot be used: {}", .0.join("; "))]
    BadPolicy(Vec<String>),
    #[error("the key {key} is for {what} {has}: a call with it that demands {asked} is refused")]
    Contradicted { key: String, what: &'static str, has: String, asked: String },
    #[error("{0}")]
    Nothing(String),
    #[error("another simulation is under way")]
    Busy,
    #[error("what was recorded cannot be read")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
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
