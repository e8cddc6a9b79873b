//! How long a target takes: quantiles and a mean, in bounded memory, of which the past fades.
//!
//! Quantiles come from logarithmic buckets with 16 steps an octave (the layout of HdrHistogram, Tene 2012): what is told
//! is the middle of a bucket, so it is off by at most 1/32 (3.2 %) between 64 µs and 71 min. Every 30 s all counts are
//! halved, so that a sample weighs half after half a minute and nothing after a quarter of an hour. About 1.7 KB.
//!
//! The mean is a *peak EWMA* (Finagle, `PeakEwma`): it jumps up to a longer time at once and comes down by
//! `mean · w + time · (1 − w)`, `w = exp(−dt / 10 s)`; while nothing is recorded it fades, so that a target that was slow once
//! is tried again.

use std::time::Duration;

use mainstay_base::Micros;

/// Steps in an octave, as a power of two.
const STEP_BITS: u32 = 4;
const STEPS: usize = 1 << STEP_BITS;
/// Below 2⁶ µs and above 2³² µs nothing is told apart.
const LOWEST_BIT: u32 = 6;
const HIGHEST_BIT: u32 = 32;
const BUCKETS: usize = (HIGHEST_BIT - LOWEST_BIT) as usize * STEPS;
/// A sample counts so much, so that it can be halved.
const WEIGHT: u32 = 1 << 10;
const HALVE_EVERY: Duration = Duration::from_secs(30);
const MEAN_FADES_IN: Duration = Duration::from_secs(10);
/// The relative error of a quantile.
pub const MAX_ERROR: f64 = 1.0 / 32.0;

/// One target's times.
#[derive(Clone, Debug)]
pub struct Latency {
    counts: [u32; BUCKETS],
    total: u64,
    halved_at: Micros,
    mean_us: f64,
    mean_at: Micros,
    has_mean: bool,
}

impl Default for Latency {
    fn default() -> Latency {
        let zero = Micros::default();
        Latency {
            counts: [0; BUCKETS],
            total: 0,
            halved_at: zero,
            mean_us: 0.0,
            mean_at: zero,
            has_mean: false,
        }
    }
}

impl Latency {
    pub fn record(&mut self, took: Duration, now: Micros) {
        self.fade(now);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let count = &mut self.counts[bucket(us)];
        if let Some(more) = count.checked_add(WEIGHT) {
            *count = more;
            self.total += u64::from(WEIGHT);
        }
        self.record_mean(us as f64, now);
    }

    fn record_mean(&mut self, us: f64, now: Micros) {
        let faded = self.faded_mean(now);
        self.mean_us = if us > faded { us } else { faded.max(self.weighted(us, now)) };
        (self.mean_at, self.has_mean) = (now, true);
    }

    fn weighted(&self, us: f64, now: Micros) -> f64 {
        let keep = keep(now.since(self.mean_at));
        self.mean_us * keep + us * (1.0 - keep)
    }

    /// The time that the share `q` of the calls took at most. `None`: nothing is known (any more).
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        if self.total == 0 {
            return None;
        }
        let wanted = (q.clamp(0.0, 1.0) * self.total as f64).max(1.0).ceil() as u64;
        let mut seen = 0;
        // Each call asks: an octave whose sum falls short is passed over as a whole.
        for (octave, counts) in self.counts.chunks(STEPS).enumerate() {
            let all: u64 = counts.iter().map(|count| u64::from(*count)).sum();
            if seen + all < wanted {
                seen += all;
                continue;
            }
            for (step, count) in counts.iter().enumerate() {
                seen += u64::from(*count);
                if seen >= wanted {
                    return Some(middle(octave * STEPS + step));
                }
            }
        }
        None
    }

    /// The peak EWMA. `None`: nothing was ever recorded.
    pub fn mean(&self, now: Micros) -> Option<Duration> {
        self.has_mean.then(|| Duration::from_micros(self.faded_mean(now) as u64))
    }

    fn faded_mean(&self, now: Micros) -> f64 {
        self.mean_us * keep(now.since(self.mean_at))
    }

    fn fade(&mut self, now: Micros) {
        let halvings = now.since(self.halved_at).as_micros() / HALVE_EVERY.as_micros();
        if halvings == 0 {
            return;
        }
        let shift = u32::try_from(halvings).unwrap_or(u32::MAX);
        self.total = 0;
        for count in &mut self.counts {
            *count = count.checked_shr(shift).unwrap_or(0);
            self.total += u64::from(*count);
        }
        self.halved_at = now;
    }
}

fn keep(idle: Duration) -> f64 {
    (-idle.as_secs_f64() / MEAN_FADES_IN.as_secs_f64()).exp()
}

fn bucket(us: u64) -> usize {
    let us = us.clamp(1 << LOWEST_BIT, (1 << HIGHEST_BIT) - 1);
    let octave = us.ilog2();
    let step = (us >> (octave - STEP_BITS)) as usize - STEPS;
    (octave - LOWEST_BIT) as usize * STEPS + step
}

fn middle(bucket: usize) -> Duration {
    let (octave, step) = (bucket / STEPS, bucket % STEPS);
    let width = 1_u64 << (octave as u32 + LOWEST_BIT - STEP_BITS);
    Duration::from_micros((STEPS + step) as u64 * width + width / 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Micros = Micros(1_000_000_000);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    proptest! {
        #[test]
        fn a_quantile_is_off_by_at_most_one_part_in_32(mut us in prop::collection::vec(64_u64..4_000_000_000, 1..200), q in 0.0_f64..=1.0) {
            let mut latency = Latency::default();
            us.iter().for_each(|us| latency.record(Duration::from_micros(*us), START));
            us.sort_unstable();
            let rank = ((q * us.len() as f64).ceil() as usize).max(1);
            let told = latency.quantile(q).unwrap().as_micros() as f64;
            let near = [rank.saturating_sub(2), rank - 1, rank.min(us.len() - 1)];
            let error = near.map(|rank| (told / us[rank] as f64 - 1.0).abs()).into_iter().fold(f64::MAX, f64::min);
            prop_assert!(error <= MAX_ERROR + 1e-9, "{told} for {}", us[rank - 1]);
        }
    }

    #[test]
    fn the_past_fades() {
        let mut latency = Latency::default();
        assert_eq!((latency.quantile(0.5), latency.mean(START)), (None, None));
        (0..100).for_each(|_| latency.record(ms(10_000), START));
        (0..100).for_each(|_| latency.record(ms(100), START + Duration::from_secs(60)));
        // 25 of the old weigh against 100 of the new.
        let near = |told: Option<Duration>, ms: f64| {
            (told.unwrap().as_secs_f64() * 1000.0 / ms - 1.0).abs() <= MAX_ERROR
        };
        assert!(near(latency.quantile(0.79), 100.0));
        assert!(near(latency.quantile(0.81), 10_000.0));
        latency.record(ms(5), START + Duration::from_secs(3600));
        assert!(near(latency.quantile(0.99), 5.0));
    }

    #[test]
    fn the_mean_jumps_up_at_once_comes_down_slowly_and_fades_when_nothing_is_asked() {
        let mut latency = Latency::default();
        latency.record(ms(100), START);
        latency.record(ms(2000), START);
        assert_eq!(latency.mean(START), Some(ms(2000)));
        latency.record(ms(100), START + Duration::from_secs(1));
        let down = latency.mean(START + Duration::from_secs(1)).unwrap();
        // 2000 · e^(−0.1) + 100 · (1 − e^(−0.1)) = 1819.2
        assert_eq!(down.as_millis(), 1819);
        assert!(latency.mean(START + Duration::from_secs(60)).unwrap() < ms(10));
    }

    #[test]
    fn nothing_is_too_short_too_long_or_too_often() {
        let mut latency = Latency::default();
        for us in [0, 1, u64::MAX] {
            latency.record(Duration::from_micros(us), START);
        }
        // A full bucket stays full.
        latency.counts[7] = u32::MAX - 1;
        latency.record(Duration::from_micros(bucket_start(7)), Micros(0));
        assert!(latency.quantile(1.0).is_some());
        assert!(size_of::<Latency>() < 1800, "{}", size_of::<Latency>());
    }

    fn bucket_start(bucket: usize) -> u64 {
        middle(bucket).as_micros() as u64
    }
}
