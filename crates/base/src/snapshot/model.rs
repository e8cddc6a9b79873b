//! The model path's part of a snapshot: logical models, their targets, providers, virtual keys, and the policies by
//! which a call is tried, retried, hedged, given up and accounted for.
//!
//! Every default is written here once; the configuration, the example file and the docs take it from here.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::Timeouts;
use crate::{Micros, Secret, Usd, id::KeyHash};

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

/// The language a provider speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's, and of all who speak it.
    #[default]
    OpenAi,
    /// OpenAI's bodies under Azure's URLs: `{base}/openai/deployments/{model}/…?api-version=…`, key in `api-key`.
    Azure { api_version: String },
    /// Anthropic Messages.
    Anthropic,
    /// Google Gemini (`generateContent`).
    Gemini,
    /// AWS Bedrock Converse; requests are signed (SigV4).
    Bedrock { region: String },
    /// Cohere's rerank (and embed).
    Cohere,
}

impl Dialect {
    pub fn as_str(&self) -> &'static str {
        match self {
            Dialect::OpenAi => "openai",
            Dialect::Azure { .. } => "azure",
            Dialect::Anthropic => "anthropic",
            Dialect::Gemini => "gemini",
            Dialect::Bedrock { .. } => "bedrock",
            Dialect::Cohere => "cohere",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    pub name: String,
    pub dialect: Dialect,
    /// With its version part where the dialect has one (`https://api.openai.com/v1`), without a trailing slash.
    pub base_url: String,
    /// Several are used in turn; one that is refused or limited rests alone. Empty: no credentials are sent.
    pub keys: Vec<ProviderKey>,
    pub timeouts: Timeouts,
    /// From the request sent to the first content of a stream.
    pub first_token: Duration,
    /// Calls of `/v1/responses` go there as they came. To others of its dialect, and to every other dialect, they go
    /// converted; no other dialect than OpenAI's and Azure's has them.
    pub speaks_responses: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderKey {
    /// How records and alerts call it: never the key itself.
    pub name: String,
    pub secret: ProviderSecret,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderSecret {
    Token(Secret),
    /// For SigV4. `session_token` belongs to temporary credentials.
    Aws {
        access_key_id: String,
        secret_access_key: Secret,
        session_token: Option<Secret>,
    },
}

impl ProviderKey {
    pub fn token(name: impl Into<String>, token: Secret) -> ProviderKey {
        ProviderKey { name: name.into(), secret: ProviderSecret::Token(token) }
    }
}

/// A caller of the model path.
#[derive(Clone, Debug, Default)]
pub struct ModelKey {
    pub name: String,
    /// Whose it is: identical calls are shared and budgets are counted inside one tenant only. Empty: the key's name.
    pub tenant: String,
    pub app: Option<String>,
    pub workflow: Option<String>,
    /// Logical models it may ask for. `None`: all.
    pub models: Option<Vec<String>>,
    /// Calls of this key go only to targets of this region.
    pub region: Option<String>,
    /// The class of the data that it sends.
    pub data_class: Option<String>,
    pub requests_a_minute: Option<u32>,
    pub tokens_a_minute: Option<u64>,
    pub concurrency: Option<u32>,
    pub budget: Option<KeyBudget>,
    /// Under which name what it spends is written down. `None`: its own.
    pub budget_name: Option<String>,
}

impl ModelKey {
    /// A key that may ask for everything.
    pub fn named(name: impl Into<String>) -> ModelKey {
        ModelKey { name: name.into(), ..ModelKey::default() }
    }

    /// Whose money it spends.
    pub fn budget_account(&self) -> &str {
        self.budget_name.as_deref().unwrap_or(&self.name)
    }
}

/// What a virtual key may spend in a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyBudget {
    pub limit: Usd,
    /// Windows start at whole multiples of it since 1970 (UTC).
    pub window: Duration,
    pub when_store_gone: OnStoreGone,
}

/// What happens to a budget that cannot be asked for, because the store is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnStoreGone {
    /// Refuse what goes beyond the allowance already taken.
    Closed,
    /// Let pass and count; what was spent is booked when the store is back.
    #[default]
    Open,
}

/// How one call is tried. Every field has a default; a route may change any.
#[derive(Clone, Debug, PartialEq)]
pub struct CallPolicy {
    /// The whole call, over all attempts; a caller may ask for less, never for more.
    pub deadline: Duration,
    /// Until the first byte goes to the caller, over all attempts. Dify's plugins give up after 300 s of silence.
    pub answer_within: Duration,
    /// What the call may cost over all attempts, in the worst case of each. `None`: no ceiling.
    pub max_cost: Option<Usd>,
    /// Attempts of one call, hedges included.
    pub max_attempts: u32,
    pub retry: Retry,
    pub hedge: Option<Hedge>,
    pub pre_commit: PreCommit,
    pub on_cut: OnCut,
    /// Whether an answer that a provider's content filter refused is asked of the next target.
    pub content_filter_falls_over: bool,
    pub single_flight: SingleFlight,
    pub drain: Drain,
}

impl Default for CallPolicy {
    fn default() -> CallPolicy {
        CallPolicy {
            deadline: Duration::from_secs(600),
            answer_within: Duration::from_secs(280),
            max_cost: None,
            max_attempts: 4,
            retry: Retry::default(),
            hedge: None,
            pre_commit: PreCommit::default(),
            on_cut: OnCut::default(),
            content_filter_falls_over: false,
            single_flight: SingleFlight::default(),
            drain: Drain::default(),
        }
    }
}

/// Tries of one target again, with full jitter: the wait before try n is uniform in 0..min(cap, base × 2ⁿ).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Tries of the same target after its first.
    pub same_target: u32,
    pub base: Duration,
    pub cap: Duration,
    /// Retries (of the same or another target) that each call earns for its model; what is saved up is bounded by `burst`.
    pub ratio: f64,
    pub burst: f64,
}

impl Default for Retry {
    /// A tenth of the traffic: amplification stays at most 1.1.
    fn default() -> Retry {
        Retry {
            same_target: 1,
            base: Duration::from_millis(200),
            cap: Duration::from_secs(5),
            ratio: 0.1,
            burst: 10.0,
        }
    }
}

/// A second attempt beside a slow first one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hedge {
    /// The quantile of the target's times to the first token after which the second attempt starts.
    pub after_quantile: f64,
    pub at_least: Duration,
    /// Hedges that each call earns for its model.
    pub ratio: f64,
}

impl Default for Hedge {
    fn default() -> Hedge {
        Hedge { after_quantile: 0.95, at_least: Duration::from_millis(50), ratio: 0.05 }
    }
}

/// How much of a stream is held until it has proved itself. The first of the bounds that is reached commits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreCommit {
    pub max_events: usize,
    pub max_bytes: usize,
    /// From the first event.
    pub max_wait: Duration,
    /// Characters of content that prove a stream. 1: the first content does.
    pub min_chars: usize,
}

impl Default for PreCommit {
    fn default() -> PreCommit {
        PreCommit { max_events: 64, max_bytes: 256 * 1024, max_wait: Duration::from_secs(10), min_chars: 1 }
    }
}

/// What happens when a stream breaks after its first content went out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnCut {
    /// A typed error event ends it.
    #[default]
    End,
    /// Another target continues from what was said (chat only), and the join is marked.
    Continue,
}

/// Which identical calls in flight share one upstream call, inside one tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SingleFlight {
    Off,
    /// Embeddings, rerank, moderations, and completions that ask for temperature 0.
    #[default]
    Deterministic,
    All,
}

/// What is still read of a stream whose caller left, so that its usage is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    pub max_wait: Duration,
    pub max_bytes: u64,
    /// Drains at once in one process; beyond it streams are aborted and billed for what was delivered.
    pub max_at_once: usize,
}

impl Default for Drain {
    /// Aborting at once stops the meter at most providers, so that is the default.
    fn default() -> Drain {
        Drain { max_wait: Duration::ZERO, max_bytes: 1024 * 1024, max_at_once: 64 }
    }
}

/// When a target is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaker {
    /// What is remembered.
    pub window: Duration,
    /// Fewer calls in the window never open it, except `consecutive`.
    pub min_calls: u32,
    /// The share of failures that opens it.
    pub failure_share: f64,
    /// So many failures in a row open it.
    pub consecutive: u32,
    /// A call whose first token took longer is slow.
    pub slow_call: Duration,
    /// The share of slow calls that opens it.
    pub slow_share: f64,
    /// How long it stays open the first time; doubles with each failed probe up to `max_open`.
    pub open_for: Duration,
    pub max_open: Duration,
    /// Calls at once that probe it while half-open, and successes that close it.
    pub probes: u32,
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker {
            window: Duration::from_secs(10),
            min_calls: 10,
            failure_share: 0.5,
            consecutive: 5,
            slow_call: Duration::from_secs(30),
            slow_share: 0.8,
            open_for: Duration::from_secs(2),
            max_open: Duration::from_secs(4),
            probes: 2,
        }
    }
}

/// Outlier ejection among the targets of one chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ejection {
    /// A target whose failure share exceeds the mean of the others by so much is ejected.
    pub excess: f64,
    /// With at least so many calls in the breaker's window.
    pub min_calls: u32,
    pub eject_for: Duration,
    /// At most this share of a chain's targets is ejected at a time: the floor is the rest.
    pub max_share: f64,
}

impl Default for Ejection {
    fn default() -> Ejection {
        Ejection { excess: 0.3, min_calls: 20, eject_for: Duration::from_secs(10), max_share: 0.5 }
    }
}
