//! A caller that leaves: its stream is aborted and billed for what was delivered, or read on to its usage by policy.

use std::time::Duration;

use mainstay_base::{
    Class, Usd,
    record::Outcome,
    snapshot::{CallPolicy, Drain},
};

use mainstay_testkit::wait_until;

use super::{DONE, OPENING, Player, STOP, Step, USAGE, asking, read_to, said, send, setup};
use crate::rig::PATIENCE;

fn script() -> Vec<Step> {
    vec![send([OPENING, &said("hello, this is it")].concat()), Step::Gate, send([STOP, USAGE, DONE].concat())]
}

fn draining(max_wait: Duration, max_at_once: usize) -> CallPolicy {
    CallPolicy { drain: Drain { max_wait, max_at_once, ..Drain::default() }, ..CallPolicy::default() }
}

#[tokio::test]
async fn by_default_the_provider_is_left_at_once_and_what_came_is_billed() {
    let player = Player::streaming(script()).await;
    let mut rig = setup(&[&player], CallPolicy::default()).start().await;
    let mut body = rig.send(asking(&rig, "")).await.into_body();
    read_to(&mut body, "this is it").await;
    drop(body);
    player.nobody_listens().await;
    let record = rig.only_record().await;
    assert_eq!((record.outcome, record.status), (Outcome::CallerGone, 200));
    assert_eq!((record.output_tokens, record.attempts[0].class), (Some(5), Some(Class::CallerGone)));
    assert_eq!(record.cost, record.total_tokens.map(|tokens| Usd(tokens as i64)));
    assert!(record.attempts[0].is_cost_estimated);
}

#[tokio::test]
async fn by_policy_it_is_read_on_to_its_usage() {
    let player = Player::streaming(script()).await;
    let mut rig = setup(&[&player], draining(PATIENCE, 8)).start().await;
    let mut body = rig.send(asking(&rig, "")).await.into_body();
    read_to(&mut body, "this is it").await;
    drop(body);
    wait_until("the stream is drained", PATIENCE, || async {
        (rig.gateway.stats().draining == 1).then_some(())
    })
    .await;
    // Shutdown waits for it.
    let finishing = rig.gateway.clone();
    let finished = tokio::spawn(async move { finishing.finish(PATIENCE).await });
    player.open_gate();
    finished.await.unwrap();
    let record = rig.only_record().await;
    assert_eq!((record.outcome, record.output_tokens), (Outcome::CallerGone, Some(10)));
    assert_eq!((record.cost, record.attempts[0].is_cost_estimated), (Some(Usd(40)), false));
    assert_eq!(record.attempts[0].class, None, "the target did all that was asked of it");
}

#[tokio::test]
async fn a_drain_has_an_end_and_a_place() {
    let player = Player::streaming(script()).await;
    for policy in [draining(Duration::from_millis(50), 8), draining(PATIENCE, 0)] {
        let mut rig = setup(&[&player], policy).start().await;
        let mut body = rig.send(asking(&rig, "")).await.into_body();
        read_to(&mut body, "this is it").await;
        drop(body);
        // The gate stays shut: nothing but the bound ends it.
        player.nobody_listens().await;
        let record = rig.only_record().await;
        assert_eq!((record.outcome, record.output_tokens), (Outcome::CallerGone, Some(5)));
    }
}

#[tokio::test]
async fn who_leaves_after_the_last_event_had_everything() {
    let stream = [OPENING, &said("hello"), STOP, USAGE, DONE].concat();
    let player = Player::streaming(vec![send(&stream), Step::Silence]).await;
    let mut rig = setup(&[&player], CallPolicy::default()).start().await;
    let mut body = rig.send(asking(&rig, "")).await.into_body();
    read_to(&mut body, DONE).await;
    drop(body);
    let record = rig.only_record().await;
    assert_eq!((record.outcome, record.output_tokens), (Outcome::Ok, Some(10)));
    assert_eq!(rig.gateway.stats().settled, 1);
}

/// Whenever a caller leaves: upstream ends within half a second, nothing stays out, and there is one record.
#[tokio::test]
async fn a_caller_may_leave_at_any_moment() {
    let opening = || send(OPENING);
    let content = || send(said("hello, this is it"));
    for (steps, read, output) in [
        // Before the head, in the window, between two pieces, inside an event, after the finish and before the usage.
        (vec![Step::Silence], None, None),
        (vec![opening(), Step::Silence], None, None),
        (vec![opening(), content(), Step::Silence], Some("this is it"), Some(5)),
        (vec![opening(), content(), send(&STOP[..40]), Step::Silence], Some("this is it"), Some(5)),
        (vec![opening(), content(), send(STOP), Step::Silence], Some("\"stop\""), Some(5)),
        (vec![opening(), content(), send([STOP, USAGE].concat()), Step::Silence], Some("\"stop\""), Some(10)),
    ] {
        let player = Player::streaming(steps).await;
        let mut rig = setup(&[&player], CallPolicy::default()).start().await;
        match read {
            Some(read) => {
                let mut body = rig.send(asking(&rig, "")).await.into_body();
                read_to(&mut body, read).await;
                drop(body);
            }
            None => {
                let call = rig.send(asking(&rig, ""));
                let asked = wait_until("the provider is asked", PATIENCE, || async {
                    (player.calls() == 1).then_some(())
                });
                // Dropped with its answer outstanding.
                tokio::select! { _ = call => panic!("an answer of nothing"), () = asked => {} }
            }
        }
        let left = std::time::Instant::now();
        player.nobody_listens().await;
        assert!(left.elapsed() < Duration::from_millis(500), "{:?}", left.elapsed());
        let record = rig.only_record().await;
        assert_eq!((record.outcome, record.output_tokens), (Outcome::CallerGone, output), "{read:?}");
        assert_eq!((record.attempts.len(), record.attempts[0].class), (1, Some(Class::CallerGone)));
        rig.nothing_is_out().await;
    }
}

#[tokio::test]
async fn shutdown_lets_go_of_a_drain_that_does_not_end_and_its_record_is_written() {
    let player = Player::streaming(script()).await;
    let mut rig = setup(&[&player], draining(PATIENCE, 8)).start().await;
    let mut body = rig.send(asking(&rig, "")).await.into_body();
    read_to(&mut body, "this is it").await;
    drop(body);
    wait_until("the stream is drained", PATIENCE, || async {
        (rig.gateway.stats().draining == 1).then_some(())
    })
    .await;
    // The gate stays shut: reproduces drains that outlived shutdown, and their records with them.
    rig.gateway.finish(Duration::from_millis(50)).await;
    assert_eq!(rig.gateway.stats().draining, 0);
    let record = rig.only_record().await;
    assert_eq!((record.outcome, record.output_tokens), (Outcome::CallerGone, Some(5)));
}
