//! Each fault of the demo, and that its loop closes.

use std::time::Duration;

use crate::support::{Home, demo};

/// The longest that a scenario may take, its own bound and a slow machine included.
const WITHIN: Duration = Duration::from_secs(180);

fn closes(name: &str) {
    let home = Home::new();
    let (mut process, _) = demo(&home, &["--scenario", name, "--traffic", "4"]);
    let code = process.wait(WITHIN);
    let err = process.err.lock().clone();
    assert_eq!(code, 0, "{err}");
    for step in
        ["fault:", "=> DETECTED", "=> ALERTED", "=> ACTED", "=> HEALTHY AGAIN", "loop closed", "none lost"]
    {
        assert!(err.contains(step), "{step} is not in {err}");
    }
    assert!(err.contains(" 0 rejected"), "every callback was rightly signed: {err}");
}

/// Who is on call is told, then the second when nobody acknowledges, and both of the end.
#[test]
fn a_page_goes_on_until_somebody_acknowledges_and_both_are_told_of_the_end() {
    let home = Home::new();
    let (mut process, _) = demo(&home, &["--scenario", "on-call", "--traffic", "4"]);
    let code = process.wait(WITHIN);
    let err = process.err.lock().clone();
    assert_eq!(code, 0, "{err}");
    let steps = [
        "fault:",
        "=> PAGED",
        "next, when nobody",
        "=> ESCALATED",
        "=> ACKNOWLEDGED",
        "=> RESOLVED",
        "loop closed",
    ];
    let places: Vec<usize> =
        steps.map(|step| err.find(step).unwrap_or_else(|| panic!("{step}: {err}"))).into();
    assert!(places.is_sorted(), "{err}");
    assert!(err.contains(" 0 rejected"), "every callback was rightly signed: {err}");
}

#[test]
fn a_wedged_worker_is_restarted_and_loses_no_run() {
    closes("worker-wedged");
}

#[test]
fn a_killed_worker_is_restarted_and_loses_no_run() {
    closes("worker-killed");
}

#[test]
fn a_provider_that_stalls_is_left_by_its_breaker_and_fails_no_call() {
    closes("provider-stalls");
}

#[test]
fn a_refused_key_rests_alone_and_fails_no_call() {
    closes("key-refused");
}

#[test]
fn a_provider_that_is_down_is_detoured_and_comes_back() {
    closes("provider-down");
}
