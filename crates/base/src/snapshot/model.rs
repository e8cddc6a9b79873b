//! The model path's part of a snapshot: logical models, their targets, providers, virtual keys, and the policies by
//! which a call is tried, retried, hedged, given up and accounted for.
//!
//! Every default is written here once; the configuration, the example file and the docs take it from here.

mod key;
mod policy;
mod provider;

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Micros, Usd, id::KeyHash};
pub use key::{KeyBudget, ModelKey, OnStoreGone};
pub use policy::{Breaker, CallPolicy, Drain, Ejection, Hedge, OnCut, PreCommit, Retry, SingleFlight};
pub use provider::{Dialect, Provider, ProviderKey, ProviderSecret};

/// The model path: OpenAI-shaped calls.
#[derive(Clone, Debug, Default)]
pub struct ModelRoutes {
    /// By the name that callers ask for.
    pub models: HashMap<String, Arc<LogicalModel>>,
    /// Where a model name goes that is in no route. Empty: such a name is refused.
    pub other_models_to: Vec<Arc<Provider>>,
    /// The policy of such names.
    pub other_models_policy: CallPolicy,
    /// Who may call, by the hash of their virtual key.
    pub keys: HashMap<KeyHash, Arc<ModelKey>>,
    /// Providers taken out of rotation, by name: they are tried only when nobody else is left.
    pub drained: Vec<String>,
    /// By hand: calls that would go to `from` go to `to` first, wherever a chain has both.
    pub failovers: Vec<Failover>,
    /// Providers whose resting keys are to be tried again, and since when somebody wants that.
    pub woken: Vec<(String, Micros)>,
    pub breaker: Breaker,
    pub ejection: Ejection,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    pub from: String,
    pub to: String,
}

/// A name that callers ask for, and who may answer it.
#[derive(Clone, Debug)]
pub struct LogicalModel {
    pub name: String,
    /// Whose calls of this name are, where neither key, path nor header says it: a name of its own for each app is all
    /// that some callers can set.
    pub app: Option<String>,
    /// How targets of one priority are ordered.
    pub strategy: Strategy,
    /// In the order in which they were written.
    pub targets: Vec<ModelTarget>,
    pub policy: CallPolicy,
}

impl LogicalModel {
    /// A chain in the order given, under the default policy.
    pub fn ordered(name: impl Into<String>, targets: Vec<ModelTarget>) -> LogicalModel {
        let (strategy, policy) = (Strategy::Ordered, CallPolicy::default());
        LogicalModel { name: name.into(), app: None, strategy, targets, policy }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// As written.
    #[default]
    Ordered,
    /// By chance, in proportion to the weights.
    Weighted,
    /// The better of two by chance, by the mean time to the first token (peak EWMA).
    LeastLatency,
    /// The better of two by chance, by calls in flight per weight.
    LeastBusy,
}

/// One provider's model: the unit that has a breaker, a latency, limits and a price.
#[derive(Clone, Debug)]
pub struct ModelTarget {
    pub provider: Arc<Provider>,
    /// The name under which the provider knows the model.
    pub model: String,
    /// Lower comes first; targets of a higher number are asked only after all of the lower ones.
    pub priority: u32,
    /// 1 to 1000.
    pub weight: u32,
    pub when: Conditions,
    pub offer: Offer,
    pub adapt: Adaptation,
    pub limits: TargetLimits,
    pub price: Option<Price>,
}

impl ModelTarget {
    /// A target of which nothing special is known.
    pub fn new(provider: Arc<Provider>, model: impl Into<String>) -> ModelTarget {
        ModelTarget {
            provider,
            model: model.into(),
            priority: 0,
            weight: 1,
            when: Conditions::default(),
            offer: Offer::default(),
            adapt: Adaptation::default(),
            limits: TargetLimits::default(),
            price: None,
        }
    }
}

/// When a target may be asked at all, beyond what its [`Offer`] cannot serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Only calls of these virtual keys, by name. Empty: all.
    pub keys: Vec<String>,
    /// Only calls whose estimated input is at least so long.
    pub min_input_tokens: Option<u64>,
    /// Only calls whose estimated input is at most so long.
    pub max_input_tokens: Option<u64>,
}

/// What a target can serve. A call that needs more is not sent there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Where it processes data, as `eu`; a call that demands a region goes to a target that names it.
    pub region: Option<String>,
    /// Classes of data it may see, as `public`, `internal`; empty: any.
    pub data_classes: Vec<String>,
    /// Input and output together.
    pub context_tokens: Option<u64>,
    pub max_output_tokens: Option<u64>,
    pub tools: bool,
    pub vision: bool,
    pub structured_output: bool,
}

impl Default for Offer {
    /// Nothing is known to be missing.
    fn default() -> Offer {
        Offer {
            region: None,
            data_classes: Vec::new(),
            context_tokens: None,
            max_output_tokens: None,
            tools: true,
            vision: true,
            structured_output: true,
        }
    }
}

/// What is changed in a call for this target, besides the model's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adaptation {
    /// Top-level fields that the provider refuses.
    pub drop_fields: Vec<String>,
    /// `max_tokens` ↔ `max_completion_tokens`: the name this provider wants.
    pub max_tokens_field: Option<String>,
    pub cache_system: CacheSystem,
}

/// Whether the system prompt is marked as worth caching at providers that bill a cache by marks (Anthropic, Bedrock).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheSystem {
    #[default]
    Off,
    On,
}

/// What a provider grants one target, as far as an operator knows. What headers tell is learned besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetLimits {
    /// Calls at once.
    pub concurrency: Option<u32>,
    pub requests_a_minute: Option<u32>,
    /// Input and output tokens together.
    pub tokens_a_minute: Option<u64>,
}

/// Dollars for a million tokens, in micro-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    pub input: Usd,
    pub output: Usd,
    /// Input tokens that the provider had in its cache. `None`: as `input`.
    pub cached_input: Option<Usd>,
}
