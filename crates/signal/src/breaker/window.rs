//! What a breaker remembers: counts by time, and the latest outcomes one by one.

use std::time::Duration;

use mainstay_base::Micros;

const BUCKETS: usize = 10;

/// The calls of a breaker's window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub calls: u32,
    pub failures: u32,
    pub slow: u32,
}

/// A sliding window in ten buckets: what it holds is between 9/10 of the window and the whole old.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    bucket_us: i64,
    /// The number of the newest bucket, counted from time zero.
    newest: i64,
    buckets: [Counts; BUCKETS],
}

impl Window {
    pub(super) fn new(window: Duration) -> Window {
        let bucket_us = i64::try_from(window.as_micros() / BUCKETS as u128).unwrap_or(i64::MAX).max(1);
        Window { bucket_us, newest: 0, buckets: [Counts::default(); BUCKETS] }
    }

    pub(super) fn add(&mut self, now: Micros, failed: bool, slow: bool) {
        // A clock that went back counts into the newest bucket.
        let number = now.0.div_euclid(self.bucket_us).max(self.newest);
        for empty in (self.newest + 1..=number).rev().take(BUCKETS) {
            self.buckets[place(empty)] = Counts::default();
        }
        self.newest = number;
        let bucket = &mut self.buckets[place(number)];
        bucket.calls = bucket.calls.saturating_add(1);
        bucket.failures = bucket.failures.saturating_add(u32::from(failed));
        bucket.slow = bucket.slow.saturating_add(u32::from(slow));
    }

    pub(super) fn counts(&self, now: Micros) -> Counts {
        let number = now.0.div_euclid(self.bucket_us).max(self.newest);
        let oldest = number - BUCKETS as i64 + 1;
        let mut sum = Counts::default();
        for bucket in (self.newest - BUCKETS as i64 + 1).max(oldest)..=self.newest {
            let Counts { calls, failures, slow } = self.buckets[place(bucket)];
            sum.calls = sum.calls.saturating_add(calls);
            sum.failures = sum.failures.saturating_add(failures);
            sum.slow = sum.slow.saturating_add(slow);
        }
        sum
    }

    pub(super) fn clear(&mut self) {
        self.buckets = [Counts::default(); BUCKETS];
    }
}

fn place(number: i64) -> usize {
    number.rem_euclid(BUCKETS as i64) as usize
}

/// The latest outcomes, newest in the lowest bit. A long pause makes them old and forgotten.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recent {
    failed: u64,
    known: u32,
    latest: Micros,
}

/// A count of calls beyond this looks at the window only.
const MAX_RECENT: u32 = u64::BITS;

impl Recent {
    pub(super) fn add(&mut self, failed: bool, now: Micros, pause: Duration) {
        if now.since(self.latest) > pause {
            self.known = 0;
        }
        self.latest = now;
        self.failed = self.failed << 1 | u64::from(failed);
        self.known = (self.known + 1).min(MAX_RECENT);
    }

    /// Failures among the latest `many`; `None` when fewer are known.
    pub(super) fn failures(&self, many: u32) -> Option<u32> {
        if self.known < many {
            return None;
        }
        let mask = u64::MAX.checked_shr(MAX_RECENT - many).unwrap_or(0);
        Some((self.failed & mask).count_ones())
    }
}
