//! The time and the chance that judgement is fed with.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use mainstay_base::{Clock, Micros};

/// Time that never goes back, and yet reads as wall time: the clock at the start plus what passed since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks {
    started_at: Micros,
    started: Instant,
}

impl Ticks {
    pub(crate) fn new(clock: &Clock) -> Ticks {
        Ticks { started_at: clock.now(), started: Instant::now() }
    }

    pub(crate) fn now(&self) -> Micros {
        self.at(Instant::now())
    }

    pub(crate) fn at(&self, instant: Instant) -> Micros {
        self.started_at + instant.saturating_duration_since(self.started)
    }
}

/// Uniform numbers in 0..1 for choices and jitter; nothing secret is made of them.
pub(crate) struct Chance(AtomicU64);

impl Chance {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    pub(crate) fn new() -> Chance {
        Chance(AtomicU64::new(RandomState::new().hash_one(0_u64)))
    }

    /// SplitMix64: one atomic addition, then mixing.
    pub(crate) fn next(&self) -> f64 {
        let mut bits = self.0.fetch_add(Chance::STEP, Ordering::Relaxed);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_stays_between_zero_and_one_and_spreads() {
        let chance = Chance::new();
        let drawn: Vec<f64> = (0..1000).map(|_| chance.next()).collect();
        assert!(drawn.iter().all(|value| (0.0..1.0).contains(value)));
        let mean = drawn.iter().sum::<f64>() / 1000.0;
        assert!((0.4..0.6).contains(&mean), "{mean}");
    }
}
