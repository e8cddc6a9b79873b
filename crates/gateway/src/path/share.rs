//! Single-flight: identical calls of one tenant that are in flight at the same time share one call upstream.
//!
//! Promises: everybody gets the whole answer from its first byte, at his own pace; the upstream goes at the pace of the
//! fastest and ends when the last one leaves; who falls behind by more than [`MAX_REPLAY_BYTES`] is told so and cut off,
//! and holds nobody up. There is no task in between: whoever waits for the next piece drives the shared call. Costs are
//! the first caller's, whose record and permit go with the call. Refuses to be a cache: what is over is not joined.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use http::HeaderMap;
use mainstay_base::snapshot::SingleFlight;
use parking_lot::Mutex;

use super::{
    bootstrap::{Caller, Context},
    execute::model::form,
    normalize::{Ask, Asked, Call, CallBody},
    stream::Form,
};

mod follow;
mod shared;
#[cfg(test)]
mod tests;

pub(crate) use follow::Follower;
pub(crate) use shared::Leader;
use shared::{Reader, Shared};

/// What of a shared answer is kept for those who come late or read slowly. One piece is kept however large it is: a whole
/// answer is one.
pub(crate) const MAX_REPLAY_BYTES: usize = 256 * 1024;
/// Callers of one shared call; one more makes a call of its own.
const MAX_READERS: usize = 256;

/// Everything that identical calls have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    hash: [u8; 32],
    /// What its callers read, so that they can be told of a cut.
    form: Form,
}

/// The shared calls of one gateway, by what is asked.
#[derive(Default)]
pub(crate) struct Shares {
    under_way: Mutex<HashMap<Key, Weak<Shared>>>,
}

/// What becomes of a call.
pub(crate) enum Entry {
    /// It is the first of its kind, and makes the call.
    Lead(Leader),
    /// An identical call is under way.
    Follow(Follower),
}

impl Shares {
    pub(crate) fn enter(self: &Arc<Self>, key: Key, request_id: &str) -> Entry {
        // Declared first, so let go of last: dropping the last hold on a shared call takes the lock.
        let known;
        let mut under_way = self.under_way.lock();
        known = under_way.get(&key).and_then(Weak::upgrade);
        if let Some(reader) = known.as_ref().and_then(Reader::join) {
            return Entry::Follow(Follower::new(reader));
        }
        let (shared, reader) = Shared::begin(self.clone(), key, request_id);
        under_way.insert(key, Arc::downgrade(&shared));
        Entry::Lead(Leader::new(reader))
    }

    /// Called when a shared call is dropped. Another one may have taken its place.
    fn forget(&self, key: &Key) {
        let mut under_way = self.under_way.lock();
        if under_way.get(key).is_some_and(|shared| shared.strong_count() == 0) {
            under_way.remove(key);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.under_way.lock().len()
    }
}

/// `None`: the call is not shared.
pub(crate) fn key(context: &Context, call: &Call) -> Option<Key> {
    let Call::Model(call) = call else { return None };
    let (Ask::Model(asked), CallBody::Whole { bytes, .. }) = (&call.ask, &call.body) else { return None };
    let Caller::Model(caller) = &context.caller else { return None };
    let routes = &context.snapshot.model;
    let model = routes.models.get(&asked.name);
    let policy = model.map_or(&routes.other_models_policy, |model| &model.policy);
    let is_shared = match policy.single_flight {
        SingleFlight::Off => false,
        SingleFlight::Deterministic => asked.is_deterministic,
        SingleFlight::All => true,
    };
    if !is_shared {
        return None;
    }
    // Where a target is for certain keys only, calls of different keys go different ways.
    let by_key = model.is_some_and(|model| model.targets.iter().any(|target| !target.when.keys.is_empty()));
    let mut hash = Hash::new();
    hash.text(&caller.tenant);
    // A key without a tenant is one by itself.
    hash.text(if by_key || caller.tenant.is_empty() { &caller.name } else { "" });
    hash.asked(asked);
    hash.text(call.head.query.as_deref().unwrap_or_default());
    hash.headers(&call.head.headers);
    hash.bytes(bytes);
    Some(Key { hash: hash.sum(), form: form(asked.endpoint) })
}

/// Each part with its length before it: two lists of parts that differ never look alike.
struct Hash(blake3::Hasher);

impl Hash {
    fn new() -> Hash {
        Hash(blake3::Hasher::new())
    }

    fn bytes(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    fn text(&mut self, part: &str) {
        self.bytes(part.as_bytes());
    }

    /// What a caller asks for beside the body.
    fn asked(&mut self, asked: &Asked) {
        self.text(asked.endpoint.path());
        for demand in [&asked.region, &asked.data_class] {
            self.text(demand.as_deref().unwrap_or_default());
        }
        self.text(&format!("{:?} {:?}", asked.deadline, asked.max_cost));
    }

    /// What a provider may act on. Nobody's headers reach a provider in another's name.
    fn headers(&mut self, headers: &HeaderMap) {
        for (name, value) in headers.iter().filter(|(name, _)| !is_each_calls_own(name.as_str())) {
            self.text(name.as_str());
            self.bytes(value.as_bytes());
        }
    }

    fn sum(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// Headers that differ from call to call, or never reach a provider, and change no answer.
fn is_each_calls_own(name: &str) -> bool {
    const PREFIXES: [&str; 9] = [
        "mainstay-",
        "x-stainless-",
        "x-b3-",
        "x-forwarded-",
        "x-envoy-",
        "x-datadog-",
        "sec-",
        "proxy-",
        "cf-",
    ];
    matches!(
        name,
        "accept"
            | "accept-charset"
            | "accept-encoding"
            | "accept-language"
            | "api-key"
            | "authorization"
            | "b3"
            | "baggage"
            | "connection"
            | "content-length"
            | "cookie"
            | "date"
            | "expect"
            | "forwarded"
            | "host"
            | "idempotency-key"
            | "keep-alive"
            | "priority"
            | "te"
            | "trailer"
            | "traceparent"
            | "tracestate"
            | "transfer-encoding"
            | "user-agent"
            | "via"
            | "x-amzn-trace-id"
            | "x-api-key"
            | "x-cloud-trace-context"
            | "x-correlation-id"
            | "x-goog-api-key"
            | "x-real-ip"
            | "x-request-id"
    ) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
