//! From how an attempt ended to what is stored.

use std::collections::BTreeMap;

use mainstay_base::Kind;
use mainstay_store::model::{Finish, RunResult};

use super::{
    handler::{JobOutcome, Stop},
    retry::{Class, SHUTDOWN, class_of},
};

/// `None`: nothing may be stored, the lease is lost.
pub(super) fn finish_for(
    outcome: JobOutcome,
    stopped: Option<Stop>,
    failures: &BTreeMap<String, i64>,
    random: u64,
) -> Option<Finish> {
    match (outcome, stopped) {
        (_, Some(Stop::LeaseLost)) => None,
        // It ended by itself before it noticed that it was to stop.
        (JobOutcome::Done(result), _) => Some(Finish::Done(result)),
        (JobOutcome::Decided(Finish::Retry { .. }), Some(Stop::Cancelled)) => Some(Finish::Cancelled(None)),
        (JobOutcome::Decided(finish), _) => Some(finish),
        (JobOutcome::Stopped(result), Some(Stop::Cancelled)) => Some(Finish::Cancelled(result)),
        (JobOutcome::Failed { result, .. }, Some(Stop::Cancelled)) => Some(Finish::Cancelled(result)),
        (JobOutcome::Stopped(_) | JobOutcome::Failed { .. }, Some(Stop::Shutdown)) => {
            Some(retry(SHUTDOWN, "its worker was shut down".to_owned(), 1, random))
        }
        (JobOutcome::Failed { kind, message, result }, None) => {
            Some(failed(kind, message, result, failures, random))
        }
        (JobOutcome::Stopped(result), None) => {
            Some(failed(Kind::Bug, "it stopped without being asked to".to_owned(), result, failures, random))
        }
    }
}

fn failed(
    kind: Kind,
    message: String,
    result: Option<RunResult>,
    failures: &BTreeMap<String, i64>,
    random: u64,
) -> Finish {
    let class = class_of(kind);
    let number = failures.get(class.name).copied().unwrap_or(0).saturating_add(1);
    if number >= class.attempts {
        return Finish::Dead { class: class.name.to_owned(), message, kind, result };
    }
    retry(class, message, number, random)
}

fn retry(class: Class, message: String, failures: i64, random: u64) -> Finish {
    let after = class.pause(failures, random);
    Finish::Retry { class: class.name.to_owned(), message, after, limit: class.attempts }
}
