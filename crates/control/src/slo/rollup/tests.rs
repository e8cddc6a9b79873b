use mainstay_base::{Kind, record::Attempt};
use mainstay_store::model::SliRow;

use super::{
    labels::{LABEL_CHARS, OTHER},
    span::BATCH,
    *,
};

const START: i64 = 1_795_393_380_000_000;

fn record(app: &str, at_s: i64, outcome: Outcome) -> Record {
    Record {
        method: "POST".to_owned(),
        target: "/v1/workflows/run".to_owned(),
        app_id: Some(app.to_owned()),
        opened_at: Micros(START + at_s * 1_000_000),
        took_us: 500_000,
        first_token_us: Some(100_000),
        outcome,
        kind: (outcome == Outcome::Failed).then_some(Kind::Upstream),
        attempts: vec![Attempt { upstream: "dify".to_owned(), ..Attempt::default() }],
        ..Record::blank(Path::App)
    }
}

fn take(rollup: &mut Rollup, record: &Record) {
    rollup.take(record, &|_| Some(AppMode::Workflow));
}

fn sum(rows: &[SliRow]) -> (i64, i64) {
    (rows.iter().map(|row| row.counts.good).sum(), rows.iter().map(|row| row.counts.bad()).sum())
}

#[test]
fn what_is_counted_is_handed_out_until_the_store_has_it() {
    let mut rollup = Rollup::new("one");
    for second in 0..50 {
        take(&mut rollup, &record("a", second, Outcome::Ok));
    }
    take(&mut rollup, &record("a", 25, Outcome::Failed));
    take(&mut rollup, &record("a", 26, Outcome::CallerGone));
    let now = Micros(START + 51_000_000);
    let first = rollup.batch(now);
    assert_eq!((first.series.len(), sum(&first.minutes), sum(&first.hours)), (1, (50, 1), (50, 1)));
    assert_eq!(first.series[0].mode, "workflow");
    assert_eq!(first.minutes[0].slots[5], (5, 1), "{:?}", first.minutes[0].slots);
    assert_eq!(first.minutes[0].counts.blamed[Blame::Client.index()], 1);
    assert_eq!(first.minutes[0].counts.first_token.count(), 50);
    rollup.written(&first, false);
    let again = rollup.batch(now);
    assert_eq!(again.minutes, first.minutes);
    rollup.written(&again, true);
    let nothing = rollup.batch(now);
    assert!(nothing.minutes.is_empty() && nothing.hours.is_empty() && nothing.series.is_empty());
    rollup.written(&nothing, true);

    // The minute ends with one more in it: its row comes whole once more, then no more.
    take(&mut rollup, &record("a", 55, Outcome::Ok));
    let closed = rollup.batch(Micros(START + 65_000_000));
    assert_eq!(sum(&closed.minutes), (51, 1));
    rollup.written(&closed, true);
    assert!(rollup.batch(Micros(START + 66_000_000)).minutes.is_empty());
}

// What was only taken says nothing about how it ends.
#[test]
fn a_run_that_is_answered_later_counts_when_it_ends_and_one_that_was_not_taken_at_once() {
    let mut rollup = Rollup::new("one");
    let later = |status, outcome| Record { status, ..record("a", 1, outcome) };
    take(&mut rollup, &later(202, Outcome::Ok));
    take(&mut rollup, &later(503, Outcome::Failed));
    let upload = Record { target: "/v1/files/upload".to_owned(), ..later(202, Outcome::Ok) };
    take(&mut rollup, &upload);
    let batch = rollup.batch(Micros(START + 2_000_000));
    assert_eq!(sum(&batch.minutes), (1, 1));
}

#[test]
fn a_record_that_comes_late_counts_in_the_open_minute() {
    let mut rollup = Rollup::new("one");
    take(&mut rollup, &record("a", 61, Outcome::Ok));
    take(&mut rollup, &record("a", 2, Outcome::Ok));
    let batch = rollup.batch(Micros(START + 62_000_000));
    assert_eq!((batch.minutes.len(), sum(&batch.minutes)), (1, (2, 0)));
}

// Callers choose the names of models and versions.
#[test]
fn ever_new_labels_make_no_endless_series_and_no_request_is_left_out() {
    let mut rollup = Rollup::new("one");
    for number in 0..40_000 {
        take(&mut rollup, &record(&format!("app-{number}"), 1, Outcome::Ok));
    }
    let series = rollup.totals().count();
    assert!(series <= MAX_SERIES + 4, "{series}");
    assert!(rollup.by_labels.len() <= 2 * MAX_SERIES + 4, "{}", rollup.by_labels.len());
    assert_eq!(rollup.totals().map(|(_, totals)| totals.good).sum::<u64>(), 40_000);
    let others = rollup.totals().find(|(series, _)| series.app == OTHER).unwrap();
    assert_eq!(others.1.good, 35_000);
    let unknown = Record {
        target: "/v1/chat/completions".to_owned(),
        model: Some("no such model".to_owned()),
        kind: Some(Kind::Caller),
        outcome: Outcome::Failed,
        method: "POST".to_owned(),
        ..Record::blank(Path::Model)
    };
    let mut rollup = Rollup::new("one");
    rollup.take(&unknown, &|_| None);
    assert_eq!(rollup.totals().next().unwrap().0.model, "", "nobody answers to it");
}

#[test]
fn labels_that_share_a_hash_or_a_long_beginning_are_counted_apart_or_together_and_never_twice() {
    let mut rollup = Rollup::new("one");
    let (one, other) = (record("a", 1, Outcome::Ok), record("b", 1, Outcome::Ok));
    let mode_of = |_: &str| None;
    let places = [&one, &other, &one].map(|record| rollup.place(7, &Labels::of(record, None), &mode_of));
    assert_eq!(places, [0, 1, 0]);
    // Of labels too long to be kept whole, what is kept is one series.
    let long = |end: &str| record(&format!("{}{end}", "x".repeat(LABEL_CHARS)), 1, Outcome::Ok);
    let mut rollup = Rollup::new("one");
    take(&mut rollup, &long("one"));
    take(&mut rollup, &long("other"));
    take(&mut rollup, &record("a\0b", 1, Outcome::Ok));
    let batch = rollup.batch(Micros(START + 2_000_000));
    assert_eq!((batch.series.len(), batch.minutes.len(), sum(&batch.minutes)), (2, 2, (3, 0)));
}

#[test]
fn while_the_store_is_away_the_oldest_is_given_up_and_counted() {
    let mut rollup = Rollup::new("one");
    let many = MAX_WAITING as i64 + 100;
    for minute in 0..many {
        take(&mut rollup, &record("a", minute * 60, Outcome::Ok));
        if minute % 1_000 == 0 {
            let batch = rollup.batch(Micros(START + minute * 60_000_000));
            rollup.written(&batch, false);
        }
    }
    let now = Micros(START + many * 60_000_000);
    let mut stored = 0;
    loop {
        let batch = rollup.batch(now);
        if batch.minutes.is_empty() {
            break;
        }
        assert!(batch.minutes.len() <= BATCH + 1);
        stored += sum(&batch.minutes).0;
        rollup.written(&batch, true);
    }
    assert_eq!(stored + i64::try_from(rollup.lost()).unwrap(), many);
    assert_eq!(rollup.lost(), 100);
}
