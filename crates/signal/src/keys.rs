//! Which of a provider's keys a call uses.

use std::time::Duration;

use mainstay_base::{Class, Micros};

/// A key that the provider refuses rests until somebody looked at it, or so long.
pub const BAD_KEY_RESTS: Duration = Duration::from_secs(600);
/// A quota that is used up: no wait of seconds helps.
pub const QUOTA_RESTS: Duration = Duration::from_secs(300);
/// A limited key, when the provider does not say for how long; and the bounds of what it may say.
pub const LIMITED_RESTS: Duration = Duration::from_secs(5);
pub const LEAST_REST: Duration = Duration::from_secs(1);
pub const MOST_REST: Duration = Duration::from_secs(60);

/// One key as its provider's shell sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Refused or limited: out of use until then.
    pub rests_until: Option<Micros>,
    pub in_flight: u32,
    /// This call had it already.
    pub was_tried: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Key(usize),
    /// All rest that were not tried: this one wakes first.
    Wait {
        key: usize,
        until: Micros,
    },
    /// The provider has no keys, or the call had them all.
    Nobody,
}

/// The key with the fewest calls in flight, in turn among equals. `turn` is any number that grows with each call.
pub fn choose(count: usize, seen: impl Fn(usize) -> Seen, turn: usize, now: Micros) -> Choice {
    let in_turn = || (0..count).map(|step| (turn % count + step) % count).map(|key| (key, seen(key)));
    let untried = || in_turn().filter(|(_, seen)| !seen.was_tried);
    let awake = untried().filter(|(_, seen)| seen.rests_until.is_none_or(|until| until <= now));
    if let Some((key, _)) = awake.min_by_key(|(_, seen)| seen.in_flight) {
        return Choice::Key(key);
    }
    let first_up = untried().filter_map(|(key, seen)| Some((key, seen.rests_until?)));
    let first_up = first_up.min_by_key(|(_, until)| *until);
    first_up.map_or(Choice::Nobody, |(key, until)| Choice::Wait { key, until })
}

/// How long a key rests after a failure of this class; `None`: it is not the key's doing.
pub fn rest(class: Class, retry_after: Option<Duration>) -> Option<Duration> {
    match class {
        Class::BadKey => Some(BAD_KEY_RESTS),
        Class::QuotaExhausted => Some(QUOTA_RESTS),
        Class::RateLimited => Some(retry_after.unwrap_or(LIMITED_RESTS).clamp(LEAST_REST, MOST_REST)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_000);

    fn key(rests_until: Option<i64>, in_flight: u32, was_tried: bool) -> Seen {
        Seen { rests_until: rests_until.map(Micros), in_flight, was_tried }
    }

    #[test]
    fn the_least_busy_key_is_taken_in_turn_and_a_resting_or_tried_one_is_not() {
        let idle = key(None, 0, false);
        for (keys, turn, expected) in [
            (vec![], 0, Choice::Nobody),
            (vec![idle, idle, idle], 0, Choice::Key(0)),
            (vec![idle, idle, idle], 4, Choice::Key(1)),
            (vec![idle, idle, idle], usize::MAX, Choice::Key(usize::MAX % 3)),
            (vec![key(None, 3, false), key(None, 1, false)], 0, Choice::Key(1)),
            (vec![key(Some(2_000), 0, false), key(None, 9, false)], 0, Choice::Key(1)),
            // A rest that is over is none.
            (vec![key(Some(1_000), 0, false), key(None, 9, false)], 0, Choice::Key(0)),
            (
                vec![key(Some(3_000), 0, false), key(Some(2_000), 0, false)],
                0,
                Choice::Wait { key: 1, until: Micros(2_000) },
            ),
            (
                vec![key(None, 0, true), key(Some(2_000), 0, false)],
                0,
                Choice::Wait { key: 1, until: Micros(2_000) },
            ),
            (vec![key(None, 0, true)], 0, Choice::Nobody),
        ] {
            assert_eq!(choose(keys.len(), |index| keys[index], turn, NOW), expected, "{keys:?}");
        }
    }

    #[test]
    fn keys_rest_only_for_what_is_theirs() {
        for class in Class::ALL {
            let is_the_keys = class.fault() == mainstay_base::Fault::Key;
            assert_eq!(rest(class, None).is_some(), is_the_keys, "{class:?}");
        }
        let after = |seconds| rest(Class::RateLimited, Some(Duration::from_secs(seconds)));
        assert_eq!([0, 7, 3600].map(after), [1, 7, 60].map(|seconds| Some(Duration::from_secs(seconds))));
    }
}
