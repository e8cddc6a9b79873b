use proptest::prelude::*;

use super::{bucket::scaled, *};

const START: Micros = Micros(1_000_000_000);

fn later(ms: u64) -> Micros {
    START + Duration::from_millis(ms)
}

/// The most that passed in any 60 s, of calls at these times with these tokens.
fn worst_minute(passed: &[(Micros, u64)]) -> (u64, u64) {
    let window = |from: Micros| {
        let inside =
            passed.iter().filter(move |(at, _)| *at >= from && at.since(from) < Duration::from_secs(60));
        inside.fold((0, 0), |(requests, tokens), (_, more)| (requests + 1, tokens + more))
    };
    let windows = passed.iter().map(|(at, _)| window(*at));
    windows.fold((0, 0), |worst, seen| (worst.0.max(seen.0), worst.1.max(seen.1)))
}

fn passed(minute: &mut Minute, calls: &[(u64, u64)]) -> Vec<(Micros, u64)> {
    let mut now = START;
    let mut passed = Vec::new();
    for (pause_ms, tokens) in calls {
        now = now + Duration::from_millis(*pause_ms);
        if let Ok(taken) = minute.take(now, *tokens) {
            minute.settle(taken, *tokens, now);
            passed.push((now, *tokens));
        }
    }
    passed
}

proptest! {
    #[test]
    fn no_minute_lets_more_through_than_the_limit_and_the_burst(
        requests in 1_u32..200,
        tokens in 1_u64..100_000,
        calls in prop::collection::vec((0_u64..800, 0_u64..5_000), 0..400),
    ) {
        let passed = passed(&mut Minute::new(Some(requests), Some(tokens)), &calls);
        let (most_requests, most_tokens) = worst_minute(&passed);
        let requests = u64::from(requests);
        prop_assert!(most_requests <= requests + (requests / 6).max(1), "{most_requests} of {requests}");
        let largest = calls.iter().map(|(_, tokens)| *tokens).max().unwrap_or(0);
        let burst = (tokens / 6).max(1);
        prop_assert!(most_tokens <= tokens + burst.max(largest), "{most_tokens} of {tokens}");
    }

    #[test]
    fn after_the_wait_that_was_told_the_call_passes(
        limit in 1_u32..500,
        calls in prop::collection::vec(0_u64..200, 1..60),
    ) {
        let mut minute = Minute::new(Some(limit), None);
        let mut now = START;
        for pause_ms in calls {
            now = now + Duration::from_millis(pause_ms);
            if let Err(wait) = minute.take(now, 0) {
                prop_assert!(minute.wait(now, 0) == wait && wait <= Duration::from_secs(60));
                prop_assert!(minute.wait(now + (wait - Duration::from_micros(1)), 0) > Duration::ZERO);
                now = now + wait;
                prop_assert!(minute.take(now, 0).is_ok());
            }
        }
    }
}

/// The broken twin: a bucket as large as the limit lets nearly twice the limit through in a minute.
#[test]
fn a_bucket_as_large_as_the_limit_breaks_the_law() {
    let mut minute = Minute::new(Some(60), None);
    minute.requests.learned = Some((60, 60));
    minute.requests.learned_at = later(3_600_000);
    minute.requests.configured = None;
    minute.requests.balance = scaled(60);
    let calls: Vec<_> = std::iter::repeat_n((0, 0), 60).chain(std::iter::repeat_n((1000, 0), 60)).collect();
    let (most, _) = worst_minute(&passed(&mut minute, &calls));
    assert!(most > 60 + 10, "{most}");
}

#[test]
fn without_a_limit_everything_passes() {
    let mut minute = Minute::new(None, None);
    assert!((0..1000).all(|_| minute.take(START, u64::MAX).is_ok()));
    assert_eq!(minute.left(START), Left { requests: None, tokens: None });
}

#[test]
fn real_tokens_replace_the_estimate() {
    let mut minute = Minute::new(None, Some(6_000));
    let taken = minute.take(START, 1_000).unwrap();
    assert_eq!(minute.take(START, 500), Err(Duration::from_secs(5)));
    minute.settle(taken, 200, START);
    assert_eq!(minute.left(START).tokens, Some(800));
    let taken = minute.take(START, 100).unwrap();
    minute.settle(taken, 1_700, START);
    assert_eq!(minute.left(START).tokens, Some(0), "more than was estimated becomes debt");
    assert_eq!(minute.left(later(20_000)).tokens, Some(1_000));
}

#[test]
fn a_call_larger_than_the_burst_passes_when_the_bucket_is_full_and_is_paid_for() {
    let mut minute = Minute::new(None, Some(600));
    minute.take(START, 700).unwrap();
    assert_eq!(minute.take(START, 1), Err(Duration::from_millis(60_100)));
}

#[test]
fn what_was_not_sent_comes_back() {
    let mut minute = Minute::new(Some(6), Some(600));
    let taken = minute.take(START, 100).unwrap();
    assert!(minute.take(START, 0).is_err());
    minute.give_back(taken, START);
    assert_eq!(minute.left(START), Left { requests: Some(1), tokens: Some(100) });
}

fn told(limit: u64, left: u64, reset_s: u64) -> Learned {
    let told = Told { limit: Some(limit), left: Some(left), reset: Some(Duration::from_secs(reset_s)) };
    Learned { requests: told, tokens: Told::default() }
}

#[test]
fn headers_are_believed() {
    let mut minute = Minute::new(None, None);
    minute.learn(&told(60, 2, 58), START);
    assert_eq!(minute.left(START).requests, Some(2));
    assert!(minute.take(START, 0).is_ok() && minute.take(START, 0).is_ok());
    // 58 of 60 come back in 58 s: one a second.
    assert_eq!(minute.take(START, 0), Err(Duration::from_secs(1)));
    // What is in flight is not in the headers of earlier answers.
    minute.learn(&told(60, 3, 57), START);
    assert_eq!(minute.left(START).requests, Some(1));
    // Nothing is left of a day's grant: two minutes later it is asked again.
    minute.learn(&told(1_000, 0, 86_400), START);
    assert!(minute.take(later(1_000), 0).is_err());
    assert!(minute.take(later(121_000), 0).is_ok());
}

// Reproduces: a relay that says `x-ratelimit-remaining-tokens: 0`, and nothing else, with each good answer was asked once
// in two minutes.
#[test]
fn nothing_left_of_an_unknown_grant_says_nothing() {
    let left = |left, reset| {
        let tokens = Told { limit: None, left: Some(left), reset };
        Learned { tokens, ..Learned::default() }
    };
    let mut minute = Minute::new(None, None);
    minute.learn(&left(0, None), START);
    assert!(minute.take(START, 10).is_ok());
    // With the moment of its return, or once its size is known, it is believed.
    minute.learn(&left(0, Some(Duration::from_secs(20))), START);
    assert!(minute.take(START, 10).is_err());
    let mut minute = Minute::new(None, None);
    minute.learn(&left(6_000, None), START);
    minute.learn(&left(0, None), START);
    assert_eq!(minute.take(START, 100), Err(Duration::from_secs(1)));
}

#[test]
fn a_wait_that_headers_tell_is_no_longer_than_they_are_believed() {
    let mut minute = Minute::new(None, None);
    let ten_days = Some(Duration::from_secs(10 * 86_400));
    let tokens = Told { limit: Some(100_000), left: Some(0), reset: ten_days };
    minute.learn(&Learned { tokens, ..Learned::default() }, START);
    assert_eq!(minute.take(START, 10_000), Err(Duration::from_secs(120)));
    let mut minute = Minute::new(None, None);
    minute.learn(&told(0, 0, 60), START);
    assert!(minute.take(START, 0).is_ok(), "whoever answers grants something");
}

#[test]
fn a_configured_limit_stays_the_upper_bound() {
    let mut minute = Minute::new(Some(60), None);
    minute.learn(&told(10_000, 9_999, 1), START);
    assert_eq!(minute.left(START).requests, Some(10));
    minute.learn(&told(10_000, 0, 60), START);
    assert_eq!(minute.left(START).requests, Some(0));
    minute.learn(&Learned::default(), START);
    assert_eq!(minute.left(later(1_000)).requests, Some(1));
}

#[test]
fn absurd_headers_do_no_harm() {
    let mut minute = Minute::new(Some(10), Some(10));
    for value in [0, 1, u64::MAX] {
        for reset in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
            let told = Told { limit: Some(value), left: Some(value), reset };
            minute.learn(&Learned { requests: told, tokens: told }, START);
            let _ = minute.take(later(1), value);
            let _ = minute.left(Micros(i64::MAX));
        }
    }
}

#[test]
fn new_limits_keep_what_was_taken() {
    let mut minute = Minute::new(Some(60), None);
    assert!((0..8).all(|_| minute.take(START, 0).is_ok()));
    minute.reconfigure(Some(120), None);
    assert_eq!(minute.left(START).requests, Some(2));
    minute.reconfigure(None, None);
    assert!(minute.take(START, 0).is_ok());
}

#[test]
fn a_refusal_lasts_as_long_as_was_said_and_a_shorter_one_does_not_end_it() {
    let mut minute = Minute::new(None, None);
    minute.refused(Duration::from_secs(5), START);
    minute.refused(Duration::from_secs(1), START);
    assert_eq!(minute.take(later(1_000), 0), Err(Duration::from_secs(4)));
    assert_eq!(minute.wait(later(1_000), 0), Duration::from_secs(4));
    assert!(minute.take(later(5_000), 0).is_ok());
}
