//! The model gateway's rows: allowances, standings, and calls found again.

use std::time::Duration;

use mainstay_base::{
    Micros, Record, Standing, Usd,
    record::{Outcome, Path},
};
use mainstay_store::model::{CallFilter, Policy};
use tokio::task::JoinSet;

use crate::fixture::{START, on_each};

const LIMIT: Usd = Usd(1_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn an_allowance_is_granted_up_to_its_limit_and_given_back() {
    on_each(|fixture| async move {
        let allowances = fixture.store.allowances();
        let take = async |wanted: i64| allowances.take("ann", START, LIMIT, Usd(wanted)).await.unwrap();
        assert_eq!(take(600_000).await, Usd(600_000));
        assert_eq!(take(600_000).await, Usd(400_000), "what is left");
        assert_eq!(take(1).await, Usd(0));
        assert_eq!(take(-5).await, Usd(0), "nobody takes less than nothing");
        allowances.give_back("ann", START, Usd(250_000)).await.unwrap();
        allowances.give_back("ann", START, Usd(-250_000)).await.unwrap();
        assert_eq!(take(999_999).await, Usd(250_000));
        allowances.give_back("nobody", START, Usd(1)).await.unwrap();

        let next = START + DAY;
        assert_eq!(allowances.take("ann", next, LIMIT, Usd(7)).await.unwrap(), Usd(7), "another window");
        assert_eq!(allowances.take("kim", START, LIMIT, Usd(7)).await.unwrap(), Usd(7), "another key");
        let listed = allowances.list(START).await.unwrap();
        let rows: Vec<(&str, Micros, Usd)> =
            listed.iter().map(|row| (row.key.as_str(), row.window_start, row.taken)).collect();
        assert_eq!(rows, [("ann", next, Usd(7)), ("ann", START, LIMIT), ("kim", START, Usd(7))]);
        assert_eq!(allowances.list(next).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_was_spent_without_asking_counts_and_a_lowered_limit_grants_nothing() {
    on_each(|fixture| async move {
        let allowances = fixture.store.allowances();
        allowances.book("ann", START, Usd(1_500_000)).await.unwrap();
        assert_eq!(allowances.take("ann", START, LIMIT, Usd(1)).await.unwrap(), Usd(0));
        allowances.give_back("ann", START, Usd(9_000_000)).await.unwrap();
        assert_eq!(allowances.list(START).await.unwrap()[0].taken, Usd(0), "never below nothing");
        allowances.book("ann", START, Usd(i64::MAX)).await.unwrap();
        allowances.book("ann", START, Usd(i64::MAX)).await.unwrap();
        assert_eq!(allowances.list(START).await.unwrap()[0].taken, Usd(i64::MAX), "no wrapping around");
    })
    .await;
}

#[tokio::test]
async fn gateways_that_take_at_once_never_get_more_than_the_limit_together() {
    on_each(|fixture| async move {
        const GATEWAYS: usize = 4;
        let mut gateways = JoinSet::new();
        for number in 0..GATEWAYS {
            let store = fixture.another().await;
            gateways.spawn(async move {
                let mut kept = 0;
                for round in 0..60 {
                    let wanted = Usd(7_001 + round * 13);
                    let granted = store.allowances().take("ann", START, LIMIT, wanted).await.unwrap();
                    // Each third slice is not used whole.
                    let unused = if round % 3 == 0 { granted.0 / 2 } else { 0 };
                    store.allowances().give_back("ann", START, Usd(unused)).await.unwrap();
                    kept += granted.0 - unused;
                }
                (number, kept)
            });
        }
        let kept: i64 = gateways.join_all().await.into_iter().map(|(_, kept)| kept).sum();
        let taken = fixture.store.allowances().list(START).await.unwrap()[0].taken;
        assert_eq!(Usd(kept), taken, "no take and no return is lost");
        assert_eq!(taken, LIMIT, "more was wanted than there was");
    })
    .await;
}

#[tokio::test]
async fn a_standing_is_the_last_word_of_its_instance_and_grows_old() {
    on_each(|fixture| async move {
        let standings = fixture.store.standings();
        let standing = |generation| Standing { snapshot_generation: generation, ..Standing::default() };
        standings.put("a:1", &standing(1)).await.unwrap();
        standings.put("b:2", &standing(2)).await.unwrap();
        fixture.clock.advance(Duration::from_secs(10));
        standings.put("a:1", &standing(3)).await.unwrap();
        let list = async |seconds| {
            let stood = standings.list(Duration::from_secs(seconds)).await.unwrap();
            stood.into_iter().map(|one| (one.instance, one.standing.snapshot_generation)).collect::<Vec<_>>()
        };
        assert_eq!(list(60).await, [("a:1".to_owned(), 3), ("b:2".to_owned(), 2)]);
        assert_eq!(list(5).await, [("a:1".to_owned(), 3)], "the other is silent");
        standings.remove("a:1").await.unwrap();
        assert_eq!(list(60).await.len(), 1);
    })
    .await;
}

fn call(number: i64, model: &str, path: Path) -> Record {
    Record {
        request_id: format!("r{number:04}"),
        // Several of one time: a cursor by time alone would lose some.
        opened_at: START + Duration::from_micros(u64::try_from(number / 3).unwrap()),
        outcome: Outcome::Ok,
        model: Some(model.to_owned()),
        ..Record::blank(path)
    }
}

#[tokio::test]
async fn calls_are_read_in_pages_each_once_and_from_the_oldest() {
    on_each(|fixture| async move {
        let records = fixture.store.records();
        let mut all: Vec<Record> = (0..50).map(|number| call(number, "gpt", Path::Model)).collect();
        all.push(call(50, "other", Path::Model));
        all.push(call(51, "gpt", Path::App));
        all.push(call(52, "\0evil\0", Path::Model));
        records.insert_batch(all).await.unwrap();
        let all_of = CallFilter { since: START, until: START + DAY, limit: 7, ..CallFilter::default() };
        let walk = async |filter: CallFilter| {
            let (mut seen, mut filter) = (Vec::new(), filter);
            loop {
                let page = records.calls(filter.clone()).await.unwrap();
                seen.extend(page.calls.into_iter().map(|call| call.request_id));
                match page.next {
                    Some(next) => filter.after = Some(next),
                    None => return seen,
                }
            }
        };
        let expected: Vec<String> = (0..50).map(|number| format!("r{number:04}")).collect();
        let gpt = CallFilter { model: Some("gpt".to_owned()), ..all_of.clone() };
        assert_eq!(walk(gpt.clone()).await, expected);
        assert_eq!(walk(all_of.clone()).await.len(), 52, "every model, and no call of an app");
        let until = START + Duration::from_micros(2);
        assert_eq!(walk(CallFilter { until, ..gpt }).await, expected[..6]);
        let evil = CallFilter { model: Some("evil".to_owned()), ..all_of };
        assert_eq!(walk(evil).await, ["r0052"], "indexed without what no database holds");
    })
    .await;
}

#[tokio::test]
async fn a_sweep_forgets_windows_long_over_and_processes_long_gone() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        store.allowances().take("ann", START, LIMIT, Usd(5)).await.unwrap();
        store.standings().put("a:1", &Standing::default()).await.unwrap();
        let swept = store.retention().sweep(Policy::default()).await.unwrap();
        assert_eq!((swept.allowances, swept.standings), (0, 0));
        fixture.clock.advance(2 * DAY);
        let swept = store.retention().sweep(Policy::default()).await.unwrap();
        assert_eq!((swept.allowances, swept.standings), (0, 1));
        fixture.clock.advance(100 * DAY);
        let swept = store.retention().sweep(Policy::default()).await.unwrap();
        assert_eq!(swept.allowances, 1);
    })
    .await;
}
