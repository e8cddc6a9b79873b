//! Who is asked for one call, in which order, and why the others are not.

use std::sync::Arc;

use mainstay_base::{Class, Micros, Snapshot, Usd, record};
use mainstay_signal::chain::{self, Ask, Plan, Why};
use mainstay_wire::llm::Unreadable;
use serde::{Deserialize, Serialize};

use super::order::Order;
use crate::{
    gateway::Gateway,
    path::{
        failure::{Failure, FromProvider, Reason},
        normalize::Endpoint,
        price,
    },
    targets::{Chain, Targets},
};

/// The order for this call, by how the targets stand now.
pub(super) fn plan(order: &Order) -> Plan {
    let asked = &order.asked;
    let ask = Ask {
        key: order.key.as_ref().map_or("", |key| &key.name),
        region: asked.region.as_deref(),
        data_class: asked.data_class.as_deref(),
        input_tokens: asked.input_tokens,
        max_output_tokens: asked.max_output_tokens,
        tools: asked.tools,
        vision: asked.vision,
        structured_output: asked.structured_output,
        keeps_model: keeps_model(asked.endpoint),
        needs_responses: order.needs_responses().is_some(),
    };
    let (targets, failovers) = (order.gateway.targets(), &order.snapshot.model.failovers);
    View { targets, chain: &order.chain, failovers, streams: asked.streams }.plan(&ask, targets.ticks.now())
}

/// The same as it is written down, so that the call can be routed again under another policy.
pub(super) fn needs(order: &Order) -> record::Needs {
    let asked = &order.asked;
    record::Needs {
        input_tokens: asked.input_tokens,
        max_output_tokens: asked.max_output_tokens,
        tools: asked.tools,
        vision: asked.vision,
        structured_output: asked.structured_output,
        keeps_model: keeps_model(asked.endpoint),
        needs_responses: order.needs_responses().is_some(),
        region: asked.region.clone(),
        data_class: asked.data_class.clone(),
    }
}

/// Vectors of two models do not compare, and neither do the scores of two rerankers.
fn keeps_model(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::Embeddings | Endpoint::Rerank)
}

/// What an order is made from.
struct View<'a> {
    targets: &'a Targets,
    chain: &'a Chain,
    failovers: &'a [mainstay_base::snapshot::Failover],
    streams: bool,
}

impl View<'_> {
    fn plan(&self, ask: &Ask<'_>, now: Micros) -> Plan {
        self.chain.compare(now);
        let tokens = ask.input_tokens.saturating_add(ask.max_output_tokens.unwrap_or(0));
        let seen = |index: usize| self.chain.places[index].seen(self.streams, tokens, now);
        let chance = || self.targets.chance.next();
        chain::order(&self.chain.model, ask, seen, self.failovers, chance)
    }
}

/// No target of the model may be asked.
pub(super) fn nobody(order: &Order, plan: &Plan) -> Failure {
    let name = &order.chain.model.name;
    if plan.passed_over.is_empty() {
        return Failure::new(Reason::NoCandidate, format!("model {name} has no target"));
    }
    let why: Vec<String> = plan
        .passed_over
        .iter()
        .map(|(index, why)| format!("{}: {why}", order.target(*index).provider.name))
        .collect();
    let internal = format!("no target of {name} fits: {}", why.join("; "));
    let is_length = |why: &Why| matches!(why, Why::ContextTooShort { .. } | Why::InputTooLong { .. });
    if plan.passed_over.iter().all(|(_, why)| is_length(why)) {
        let failed = FromProvider::wordless(Class::ContextOverflow, None);
        return Failure::new(Reason::Provider(Box::new(failed)), internal);
    }
    if let Some(why) = order.needs_responses()
        && plan.passed_over.iter().any(|(_, why)| *why == Why::NoResponses)
    {
        return Failure::new(Reason::Provider(Box::new(unconvertible(why))), internal);
    }
    let demands = demands(plan);
    Failure::new(Reason::NoTargetFits { why: demands }, internal)
}

/// The field that only the Responses API itself has, or that cannot be read, and why.
fn unconvertible(why: &Unreadable) -> FromProvider {
    let message = format!(
        "{}. No provider of this model that speaks the Responses API can be asked, and for others the call is converted.",
        why.what
    );
    FromProvider::not_convertible(&why.what, message)
}

/// What the call demands and nobody serves, in words that name no target.
fn demands(plan: &Plan) -> String {
    let mut words: Vec<&str> = plan.passed_over.iter().map(|(_, why)| word(why)).collect();
    words.sort_unstable();
    words.dedup();
    words.join(", ")
}

fn word(why: &Why) -> &'static str {
    match why {
        Why::OtherKeys => "this virtual key",
        Why::InputTooShort { .. } | Why::InputTooLong { .. } => "an input of this length",
        Why::ContextTooShort { .. } => "a context of this length",
        Why::OutputTooShort { .. } => "an answer of this length",
        Why::OtherRegion { .. } => "the region",
        Why::DataClass { .. } => "the class of data",
        Why::NoTools => "tools",
        Why::NoVision => "images",
        Why::NoStructuredOutput => "structured output",
        Why::OtherModel => "the same model",
        Why::NoResponses => "the Responses API itself",
        _ => "a target that is in service",
    }
}

/// Where a call would go, and why: what `mainstay model route --explain` shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteExplained {
    pub model: String,
    /// How targets of one priority are ordered.
    pub strategy: String,
    pub snapshot_generation: u64,
    /// In the order in which they would be asked.
    pub candidates: Vec<CandidateExplained>,
    pub passed_over: Vec<PassedOver>,
    /// The only candidate's breaker is open, and nobody else is left.
    pub is_last_resort: bool,
    pub deadline_ms: u64,
    pub answer_within_ms: u64,
    pub max_attempts: u32,
    pub max_cost: Option<Usd>,
    pub hedges: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CandidateExplained {
    pub provider: String,
    pub model: String,
    pub dialect: String,
    pub priority: u32,
    pub weight: u32,
    /// Why it stands where it stands, when the strategy alone does not say.
    pub because: Vec<String>,
    /// Its first attempt at most; `None`: it has no price.
    pub worst_case: Option<Usd>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassedOver {
    pub provider: String,
    pub model: String,
    pub why: Why,
    /// The same in words.
    pub because: String,
}

/// What a call that is not made would need.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Needs {
    pub streams: bool,
    pub input_tokens: u64,
    pub max_output_tokens: Option<u64>,
    pub tools: bool,
    pub vision: bool,
    pub structured_output: bool,
    pub region: Option<String>,
    pub data_class: Option<String>,
    /// Embeddings and reranking stay with one model.
    pub keeps_model: bool,
    /// A call of `/v1/responses`.
    pub responses: bool,
    /// One that uses what cannot be converted: earlier responses, stored conversations, hosted tools, background.
    pub hosted: bool,
}

/// The plan of a call that is not made. `None`: nobody serves the model.
pub(crate) fn explained(
    gateway: &Gateway,
    model: &str,
    key: Option<&str>,
    needs: &Needs,
) -> Option<RouteExplained> {
    let snapshot: Arc<Snapshot> = gateway.ports().snapshot.load_full();
    let targets = gateway.targets();
    let chain = targets.chain(&snapshot, model)?;
    let of_key = key.and_then(|name| snapshot.model.keys.values().find(|key| key.name == name));
    let ask = Ask {
        key: key.unwrap_or_default(),
        region: of_key.and_then(|key| key.region.as_deref()).or(needs.region.as_deref()),
        data_class: of_key.and_then(|key| key.data_class.as_deref()).or(needs.data_class.as_deref()),
        input_tokens: needs.input_tokens,
        max_output_tokens: needs.max_output_tokens,
        tools: needs.tools,
        vision: needs.vision,
        structured_output: needs.structured_output,
        keeps_model: needs.keeps_model,
        needs_responses: needs.hosted,
    };
    let view = View { targets, chain: &chain, failovers: &snapshot.model.failovers, streams: needs.streams };
    let plan = view.plan(&ask, targets.ticks.now());
    let policy = &chain.model.policy;
    let milliseconds = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let strategy = serde_json::to_value(chain.model.strategy).unwrap_or_default();
    Some(RouteExplained {
        model: chain.model.name.clone(),
        strategy: strategy.as_str().unwrap_or_default().to_owned(),
        snapshot_generation: snapshot.generation,
        candidates: plan.candidates.iter().map(|index| candidate(&chain, &plan, *index, needs)).collect(),
        passed_over: plan.passed_over.iter().map(|(index, why)| passed_over(&chain, *index, why)).collect(),
        is_last_resort: plan.is_last_resort,
        deadline_ms: milliseconds(policy.deadline),
        answer_within_ms: milliseconds(policy.answer_within),
        max_attempts: policy.max_attempts,
        max_cost: policy.max_cost,
        hedges: policy.hedge.is_some(),
    })
}

fn candidate(chain: &Chain, plan: &Plan, index: usize, needs: &Needs) -> CandidateExplained {
    let target = chain.target(index);
    let moved = plan.moved.iter().filter(|(moved, _)| *moved == index).map(|(_, why)| why.to_string());
    let is_converted = (needs.responses || needs.hosted) && !target.provider.speaks_responses;
    let because = moved.chain(is_converted.then(|| chain::CONVERTED.to_owned()));
    let max_output = match (needs.max_output_tokens, target.offer.max_output_tokens) {
        (Some(needed), Some(most)) => needed.min(most),
        (needed, most) => needed.or(most).unwrap_or(price::DEFAULT_MAX_OUTPUT_TOKENS),
    };
    CandidateExplained {
        provider: target.provider.name.clone(),
        model: target.model.clone(),
        dialect: target.provider.dialect.as_str().to_owned(),
        priority: target.priority,
        weight: target.weight,
        because: because.collect(),
        worst_case: target
            .price
            .as_ref()
            .map(|price| price::worst_case(price, needs.input_tokens, max_output)),
    }
}

fn passed_over(chain: &Chain, index: usize, why: &Why) -> PassedOver {
    let target = chain.target(index);
    let (provider, model) = (target.provider.name.clone(), target.model.clone());
    PassedOver { provider, model, why: why.clone(), because: why.to_string() }
}
