//! One attempt of a replayed call.

use std::time::Duration;

use mainstay_base::{Class, Micros};

use super::{recording::Outcome, target::Share};

#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    /// Index into the model's targets.
    pub(super) place: usize,
    /// Index into the replay's targets.
    pub(super) target: usize,
    pub(super) share: Share,
    pub(super) started: Micros,
    pub(super) outcome: Outcome,
    pub(super) is_over: bool,
}

/// What of an outcome fits into the limits: one that would come too late is a time-out. `silence` is the target's own
/// limit; `until_content` and `until_end` are what the call has left.
pub(super) fn bounded(
    outcome: Outcome,
    streams: bool,
    silence: Duration,
    until_content: Duration,
    until_end: Duration,
) -> Outcome {
    let comes_after = outcome.first_token.unwrap_or(outcome.took);
    let may_wait = silence.min(until_content).min(until_end);
    if comes_after > may_wait {
        let class = match (silence <= until_content.min(until_end), streams) {
            (true, true) => Class::FirstTokenTimeout,
            (true, false) => Class::FirstByteTimeout,
            (false, _) => Class::TotalTimeout,
        };
        return Outcome { class: Some(class), first_token: None, took: may_wait, ..outcome };
    }
    match outcome.class {
        _ if outcome.took > until_end => {
            Outcome { class: Some(Class::TotalTimeout), took: until_end, ..outcome }
        }
        // Recorded under another limit: the answer did not come then, and nobody knows that it would come now.
        Some(Class::FirstTokenTimeout | Class::FirstByteTimeout) => Outcome { took: may_wait, ..outcome },
        _ => outcome,
    }
}
