//! One call of a model, with everything that its attempts need to know.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use mainstay_base::{
    Snapshot, TraceParent, Usd,
    snapshot::{CallPolicy, Dialect, ModelKey, ModelTarget},
};
use mainstay_wire::llm::{Request, Unreadable, responses};
use tokio::time::Instant;

use crate::{
    gateway::Gateway,
    path::{
        bootstrap::{Caller, Context},
        normalize::{Asked, CallBody, CallHead, Endpoint},
        price,
    },
    targets::Chain,
};

pub(super) struct Order {
    pub(super) gateway: Gateway,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) request_id: Arc<str>,
    pub(super) trace: TraceParent,
    pub(super) continues_trace: bool,
    /// The virtual key.
    pub(super) key: Option<Arc<ModelKey>>,
    pub(super) head: CallHead,
    /// Keeps the memory of `bytes` counted.
    _body: CallBody,
    pub(super) bytes: Bytes,
    pub(super) asked: Box<Asked>,
    pub(super) chain: Arc<Chain>,
    pub(super) bounds: Bounds,
    /// A call of `/v1/responses` in the inner form, once somebody asked for it. On the heap: other calls need no room for it.
    inner: OnceLock<Box<Result<Request, Unreadable>>>,
}

/// One deadline and one ceiling over all attempts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// What was granted for the whole call.
    pub(super) granted: Duration,
    pub(super) deadline_at: Instant,
    /// When the first byte must have gone to the caller.
    pub(super) answer_by: Instant,
    /// The caller asked for less than the route grants.
    pub(super) caller_hurries: bool,
    pub(super) max_cost: Option<Usd>,
    /// The caller set a ceiling: whoever has no price cannot hold it. (An operator's ceiling is over what he gave a
    /// price.)
    pub(super) needs_price: bool,
}

impl Order {
    pub(super) fn new(
        context: &Context,
        head: CallHead,
        body: CallBody,
        asked: Box<Asked>,
        chain: Arc<Chain>,
        waited: Duration,
    ) -> Order {
        let bounds = Bounds::new(&chain.model.policy, &asked, waited);
        let key = match &context.caller {
            Caller::Model(key) => Some(key.clone()),
            Caller::App { .. } | Caller::Unknown(_) => None,
        };
        Order {
            gateway: context.gateway.clone(),
            snapshot: context.snapshot.clone(),
            request_id: context.request_id.clone(),
            trace: context.trace,
            continues_trace: context.continues_trace,
            key,
            head,
            bytes: body.bytes(),
            _body: body,
            asked,
            chain,
            bounds,
            inner: OnceLock::new(),
        }
    }

    pub(super) fn policy(&self) -> &CallPolicy {
        &self.chain.model.policy
    }

    pub(super) fn target(&self, index: usize) -> &ModelTarget {
        self.chain.target(index)
    }

    /// Whether the target takes the call as it came, and answers it in the caller's own words. Nobody goes on with an
    /// answer to `/v1/responses` but in other words: its events would begin anew.
    pub(super) fn passes(&self, target: &ModelTarget, goes_on: bool) -> bool {
        match &target.provider.dialect {
            Dialect::OpenAi | Dialect::Azure { .. } if self.asked.endpoint == Endpoint::Responses => {
                target.provider.speaks_responses && !goes_on
            }
            Dialect::OpenAi | Dialect::Azure { .. } => true,
            Dialect::Anthropic | Dialect::Gemini | Dialect::Bedrock { .. } | Dialect::Cohere => false,
        }
    }

    /// A call of `/v1/responses` as it is told to others, or why it cannot be.
    pub(super) fn inner(&self) -> &Result<Request, Unreadable> {
        self.inner.get_or_init(|| Box::new(responses::read_request(&self.bytes)))
    }

    /// Why only a target that speaks the Responses API can take the call. It is not looked for where all targets do.
    pub(super) fn needs_responses(&self) -> Option<&Unreadable> {
        let may_be_converted = || self.chain.model.targets.iter().any(|target| !self.passes(target, false));
        match self.asked.endpoint == Endpoint::Responses && may_be_converted() {
            true => self.inner().as_ref().err(),
            false => None,
        }
    }

    /// Input and output together, as far as a minute's grant is concerned.
    pub(super) fn tokens(&self) -> u64 {
        self.asked.input_tokens.saturating_add(self.asked.max_output_tokens.unwrap_or(0))
    }

    /// What an attempt costs at most; nothing where no price is known.
    pub(super) fn worst_case(&self, index: usize) -> Usd {
        let target = self.target(index);
        let max_output = price::max_output(&self.asked, target.offer.max_output_tokens);
        let worst = |price| price::worst_case(price, self.asked.input_tokens, max_output);
        target.price.as_ref().map_or(Usd::ZERO, worst)
    }

    /// What an attempt costs that was read and not answered.
    pub(super) fn input_cost(&self, index: usize) -> Option<Usd> {
        let price = self.target(index).price.as_ref()?;
        Some(price::worst_case(price, self.asked.input_tokens, 0))
    }
}

impl Bounds {
    /// A caller may ask for less than the route grants, never for more. `waited`: since the request came.
    fn new(policy: &CallPolicy, asked: &Asked, waited: Duration) -> Bounds {
        let granted = asked.deadline.map_or(policy.deadline, |asked| asked.min(policy.deadline));
        let max_cost = match (asked.max_cost, policy.max_cost) {
            (Some(asked), Some(policy)) => Some(asked.min(policy)),
            (asked, policy) => asked.or(policy),
        };
        let now = Instant::now();
        let opened = now.checked_sub(waited).unwrap_or(now);
        let deadline_at = opened + granted;
        let answer_by = deadline_at.min(opened + policy.answer_within);
        let (caller_hurries, needs_price) = (granted < policy.deadline, asked.max_cost.is_some());
        Bounds { granted, deadline_at, answer_by, caller_hurries, max_cost, needs_price }
    }

    pub(super) fn is_over(&self) -> bool {
        self.answer_left().is_zero()
    }

    pub(super) fn answer_left(&self) -> Duration {
        self.answer_by.saturating_duration_since(Instant::now())
    }

    pub(super) fn left(&self) -> Duration {
        self.deadline_at.saturating_duration_since(Instant::now())
    }
}
