//! What judging costs: time to look at a thousand objectives, memory of a series, and records a second into rollups.

use std::time::{Duration, Instant};

use mainstay_base::{
    AppMode, Micros,
    record::{Attempt, Outcome, Path, Record},
};
use mainstay_control::slo::Rollup;
use mainstay_signal::slo::{Counts, Fed, Judge, Objective, Series, Settings, Slot, choose, look};

const START: Micros = Micros(1_790_035_200_000_000);
const OBJECTIVES: usize = 1_000;
const RECORDS: u32 = 1_000_000;

pub(crate) fn print_cost() {
    print_looks();
    print_choice();
    print_rollup();
}

/// Thirty days of ten runs a minute, of which one in two hundred fails.
fn print_choice() {
    let objective = Objective { target: 0.99, period: Duration::from_secs(30 * 86_400), began: None };
    let slot = |number: u64| Slot {
        at: START + Duration::from_secs(number * 6),
        good: u32::from(!number.is_multiple_of(200)),
        bad: u32::from(number.is_multiple_of(200)),
    };
    let slots: Vec<Slot> = (0..30 * 14_400).map(slot).collect();
    let began = Instant::now();
    std::hint::black_box(choose(&slots, &objective, &Settings::default()));
    println!(
        "choosing for one objective by 30 days of {} slots: {:.2} s",
        slots.len(),
        began.elapsed().as_secs_f64()
    );
}

/// Each objective has three days of minutes and 92 days of hours, and some failures, so that every rule has to be worked out.
fn print_looks() {
    let now = START + Duration::from_secs(92 * 86_400);
    let mut series = Series::default();
    for minute in 0..73 * 60 {
        let at = now - Duration::from_secs((73 * 60 - minute) * 60);
        series.set_minute(at, Counts::new(99, 1), now);
    }
    for hour in 0..92 * 24 {
        series.set_hour(START + Duration::from_secs(hour * 3_600), Counts::new(5_940, 60), now);
    }
    let objective = Objective { target: 0.999, period: Duration::from_secs(30 * 86_400), began: None };
    let slot = Slot { at: now - Duration::from_secs(20), good: 16, bad: 1 };
    let mut all = vec![(series.clone(), Judge::default()); OBJECTIVES];
    let mut took: Vec<f64> = (0..20)
        .map(|_| {
            let began = Instant::now();
            for (series, judge) in &mut all {
                let fed = Fed { series, slots: &[slot], heard: Some(now) };
                std::hint::black_box(look(&fed, judge, &objective, &Settings::default(), now));
            }
            began.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    took.sort_by(f64::total_cmp);
    println!(
        "looking at {OBJECTIVES} objectives: {:.2} ms (median of 20), {:.2} ms at most",
        took[10], took[19]
    );
    println!("memory of a series: {} bytes; of a judge: {} bytes", series.bytes(), size_of::<Judge>());
}

/// A hundred apps, one run in a hundred failed; a batch is handed out every two seconds of traffic.
fn print_rollup() {
    let mut rollup = Rollup::new("bench");
    let mut records: Vec<Record> = (0..100).map(record).collect();
    let began = Instant::now();
    for number in 0..RECORDS {
        let record = &mut records[number as usize % 100];
        record.opened_at = START + Duration::from_micros(u64::from(number) * 10);
        rollup.take(record, &|_| Some(AppMode::Workflow));
        if number % 200_000 == 0 {
            let batch = rollup.batch(record.opened_at);
            rollup.written(&batch, true);
        }
    }
    let took_s = began.elapsed().as_secs_f64();
    println!("records into rollups: {:.0} a second on one core", f64::from(RECORDS) / took_s);
}

fn record(app: u32) -> Record {
    Record {
        method: "POST".to_owned(),
        target: "/v1/workflows/run".to_owned(),
        app_id: Some(format!("app-{app}")),
        took_us: 500_000,
        first_token_us: Some(100_000),
        outcome: if app == 0 { Outcome::Failed } else { Outcome::Ok },
        attempts: vec![Attempt { upstream: "dify".to_owned(), ..Attempt::default() }],
        ..Record::blank(Path::App)
    }
}
