//! Outlier ejection: targets that fail much more than the others of their chain stand back for a while.
//!
//! After Envoy's outlier detection by success rate, with its `max_ejection_percent`; the share is compared with the mean
//! of the others instead of mean − k·σ, because chains have two or three targets, of which σ says nothing.

use mainstay_base::snapshot::Ejection;

/// Which of a chain's targets stand back, given the calls and failures of each. Never more than `max_share` of them
/// (rounded down), and never the last one.
pub fn eject(seen: &[(u32, u32)], settings: &Ejection) -> Vec<bool> {
    let mut outliers: Vec<(f64, usize)> =
        (0..seen.len()).filter_map(|index| Some((excess(seen, index, settings)?, index))).collect();
    outliers.sort_by(|left, right| right.0.total_cmp(&left.0));
    let mut ejected = vec![false; seen.len()];
    for (_, index) in outliers.into_iter().take(most(seen.len(), settings.max_share)) {
        ejected[index] = true;
    }
    ejected
}

/// How far a target's share of failures is above the mean of the others, if that is too far.
fn excess(seen: &[(u32, u32)], index: usize, settings: &Ejection) -> Option<f64> {
    let (calls, failures) = seen[index];
    if calls < settings.min_calls.max(1) {
        return None;
    }
    let others = || seen.iter().enumerate().filter(|(other, (calls, _))| *other != index && *calls > 0);
    let known = others().count();
    if known == 0 {
        return None;
    }
    let mean = others().map(|(_, other)| share(*other)).sum::<f64>() / known as f64;
    let excess = share((calls, failures)) - mean;
    (excess > settings.excess).then_some(excess)
}

fn share((calls, failures): (u32, u32)) -> f64 {
    f64::from(failures.min(calls)) / f64::from(calls.max(1))
}

fn most(targets: usize, max_share: f64) -> usize {
    let most = (targets as f64 * max_share.clamp(0.0, 1.0)).floor() as usize;
    most.min(targets.saturating_sub(1))
}
