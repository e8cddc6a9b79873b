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
        let wanted = (q.clamp(0.0, 1.0) * self.total as f64).max(1.0);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen as f64 >= wanted {
                return Some(middle(bucket));
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
