//! One attempt on its way: what it took of its target and its key, and what is told of its end.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mainstay_base::{Class, Micros};
use mainstay_signal::limits::Learned;

use super::{
    key::Key,
    target::{Share, Target, Told},
    ticks::Ticks,
};

/// Held from the sending of a request to the last byte of its answer. However it is dropped, everything taken goes
/// back; what ends without a word says nothing about the target.
pub(crate) struct Flight {
    target: Arc<Target>,
    key: Option<Arc<Key>>,
    /// `None` once it was given back.
    share: Option<Share>,
    ticks: Ticks,
    begun: Micros,
    streams: bool,
    had_first_token: bool,
    /// The target's own time for the whole exchange; a call may grant less.
    own_total: Duration,
}

/// What an attempt used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// Input and output together; `None`: the provider did not say.
    pub(crate) tokens: Option<u64>,
}

impl Flight {
    pub(super) fn begin(
        target: Arc<Target>,
        key: Option<Arc<Key>>,
        share: Share,
        streams: bool,
        ticks: Ticks,
        begun: Micros,
    ) -> Flight {
        if let Some(key) = &key {
            key.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        Flight {
            target,
            key,
            share: Some(share),
            ticks,
            begun,
            streams,
            had_first_token: false,
            own_total: Duration::ZERO,
        }
    }

    /// Whether the breaker let it through to find out if the target is back.
    pub(crate) fn is_probe(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.is_probe)
    }

    /// How long the target is meant to have: when the call's own haste ends it before, that is not held against it.
    pub(crate) fn is_meant_to_have(&mut self, own_total: Duration) {
        self.own_total = own_total;
    }

    /// The first content of a stream came: the target is well, however long the stream will be.
    pub(crate) fn first_token(&mut self) {
        if let (false, Some(share)) = (self.had_first_token, &mut self.share) {
            self.had_first_token = true;
            let now = self.ticks.now();
            let told = Told::Good { took: now.since(self.begun), streams: self.streams };
            self.target.tell(share, told, now);
        }
    }

    /// The whole answer is there, or the attempt failed by this class. A failure after a first token counts besides it.
    pub(crate) fn end(mut self, end: Result<Used, Class>) {
        let now = self.ticks.now();
        let told = match end {
            Ok(_) if self.had_first_token => None,
            Ok(_) => Some(Told::Good { took: now.since(self.begun), streams: self.streams }),
            Err(Class::TotalTimeout) if now.since(self.begun) < self.own_total => None,
            Err(class) => {
                self.rest_key(class, None, now);
                Some(Told::Bad(class))
            }
        };
        if let (Some(told), Some(share)) = (told, &mut self.share) {
            self.target.tell(share, told, now);
        }
        self.give_back(end.ok().and_then(|used| used.tokens), now);
    }

    /// The attempt failed before its answer. `is_targets_doing`: its own time-out ran out, not the caller's deadline.
    pub(crate) fn failed(mut self, class: Class, retry_after: Option<Duration>, is_targets_doing: bool) {
        let now = self.ticks.now();
        self.rest_key(class, retry_after, now);
        if let (true, Some(share)) = (is_targets_doing, &mut self.share) {
            self.target.tell(share, Told::Bad(class), now);
        }
        // A refusal used none of the provider's tokens.
        self.give_back(Some(0), now);
    }

    /// What the answer's headers told of the provider's limits.
    pub(crate) fn learn(&self, learned: &Learned) {
        self.target.learn(self.key_name(), learned, self.ticks.now());
    }

    fn rest_key(&self, class: Class, retry_after: Option<Duration>, now: Micros) {
        if let Some(key) = &self.key {
            key.failed(class, retry_after, now);
        }
    }

    fn key_name(&self) -> Option<&str> {
        self.key.as_deref().map(|key| key.name.as_str())
    }

    fn give_back(&mut self, used: Option<u64>, now: Micros) {
        if let Some(share) = self.share.take() {
            self.target.give_back(self.key_name(), share, used, now);
            if let Some(key) = &self.key {
                key.in_flight.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Flight {
    /// The caller left, or a faster attempt won: nothing is said, and what was estimated stays used.
    fn drop(&mut self) {
        if self.share.is_some() {
            let now = self.ticks.now();
            self.give_back(None, now);
        }
    }
}
