//! Whether those who are told of alerts are reached.

use std::time::Duration;

use mainstay_base::Micros;
use mainstay_store::Waiting;

use super::{State, decide::Verdict};

/// A receiver that has taken nothing for so long is not only slow.
const DOWN_AFTER: Duration = Duration::from_secs(15 * 60);
/// So much of an error is shown.
const MAX_ERROR_CHARS: usize = 300;

/// A configured receiver, and what the outbox says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiverFacts {
    pub name: String,
    /// `None`: nothing waits for it, and the last notice to it was taken.
    pub waiting: Option<Waiting>,
    pub at: Option<Micros>,
}

/// One that gave a notice up, or has failed for long, is down: somebody else has to know what it does not.
pub(super) fn verdict(facts: &ReceiverFacts, now: Micros) -> Verdict {
    let Some(Waiting { waiting, failing_since, given_up_at, last_error, .. }) = &facts.waiting else {
        return Verdict::new(State::Ok, "no notice waits", facts.at);
    };
    let Some(since) = [*failing_since, *given_up_at].into_iter().flatten().min() else {
        return Verdict::new(State::Ok, format!("{waiting} notices on their way"), facts.at);
    };
    let error: String =
        last_error.as_deref().unwrap_or("no reason is known").chars().take(MAX_ERROR_CHARS).collect();
    let (state, what) = match given_up_at {
        Some(_) => (State::Down, "it has not taken a notice, which is not tried again"),
        None if now.since(since) >= DOWN_AFTER => (State::Down, "it takes no notice"),
        None => (State::Degraded, "it did not take a notice, which is tried again"),
    };
    let minutes = now.since(since).as_secs() / 60;
    Verdict::new(state, format!("{what}: {error}; {waiting} wait, since {minutes} min"), facts.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_fails_is_told_apart_from_one_that_is_slow_and_from_one_that_gave_up() {
        const NOW: Micros = Micros(1_800_000_000_000_000);
        let ago = |seconds| Some(NOW - Duration::from_secs(seconds));
        for (failing_since, given_up_at, expected, says) in [
            (None, None, State::Ok, "2 notices on their way"),
            (ago(30), None, State::Degraded, "tried again: answered 500; 2 wait, since 0 min"),
            (ago(1_000), None, State::Down, "it takes no notice: answered 500; 2 wait, since 16 min"),
            (None, ago(30), State::Down, "not tried again: answered 500"),
        ] {
            let last_error = Some("answered 500".to_owned());
            let waiting =
                Some(Waiting { waiting: 2, failing_since, given_up_at, last_error, ..Waiting::default() });
            let facts = ReceiverFacts { name: "chat".to_owned(), waiting, at: Some(NOW) };
            let Verdict { state, reason, .. } = verdict(&facts, NOW);
            assert!(state == expected && reason.contains(says), "{state:?} {reason}");
        }
        assert_eq!(verdict(&ReceiverFacts::default(), NOW).state, State::Ok);
    }
}
