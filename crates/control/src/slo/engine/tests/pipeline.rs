//! Outages through what runs in production: two gateways count records, write them every second, and who judges looks every two. What
//! `cargo xtask bench slo` draws for the detectors alone has the same delays.

use mainstay_base::{
    AppMode, Record,
    record::{Attempt, Outcome, Path},
};
use mainstay_signal::simulate::Chance;

use super::*;
use crate::slo::{LOOK_EVERY, Rollup};

const FLUSH_US: i64 = 1_000_000;
/// From a flush until its rows are read.
const WRITE_US: i64 = 200_000;
const HEALTHY_US: i64 = 90 * MINUTE_US;
const SECOND: f64 = 1e6;

/// A gateway, and what the store has of it.
struct Gateway {
    rollup: Rollup,
    flush_at: i64,
    stored: BTreeMap<(i64, i64), SliRow>,
    on_the_way: Vec<SliRow>,
}

impl Gateway {
    fn new(name: &str, phase: i64) -> Gateway {
        let (stored, on_the_way) = (BTreeMap::new(), Vec::new());
        Gateway { rollup: Rollup::new(name), flush_at: START + phase, stored, on_the_way }
    }

    fn take(&mut self, at: i64, outcome: Outcome) {
        let record = Record {
            method: "POST".to_owned(),
            target: "/v1/workflows/run".to_owned(),
            app_id: Some("a".to_owned()),
            opened_at: Micros(at),
            outcome,
            attempts: vec![Attempt { upstream: "dify".to_owned(), ..Attempt::default() }],
            ..Record::blank(Path::App)
        };
        self.rollup.take(&record, &|_| Some(AppMode::Workflow));
    }

    /// What was flushed before is read a little later.
    fn pass(&mut self, now: i64) {
        if now >= self.flush_at {
            let batch = self.rollup.batch(Micros(now));
            self.on_the_way.extend(batch.minutes.iter().cloned());
            self.rollup.written(&batch, true);
            self.flush_at += FLUSH_US;
        }
        if now >= self.flush_at - FLUSH_US + WRITE_US {
            let rows = std::mem::take(&mut self.on_the_way);
            self.stored.extend(rows.into_iter().map(|row| ((row.time, row.series), row)));
        }
    }
}

/// Seconds from the beginning of a total outage to its page, at 99 % with half of the allowed failures before.
fn delay(per_hour: f64, seed: u64) -> f64 {
    let mut chance = Chance::new(seed);
    let mut gateways = ["one", "two"].map(|name| Gateway::new(name, (chance.draw() * SECOND) as i64));
    let mut engine = Engine::default();
    engine.adopt(vec![held(json!({}))], false, &mut HashMap::new(), Micros(START));
    let outage_at = START + HEALTHY_US + (chance.draw() * 60.0 * SECOND) as i64;
    let mut run_at = START;
    let mut look_at = START + (chance.draw() * 2.0 * SECOND) as i64;
    for now in (START..outage_at + 30 * MINUTE_US).step_by(100_000) {
        while run_at <= now {
            let share = if run_at < outage_at { 0.005 } else { 1.0 };
            let outcome = if chance.draw() < share { Outcome::Failed } else { Outcome::Ok };
            gateways[(chance.draw() * 2.0) as usize].take(run_at, outcome);
            run_at += (-(1.0 - chance.draw()).ln() * 3_600.0 / per_hour * SECOND) as i64;
        }
        gateways.iter_mut().for_each(|gateway| gateway.pass(now));
        if now < look_at {
            continue;
        }
        look_at += i64::try_from(LOOK_EVERY.as_micros()).unwrap();
        let since = now.div_euclid(MINUTE_US) - 1;
        let changed = gateways.iter().flat_map(|gateway| gateway.stored.range((since, i64::MIN)..));
        let rows: Vec<SliRow> = changed.map(|(_, row)| row.clone()).collect();
        if engine.has_unknown(&rows) {
            let series = |row: &SliRow| SliSeries { id: row.series, ..series() };
            engine.learn(rows.iter().map(series).collect());
        }
        engine.take_minutes(&rows, None, Micros(now));
        engine.look(Heard { gateway: Some(Micros(now)), dify: None }, Micros(now));
        if engine.components(Micros(now)).iter().any(|component| component.state == State::Down) {
            assert!(now >= outage_at, "paged while all was well; seed {seed}");
            return (now - outage_at) as f64 / SECOND;
        }
    }
    panic!("never paged; seed {seed}");
}

#[test]
fn a_total_outage_is_paged_in_time_through_counting_writing_and_looking() {
    for (per_hour, within_s) in [(300.0, 360.0), (600.0, 60.0), (2_000.0, 60.0)] {
        let mut delays: Vec<f64> = (0..20).map(|seed| delay(per_hour, seed)).collect();
        delays.sort_by(f64::total_cmp);
        assert!(delays[17] <= within_s, "the ninetieth percentile at {per_hour}/h: {delays:?}");
    }
}
