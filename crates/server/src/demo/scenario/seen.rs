//! What a scenario waits for, what is missing of it, and its last word.

use std::time::Duration;

use super::{BOUND, Name};
use crate::{demo::traffic::Account, failure::Exit, output::note};

/// What has been seen so far, and when.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) detected: Option<Duration>,
    pub(super) alerted: Option<Duration>,
    pub(super) acted: Option<Duration>,
    pub(super) healthy: Option<Duration>,
    /// A provider or its key came back: the fault was taken away once what was done about it had proved itself.
    pub(super) mended: Option<Duration>,
    /// A breaker of the provider opened.
    pub(super) breaker: Option<Duration>,
    pub(super) account: Account,
    /// Requests that failed since the fault.
    pub(super) failed: u64,
}

impl Seen {
    pub(super) fn is_closed(&self, name: Name) -> bool {
        self.missing(name).is_empty()
    }

    fn missing(&self, name: Name) -> Vec<String> {
        let mut missing = Vec::new();
        for (what, at) in [
            ("detected", self.detected),
            ("alerted", self.alerted),
            ("acted", self.acted),
            ("healthy again", self.healthy),
            (
                "its breaker opened",
                self.breaker.or_else(|| (!name.opens_a_breaker()).then_some(Duration::ZERO)),
            ),
        ] {
            if at.is_none() {
                missing.push(what.to_owned());
            }
        }
        if self.healthy.is_some() && !self.account.is_settled() {
            let Account { submitted, finished, told, told_twice, by_status } = &self.account;
            missing.push(format!(
                "all runs accounted for ({submitted} submitted, {finished} finished, {told} called back, \
                 {told_twice} called back with two results; {by_status:?})"
            ));
        }
        if name.fails_no_call() && self.failed > 0 {
            missing.push(format!("every call answered ({} were not)", self.failed));
        }
        missing
    }
}

pub(super) fn conclude(name: Name, seen: &Seen) -> Exit {
    let missing = seen.missing(name);
    if missing.is_empty() {
        let Account { submitted, .. } = seen.account;
        let failed = match (name.fails_no_call(), seen.breaker) {
            (true, Some(at)) => {
                format!("; the breaker opened after {:.1}s and no call failed", at.as_secs_f64())
            }
            (true, None) => "; no call failed".to_owned(),
            (false, _) => String::new(),
        };
        note(format!(
            "loop closed: detected after {}, alerted after {}, acted after {}, healthy again after {}; {submitted} \
             queued runs finished exactly once, none lost{failed}",
            seconds(seen.detected),
            seconds(seen.alerted),
            seconds(seen.acted),
            seconds(seen.healthy),
        ));
        return Exit::Good;
    }
    note(format!("the loop of {name:?} did not close within {BOUND:?}; missing: {}", missing.join("; ")));
    Exit::Problem
}

fn seconds(at: Option<Duration>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| format!("{:.1}s", at.as_secs_f64()))
}
