//! How targets of one rank and priority are ordered.
//!
//! * `Ordered`: as written.
//! * `Weighted`: without replacement, by weight: target i gets the key −ln(u)/wᵢ and the smallest comes first
//!   (Efraimidis and Spirakis 2006; the first place falls to i with probability wᵢ/Σw).
//! * `LeastLatency`, `LeastBusy`: power of two choices (Mitzenmacher 2001): of two drawn by chance the cheaper comes
//!   first, which keeps gateways that do not know of each other from rushing to the same target; the rest by cost, for
//!   fallbacks. The cost is peak EWMA × (in flight + 1), as in Finagle, or (in flight + 1) / weight.

use mainstay_base::snapshot::{ModelTarget, Strategy};

use super::{Placed, Seen};

/// Smaller comes first.
pub(super) fn score(
    strategy: Strategy,
    target: &ModelTarget,
    seen: &Seen,
    chance: &mut impl FnMut() -> f64,
) -> f64 {
    let weight = f64::from(target.weight.max(1));
    let in_flight = f64::from(seen.in_flight);
    match strategy {
        Strategy::Ordered => 0.0,
        Strategy::Weighted => -chance().max(f64::MIN_POSITIVE).ln() / weight,
        Strategy::LeastLatency => match seen.mean_first_token {
            Some(mean) => mean.as_secs_f64() * (in_flight + 1.0),
            // One call explores; the others wait for what it finds.
            None if seen.in_flight == 0 => 0.0,
            None => f64::MAX,
        },
        Strategy::LeastBusy => (in_flight + 1.0) / weight,
    }
}

/// Puts the better of two by chance first in the leading group; the group is sorted by cost already.
pub(super) fn choose_of_two(strategy: Strategy, placed: &mut [Placed], chance: &mut impl FnMut() -> f64) {
    if !matches!(strategy, Strategy::LeastLatency | Strategy::LeastBusy) {
        return;
    }
    let Some(first) = placed.first().copied() else { return };
    let group = placed
        .iter()
        .take_while(|other| (other.rank, other.priority) == (first.rank, first.priority))
        .count();
    if group < 2 {
        return;
    }
    let one = below(group, chance());
    let other = (one + 1 + below(group - 1, chance())) % group;
    let winner = match placed[one].score.total_cmp(&placed[other].score) {
        std::cmp::Ordering::Less => one,
        std::cmp::Ordering::Greater => other,
        // Equals share by the chance that drew them, not by their place.
        std::cmp::Ordering::Equal => one,
    };
    placed[..=winner].rotate_right(1);
}

fn below(count: usize, chance: f64) -> usize {
    ((chance * count as f64) as usize).min(count - 1)
}
