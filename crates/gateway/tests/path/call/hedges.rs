//! A second attempt beside a slow first one.

use std::time::Duration;

use mainstay_base::{
    Class, Usd,
    record::AttemptRole,
    snapshot::{CallPolicy, Hedge},
};
use mainstay_faulty::{End, Fault, Plan};
use mainstay_testkit::wait_until;

use super::{ask, course, pair, policy};
use crate::rig::PATIENCE;

fn hedged() -> CallPolicy {
    let hedge = Hedge { at_least: Duration::from_millis(100), ..Hedge::default() };
    CallPolicy { hedge: Some(hedge), ..policy() }
}

#[tokio::test]
async fn the_first_to_be_proved_wins_and_the_other_is_left_and_booked() {
    for stream in [false, true] {
        let (one, two, mut rig) = pair(hedged()).await;
        for _ in 0..10 {
            assert_eq!(ask(&rig, stream).await.status, 200);
            rig.record().await;
        }
        one.set(Fault::SlowFirstByte { delay_ms: 4000 });
        let got = ask(&rig, stream).await;
        assert_eq!((got.status, &got.headers["mainstay-target"]), (200, &"two/real-small".parse().unwrap()));
        let record = rig.record().await;
        assert_eq!(course(&record), ["one/key-0 first hedge_lost", "two/key-0 hedge ok"], "stream {stream}");
        let lost = &record.attempts[0];
        assert!(lost.is_cost_estimated && lost.cost.is_some_and(|cost| cost > Usd::ZERO));
        assert_eq!(record.cost, record.attempts.iter().map(|attempt| attempt.cost).sum());
        wait_until("the loser was left", PATIENCE, || async {
            one.calls().iter().all(|call| call.end() != End::UnderWay).then_some(())
        })
        .await;
        assert_eq!(one.calls().last().map(mainstay_faulty::Call::end), Some(End::Abandoned));
        let standing = rig.gateway.standing();
        assert!(standing.targets.iter().all(|target| target.in_flight == 0 && target.failures == 0));
        assert_eq!(two.count(), 1);
    }
}

#[tokio::test]
async fn a_failure_of_one_leaves_the_other_its_chance() {
    let (one, two, mut rig) = pair(hedged()).await;
    for _ in 0..10 {
        ask(&rig, true).await;
        rig.record().await;
    }
    one.set(Plan::from(Fault::SlowFirstByte { delay_ms: 400 }));
    two.set(Fault::Status { status: 500 });
    let got = ask(&rig, true).await;
    assert_eq!(got.headers["mainstay-target"], "one/real-small", "{}", got.text());
    assert_eq!(course(&rig.record().await), ["one/key-0 first ok", "two/key-0 hedge server_error"]);
}

/// A drained provider gets no extra calls, and is there all the same when the first fails.
#[tokio::test]
async fn a_drained_target_is_no_hedge_and_still_a_fallback() {
    let (one, two, mut rig) = pair(hedged()).await;
    let mut snapshot = mainstay_base::Snapshot::clone(&rig.snapshot.load());
    snapshot.generation += 1;
    snapshot.model.drained = vec!["two".to_owned()];
    rig.snapshot.store(std::sync::Arc::new(snapshot));
    for _ in 0..10 {
        ask(&rig, true).await;
        rig.record().await;
    }
    one.set(Fault::SlowFirstByte { delay_ms: 400 });
    assert_eq!(ask(&rig, true).await.headers["mainstay-target"], "one/real-small");
    assert_eq!((course(&rig.record().await), two.count()), (vec!["one/key-0 first ok".to_owned()], 0));
    one.set_all(vec![Plan::from(Fault::Close)]);
    assert_eq!(ask(&rig, true).await.headers["mainstay-target"], "two/real-small");
    assert_eq!(course(&rig.record().await), ["one/key-0 first closed", "two/key-0 fallback ok"]);
}

#[tokio::test]
async fn hedges_are_few() {
    let (one, two, mut rig) = pair(hedged()).await;
    for _ in 0..10 {
        ask(&rig, true).await;
        rig.record().await;
    }
    one.set(Fault::SlowFirstByte { delay_ms: 150 });
    two.set(Fault::SlowFirstByte { delay_ms: 1000 });
    let mut hedges = 0;
    for _ in 0..25 {
        assert_eq!(ask(&rig, true).await.status, 200);
        let record = rig.record().await;
        hedges += record.attempts.iter().filter(|attempt| attempt.role == AttemptRole::Hedge).count();
        assert!(record.attempts.iter().all(|attempt| matches!(attempt.class, None | Some(Class::HedgeLost))));
    }
    // What was saved up, and one for each twenty calls.
    assert!((1..=12).contains(&hedges), "{hedges}");
}
