use proptest::prelude::*;

use super::*;

const START: Micros = Micros(1_790_035_200_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn objective(target: f64) -> Objective {
    Objective { target, period: 30 * DAY, began: None }
}

fn after(s: u64) -> Micros {
    START + Duration::from_secs(s)
}

fn look_at(series: &Series, heard: Option<Micros>, now: Micros) -> Look {
    let fed = Fed { series, slots: &[], heard };
    look(&fed, &mut Judge::default(), &objective(0.99), &Settings::default(), now)
}

#[test]
fn a_total_outage_pages_and_the_page_ends_with_it() {
    let outage = 2_000..2_060;
    let slots: Vec<Slot> = (0..4_000)
        .map(|number| {
            let fails = u32::from(outage.contains(&number));
            Slot { at: after(number * 10), good: 2 * (1 - fails), bad: 2 * fails }
        })
        .collect();
    let paged = replay(&slots, &objective(0.99), &Settings::default());
    assert_eq!(paged.len(), 1, "{paged:?}");
    assert!(paged[0].at.since(after(outage.start * 10)) <= Duration::from_secs(60), "{paged:?}");
    assert!(paged[0].until.is_some(), "{paged:?}");
    let choice = choose(&slots, &objective(0.99), &Settings::default());
    assert_eq!(
        (choice.detectors.outage, choice.outage.pages, choice.outage.noise),
        (true, 1, 0),
        "{choice:?}"
    );
    let lint = lint(&slots, &objective(0.9), &Settings::default());
    assert!(lint.outage_p95.is_some_and(|delay| delay <= Duration::from_secs(75)), "{lint:?}");
    assert!(lint.smallest_outage.is_some(), "{lint:?}");
    let capped: Vec<f64> = lint.capped.iter().map(|rule| rule.factor).collect();
    assert_eq!(capped, [14.4], "at 90 % the highest burn rate is 10");
}

#[test]
fn impossible_objectives_are_told_with_all_their_problems() {
    let problems = |target: f64, period: Duration| {
        let objective = Objective { target, period, began: None };
        objective.problems().into_iter().map(|(what, _)| what).collect::<Vec<_>>()
    };
    assert_eq!(problems(0.99, 30 * DAY), []);
    assert_eq!(problems(1.0, Duration::ZERO), [Impossible::Target, Impossible::Period]);
    assert_eq!(problems(f64::NAN, 93 * DAY), [Impossible::Target, Impossible::Period]);
}

#[test]
fn what_cannot_be_seen_is_blind_and_never_whole() {
    let now = after(3_600);
    let mut series = Series::default();
    assert_eq!(look_at(&series, None, now).state, State::Blind(Blind::NoData));
    assert_eq!(look_at(&series, Some(now), now).state, State::Blind(Blind::NoData));
    assert_eq!(look_at(&series, Some(now), now).budget.left, None);
    series.set_minute(after(3_540), Counts::new(100, 0), now);
    assert_eq!(look_at(&series, Some(now), now).state, State::Ok);
    // Two looks of five seconds, and the time a slot may take to settle.
    let silent = after(3_616);
    assert_eq!(look_at(&series, Some(now), silent).state, State::Blind(Blind::Silent(now)));
    series.set_minute(after(3_540), Counts { good: 7, total: 5 }, now);
    assert_eq!(look_at(&series, Some(now), now).state, State::Blind(Blind::MoreGoodThanAll(after(3_540))));
    series.set_minute(after(3_540), Counts::new(5, 0), now);
    assert_eq!(look_at(&series, Some(now), now).state, State::Ok, "it was put right");
}

#[test]
fn traffic_that_vanishes_at_a_time_that_always_had_some_is_blind() {
    let (mut series, mut judge) = (Series::default(), Judge::default());
    let mut slots = Vec::new();
    for minute in 0..2 * 24 * 60 {
        series.set_minute(after(minute * 60), Counts::new(6, 0), after(minute * 60));
        slots.push(Slot { at: after(minute * 60), good: 6, bad: 0 });
    }
    let mut at = |now: Micros, slots: &[Slot]| {
        let fed = Fed { series: &series, slots, heard: Some(now) };
        look(&fed, &mut judge, &objective(0.99), &Settings::default(), now).state
    };
    let end = 2 * 86_400;
    assert_eq!(at(after(end), &slots), State::Ok);
    assert_eq!(at(after(end + 600), &[]), State::Blind(Blind::Vanished(after(end - 60))));
}

#[test]
fn budgets_are_at_risk_and_exhausted() {
    let state = |bad: u64| {
        let mut series = Series::default();
        series.set_hour(START, Counts::new(10_000 - bad, bad), after(7_200));
        look_at(&series, Some(after(86_400)), after(86_400)).state
    };
    assert_eq!([10, 80, 101].map(state), [State::Ok, State::AtRisk, State::Exhausted]);
}

#[test]
fn a_minute_that_is_told_again_replaces_what_was_told() {
    let mut series = Series::default();
    let now = after(100 * 3_600);
    assert_eq!(series.set_minute(after(60), Counts::new(1, 1), after(60)), Kept::Kept);
    series.set_minute(after(60), Counts::new(4, 2), after(60));
    series.set_minute(after(120), Counts::new(3, 0), after(120));
    assert_eq!(series.sum(START, after(180)), Counts::new(7, 2));
    assert_eq!(series.set_minute(after(99 * 3_600), Counts::new(1, 0), now), Kept::Kept);
    assert_eq!(series.set_minute(after(60), Counts::new(9, 9), now), Kept::TooOld);
    assert_eq!(series.set_minute(now + DAY, Counts::new(9, 9), now), Kept::InFuture);
    assert_eq!(series.sum(START, now), Counts::new(8, 2), "by hours, where the minutes are gone");
}

#[test]
fn memory_is_bounded_and_what_is_stored_is_small() {
    let (mut series, mut judge) = (Series::default(), Judge::default());
    let mut slots = Vec::new();
    for hour in 0..100 * 24 {
        let at = after(hour * 3_600);
        series.set_minute(at, Counts::new(u64::MAX, u64::MAX), at);
        slots.push(Slot { at, good: u32::MAX, bad: u32::MAX });
    }
    let now = after(100 * 86_400);
    let fed = Fed { series: &series, slots: &slots, heard: Some(now) };
    look(&fed, &mut judge, &objective(0.9999), &Settings::default(), now);
    // A ring grows by doubling.
    assert!(series.bytes() <= 100 * 1_024, "{}", series.bytes());
    let stored = serde_json::to_string(&judge).unwrap();
    assert!(stored.len() < 1_024, "{stored}");
    assert_eq!(serde_json::from_str::<Judge>(&stored).unwrap(), judge);
}

#[test]
fn burn_rules_can_fire_at_loose_targets_and_not_on_one_clump() {
    let rule = burn::RULES[0];
    assert!(rule.is_unreachable(&objective(0.9)) && !rule.is_unreachable(&objective(0.99)));
    let looked = |bad_minutes: std::ops::Range<u64>| {
        let mut series = Series::default();
        for minute in 0..60 {
            let bad = 10 * u64::from(bad_minutes.contains(&minute));
            series.set_minute(after(minute * 60), Counts::new(10 - bad, bad), after(minute * 60));
        }
        rule.look(&series, &objective(0.9), after(59 * 60)).fires
    };
    assert!(looked(0..60));
    let mut clump = Series::default();
    clump.set_minute(after(59 * 60), Counts::new(10, 90), after(59 * 60));
    assert!(!rule.look(&clump, &objective(0.9), after(59 * 60)).fires, "one cause, however many failures");
}

proptest! {
    #[test]
    fn nothing_panics_and_nothing_is_not_a_number(
        slots in prop::collection::vec((any::<i64>(), any::<u32>(), any::<u32>()), 0..60),
        minutes in prop::collection::vec((any::<i64>(), any::<u64>(), any::<u64>()), 0..30),
        target in any::<f64>(),
        times in prop::collection::vec(any::<i64>(), 1..8),
        near in any::<bool>(),
    ) {
        let at = |us: i64| if near { Micros(START.0 + us % 400_000_000_000) } else { Micros(us) };
        let objective = Objective { target, period: Duration::MAX, began: None };
        let (mut series, mut judge) = (Series::default(), Judge::default());
        for (us, good, total) in minutes {
            series.set_minute(at(us), Counts { good, total }, at(us));
            series.set_hour(at(us), Counts { good, total }, at(us));
        }
        let slots: Vec<Slot> = slots.into_iter().map(|(us, good, bad)| Slot { at: at(us), good, bad }).collect();
        for now in times {
            let fed = Fed { series: &series, slots: &slots, heard: Some(at(now)) };
            let looked = look(&fed, &mut judge, &objective, &Settings::default(), at(now));
            prop_assert!(looked.burns.iter().all(|burn| burn.long.is_finite() && burn.short.is_finite()));
            prop_assert!(looked.budget.left.is_none_or(f64::is_finite));
        }
        prop_assert!(serde_json::from_str::<Judge>(&serde_json::to_string(&judge).unwrap()).is_ok());
        replay(&slots, &objective, &Settings::default());
    }
}
