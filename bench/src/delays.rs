//! A histogram of delays with buckets of 1/16 of a power of two: percentiles within 6 %, in fixed memory.

const STEPS_PER_DOUBLING: usize = 16;
const DOUBLINGS: usize = 40;

#[derive(Clone, Debug)]
pub struct Delays {
    buckets: Vec<u64>,
    count: u64,
    max_us: u64,
}

impl Default for Delays {
    fn default() -> Delays {
        Delays { buckets: vec![0; STEPS_PER_DOUBLING * DOUBLINGS], count: 0, max_us: 0 }
    }
}

impl Delays {
    pub fn add(&mut self, delay_us: u64) {
        let bucket = bucket(delay_us).min(self.buckets.len() - 1);
        self.buckets[bucket] += 1;
        self.count += 1;
        self.max_us = self.max_us.max(delay_us);
    }

    pub fn merge(&mut self, other: &Delays) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max_us = self.max_us.max(other.max_us);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    /// The delay below which `share` (0 to 1) of all lie, in microseconds; 0 when there are none.
    pub fn percentile_us(&self, share: f64) -> u64 {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return upper_bound(index).min(self.max_us);
            }
        }
        self.max_us
    }
}

fn bucket(delay_us: u64) -> usize {
    ((delay_us.max(1) as f64).log2() * STEPS_PER_DOUBLING as f64) as usize
}

fn upper_bound(index: usize) -> u64 {
    ((index + 1) as f64 / STEPS_PER_DOUBLING as f64).exp2() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_six_per_cent() {
        let mut delays = Delays::default();
        (1..=100_000).for_each(|delay| delays.add(delay));
        for (share, exact) in [(0.5, 50_000.0), (0.99, 99_000.0)] {
            let found = delays.percentile_us(share) as f64;
            assert!((found / exact - 1.0).abs() < 0.06, "{share}: {found}");
        }
        assert_eq!(delays.max_us(), 100_000);
    }
}
