//! Several failures at once, and failures where hedges and shared calls are on: the promises are the same.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use mainstay_base::{
    record::Outcome,
    snapshot::{CallPolicy, Hedge, LogicalModel, SingleFlight},
};
use mainstay_faulty::{Fault, Plan};

use super::{WHOLE, call, faults, faulty, refused, route, text};
use crate::rig::{Rig, Setup};

/// Two failures take turns at the first target, and every call is answered.
#[tokio::test(flavor = "multi_thread")]
async fn two_failures_at_once_are_hidden_as_one_is() {
    let quick: Vec<_> = faults().into_iter().filter(|row| row.falls_over && !is_slow(&row.fault)).collect();
    for pair in quick.windows(2) {
        let (first, second) = (faulty().await, faulty().await);
        let plan = |fault: &Fault, share| Plan { share, ..Plan::from(fault.clone()) };
        first.set_all(vec![plan(&pair[0].fault, 0.5), plan(&pair[1].fault, 1.0)]);
        let routes = [route("first", &first, 0, &["a", "b"]), route("second", &second, 0, &["a"])];
        let mut rig = Setup::model(&routes).start().await;
        for streams in [false, true, false, true] {
            let got = call(&rig, streams).await;
            let record = rig.only_record().await;
            let cell = format!("{:?} and {:?}: {got:?} {record:?}", pair[0].fault, pair[1].fault);
            assert_eq!(got.status, 200, "{cell}");
            let (said, is_whole) = text(&got, streams);
            assert!((said == WHOLE) && is_whole, "{cell}");
        }
    }
}

fn is_slow(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Hang | Fault::SlowFirstByte { .. } | Fault::SlowFirstToken { .. } | Fault::Stall { .. }
    )
}

/// The caller gets the failure of the last that was asked, once all were.
#[tokio::test(flavor = "multi_thread")]
async fn when_every_target_fails_the_caller_is_told_the_last_failure() {
    let columns = [false, true].map(|streams| async move {
        for row in faults().into_iter().filter(|row| row.falls_over && row.streams().contains(&streams)) {
            let (first, second) = (faulty().await, faulty().await);
            let routes = [route("first", &first, 0, &["a"]), route("second", &second, 0, &["a"])];
            let mut rig = Setup::model(&routes).start().await;
            first.set(Fault::Close);
            second.set(row.fault.clone());
            let got = call(&rig, streams).await;
            let record = rig.only_record().await;
            let cell = format!("{:?} stream {streams}: {got:?} {record:?}", row.fault);
            refused(&row, &got, &cell);
            assert_eq!(record.attempts.last().and_then(|last| last.class), Some(row.class), "{cell}");
            assert!(record.attempts.len() <= 3 && second.count() <= 2, "{cell}");
            assert_eq!(record.outcome, Outcome::Failed, "{cell}");
        }
    });
    join_all(columns).await;
}

async fn with_policy(
    first: &mainstay_faulty::Provider,
    second: &mainstay_faulty::Provider,
    policy: CallPolicy,
) -> Rig {
    let routes = [route("first", first, 0, &["a"]), route("second", second, 0, &["a"])];
    let mut setup = Setup::model(&routes);
    let model = LogicalModel::clone(&setup.snapshot.model.models["small"]);
    setup.snapshot.model.models.insert("small".to_owned(), Arc::new(LogicalModel { policy, ..model }));
    setup.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_hedges_every_failure_is_hidden_all_the_same() {
    let hedge = Some(Hedge { at_least: Duration::from_millis(50), ..Hedge::default() });
    let columns = [false, true].map(|streams| async move {
        for row in faults().into_iter().filter(|row| row.falls_over && row.streams().contains(&streams)) {
            let (first, second) = (faulty().await, faulty().await);
            let mut rig = with_policy(&first, &second, CallPolicy { hedge, ..CallPolicy::default() }).await;
            // Nothing is hedged before anything is known of the first one's times.
            for _ in 0..10 {
                call(&rig, streams).await;
                rig.record().await;
            }
            first.set(row.fault.clone());
            let before = second.count();
            let got = call(&rig, streams).await;
            let record = rig.only_record().await;
            let cell = format!("{:?} stream {streams}: {got:?} {record:?}", row.fault);
            assert_eq!((got.status, text(&got, streams)), (200, (WHOLE.to_owned(), true)), "{cell}");
            assert_eq!((record.attempts.len(), record.outcome), (2, Outcome::Ok), "{cell}");
            assert_eq!(second.count() - before, 1, "{cell}");
        }
    });
    join_all(columns).await;
}

/// Identical calls at the same time: one is made of them, and all get the same.
#[tokio::test(flavor = "multi_thread")]
async fn shared_calls_fail_over_together() {
    let columns = [false, true].map(|streams| async move {
        for row in faults().into_iter().filter(|row| row.falls_over && row.streams().contains(&streams)) {
            let (first, second) = (faulty().await, faulty().await);
            let policy = CallPolicy { single_flight: SingleFlight::All, ..CallPolicy::default() };
            let mut rig = with_policy(&first, &second, policy).await;
            first.set(row.fault.clone());
            let answers = join_all((0..4).map(|_| call(&rig, streams))).await;
            for got in &answers {
                let cell = format!("{:?} stream {streams}: {got:?}", row.fault);
                assert_eq!((got.status, text(got, streams)), (200, (WHOLE.to_owned(), true)), "{cell}");
            }
            for _ in 0..4 {
                assert_eq!(rig.record().await.outcome, Outcome::Ok, "{:?}", row.fault);
            }
        }
    });
    join_all(columns).await;
}
