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
