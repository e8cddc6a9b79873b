use mainstay_base::Blame;
use mainstay_store::model::{SLI_SLOTS, SliCounts};
use serde_json::json;

use super::*;
use crate::{health::State, slo::MINUTE_US};

mod pipeline;

const START: i64 = 1_795_393_380_000_000;

fn held(change: serde_json::Value) -> Held {
    let mut value =
        json!({ "name": "a", "target": 99, "sli": { "kind": "availability" }, "source": "gateway" });
    for (key, new) in change.as_object().unwrap() {
        value[key] = new.clone();
    }
    Held { document: crate::slo::document(&value).unwrap(), revision: 1, is_default: false }
}

fn series() -> SliSeries {
    let endpoint = "workflows/run".to_owned();
    SliSeries { id: 7, path: "app".to_owned(), mode: "workflow".to_owned(), endpoint, ..SliSeries::default() }
}

fn every_tenth(slot: (u32, u32)) -> [(u32, u32); SLI_SLOTS] {
    std::array::from_fn(|place| if place % 2 == 0 { slot } else { (0, 0) })
}

/// A minute with so many in each tenth second.
fn row(minute: i64, good: u32, bad: u32) -> SliRow {
    let mut counts = SliCounts { good: i64::from(good) * 6, ..SliCounts::default() };
    counts.blamed[Blame::Dify.index()] = i64::from(bad) * 6;
    SliRow { time: minute, series: 7, counts, slots: every_tenth((good, bad)) }
}

struct World {
    engine: Engine,
    now: i64,
}

impl World {
    fn new(held: Held) -> World {
        let mut engine = Engine::default();
        engine.adopt(vec![held], false, &mut HashMap::new(), Micros(START));
        engine.learn(vec![series()]);
        World { engine, now: START }
    }

    fn minute(&mut self, good: u32, bad: u32) {
        let row = row(self.now.div_euclid(MINUTE_US), good, bad);
        self.now += MINUTE_US;
        self.engine.take_minutes(&[row], None, Micros(self.now));
        self.look();
    }

    fn look(&mut self) {
        let now = Micros(self.now);
        self.engine.look(Heard { gateway: Some(now), dify: None }, now);
    }

    fn component(&self) -> Component {
        self.engine.components(Micros(self.now)).remove(0)
    }
}

#[test]
fn an_outage_pages_within_a_minute_and_ends_with_its_trouble() {
    let mut world = World::new(held(json!({ "owner": "ann" })));
    (0..120).for_each(|_| world.minute(5, 0));
    assert_eq!(world.component().state, State::Ok, "{:?}", world.component());
    world.minute(0, 5);
    let down = world.component();
    assert_eq!((down.state, down.id.as_str()), (State::Down, "slo:a"), "{down:?}");
    assert!(down.reason.contains("30 of 30 missed it"), "{}", down.reason);
    assert_eq!(down.labels["owner"], "ann");
    assert_eq!(down.labels["alerting"], "on");
    for minute in 0..60 {
        world.minute(5, 0);
        if world.component().state != State::Down {
            assert!(minute >= 2, "not with the first success");
            return;
        }
    }
    panic!("the page did not end: {:?}", world.component());
}

// The same rows twice, and what another process wrote late, change nothing but the sums.
#[test]
fn rows_that_come_again_count_once() {
    let mut world = World::new(held(json!({})));
    (0..30).for_each(|_| world.minute(5, 0));
    let before = world.engine.all()[0].look.clone().unwrap().budget.counts;
    let minute = world.now.div_euclid(MINUTE_US) - 10;
    for _ in 0..5 {
        world.engine.take_minutes(&[row(minute, 5, 0)], None, Micros(world.now));
        world.look();
    }
    assert_eq!(world.engine.all()[0].look.clone().unwrap().budget.counts, before);
    world.engine.take_minutes(&[row(minute, 5, 0), row(minute, 1, 0)], None, Micros(world.now));
    world.look();
    assert_eq!(world.engine.all()[0].look.clone().unwrap().budget.counts.total, before.total + 6);
}

#[test]
fn what_was_never_seen_is_no_data_and_a_source_that_falls_silent_is_blind() {
    let mut world = World::new(held(json!({})));
    world.look();
    assert_eq!(world.component().state, State::Unknown);
    assert_eq!(tell::state(&world.engine.all()[0]).unwrap()["state"], "no_data");
    (0..30).for_each(|_| world.minute(5, 0));
    let heard = Micros(world.now);
    world.now += 16_000_000;
    world.engine.look(Heard { gateway: Some(heard), dify: None }, Micros(world.now));
    assert_eq!(tell::state(&world.engine.all()[0]).unwrap()["state"], "blind");
    assert_eq!(world.component().state, State::Unknown, "a restart of a gateway wakes nobody");
    world.now += 2 * MINUTE_US;
    world.engine.look(Heard { gateway: Some(heard), dify: None }, Micros(world.now));
    assert_eq!(world.component().state, State::Degraded, "{:?}", world.component());
}

#[test]
fn without_a_source_it_is_blind_and_never_whole() {
    let mut world = World::new(held(json!({ "sli": { "kind": "retrieval_emptiness" }, "source": "auto" })));
    world.look();
    let state = tell::state(&world.engine.all()[0]).unwrap();
    assert_eq!((&state["state"], &state["budget_left"]), (&json!("blind"), &json!(null)), "{state}");
    assert!(state["reason"].as_str().unwrap().contains("names no Dify"), "{state}");
}

#[test]
fn what_is_off_tells_nobody_and_what_is_shadow_says_so() {
    let mut world = World::new(held(json!({ "alerting": "off" })));
    world.look();
    assert!(world.engine.components(Micros(world.now)).is_empty());
    let mut world = World::new(held(json!({ "alerting": "shadow" })));
    world.look();
    assert_eq!(world.component().labels["alerting"], "shadow");
}

#[test]
fn who_takes_over_goes_on_where_the_other_ended() {
    let mut world = World::new(held(json!({})));
    (0..120).for_each(|_| world.minute(5, 0));
    world.minute(0, 5);
    let state = tell::state(&world.engine.all()[0]).unwrap();
    let mut next = World::new(held(json!({})));
    let mut remembered = HashMap::from([("a".to_owned(), tell::remembered(&state).unwrap())]);
    next.engine = Engine::default();
    let new = next.engine.adopt(vec![held(json!({}))], false, &mut remembered, Micros(world.now));
    assert_eq!(new.len(), 1);
    next.engine.learn(vec![series()]);
    next.now = world.now;
    let first = START.div_euclid(MINUTE_US);
    let mut rows: Vec<SliRow> = (0..120).map(|minute| row(first + minute, 5, 0)).collect();
    rows.push(row(first + 120, 0, 5));
    next.engine.take_minutes(&rows, Some(&new), Micros(next.now));
    next.look();
    assert_eq!(next.component(), world.component());
    let budget = |world: &World| world.engine.all()[0].look.clone().unwrap().budget;
    assert_eq!(budget(&next), budget(&world));
}

#[test]
fn freshness_burns_when_nothing_succeeds_for_too_long() {
    let sli = json!({ "sli": { "kind": "run_freshness", "max_age_s": 120 } });
    let mut world = World::new(held(sli));
    world.look();
    assert_eq!(tell::state(&world.engine.all()[0]).unwrap()["state"], "no_data");
    (0..60).for_each(|_| world.minute(5, 0));
    assert_eq!(world.component().state, State::Ok);
    for _ in 0..30 {
        world.minute(0, 0);
    }
    let down = world.component();
    assert_eq!(down.state, State::Down, "{down:?}");
}

#[test]
fn a_page_says_what_its_failures_are_blamed_on_and_when_they_are_over() {
    let mut world = World::new(held(json!({})));
    let blamed = |world: &World, good: i64, dify: i64, provider: i64| {
        let mut row = row(world.now.div_euclid(MINUTE_US), 0, 0);
        row.counts.good = good;
        row.counts.blamed[Blame::Dify.index()] = dify;
        row.counts.blamed[Blame::Provider.index()] = provider;
        let count = |count: i64| u32::try_from(count / 6).unwrap();
        row.slots = every_tenth((count(good), count(dify + provider)));
        row
    };
    let minutes = |world: &mut World, times: usize, figures: (i64, i64, i64)| {
        for _ in 0..times {
            let row = blamed(world, figures.0, figures.1, figures.2);
            world.now += MINUTE_US;
            world.engine.take_minutes(&[row], None, Micros(world.now));
            world.look();
        }
        let Component { state, labels, reason, .. } = world.component();
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let says = reason.contains("is blamed on provider");
        (state, label("fault"), label("passing"), says)
    };
    let (down, none) = (State::Down, String::new());
    assert_eq!(minutes(&mut world, 120, (60, 0, 0)), (State::Ok, none.clone(), none.clone(), false));
    let explained = (down, "provider".to_owned(), none.clone(), true);
    assert_eq!(minutes(&mut world, 30, (0, 0, 60)), explained);
    let passing = (down, "provider".to_owned(), "yes".to_owned(), true);
    assert_eq!(minutes(&mut world, 6, (60, 0, 0)), passing);
    // Others of which one would be woken anyway.
    assert_eq!(minutes(&mut world, 30, (30, 12, 18)), (down, none.clone(), none, false));
}
