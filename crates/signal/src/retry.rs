//! A budget of extra attempts: each call earns a part of one, so that tries again can never become a storm.
//!
//! After Finagle's `RetryBudget` and Envoy's retry budget, without their window: what is saved up is bounded by `burst`
//! instead. Law: retries and hedges ≤ `burst` + `ratio` × calls.

/// One logical model's extra attempts (or hedges).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    ratio: f64,
    burst: f64,
    balance: f64,
    refused: u64,
}

/// Debt is remembered up to so many bursts.
const MAX_DEBT_BURSTS: f64 = 20.0;

impl Budget {
    /// Starts full.
    pub fn new(ratio: f64, burst: f64) -> Budget {
        let (ratio, burst) = (at_least_zero(ratio), at_least_zero(burst));
        Budget { ratio, burst, balance: burst, refused: 0 }
    }

    /// For each call, before its first attempt.
    pub fn earn(&mut self) {
        self.balance = (self.balance + self.ratio).min(self.burst);
    }

    /// One try of the same target, one hedge, or one fallback to a target whose breaker is not closed.
    pub fn spend(&mut self) -> bool {
        let can = self.can_spend();
        if can {
            self.balance -= 1.0;
        } else {
            self.refused = self.refused.saturating_add(1);
        }
        can
    }

    /// One fallback to a target whose breaker is closed: never refused, but retries and hedges pause until it is paid.
    pub fn owe(&mut self) {
        self.balance = (self.balance - 1.0).max(-MAX_DEBT_BURSTS * self.burst);
    }

    /// Whether [`Budget::spend`] would be allowed.
    pub fn can_spend(&self) -> bool {
        // Tenths do not add up exactly.
        self.balance >= 1.0 - 1e-9
    }

    /// Gives back what was spent and then not used.
    pub fn give_back(&mut self) {
        self.balance = (self.balance + 1.0).min(self.burst);
    }

    /// Takes new settings and keeps the balance within them.
    pub fn reconfigure(&mut self, ratio: f64, burst: f64) {
        (self.ratio, self.burst) = (at_least_zero(ratio), at_least_zero(burst));
        self.balance = self.balance.min(self.burst);
    }

    /// How often it said no.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

fn at_least_zero(number: f64) -> f64 {
    // Also for what is not a number.
    if number > 0.0 { number } else { 0.0 }
}
