use proptest::prelude::*;

use super::*;
use crate::simulate::Chance;

const START: Micros = Micros(1_000_000_000);
const GOOD: End = End::Good { first_token: Duration::from_millis(300) };
const SLOW: End = End::Good { first_token: Duration::from_secs(31) };
const BAD: End = End::Bad(Class::ServerError);

fn at(ms: u64) -> Micros {
    START + Duration::from_millis(ms)
}

fn breaker() -> Breaker {
    Breaker::new(Settings::default())
}

fn call(breaker: &mut Breaker, end: End, now: Micros) {
    let admission = breaker.ask(now);
    breaker.settle(admission, end, now);
}

/// Open since `START`.
fn opened() -> Breaker {
    let mut breaker = breaker();
    (0..5).for_each(|_| call(&mut breaker, BAD, START));
    assert_eq!(breaker.state(), BreakerState::Open);
    breaker
}

fn probe(breaker: &mut Breaker, now: Micros) -> Admission {
    let admission = breaker.ask(now);
    assert!(matches!(admission, Admission::Probe { .. }), "{admission:?}");
    admission
}

/// A stream that is cut after its first token is told of twice.
#[test]
fn a_second_word_counts_a_failure_and_starts_no_probe() {
    let mut breaker = breaker();
    for _ in 0..5 {
        let admission = breaker.ask(START);
        breaker.settle(admission, GOOD, START);
        breaker.settle_again(admission, Class::Cut, START);
        breaker.settle_again(admission, Class::CallerGone, START);
    }
    assert_eq!(breaker.state(), BreakerState::Open, "every one of ten words was a good or a bad one");
    // What was let through before says nothing any more, and takes no probe's place when one is due.
    let passed = Admission::Pass { epoch: 0 };
    breaker.settle_again(passed, Class::Cut, at(2_000));
    assert_eq!(breaker.state(), BreakerState::Open);
    let probing = probe(&mut breaker, at(2_000));
    breaker.settle(probing, GOOD, at(2_100));
    breaker.settle_again(probing, Class::Cut, at(2_200));
    assert_eq!(breaker.state(), BreakerState::Open, "a probe that is cut is no good probe");
}

#[test]
fn it_opens_when_enough_calls_fail_or_are_slow_and_not_before() {
    let many = |end, count: usize| vec![end; count];
    let alternating = |count: usize| [BAD, GOOD].into_iter().cycle().take(count).collect::<Vec<_>>();
    for (ends, opens) in [
        (many(BAD, 4), false),
        (many(BAD, 5), true),
        ([many(BAD, 4), many(GOOD, 1), many(BAD, 4)].concat(), false),
        (alternating(9), false),
        (alternating(11), true),
        // After ten busy seconds of health the latest calls still tell.
        ([many(GOOD, 5_000), alternating(11)].concat(), true),
        ([many(GOOD, 5_000), many(BAD, 4)].concat(), false),
        (many(SLOW, 9), false),
        (many(SLOW, 10), true),
        ([many(GOOD, 3), many(SLOW, 8)].concat(), false),
        (many(End::Bad(Class::BadKey), 50), false),
        (many(End::Bad(Class::CallerError), 50), false),
        (many(End::Unused, 50), false),
    ] {
        let mut breaker = breaker();
        ends.iter().for_each(|end| call(&mut breaker, *end, START));
        assert_eq!(
            breaker.state() == BreakerState::Open,
            opens,
            "{} calls, last {:?}",
            ends.len(),
            ends.last()
        );
    }
}

#[test]
fn outcomes_of_long_ago_are_forgotten() {
    let mut breaker = breaker();
    (0..5).for_each(|_| [BAD, GOOD].iter().for_each(|end| call(&mut breaker, *end, START)));
    let later = at(61_000);
    assert_eq!(breaker.counts(later), Counts::default());
    let mut fresh = self::breaker();
    for index in 0..8 {
        let end = if index % 2 == 0 { BAD } else { GOOD };
        call(&mut fresh, end, START);
    }
    (0..2).for_each(|_| call(&mut fresh, BAD, later));
    assert_eq!(fresh.state(), BreakerState::Closed);
}

#[test]
fn silence_opens_it_before_any_call_times_out() {
    let mut breaker = breaker();
    for index in 0..100 {
        let _ = breaker.ask(at(index * 100));
        breaker.heard(Duration::from_millis(400));
    }
    let refused = (100..200).find(|index| matches!(breaker.ask(at(index * 100)), Admission::Refused { .. }));
    assert_eq!(refused, Some(112));
    // A sign of life lets a probe through at once.
    breaker.heard(Duration::from_secs(2));
    probe(&mut breaker, at(11_300));
}

#[test]
fn silence_is_not_judged_where_nothing_was_ever_heard_nor_of_callers_that_left() {
    let mut deaf = breaker();
    assert!((0..1000).all(|index| matches!(deaf.ask(at(index * 100)), Admission::Pass { .. })));
    let mut left = breaker();
    left.heard(Duration::from_millis(400));
    for index in 0..1000 {
        let admission = left.ask(at(index * 100));
        assert!(matches!(admission, Admission::Pass { .. }));
        left.settle(admission, End::Unused, at(index * 100));
    }
}

#[test]
fn one_probe_goes_ahead_then_two_at_once_and_two_successes_close_it() {
    let mut breaker = opened();
    assert_eq!(breaker.ask(at(1_999)), Admission::Refused { until: at(2_000) });
    let first = probe(&mut breaker, at(2_000));
    assert_eq!(breaker.ask(at(2_100)), Admission::Refused { until: at(6_000) });
    breaker.settle(first, GOOD, at(2_200));
    let (second, third) = (probe(&mut breaker, at(2_300)), probe(&mut breaker, at(2_300)));
    assert!(matches!(breaker.ask(at(2_300)), Admission::Refused { .. }));
    breaker.settle(second, GOOD, at(2_400));
    assert_eq!(breaker.state(), BreakerState::Closed);
    // What comes in late from the time before says nothing.
    (0..20).for_each(|_| breaker.settle(third, BAD, at(2_500)));
    assert_eq!(breaker.counts(at(2_500)), Counts::default());
}

#[test]
fn a_failed_probe_doubles_the_wait_up_to_the_most() {
    let mut breaker = opened();
    let mut now = at(2_000);
    for waits_ms in [4_000, 4_000, 4_000] {
        let admission = probe(&mut breaker, now);
        breaker.settle(admission, BAD, now);
        now = now + Duration::from_millis(waits_ms);
        assert_eq!(breaker.refused_until(at(0)), Some(now));
    }
}

#[test]
fn an_unused_probe_gives_its_place_back() {
    let mut breaker = opened();
    for _ in 0..10 {
        let admission = probe(&mut breaker, at(2_000));
        breaker.settle(admission, End::Unused, at(2_000));
    }
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
}

#[test]
fn a_probe_that_never_settles_does_not_block_for_ever_and_its_late_failure_is_not_believed() {
    let mut breaker = opened();
    let hanging = probe(&mut breaker, at(2_000));
    let next = probe(&mut breaker, at(6_000));
    breaker.settle(next, GOOD, at(6_100));
    breaker.settle(hanging, End::Bad(Class::FirstTokenTimeout), at(6_200));
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    let last = probe(&mut breaker, at(6_300));
    breaker.settle(last, GOOD, at(6_400));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn a_last_resort_passes_an_open_breaker_and_its_success_ends_the_wait() {
    let mut breaker = opened();
    let admission = breaker.insist(at(100));
    breaker.settle(admission, BAD, at(150));
    assert_eq!(breaker.refused_until(at(200)), Some(at(2_000)));
    let admission = breaker.insist(at(200));
    breaker.settle(admission, GOOD, at(300));
    probe(&mut breaker, at(300));
}

#[test]
fn after_a_relapse_it_asks_for_more_successes() {
    let mut breaker = opened();
    let mut now = at(2_000);
    for needed in [2, 4, 8, 8] {
        let taken = (1..).find(|_| {
            call(&mut breaker, GOOD, now);
            breaker.state() == BreakerState::Closed
        });
        assert_eq!(taken, Some(needed));
        (0..5).for_each(|_| call(&mut breaker, BAD, now));
        now = breaker.refused_until(now).unwrap();
    }
    // A minute of health, and it is forgotten.
    (0..8).for_each(|_| call(&mut breaker, GOOD, now));
    now = now + Duration::from_secs(61);
    (0..5).for_each(|_| call(&mut breaker, BAD, now));
    assert_eq!(breaker.refused_until(now), Some(now + Duration::from_secs(2)));
}

#[test]
fn new_settings_keep_what_is_known() {
    let mut breaker = opened();
    breaker.reconfigure(Settings { window: Duration::from_secs(1), probes: 1, ..Settings::default() });
    let admission = probe(&mut breaker, at(2_000));
    breaker.settle(admission, GOOD, at(2_000));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

/// How often a breaker opens in a minute of calls each 10 ms, of which every other fails by chance.
fn opens_a_minute(mut breaker: Breaker, forgets: bool, seed: u64) -> u64 {
    let mut chance = Chance::new(seed);
    for index in 0..6_000 {
        let end = if chance.draw() < 0.5 { BAD } else { GOOD };
        call(&mut breaker, end, at(index * 10));
        if forgets && breaker.state() == BreakerState::Closed {
            (breaker.closed_before, breaker.relapses) = (false, 0);
        }
    }
    breaker.opens()
}

#[test]
fn a_target_that_fails_every_other_call_opens_it_at_most_six_times_a_minute() {
    let opens: Vec<u64> = (0..200).map(|seed| opens_a_minute(breaker(), false, seed)).collect();
    let flaps: Vec<u64> = (0..200).map(|seed| opens_a_minute(breaker(), true, seed)).collect();
    let mean = |opens: &[u64]| opens.iter().sum::<u64>() as f64 / opens.len() as f64;
    // Seen: 2.5 in the mean, 4 at most; without memory of relapses 5.4 and 12.
    assert!(mean(&opens) < 3.0 && mean(&flaps) > 4.0, "{} {}", mean(&opens), mean(&flaps));
    assert!(opens.iter().all(|opens| *opens <= 6));
    // The broken twin.
    assert!(flaps.iter().any(|opens| *opens > 6));
}

/// Calls until it opens, when every other call fails by chance.
fn calls_to_open(seed: u64) -> u32 {
    let (mut breaker, mut chance) = (breaker(), Chance::new(seed));
    let opens = (1..1000).find(|_| {
        call(&mut breaker, if chance.draw() < 0.5 { BAD } else { GOOD }, START);
        breaker.state() == BreakerState::Open
    });
    opens.unwrap_or(1000)
}

#[test]
fn a_target_that_fails_every_other_call_is_out_after_thirteen_calls_in_the_mean() {
    let calls: Vec<u32> = (0..4000).map(calls_to_open).collect();
    let mean = f64::from(calls.iter().sum::<u32>()) / 4000.0;
    let within = |most: u32| calls.iter().filter(|calls| **calls <= most).count() as f64 / 4000.0;
    let figures = (mean, within(20), within(40), within(80));
    assert!(mean < 14.0 && within(20) > 0.88 && within(40) > 0.99 && within(80) > 0.9999, "{figures:?}");
}

#[derive(Clone, Debug)]
enum Deed {
    Ask,
    Settle { which: usize, end: u8 },
    Heard,
}

fn deeds() -> impl Strategy<Value = Vec<(u64, Deed)>> {
    let deed = prop_oneof![
        3 => Just(Deed::Ask),
        3 => (any::<usize>(), 0_u8..4).prop_map(|(which, end)| Deed::Settle { which, end }),
        1 => Just(Deed::Heard),
    ];
    prop::collection::vec((0_u64..1500, deed), 0..300)
}

proptest! {
    #[test]
    fn whatever_happens_it_refuses_for_a_bounded_time_and_probes_are_bounded(deeds in deeds(), probes in 1_u32..4) {
        let settings = Settings { probes, ..Settings::default() };
        let mut breaker = Breaker::new(settings);
        let mut out: Vec<Admission> = Vec::new();
        let mut now = START;
        for (pause_ms, deed) in deeds {
            now = now + Duration::from_millis(pause_ms);
            match deed {
                Deed::Ask => match breaker.ask(now) {
                    Admission::Refused { until } => {
                        prop_assert!(until > now && until.since(now) <= settings.max_open);
                        let then = breaker.clone().ask(until);
                        prop_assert!(!matches!(then, Admission::Refused { .. }), "{:?}", then);
                        prop_assert_eq!(breaker.refused_until(now), Some(until));
                    }
                    admitted => out.push(admitted),
                },
                Deed::Settle { which, end } if !out.is_empty() => {
                    let end = [GOOD, BAD, SLOW, End::Unused][usize::from(end)];
                    breaker.settle(out.swap_remove(which % out.len()), end, now);
                }
                Deed::Settle { .. } => {}
                Deed::Heard => breaker.heard(Duration::from_millis(700)),
            }
            let under_way = out.iter().filter(|admission| match admission {
                Admission::Probe { epoch, started } => *epoch == breaker.epoch && now.since(*started) < settings.max_open,
                _ => false,
            });
            prop_assert!(under_way.count() <= probes as usize);
        }
        // Each opening lasts: a hard bound on flapping.
        let most = 1 + now.since(START).as_micros() / settings.open_for.as_micros();
        prop_assert!(u128::from(breaker.opens()) <= most);
        prop_assert!(size_of::<Breaker>() <= 512, "{}", size_of::<Breaker>());
    }

    #[test]
    fn a_clock_that_jumps_breaks_nothing(times in prop::collection::vec(any::<i64>(), 0..100)) {
        let mut breaker = breaker();
        for time in times {
            call(&mut breaker, BAD, Micros(time));
            let _ = (breaker.counts(Micros(time)), breaker.refused_until(Micros(time)));
        }
    }
}
