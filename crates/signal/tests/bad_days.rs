//! With one of two providers failing wholly, failing by half or stalling: what the issue promises, in figures.
//!
//! `cargo test -p mainstay-signal --test bad_days -- --nocapture` prints them.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a day without figures should fail, and the figures be seen"
)]

mod common;

use std::time::Duration;

use mainstay_base::{
    Micros,
    record::AttemptRole,
    snapshot::{Breaker, CallPolicy, Hedge, ModelRoutes},
};
use mainstay_signal::simulate::run;

use common::{FIRST_TOKEN, Illness, PRIMARY, START, Seen, Two, is_well, routes, seconds, steady};

/// The primary is ill from 30 s to 90 s of 150 s.
const ILL_FROM: f64 = 30.0;
const ILL_TO: f64 = 90.0;
const LASTS: f64 = 150.0;

#[derive(Clone, Debug)]
#[expect(dead_code, reason = "some figures are only printed")]
struct Day {
    illness: Illness,
    a_second: f64,
    success: f64,
    /// All attempts / calls, over the whole time.
    amplification: f64,
    /// The same without probes that failed.
    without_probes: f64,
    /// From the first ill moment to the first call that is spared the primary.
    opened_after: Duration,
    opened_after_calls: usize,
    /// From its return to the primary's first good answer begun.
    found_after: Duration,
    /// From its return to its first call that is no probe.
    closed_after: Duration,
    /// Closed → open, a minute of illness.
    opens: u64,
    p99_ms: f64,
    slowest: Duration,
}

fn day(illness: Illness, a_second: f64, policy: &ModelRoutes, seed: u64) -> Day {
    let (from, to) = (START + seconds(ILL_FROM), START + seconds(ILL_TO));
    let mut world = Two { illness, both: false, from, to };
    let recording = steady(a_second, seconds(LASTS), seed);
    let mut seen = Seen::default();
    let side = run(&recording, policy, &mut world, seed, &mut seen);
    let calls = recording.calls();
    let first = |call: usize| {
        seen.attempts.iter().find(|attempt| attempt.call == call && attempt.role == AttemptRole::First)
    };
    let spared = (0..calls.len())
        .filter(|call| calls[*call].at >= from)
        .find(|call| first(*call).is_some_and(|attempt| attempt.target != PRIMARY));
    let spared = spared.unwrap_or(calls.len() - 1);
    let ill_calls = calls.iter().filter(|call| call.at >= from && call.at < calls[spared].at).count();
    let back = |is_found: &dyn Fn(&common::SeenAttempt) -> bool| {
        let found = seen
            .attempts
            .iter()
            .find(|attempt| attempt.at >= to && attempt.target == PRIMARY && is_found(attempt));
        found.map_or(Duration::MAX, |attempt| attempt.at.since(to))
    };
    let failed = |attempt: &common::SeenAttempt| {
        let (_, outcomes) = seen.outcomes.iter().find(|(call, _)| *call == attempt.call).unwrap();
        outcomes.iter().any(|(target, at, outcome)| {
            *target == attempt.target && *at == attempt.at && outcome.class.is_some()
        })
    };
    let failed_probes = seen.attempts.iter().filter(|attempt| attempt.is_probe && failed(attempt)).count();
    let well = seen.ends.iter().filter(|(_, ended)| is_well(ended.how)).count();
    Day {
        illness,
        a_second,
        success: well as f64 / calls.len() as f64,
        amplification: seen.attempts.len() as f64 / calls.len() as f64,
        without_probes: (seen.attempts.len() - failed_probes) as f64 / calls.len() as f64,
        opened_after: calls[spared].at.since(from),
        opened_after_calls: ill_calls,
        found_after: back(&|_| true),
        closed_after: back(&|attempt| !attempt.is_probe),
        opens: side.targets["a/m"].breaker_opens,
        p99_ms: side.whole.first_token.p99_ms.unwrap(),
        slowest: seen.ends.iter().filter_map(|(_, ended)| ended.first_token).max().unwrap(),
    }
}

const ILLNESSES: [Illness; 3] = [Illness::Fails(1.0), Illness::Fails(0.5), Illness::Stalls];
const SEEDS: std::ops::Range<u64> = 0..6;

fn days(a_second: f64, policy: &ModelRoutes) -> Vec<Day> {
    let days = ILLNESSES.into_iter().flat_map(|illness| SEEDS.map(move |seed| (illness, seed)));
    let days: Vec<Day> = days.map(|(illness, seed)| day(illness, a_second, policy, seed)).collect();
    for day in &days {
        println!("{day:?}");
    }
    days
}

fn two() -> ModelRoutes {
    routes(&["a", "b"], CallPolicy::default())
}

fn with_breaker(change: impl FnOnce(&mut Breaker)) -> ModelRoutes {
    let mut policy = two();
    change(&mut policy.breaker);
    policy
}

/// What holds at every rate.
fn check(day: &Day) -> Result<(), String> {
    let holds = [
        ("success", day.success >= 0.999),
        ("found within 5 s", day.found_after <= seconds(5.0)),
        ("closed within 12 s", day.closed_after <= seconds(12.0)),
        ("no flapping", day.opens <= 5),
        ("first token within the target's limit and one more", day.slowest <= FIRST_TOKEN + seconds(0.6)),
    ];
    holds.iter().find(|(_, holds)| !holds).map_or(Ok(()), |(what, _)| Err(format!("{what}: {day:?}")))
}

/// What holds besides at 25 calls a second and more: there 2 s are enough to judge, and probes are few among the calls.
fn check_busy(day: &Day) -> Result<(), String> {
    check(day)?;
    let opens = day.opened_after_calls <= 20 || day.opened_after <= seconds(2.0);
    if !opens || day.amplification > 1.1 {
        return Err(format!("opens late or amplifies: {day:?}"));
    }
    Ok(())
}

#[test]
fn a_busy_gateway_rides_out_every_illness_of_one_provider() {
    for day in [25.0, 100.0].into_iter().flat_map(|a_second| days(a_second, &two())) {
        check_busy(&day).unwrap();
    }
}

/// At ten calls a second a target that fails every other call is found out by chance: 13 calls in the mean.
#[test]
fn at_ten_calls_a_second_nearly_all_openings_take_at_most_twenty_calls_or_two_seconds() {
    let days = days(10.0, &two());
    let late = days.iter().filter(|day| check_busy(day).is_err()).count();
    assert!(late * 8 <= days.len(), "{late} of {} were late", days.len());
    for day in &days {
        check(day).unwrap();
        assert!(day.amplification <= 1.1 && day.opened_after_calls <= 40, "{day:?}");
    }
}

/// At one call a second, finding a return within 5 s costs one call in five that is a probe while the target is out; these
/// apart, what is left are the calls before the opening: up to 15 of the 150.
#[test]
fn at_one_call_a_second_the_cost_is_the_probes() {
    for day in days(1.0, &two()) {
        check(&day).unwrap();
        let before_opening = day.opened_after_calls as f64 / (LASTS * day.a_second);
        assert!(day.without_probes <= 1.05 + before_opening, "{day:?}");
        assert!(day.amplification - day.without_probes <= 1.0 / 5.0, "{day:?}");
    }
}

#[test]
fn hedges_of_a_stalled_target_do_not_hide_it_and_shorten_the_wait() {
    let hedge = Some(Hedge::default());
    let policy = routes(&["a", "b"], CallPolicy { hedge, ..CallPolicy::default() });
    for seed in SEEDS {
        let hedged = day(Illness::Stalls, 100.0, &policy, seed);
        println!("{hedged:?}");
        check_busy(&hedged).unwrap();
        let plain = day(Illness::Stalls, 100.0, &two(), seed);
        assert!(hedged.p99_ms <= plain.p99_ms, "{hedged:?} {plain:?}");
    }
}

/// Nobody can answer then; what must hold is that the gateway does not make it worse.
#[test]
fn when_both_providers_fail_they_are_not_stormed_and_their_return_is_found() {
    for (a_second, seed) in
        [10.0, 100.0].into_iter().flat_map(|a_second| SEEDS.map(move |seed| (a_second, seed)))
    {
        let (from, to) = (START + seconds(ILL_FROM), START + seconds(ILL_TO));
        let mut world = Two { illness: Illness::Fails(1.0), both: true, from, to };
        let recording = steady(a_second, seconds(LASTS), seed);
        let mut seen = Seen::default();
        run(&recording, &two(), &mut world, seed, &mut seen);
        let ill = |at: Micros| at >= from && at < to;
        let calls = recording.calls().iter().filter(|call| ill(call.at)).count() as f64;
        let attempts = seen.attempts.iter().filter(|attempt| ill(attempt.at)).count() as f64;
        println!("both fail, {a_second} a second: {:.3} attempts a call", attempts / calls);
        // A tenth of the calls earn a retry; ten are saved up, and some calls reach both before the breakers open.
        assert!(attempts <= 1.1 * calls + 10.0 + 40.0, "{attempts} attempts of {calls} calls");
        let late = seen
            .ends
            .iter()
            .filter(|(call, ended)| recording.calls()[*call].at >= to + seconds(1.0) && !is_well(ended.how));
        assert_eq!(late.count(), 0);
    }
}

/// The broken twins: each promise fails when the part that keeps it is taken away.
#[test]
fn without_its_parts_each_promise_breaks() {
    let mut never_opens = with_breaker(|breaker| {
        (breaker.consecutive, breaker.min_calls) = (0, u32::MAX);
    });
    never_opens.ejection.excess = 2.0;
    let blind = day(Illness::Fails(1.0), 100.0, &never_opens, 1);
    assert!(blind.amplification > 1.1 && blind.opened_after > seconds(2.0), "{blind:?}");

    let patient = with_breaker(|breaker| {
        (breaker.open_for, breaker.max_open) = (seconds(50.0), seconds(60.0));
    });
    let found_late = SEEDS.map(|seed| day(Illness::Fails(1.0), 10.0, &patient, seed).found_after).max();
    assert!(found_late > Some(seconds(5.0)), "{found_late:?}");

    let alone = routes(&["a"], CallPolicy::default());
    let alone = day(Illness::Fails(1.0), 10.0, &alone, 1);
    assert!(alone.success < 0.999, "{alone:?}");

    let one_try = routes(&["a", "b"], CallPolicy { max_attempts: 1, ..CallPolicy::default() });
    let one_try = day(Illness::Fails(0.5), 100.0, &one_try, 1);
    assert!(one_try.success < 0.999, "{one_try:?}");
}
