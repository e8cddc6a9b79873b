//! A few of the schedules that `cargo xtask bench outbox` runs by the thousand.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should end")]

use std::{ops::Range, path::Path};

use mainstay_bench::outbox::{Dialect, Outcome, Way, schedule};
use tokio::task::JoinSet;

async fn all(way: Way, seeds: Range<u64>) -> Outcome {
    let mut tasks = JoinSet::new();
    for seed in seeds {
        tasks.spawn(schedule(seed, 6, way, Path::new(env!("CARGO_BIN_EXE_outbox"))));
    }
    let mut sum = Outcome::default();
    while let Some(one) = tasks.join_next().await {
        sum.add(one.unwrap().unwrap());
    }
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_by_processes_that_die_and_every_repeat_is_known() {
    for (dialect, seeds) in [(Dialect::Webhook, 0..6), (Dialect::Chat, 6..12)] {
        let way = Way::Product(dialect);
        let sum = all(way, seeds).await;
        assert_eq!((sum.alerts, sum.lost, sum.duplicates), (36, 0, 0), "{dialect:?} {sum:?}");
        assert!(sum.kills > 2 && sum.cuts > 2, "the faults happened: {sum:?}");
        assert!(sum.keeps_bounds(way), "{dialect:?} {sum:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deliverer_that_marks_before_it_sends_is_caught() {
    let sum = all(Way::MarksFirst, 0..12).await;
    assert!(sum.lost > 0, "{sum:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliverers_without_leases_are_caught() {
    let sum = all(Way::NoLease, 0..12).await;
    assert!(!sum.keeps_bounds(Way::NoLease), "{sum:?}");
}
