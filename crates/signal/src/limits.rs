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

const MINUTE_US: i64 = 60_000_000;
/// The burst of a configured limit is so many-th of it.
const BURST_PART: i64 = 6;
/// Larger grants are as good as none; keeps the arithmetic within `i64`.
const MAX_LIMIT: u64 = 10_000_000_000;
/// What headers told is forgotten after so long.
const LEARNED_FOR: Duration = Duration::from_secs(120);

/// What one provider grants one target (or key) a minute.
#[derive(Clone, Copy, Debug)]
pub struct Minute {
    requests: Bucket,
    tokens: Bucket,
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
        Minute { requests: Bucket::new(requests.map(u64::from)), tokens: Bucket::new(tokens) }
    }

    /// Takes one request and its estimated tokens, or tells how long to wait for them.
    pub fn take(&mut self, now: Micros, tokens: u64) -> Result<Taken, Duration> {
        let tokens = tokens.min(MAX_LIMIT) as i64;
        let wait = self.requests.wait(now, 1).max(self.tokens.wait(now, tokens));
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
        requests.wait(now, 1).max(all_tokens.wait(now, tokens.min(MAX_LIMIT) as i64))
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

    pub fn left(&self, now: Micros) -> Left {
        Left { requests: self.requests.left(now), tokens: self.tokens.left(now) }
    }

    /// Takes new limits and keeps what was taken.
    pub fn reconfigure(&mut self, requests: Option<u32>, tokens: Option<u64>) {
        self.requests.reconfigure(requests.map(u64::from));
        self.tokens.reconfigure(tokens);
    }
}

/// Amounts are in units times a minute's microseconds, so that a grant of one a minute fills exactly by 1 a µs.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    configured: Option<i64>,
    /// What headers told: the grant and its units a minute.
    learned: Option<(i64, i64)>,
    learned_at: Micros,
    balance: i128,
    filled_at: Micros,
    /// Taken and not settled yet, in units: headers of answers to earlier calls do not know of it.
    in_flight: i64,
}

impl Bucket {
    fn new(limit: Option<u64>) -> Bucket {
        let mut bucket = Bucket {
            configured: limit.map(bounded),
            learned: None,
            learned_at: Micros::default(),
            balance: 0,
            filled_at: Micros::default(),
            in_flight: 0,
        };
        bucket.balance = bucket.shape().map_or(0, |(burst, _)| scaled(burst));
        bucket
    }

    /// The most it holds, and what flows in a minute. `None`: no limit.
    fn shape(&self) -> Option<(i64, i64)> {
        let configured = self.configured.map(|limit| ((limit / BURST_PART).max(limit.min(1)), limit));
        match (configured, self.learned) {
            (Some((_, limit)), Some((grant, rate))) => {
                let (burst, rate) = (grant.min((limit / BURST_PART).max(limit.min(1))), rate.min(limit));
                Some((burst, rate))
            }
            (configured, learned) => configured.or(learned),
        }
    }

    fn wait(&mut self, now: Micros, units: i64) -> Duration {
        self.fill(now);
        let Some((burst, rate)) = self.shape() else { return Duration::ZERO };
        // A call larger than the bucket passes when the bucket is full, and overdraws it.
        let missing = scaled(units.min(burst.max(1))) - self.balance;
        if missing <= 0 {
            return Duration::ZERO;
        }
        let rate = i128::from(rate);
        if rate == 0 {
            return LEARNED_FOR;
        }
        Duration::from_micros(u64::try_from((missing + rate - 1) / rate).unwrap_or(u64::MAX))
    }

    fn take(&mut self, units: i64) {
        self.in_flight = self.in_flight.saturating_add(units);
        if self.shape().is_some() {
            self.balance -= scaled(units);
        }
    }

    fn settle(&mut self, now: Micros, taken: i64, used: i64) {
        self.fill(now);
        self.in_flight = (self.in_flight - taken).max(0);
        if let Some((burst, _)) = self.shape() {
            self.balance = (self.balance + scaled(taken) - scaled(used)).min(scaled(burst));
        }
    }

    fn fill(&mut self, now: Micros) {
        if self.learned.is_some() && now.since(self.learned_at) > LEARNED_FOR {
            self.learned = None;
        }
        let flowed = now.since(self.filled_at).as_micros().min(u128::from(u64::MAX)) as i128;
        self.filled_at = self.filled_at.max(now);
        if let Some((burst, rate)) = self.shape() {
            self.balance = (self.balance + flowed.saturating_mul(i128::from(rate))).min(scaled(burst));
        }
    }

    fn learn(&mut self, told: Told, now: Micros) {
        let Some(left) = told.left.map(bounded) else { return };
        self.fill(now);
        let had_no_limit = self.shape().is_none();
        let grant =
            told.limit.map_or_else(|| self.learned.map_or(left, |(grant, _)| grant.max(left)), bounded);
        self.learned = Some((grant, rate(grant, left, told.reset)));
        self.learned_at = now;
        let free = scaled(left.saturating_sub(self.in_flight));
        self.balance = if had_no_limit { free } else { self.balance.min(free) };
        if self.configured.is_none() {
            self.balance = free;
        }
    }

    fn reconfigure(&mut self, limit: Option<u64>) {
        self.configured = limit.map(bounded);
        let fresh = Bucket::new(limit).balance;
        self.balance = if self.shape().is_some() { self.balance.min(fresh) } else { fresh };
    }

    fn left(&self, now: Micros) -> Option<u64> {
        let mut filled = *self;
        filled.fill(now);
        filled.shape()?;
        Some(u64::try_from(filled.balance / i128::from(MINUTE_US)).unwrap_or(0))
    }
}

/// What flows in a minute, from how long the grant takes to be whole again.
fn rate(grant: i64, left: i64, reset: Option<Duration>) -> i64 {
    let missing = grant.saturating_sub(left).max(0);
    match reset.map(|reset| reset.as_micros().min(u128::from(u64::MAX)) as i128) {
        // Rounded up: nothing would ever come back of a grant of 100 a day.
        Some(reset) if reset > 0 && missing > 0 => {
            let a_minute = (i128::from(missing) * i128::from(MINUTE_US) + reset - 1) / reset;
            i64::try_from(a_minute).unwrap_or(i64::MAX).min(MAX_LIMIT as i64)
        }
        _ => grant,
    }
}

fn bounded(limit: u64) -> i64 {
    limit.min(MAX_LIMIT) as i64
}

fn scaled(units: i64) -> i128 {
    i128::from(units) * i128::from(MINUTE_US)
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
