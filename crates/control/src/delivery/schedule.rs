//! What an answer means and when to come again. Pure.

use std::time::Duration;

use mainstay_base::Micros;

/// The pause after each failed attempt; after the last attempt that has a pause, the delivery is given up.
pub const PAUSES: &[Duration] = &[
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(3600),
    Duration::from_secs(3 * 3600),
    Duration::from_secs(6 * 3600),
    Duration::from_secs(12 * 3600),
];
/// Older than this, it is not tried again whatever its attempts.
pub const MAX_AGE: Duration = Duration::from_secs(48 * 3600);
/// A receiver that asks for more time than this gets this much.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// A notice is tried more often than a callback, because somebody has to know; the last pause is that of all later tries.
pub const NOTICE_PAUSES: &[Duration] = &[
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(2 * 60),
    Duration::from_secs(5 * 60),
];
/// A notice that is older tells nobody anything.
pub const MAX_NOTICE_AGE: Duration = Duration::from_secs(24 * 3600);
/// The pause is up to a fifth longer, so that deliveries that failed together do not come back together.
const JITTER_PARTS: u64 = 5;

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    /// The receiver wants no more of this (410), or it can never be sent.
    Refused(String),
    Failed {
        error: String,
        retry_after: Option<Duration>,
    },
}

/// What an HTTP answer means: 2xx delivered, 410 stop, anything else a failure that may pass. Redirects are failures
/// too: following one would lead around the address rule.
pub fn verdict(status: u16, retry_after: Option<Duration>) -> Verdict {
    match status {
        200..=299 => Verdict::Delivered,
        410 => Verdict::Refused("the receiver answered 410 Gone and is not called again for this".to_owned()),
        300..=399 => {
            Verdict::Failed { error: format!("answered {status}; redirects are not followed"), retry_after }
        }
        _ => Verdict::Failed { error: format!("answered {status}"), retry_after },
    }
}

/// Whole seconds, or an HTTP date.
pub fn retry_after(header: &str, now: Micros) -> Option<Duration> {
    if let Ok(seconds) = header.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(header.trim()).ok()?.timestamp().as_microsecond();
    Some(Micros(at).since(now))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    At(Micros),
    GiveUp,
}

/// When to come again after a failure. `attempts` counts those begun, this one included; `random` is any number.
pub fn next(
    attempts: i64,
    created_at: Micros,
    retry_after: Option<Duration>,
    random: u64,
    now: Micros,
) -> Next {
    let index = usize::try_from(attempts.max(1) - 1).unwrap_or(usize::MAX);
    let Some(pause) = PAUSES.get(index) else { return Next::GiveUp };
    after(*pause, MAX_AGE, created_at, retry_after, random, now)
}

/// As [`next`], for a notice of an alert.
pub fn next_notice(
    attempts: i64,
    created_at: Micros,
    retry_after: Option<Duration>,
    random: u64,
    now: Micros,
) -> Next {
    let index = usize::try_from(attempts.max(1) - 1).unwrap_or(usize::MAX);
    let pause = NOTICE_PAUSES[index.min(NOTICE_PAUSES.len() - 1)];
    after(pause, MAX_NOTICE_AGE, created_at, retry_after, random, now)
}

fn after(
    pause: Duration,
    max_age: Duration,
    created_at: Micros,
    retry_after: Option<Duration>,
    random: u64,
    now: Micros,
) -> Next {
    let spread_us = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX) / JITTER_PARTS;
    let jitter = Duration::from_micros(random.checked_rem(spread_us.saturating_add(1)).unwrap_or(0));
    let asked = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
    let at = now + (pause + jitter).max(asked);
    if at.since(created_at) > max_age { Next::GiveUp } else { Next::At(at) }
}
