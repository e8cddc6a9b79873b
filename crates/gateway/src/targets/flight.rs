//! One attempt on its way: what it took of its target and its key, and what is told of its end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use mainstay_base::{Class, Micros};
use mainstay_signal::{keys, limits::Learned};

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
    /// The caller grants less time than the route does.
    caller_hurries: bool,
    /// Only of attempts that may be cancelled for another.
    watched: Option<Arc<Watched>>,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    pub(crate) class: Class,
    pub(crate) retry_after: Option<Duration>,
    /// It had the time that it was meant to have: the caller's own haste is not held against it.
    pub(crate) is_targets_doing: bool,
    /// Input and output that it used all the same; `None`: as estimated. A refusal uses none.
    pub(crate) tokens: Option<u64>,
}

/// An attempt as the one sees it who may cancel it.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// What came of a whole answer. (A stream that loses said nothing: its first words prove it.)
    pub(crate) bytes: AtomicU64,
    /// Another attempt was faster.
    pub(crate) has_lost: AtomicBool,
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
            caller_hurries: false,
            watched: None,
        }
    }

    /// Whether the breaker let it through to find out if the target is back.
    pub(crate) fn is_probe(&self) -> bool {
        self.share.as_ref().is_some_and(Share::is_probe)
    }

    /// How long the target is meant to have: when the call's own haste ends it before, that is not held against it.
    pub(crate) fn is_meant_to_have(&mut self, own_total: Duration, caller_hurries: bool) {
        (self.own_total, self.caller_hurries) = (own_total, caller_hurries);
    }

    /// Whether the caller's deadline ended it before the target had its own time for the whole exchange.
    pub(crate) fn is_callers_haste(&self, class: Class) -> bool {
        self.caller_hurries && class == Class::TotalTimeout && !self.had_own_total(self.ticks.now())
    }

    fn had_own_total(&self, now: Micros) -> bool {
        now.since(self.begun) >= self.own_total
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
            Err(Class::TotalTimeout) if !self.had_own_total(now) => None,
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

    /// The attempt failed before its answer.
    pub(crate) fn failed(mut self, failed: &Failed) {
        let now = self.ticks.now();
        self.rest_key(failed.class, failed.retry_after, now);
        if let (true, Some(share)) = (failed.is_targets_doing, &mut self.share) {
            self.target.tell(share, Told::Bad(failed.class), now);
        }
        self.give_back(failed.tokens, now);
    }

    /// What is seen of the attempt while it is under way: whoever cancels it asks here what it had.
    pub(crate) fn watch(&mut self) -> Arc<Watched> {
        self.watched.get_or_insert_default().clone()
    }

    /// Where what came is counted, if anybody watches.
    pub(crate) fn watched(&self) -> Option<&Arc<Watched>> {
        self.watched.as_ref()
    }

    /// What the answer's headers told of the provider's limits.
    pub(crate) fn learn(&self, learned: &Learned) {
        self.target.learn(self.key_name(), learned, self.ticks.now());
    }

    fn rest_key(&self, class: Class, retry_after: Option<Duration>, now: Micros) {
        match (&self.key, keys::rest(class, retry_after)) {
            (Some(key), Some(lasts)) => key.rests(class, lasts, now),
            // A refused or used up account is none of a minute's.
            (None, Some(lasts)) if class == Class::RateLimited => self.target.limited(lasts, now),
            _ => {}
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
    /// The caller left, or a faster attempt won: nothing is said of its health, and what was estimated stays used.
    fn drop(&mut self) {
        let Some(share) = &mut self.share else { return };
        let now = self.ticks.now();
        let has_lost = self.watched.as_ref().is_some_and(|watched| watched.has_lost.load(Ordering::Relaxed));
        if has_lost && !self.had_first_token {
            // Its silence counts: else a target that hangs would never be found out while others win its races.
            self.target.tell(share, Told::Bad(Class::HedgeLost), now);
        }
        self.give_back(None, now);
    }
}
