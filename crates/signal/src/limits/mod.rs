//! What a provider grants a minute, in requests and tokens: asked before a call, so that a 429 is avoided instead of met.
//!
//! Two token buckets that fill continuously (Turner 1986; the same arithmetic as GCRA, and what Anthropic and OpenAI say
//! they do). Law, for each: in any 60 s at most `limit + burst` passes, where `burst` is a sixth of the limit (10 s worth,
//! at least 1) for a configured limit; for tokens the largest single call comes on top where it is larger than the burst,
//! because a call may overdraw the bucket once, and pays for it in time.
//!
//! What headers tell is believed over what was computed: the grant, what is left of it (less what is in flight), and how
//! fast it comes back, `(limit − left) / reset`. A configured limit stays the upper bound. Allocates nothing.

use std::time::Duration;

use mainstay_base::Micros;

use bucket::{Bucket, MAX_LIMIT};

mod bucket;
#[cfg(test)]
mod tests;

/// What one provider grants one target (or key) a minute.
#[derive(Clone, Copy, Debug)]
pub struct Minute {
    requests: Bucket,
    tokens: Bucket,
    refused_until: Micros,
}

/// What one call took. Goes back to [`Minute::settle`] or [`Minute::give_back`], once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    tokens: i64,
}

/// What is left now; `None`: no limit is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub requests: Option<u64>,
    pub tokens: Option<u64>,
}

/// What an answer's headers told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    pub requests: Told,
    pub tokens: Told,
}

/// One grant, as told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub limit: Option<u64>,
    pub left: Option<u64>,
    /// Until the grant is whole again.
    pub reset: Option<Duration>,
}

impl Minute {
    /// By configuration; `None` is no limit until one is learned.
    pub fn new(requests: Option<u32>, tokens: Option<u64>) -> Minute {
        let (requests, tokens) = (Bucket::new(requests.map(u64::from)), Bucket::new(tokens));
        Minute { requests, tokens, refused_until: Micros::default() }
    }

    /// Takes one request and its estimated tokens, or tells how long to wait for them.
    pub fn take(&mut self, now: Micros, tokens: u64) -> Result<Taken, Duration> {
        let tokens = tokens.min(MAX_LIMIT) as i64;
        let wait = self.requests.wait(now, 1).max(self.tokens.wait(now, tokens));
        let wait = wait.max(self.refused_until.since(now));
        if !wait.is_zero() {
            return Err(wait);
        }
        self.requests.take(1);
        self.tokens.take(tokens);
        Ok(Taken { tokens })
    }

    /// Takes although nothing is left: the caller knows no better place.
    pub fn take_anyway(&mut self, tokens: u64) -> Taken {
        let tokens = tokens.min(MAX_LIMIT) as i64;
        self.requests.take(1);
        self.tokens.take(tokens);
        Taken { tokens }
    }

    /// How long a call of so many tokens would have to wait.
    pub fn wait(&self, now: Micros, tokens: u64) -> Duration {
        let (mut requests, mut all_tokens) = (self.requests, self.tokens);
        let wait = requests.wait(now, 1).max(all_tokens.wait(now, tokens.min(MAX_LIMIT) as i64));
        wait.max(self.refused_until.since(now))
    }

    /// The call is over and used so many tokens.
    pub fn settle(&mut self, taken: Taken, tokens_used: u64, now: Micros) {
        self.requests.settle(now, 1, 1);
        self.tokens.settle(now, taken.tokens, tokens_used.min(MAX_LIMIT) as i64);
    }

    /// The call was never sent.
    pub fn give_back(&mut self, taken: Taken, now: Micros) {
        self.requests.settle(now, 1, 0);
        self.tokens.settle(now, taken.tokens, 0);
    }

    /// Believes an answer's headers.
    pub fn learn(&mut self, learned: &Learned, now: Micros) {
        self.requests.learn(learned.requests, now);
        self.tokens.learn(learned.tokens, now);
    }

    /// The provider said "too many" (429) to a call without a key that could rest: nothing passes for so long.
    pub fn refused(&mut self, lasts: Duration, now: Micros) {
        self.refused_until = self.refused_until.max(now + lasts);
    }

    pub fn left(&self, now: Micros) -> Left {
        Left { requests: self.requests.left(now), tokens: self.tokens.left(now) }
    }

    /// Takes new limits and keeps what was taken.
    pub fn reconfigure(&mut self, requests: Option<u32>, tokens: Option<u64>) {
        self.requests.reconfigure(requests.map(u64::from));
        self.tokens.reconfigure(tokens);
    }
}
