//! What is under way, when it is asked next, and what came of it before.

use std::time::Duration;

use mainstay_base::Micros;
use tokio::time::Instant;

use crate::health::{ProbeFacts, Read};

/// Idle peers are asked so often, those in trouble or out of rotation more often.
const PROBE_EVERY: Duration = Duration::from_secs(5);
pub(super) const PROBE_TROUBLED_EVERY: Duration = Duration::from_secs(2);

/// One question's bookkeeping.
pub(super) struct Question {
    pub(super) under_way: bool,
    next_at: Instant,
    failures: u32,
}

impl Question {
    pub(super) fn new() -> Question {
        Question { under_way: false, next_at: Instant::now(), failures: 0 }
    }

    /// Whether to ask now; if so, it is under way.
    pub(super) fn begin(&mut self, every: Duration) -> bool {
        let now = Instant::now();
        let due = !self.under_way && now >= self.next_at;
        if due {
            self.under_way = true;
            self.next_at = now + every;
        }
        due
    }

    pub(super) fn end<T>(&mut self, at: Micros, value: Result<T, String>) -> Read<T> {
        self.under_way = false;
        self.failures = if value.is_ok() { 0 } else { self.failures.saturating_add(1) };
        Read { at, value, failures: self.failures }
    }
}

pub(super) struct Probed {
    pub(super) question: Question,
    pub(super) facts: Option<ProbeFacts>,
}

impl Probed {
    pub(super) fn new() -> Probed {
        Probed { question: Question::new(), facts: None }
    }

    pub(super) fn end(&mut self, at: Micros, result: Result<(), String>) {
        self.question.under_way = false;
        let before = self.facts.take().unwrap_or_default();
        let (bad_in_a_row, good_in_a_row) = match &result {
            Ok(()) => (0, before.good_in_a_row.saturating_add(1)),
            Err(_) => (before.bad_in_a_row.saturating_add(1), 0),
        };
        self.facts = Some(ProbeFacts { at, error: result.err(), bad_in_a_row, good_in_a_row });
    }

    pub(super) fn is_well(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.error.is_none())
    }
}

pub(super) fn pace(probed: &Probed, in_trouble: bool) -> Duration {
    if in_trouble || !probed.is_well() { PROBE_TROUBLED_EVERY } else { PROBE_EVERY }
}
