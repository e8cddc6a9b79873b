//! One grant as a bucket that fills continuously.

use std::time::Duration;

use mainstay_base::Micros;

use super::Told;

const MINUTE_US: i64 = 60_000_000;
/// The burst of a configured limit is so many-th of it.
const BURST_PART: i64 = 6;
/// Larger grants are as good as none; keeps the arithmetic within `i64`.
pub(super) const MAX_LIMIT: u64 = 10_000_000_000;
/// What headers told is forgotten after so long.
const LEARNED_FOR: Duration = Duration::from_secs(120);

/// Amounts are in units times a minute's microseconds, so that a grant of one a minute fills exactly by 1 a µs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    pub(super) configured: Option<i64>,
    /// What headers told: the grant and its units a minute.
    pub(super) learned: Option<(i64, i64)>,
    pub(super) learned_at: Micros,
    pub(super) balance: i128,
    filled_at: Micros,
    /// Taken and not settled yet, in units: headers of answers to earlier calls do not know of it.
    in_flight: i64,
}

impl Bucket {
    pub(super) fn new(limit: Option<u64>) -> Bucket {
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
    pub(super) fn shape(&self) -> Option<(i64, i64)> {
        let configured = self.configured.map(|limit| ((limit / BURST_PART).max(limit.min(1)), limit));
        match (configured, self.learned) {
            (Some((_, limit)), Some((grant, rate))) => {
                let (burst, rate) = (grant.min((limit / BURST_PART).max(limit.min(1))), rate.min(limit));
                Some((burst, rate))
            }
            (configured, learned) => configured.or(learned),
        }
    }

    pub(super) fn wait(&mut self, now: Micros, units: i64) -> Duration {
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
        let wait = Duration::from_micros(u64::try_from((missing + rate - 1) / rate).unwrap_or(u64::MAX));
        match self.configured {
            // It will be forgotten before that.
            None => wait.min(LEARNED_FOR),
            Some(_) => wait,
        }
    }

    pub(super) fn take(&mut self, units: i64) {
        self.in_flight = self.in_flight.saturating_add(units);
        if self.shape().is_some() {
            self.balance -= scaled(units);
        }
    }

    pub(super) fn settle(&mut self, now: Micros, taken: i64, used: i64) {
        self.fill(now);
        self.in_flight = (self.in_flight - taken).max(0);
        if let Some((burst, _)) = self.shape() {
            self.balance = (self.balance + scaled(taken) - scaled(used)).min(scaled(burst));
        }
    }

    pub(super) fn fill(&mut self, now: Micros) {
        if self.learned.is_some() && now.since(self.learned_at) > LEARNED_FOR {
            self.learned = None;
        }
        let flowed = now.since(self.filled_at).as_micros().min(u128::from(u64::MAX)) as i128;
        self.filled_at = self.filled_at.max(now);
        if let Some((burst, rate)) = self.shape() {
            self.balance = (self.balance + flowed.saturating_mul(i128::from(rate))).min(scaled(burst));
        }
    }

    pub(super) fn learn(&mut self, told: Told, now: Micros) {
        let Some(left) = told.left.map(bounded) else { return };
        // Some relays say so when they mean that there is no limit.
        if told.limit == Some(0) {
            return;
        }
        self.fill(now);
        // Nothing left of nobody knows what, back nobody knows when: whoever answers grants something, and a 429 says more.
        if left == 0 && told.limit.is_none() && told.reset.is_none() && self.learned.is_none() {
            return;
        }
        let grant =
            told.limit.map_or_else(|| self.learned.map_or(left, |(grant, _)| grant.max(left)), bounded);
        self.learned = Some((grant, rate(grant, left, told.reset)));
        self.learned_at = now;
        let free = scaled(left.saturating_sub(self.in_flight));
        self.balance = if self.configured.is_some() { self.balance.min(free) } else { free };
    }

    pub(super) fn reconfigure(&mut self, limit: Option<u64>) {
        self.configured = limit.map(bounded);
        let fresh = Bucket::new(limit).balance;
        self.balance = if self.shape().is_some() { self.balance.min(fresh) } else { fresh };
    }

    pub(super) fn left(&self, now: Micros) -> Option<u64> {
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

pub(super) fn scaled(units: i64) -> i128 {
    i128::from(units) * i128::from(MINUTE_US)
}
