//! What was read of a Dify: taken whole, counted once.

use std::sync::Arc;

use mainstay_base::Micros;
use mainstay_store::{
    Store,
    model::{DifyAdd, DifyBatch, DifyFilter, DifyItem, DifySeries, DifyTaken},
};

use crate::fixture::{START, on_each};

const MINUTE: i64 = 60_000_000;

fn series() -> Arc<DifySeries> {
    let series = DifySeries {
        id: 7,
        kind: "run".to_owned(),
        app_id: "app-1".to_owned(),
        status: "succeeded".to_owned(),
        currency: "USD".to_owned(),
        ..DifySeries::default()
    };
    Arc::new(series)
}

fn item(number: i64, is_ended: bool) -> DifyItem {
    let at = Micros(START.0 + number * MINUTE / 10);
    let add = DifyAdd {
        series: series(),
        at,
        took_us: Some(1000 * (number + 1)),
        wait_us: None,
        tokens: 10,
        input_tokens: 7,
        output_tokens: 3,
        price_nanos: 7050,
    };
    DifyItem {
        id: format!("run-{number:04}"),
        created_at: at,
        app_id: "app-1".to_owned(),
        status: if is_ended { "succeeded" } else { "running" }.to_owned(),
        class: String::new(),
        look_at: (!is_ended).then_some(at),
        body: "{}".to_owned(),
        adds: if is_ended { vec![add] } else { Vec::new() },
    }
}

fn batch(after: i64, items: Vec<DifyItem>) -> DifyBatch {
    let next = items.last().map(|item| (item.created_at, item.id.clone()));
    DifyBatch {
        source: "dify".to_owned(),
        kind: "run",
        after,
        next,
        items: items.into(),
        series: vec![series()].into(),
    }
}

// Whole hours are summed from hours, the rest from minutes: no minute twice, none left out, whatever the span.
#[tokio::test]
async fn a_span_sums_each_of_its_minutes_once_over_hours_and_minutes() {
    on_each(|fixture| async move {
        // A run each six seconds over four hours, of which three are whole.
        let items: Vec<DifyItem> = (0..2400).map(|number| item(number, true)).collect();
        for (after, some) in (0..).zip(items.chunks(700)) {
            fixture.store.dify().take(batch(after, some.to_vec())).await.unwrap();
        }
        let minute = |number: i64| Micros((START.0.div_euclid(MINUTE) + number) * MINUTE);
        let mut seed: u64 = 11;
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            i64::try_from((seed >> 33) % below).unwrap()
        };
        for _ in 0..60 {
            let (from, minutes) = (next(260) - 10, next(260));
            let (since, until) = (minute(from), minute(from + minutes));
            let totals = fixture.store.dify().totals("dify", "run", since, until).await.unwrap();
            let within = items
                .iter()
                .filter(|item| item.created_at >= since && item.created_at < minute(from + minutes + 1));
            let expected = i64::try_from(within.count()).unwrap();
            let told =
                totals.first().map_or((0, 0, 0), |total| (total.count, total.tokens, total.sketch.count()));
            assert_eq!(told, (expected, expected * 10, expected), "{from} + {minutes}");
        }
        // Another kind has none of it.
        assert_eq!(fixture.store.dify().totals("dify", "node", Micros(0), minute(1000)).await.unwrap(), []);
    })
    .await;
}

async fn counted(store: &Store) -> (i64, i64, i64) {
    let totals = store.dify().totals("dify", "run", Micros(0), Micros(START.0 * 2)).await.unwrap();
    assert!(totals.len() <= 1);
    let Some(total) = totals.first() else { return (0, 0, 0) };
    assert_eq!(total.sketch.count(), total.count);
    (total.count, total.tokens, total.price_nanos)
}

#[tokio::test]
async fn an_item_is_counted_once_when_it_ends_however_often_it_is_given() {
    on_each(|fixture| async move {
        let dify = fixture.store.dify();
        // 130 items: full statements and single ones; every tenth has not ended.
        let first: Vec<DifyItem> = (0..130).map(|number| item(number, number % 10 != 0)).collect();
        let taken = dify.take(batch(0, first.clone())).await.unwrap();
        assert_eq!(taken, Some(DifyTaken { sequence: 1, new: 130, counted: 117 }));
        assert_eq!(counted(&fixture.store).await, (117, 1170, 117 * 7050));

        // The same again, as after an overlap.
        let taken = dify.take(batch(1, first)).await.unwrap();
        assert_eq!(taken, Some(DifyTaken { sequence: 2, new: 0, counted: 0 }));
        // The open ones end, and are given twice.
        let due = dify.due("dify", "run", Micros(i64::MAX), 1000).await.unwrap();
        assert_eq!(due.len(), 13);
        let ended: Vec<DifyItem> = (0..130).step_by(10).map(|number| item(number, true)).collect();
        for (after, counted) in [(2, 13), (3, 0)] {
            let taken = dify.take(batch(after, ended.clone())).await.unwrap();
            assert_eq!(taken, Some(DifyTaken { sequence: after + 1, new: 0, counted }));
        }
        // One that has ended does not open again.
        dify.take(batch(4, vec![item(3, false)])).await.unwrap();
        assert_eq!(counted(&fixture.store).await, (130, 1300, 130 * 7050));
        assert_eq!(dify.due("dify", "run", Micros(i64::MAX), 1000).await.unwrap().len(), 0);
        let filter = DifyFilter { kind: "run".to_owned(), limit: 5, ..DifyFilter::default() };
        let listed = dify.list("dify", filter).await.unwrap();
        let ids: Vec<&str> = listed.iter().map(|item| item.id.as_str()).collect();
        assert_eq!(ids, ["run-0129", "run-0128", "run-0127", "run-0126", "run-0125"]);
    })
    .await;
}

#[tokio::test]
async fn of_two_readers_one_goes_on_and_the_other_writes_nothing() {
    on_each(|fixture| async move {
        let other = fixture.another().await;
        let (one, two) = (fixture.store.dify(), other.dify());
        let items = |from: i64| (from..from + 60).map(|number| item(number, true)).collect::<Vec<_>>();
        let (first, second) = tokio::join!(one.take(batch(0, items(0))), two.take(batch(0, items(1000))));
        let outcomes = [first.unwrap(), second.unwrap()];
        assert_eq!(outcomes.iter().flatten().count(), 1);
        assert_eq!(counted(&fixture.store).await.0, 60);
        // From what the first left the second goes on.
        let cursor = two.cursor("dify", "run").await.unwrap();
        assert_eq!(cursor.sequence, 1);
        assert!(two.take(batch(0, items(2000))).await.unwrap().is_none());
        assert!(two.take(batch(cursor.sequence, items(2000))).await.unwrap().is_some());
        assert_eq!(counted(&fixture.store).await.0, 120);
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_fails_leaves_neither_items_nor_counts_nor_a_place() {
    on_each(|fixture| async move {
        let dify = fixture.store.dify();
        dify.take(batch(0, vec![item(0, true)])).await.unwrap();
        fixture.tamper("UPDATE dify_minutes SET sketch = 'broken'").await;
        // In the same minute as the broken one, so that counting fails after items were written.
        dify.take(batch(1, vec![item(1, true)])).await.unwrap_err();
        assert_eq!(dify.cursor("dify", "run").await.unwrap().sequence, 1);
        let filter = DifyFilter { kind: "run".to_owned(), ..DifyFilter::default() };
        assert_eq!(dify.list("dify", filter).await.unwrap().len(), 1);
        fixture.tamper("UPDATE dify_minutes SET sketch = '39:1'").await;
        dify.take(batch(1, vec![item(1, true)])).await.unwrap();
        assert_eq!(counted(&fixture.store).await.0, 2);
    })
    .await;
}

#[tokio::test]
async fn a_sweep_leaves_what_is_open_and_what_is_new() {
    on_each(|fixture| async move {
        let dify = fixture.store.dify();
        // One each 144 seconds.
        let items: Vec<DifyItem> = (0..100).map(|number| item(number * 24, number != 5)).collect();
        dify.take(batch(0, items)).await.unwrap();
        let half = Micros(START.0 + 120 * MINUTE);
        assert!(!dify.sweep("dify", &["run"], half, half).await.unwrap());
        let open = dify.open_since("dify", "run", half, 10).await.unwrap();
        assert_eq!((open.len(), open[0].id.as_str()), (1, "run-0120"));
        let left = dify.positions("dify", "run", Micros(0), Micros(i64::MAX)).await.unwrap();
        assert_eq!(left.len(), 51);
        // Whole hours: the one in which the sweep ended stays.
        let counted = counted(&fixture.store).await.0;
        assert!((50..50 + 25).contains(&counted), "{counted}");
        dify.put_state("dify", "documents:a", "1".to_owned()).await.unwrap();
        dify.put_state("dify", "documents:a", "2".to_owned()).await.unwrap();
        dify.put_state("dify", "lag", "3".to_owned()).await.unwrap();
        let states = dify.states("dify", "documents:", std::time::Duration::from_secs(9)).await.unwrap();
        assert_eq!(states.iter().map(|state| state.body.as_str()).collect::<Vec<_>>(), ["2"]);
    })
    .await;
}
