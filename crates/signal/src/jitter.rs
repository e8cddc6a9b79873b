//! Waits between tries.

use std::time::Duration;

/// Full jitter: uniform in `0..min(cap, base × 2^attempt)`, by `chance` in `0..1`. The first wait is attempt 0.
///
/// After Brooker, *Exponential Backoff And Jitter* (AWS, 2015): of the variants it spreads colliding callers best.
pub fn full(base: Duration, cap: Duration, attempt: u32, chance: f64) -> Duration {
    let factor = 1_u32.checked_shl(attempt).unwrap_or(u32::MAX);
    let most = base.saturating_mul(factor).min(cap);
    // Also for a chance that is not a number.
    let chance = if chance > 0.0 { chance.min(1.0) } else { 0.0 };
    most.mul_f64(chance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::Chance;

    /// χ² over 20 bins of 20,000 waits; 43.8 is exceeded by chance once in a thousand runs (19 degrees of freedom).
    fn chi_squared(wait: impl Fn(f64) -> Duration, most: Duration) -> f64 {
        let (mut bins, mut chance, samples) = ([0_u32; 20], Chance::new(7), 20_000);
        for _ in 0..samples {
            let share = wait(chance.draw()).as_secs_f64() / most.as_secs_f64();
            bins[((share * 20.0) as usize).min(19)] += 1;
        }
        let expected = f64::from(samples) / 20.0;
        bins.iter().map(|seen| (f64::from(*seen) - expected).powi(2) / expected).sum()
    }

    #[test]
    fn full_jitter_is_uniform_and_equal_jitter_is_not() {
        let (base, cap) = (Duration::from_millis(200), Duration::from_secs(5));
        let most = Duration::from_millis(800);
        assert!(chi_squared(|chance| full(base, cap, 2, chance), most) < 43.8);
        // The broken twin: half of the wait is fixed.
        assert!(chi_squared(|chance| most / 2 + full(base, cap, 1, chance), most) > 1000.0);
    }

    #[test]
    fn waits_double_up_to_the_cap_for_any_attempt_and_chance() {
        let (base, cap) = (Duration::from_millis(200), Duration::from_secs(5));
        for (attempt, most_ms) in
            [(0, 200), (1, 400), (4, 3200), (5, 5000), (31, 5000), (32, 5000), (u32::MAX, 5000)]
        {
            assert_eq!(full(base, cap, attempt, 1.0), Duration::from_millis(most_ms));
            assert_eq!(full(base, cap, attempt, f64::NAN), Duration::ZERO);
        }
    }
}
