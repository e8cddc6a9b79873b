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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_outlier_stands_back_and_nobody_else() {
        let settings = Ejection::default();
        for (seen, expected) in [
            (vec![(100, 50), (100, 1)], vec![true, false]),
            // Too few calls to judge; nothing to compare with; not far enough above the other.
            (vec![(19, 19), (100, 1)], vec![false, false]),
            (vec![(100, 90)], vec![false]),
            (vec![(100, 90), (0, 0)], vec![false, false]),
            (vec![(100, 50), (100, 25)], vec![false, false]),
            // All fail alike: there is no outlier.
            (vec![(100, 90), (100, 90), (100, 90)], vec![false, false, false]),
            // Only half may go: the worst does.
            (vec![(100, 70), (100, 90), (100, 0)], vec![false, true, false]),
            (vec![], vec![]),
        ] {
            assert_eq!(eject(&seen, &settings), expected, "{seen:?}");
        }
    }

    /// Whether a chain keeps its floor.
    fn keeps_floor(ejected: &[bool], max_share: f64) -> bool {
        let gone = ejected.iter().filter(|is_out| **is_out).count();
        gone as f64 <= max_share * ejected.len() as f64 && (ejected.is_empty() || gone < ejected.len())
    }

    proptest! {
        #[test]
        fn the_floor_is_kept(seen in prop::collection::vec((0_u32..200, 0_u32..200), 0..8), max_share in 0.0_f64..=1.0, excess in -0.5_f64..0.5) {
            let settings = Ejection { max_share, excess, min_calls: 1, ..Ejection::default() };
            let ejected = eject(&seen, &settings);
            prop_assert!(keeps_floor(&ejected, max_share), "{ejected:?}");
        }
    }

    #[test]
    fn without_the_floor_it_would_not_be_kept() {
        let settings = Ejection { excess: -1.0, min_calls: 1, ..Ejection::default() };
        let seen = [(10, 10), (10, 10)];
        // The broken twin: all outliers go.
        let all: Vec<bool> = (0..2).map(|index| excess(&seen, index, &settings).is_some()).collect();
        assert!(!keeps_floor(&all, settings.max_share));
        assert!(keeps_floor(&eject(&seen, &settings), settings.max_share));
    }
}
