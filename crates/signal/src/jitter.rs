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
