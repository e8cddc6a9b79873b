//! A budget of extra attempts: each call earns a part of one, so that tries again can never become a storm.
//!
//! After Finagle's `RetryBudget` and Envoy's retry budget, without their window: what is saved up is bounded by `burst`
//! instead. Law: retries and hedges ≤ `burst` + `ratio` × calls.

/// One logical model's extra attempts (or hedges). A burst below 1 allows none.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What was let through of `wanted` extra attempts after each call.
    fn let_through(budget: &mut Budget, calls: &[u8]) -> u32 {
        let mut passed = 0;
        for wanted in calls {
            budget.earn();
            passed += (0..*wanted).filter(|_| budget.spend()).count() as u32;
        }
        passed
    }

    proptest! {
        #[test]
        fn retries_stay_within_burst_and_ratio(ratio in 0.0..0.5, burst in 1.0..20.0, calls in prop::collection::vec(0_u8..4, 0..400)) {
            let passed = let_through(&mut Budget::new(ratio, burst), &calls);
            prop_assert!(f64::from(passed) <= burst + ratio * calls.len() as f64 + 1e-6);
            // The broken twin: a budget that earns a whole retry a call breaks the law wherever one is wanted often.
            let greedy = let_through(&mut Budget::new(1.0, burst), &vec![1; 400]);
            prop_assert!(f64::from(greedy) > burst + ratio * 400.0);
        }
    }

    #[test]
    fn fallbacks_are_never_refused_but_retries_wait_until_they_are_paid() {
        let mut budget = Budget::new(0.1, 10.0);
        (0..15).for_each(|_| budget.owe());
        assert!(!budget.spend());
        assert_eq!(budget.refused(), 1);
        let calls = (1..).find(|_| {
            budget.earn();
            budget.can_spend()
        });
        assert_eq!(calls, Some(60), "5 of debt and 1 to spend, at a tenth a call");
    }

    #[test]
    fn debt_is_forgotten_beyond_twenty_bursts() {
        let mut budget = Budget::new(0.5, 2.0);
        (0..1_000_000).for_each(|_| budget.owe());
        let calls = (1..).find(|_| {
            budget.earn();
            budget.can_spend()
        });
        assert_eq!(calls, Some(82), "40 of debt and 1 to spend, at a half a call");
    }

    #[test]
    fn settings_that_are_no_numbers_allow_nothing() {
        let mut budget = Budget::new(f64::NAN, -1.0);
        budget.earn();
        assert!(!budget.spend());
    }
}
