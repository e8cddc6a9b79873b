//! Breakers, drained providers, failover by hand.

use std::{sync::Arc, time::Duration};

use http::Method;
use mainstay_base::{
    Snapshot,
    snapshot::{Breaker, Dialect, Failover},
    standing::BreakerState,
};
use mainstay_faulty::Fault;
use mainstay_testkit::wait_until;

use super::{ask, course, pair, policy, provider, setup, target};
use crate::rig::{PATIENCE, Rig};

fn quick() -> Breaker {
    Breaker {
        open_for: Duration::from_millis(100),
        max_open: Duration::from_millis(200),
        ..Breaker::default()
    }
}

fn state(rig: &Rig) -> BreakerState {
    rig.gateway.standing().targets[0].breaker
}

#[tokio::test]
async fn a_failing_target_is_left_alone_and_found_again() {
    let (one, two) = (super::faulty().await, super::faulty().await);
    let targets = vec![target(provider("one", &one, 1)), target(provider("two", &two, 1))];
    let mut setup = setup(targets, policy());
    setup.snapshot.model.breaker = quick();
    let rig = setup.start().await;
    one.set(Fault::Status { status: 500 });
    for _ in 0..30 {
        assert_eq!(ask(&rig, true).await.status, 200, "every call has an answer");
    }
    assert!(one.count() <= 20, "the breaker opened within 20 calls: {}", one.count());
    assert_eq!(rig.gateway.standing().targets[0].last_failure, Some(mainstay_base::Class::ServerError));
    one.set(Fault::None);
    wait_until("the breaker closed", PATIENCE, || async {
        assert_eq!(ask(&rig, true).await.status, 200);
        (state(&rig) == BreakerState::Closed).then_some(())
    })
    .await;
    let before = one.count();
    assert_eq!(ask(&rig, true).await.headers["mainstay-target"], "one/real-small");
    assert_eq!(one.count(), before + 1);
}

#[tokio::test]
async fn the_last_target_is_asked_although_its_breaker_is_open() {
    let one = super::faulty().await;
    let mut setup = setup(vec![target(provider("one", &one, 1))], policy());
    setup.snapshot.model.breaker = Breaker {
        open_for: Duration::from_secs(60),
        max_open: Duration::from_secs(60),
        ..Breaker::default()
    };
    let rig = setup.start().await;
    one.set(Fault::Status { status: 500 });
    for _ in 0..6 {
        assert_eq!(ask(&rig, false).await.status, 502);
    }
    assert_eq!(state(&rig), BreakerState::Open);
    one.set(Fault::None);
    assert_eq!(ask(&rig, false).await.status, 200, "a last resort is better than a refusal");
}

#[tokio::test]
async fn what_is_known_survives_a_new_snapshot() {
    let (one, _two, mut rig) = pair(policy()).await;
    one.set(Fault::Status { status: 500 });
    for _ in 0..6 {
        ask(&rig, false).await;
        rig.record().await;
    }
    assert_eq!(state(&rig), BreakerState::Open);
    let mut snapshot = Snapshot::clone(&rig.snapshot.load());
    snapshot.generation += 1;
    rig.snapshot.store(Arc::new(snapshot));
    ask(&rig, false).await;
    assert_eq!(course(&rig.record().await), ["two/key-0 first ok"]);
    assert_eq!(state(&rig), BreakerState::Open);
}

#[tokio::test]
async fn drained_providers_come_last_and_failover_turns_the_order() {
    let (one, two, mut rig) = pair(policy()).await;
    let change = |change: fn(&mut Snapshot)| {
        let mut snapshot = Snapshot::clone(&rig.snapshot.load());
        snapshot.generation += 1;
        change(&mut snapshot);
        rig.snapshot.store(Arc::new(snapshot));
    };
    change(|snapshot| snapshot.model.drained = vec!["one".to_owned()]);
    assert_eq!(ask(&rig, false).await.headers["mainstay-target"], "two/real-small");
    two.set(Fault::Status { status: 500 });
    assert_eq!(ask(&rig, false).await.headers["mainstay-target"], "one/real-small", "better than none");
    two.set(Fault::None);
    change(|snapshot| {
        snapshot.model.drained.clear();
        snapshot.model.failovers = vec![Failover { from: "one".to_owned(), to: "two".to_owned() }];
    });
    assert_eq!(ask(&rig, false).await.headers["mainstay-target"], "two/real-small");
    assert_eq!(one.count(), 1);
    for _ in 0..3 {
        rig.record().await;
    }
}

/// A caller that names the text at which its answer ends may get an answer without a word. That speaks against nobody;
/// the same answer to a caller that named none is a failure, and another target is asked.
#[tokio::test]
async fn an_answer_that_ends_at_the_callers_own_stop_speaks_against_nobody() {
    // A whole answer of OpenAI's that is empty here has no choice at all, which no stop explains.
    for (dialect, version, streams) in [
        (Dialect::OpenAi, "/v1", &[true][..]),
        (Dialect::Anthropic, "/v1", &[false, true]),
        (Dialect::Gemini, "/v1beta", &[false, true]),
    ] {
        for &stream in streams {
            let (one, two) = (super::faulty().await, super::faulty().await);
            let mut first = provider("one", &one, 1);
            first.dialect = dialect.clone();
            first.base_url = format!("{}{version}", one.url());
            let targets = vec![target(first), target(provider("two", &two, 1))];
            let mut rig = setup(targets, policy()).start().await;
            one.set(Fault::Empty);
            for _ in 0..20 {
                let body = super::body(stream).replacen('{', r#"{"stop":["END"],"#, 1);
                let got = rig.got(rig.model_request(Method::POST, super::CHAT, body)).await;
                assert_eq!(got.status, 200, "{dialect:?}: {}", got.text());
                assert!(got.text().contains(r#""finish_reason":"stop""#), "{dialect:?}: {}", got.text());
                assert_eq!(
                    course(&rig.record().await),
                    ["one/key-0 first ok"],
                    "{dialect:?}, stream: {stream}"
                );
            }
            assert_eq!((state(&rig), two.count()), (BreakerState::Closed, 0), "{dialect:?}");
            assert_eq!(ask(&rig, stream).await.status, 200);
            let unasked = course(&rig.record().await);
            assert_eq!(unasked[0], "one/key-0 first empty", "{dialect:?}, stream: {stream}");
            assert!(two.count() > 0);
        }
    }
}
