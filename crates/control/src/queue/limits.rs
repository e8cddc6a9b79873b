//! How long a cause must stand before it is a verdict.

use std::time::Duration;

/// Chosen so that a worker that is stuck is named within a minute when it is asked every 15 s, and so that no task time or
/// burst of a healthy deployment reaches them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Messages in a queue that nobody consumes.
    pub no_consumer: Duration,
    /// The same message next to be taken, and a consumer with a free place.
    pub takes_nothing: Duration,
    /// No answer to questions, in which time a heartbeat is missed several times over.
    pub silent: Duration,
    /// A heartbeat older than this is missing; they come every 2 s.
    pub heartbeat: Duration,
    /// Rounds without an answer, for a worker that sends no heartbeats.
    pub silent_rounds: u32,
    /// Every place busy, and more coming than going.
    pub saturated: Duration,
    /// The wait in a queue from which on it is worth a word.
    pub long_wait: Duration,
    /// One task running; the longest run that Dify allows and a margin where that is known.
    pub longest_task: Duration,
    /// A workspace's list that does not move.
    pub tenant_list: Duration,
    /// A message held by nobody.
    pub unacked: Duration,
    /// Beat's schedule: a tick each.
    pub tick: Duration,
    /// Without looks for so long, what was known is worth nothing.
    pub longest_gap: Duration,
}

impl Limits {
    /// For a command that looks twice and not for long: what needs time to be told is not told.
    pub fn at_once() -> Limits {
        let never = Duration::MAX;
        Limits {
            no_consumer: Duration::ZERO,
            takes_nothing: never,
            silent: Duration::ZERO,
            silent_rounds: 2,
            saturated: never,
            tenant_list: Duration::ZERO,
            tick: Duration::from_secs(3_600),
            ..Limits::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            no_consumer: Duration::from_secs(30),
            takes_nothing: Duration::from_secs(40),
            silent: Duration::from_secs(20),
            heartbeat: Duration::from_secs(15),
            silent_rounds: 4,
            saturated: Duration::from_secs(60),
            long_wait: Duration::from_secs(60),
            longest_task: Duration::from_secs(3_600),
            tenant_list: Duration::from_secs(120),
            unacked: Duration::from_secs(300),
            tick: Duration::from_secs(60),
            longest_gap: Duration::from_secs(120),
        }
    }
}
