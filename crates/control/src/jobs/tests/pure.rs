//! Ends and fences as tables.

use std::collections::BTreeMap;

use mainstay_base::Kind;
use mainstay_store::model::Finish;
use tokio::time::Instant;

use super::*;
use crate::jobs::{Stop, fence::Fence, finish::finish_for};

fn word(finish: Option<Finish>) -> &'static str {
    match finish {
        None => "nothing",
        Some(Finish::Done(_)) => "done",
        Some(Finish::Retry { .. }) => "retry",
        Some(Finish::Dead { .. }) => "dead",
        Some(Finish::Cancelled(_)) => "cancelled",
        Some(Finish::Release) => "release",
    }
}

#[test]
fn what_is_stored_follows_from_how_it_ended_and_why_it_was_stopped() {
    let done = || JobOutcome::Done(result());
    let stopped = || JobOutcome::Stopped(None);
    let failed = |kind| JobOutcome::Failed { kind, message: "no".to_owned(), result: None };
    for (what, outcome, why, expected) in [
        ("done", done(), None, "done"),
        ("done while being cancelled", done(), Some(Stop::Cancelled), "done"),
        ("done while shutting down", done(), Some(Stop::Shutdown), "done"),
        ("done without a lease", done(), Some(Stop::LeaseLost), "nothing"),
        ("stopped as asked", stopped(), Some(Stop::Cancelled), "cancelled"),
        ("stopped by a shutdown", stopped(), Some(Stop::Shutdown), "retry"),
        ("stopped without a lease", stopped(), Some(Stop::LeaseLost), "nothing"),
        ("stopped for no reason", stopped(), None, "retry"),
        ("failed", failed(Kind::Upstream), None, "retry"),
        ("failed for good", failed(Kind::Caller), None, "dead"),
        ("failed while being cancelled", failed(Kind::Caller), Some(Stop::Cancelled), "cancelled"),
        ("failed while shutting down", failed(Kind::Caller), Some(Stop::Shutdown), "retry"),
        ("failed without a lease", failed(Kind::Caller), Some(Stop::LeaseLost), "nothing"),
    ] {
        assert_eq!(word(finish_for(outcome, why, &BTreeMap::new(), 7)), expected, "{what}");
    }
}

#[test]
fn failures_of_another_class_do_not_use_up_attempts() {
    let outcome = || JobOutcome::Failed { kind: Kind::Upstream, message: "no".to_owned(), result: None };
    for (failures, expected) in [
        (("upstream", 1), "retry"),
        (("upstream", 2), "dead"),
        (("unavailable", 4), "retry"),
        (("crash", 2), "retry"),
    ] {
        let counted = BTreeMap::from([(failures.0.to_owned(), failures.1)]);
        assert_eq!(word(finish_for(outcome(), None, &counted, 0)), expected, "{failures:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fence_never_moves_back() {
    let (early, late) = (Instant::now(), Instant::now() + Duration::from_secs(1));
    let (lease, margin) = (Duration::from_secs(4), Duration::from_secs(1));
    let fence = Fence { asked_at: early }.renewed(late).renewed(early);
    assert_eq!(fence.stop_at(lease, margin), late + Duration::from_secs(3));
    assert_eq!(fence.stop_at(margin, lease), late, "a margin longer than the lease leaves nothing");
}
