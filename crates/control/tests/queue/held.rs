//! Workers that live and do not take what waits: one that is broken is named, one that a rate limit holds back is told as
//! that, and what it holds is not given to another.

use std::{collections::BTreeSet, time::Duration};

use mainstay_base::Severity;
use mainstay_dify::{
    celery::{Seen, act::Action},
    redis::cmd,
};
use mainstay_testkit::{
    proxy::{Line, Proxy},
    wait_until,
};
use mainstay_wire::celery::NewTask;
use serde_json::{Map, Value, json};

use crate::world::{INDEXING, NAMED_WITHIN, World};

const QUEUE: &str = "priority_dataset";
const LONG: Duration = Duration::from_secs(60);

fn waiting(seen: &Seen) -> u64 {
    seen.queues.iter().find(|queue| queue.name == QUEUE).map_or(0, |queue| queue.length())
}

/// So many run at all workers together; of these and of those that wait.
fn runs_and_waits(seen: &Seen) -> (usize, u64) {
    let answers = seen.workers.iter().filter_map(|worker| worker.answer.as_ref());
    (answers.map(|answer| answer.active.len()).sum(), waiting(seen))
}

/// So many are given to workers and not acknowledged, and so many wait.
fn held_and_waits(held: u64, wait: u64) -> impl Fn(&Seen) -> Option<String> {
    move |seen| {
        let first = seen.unacked.oldest.first().map(|message| message.tag.clone());
        first.filter(|_| seen.unacked.count == held && waiting(seen) == wait)
    }
}

#[tokio::test]
async fn a_worker_that_answers_and_takes_nothing_is_named_until_it_takes_again() {
    let Some(mut world) = World::start() else { return };
    // What takes messages is frozen; questions, heartbeats and acknowledgements have connections of their own.
    let proxy = Proxy::that_knows("BRPOP", world.broker.address()).await;
    let Some(_worker) = world.worker_over(Some(&proxy), "deaf", &[QUEUE], 2).await else { return };
    proxy.set(Line::FrozenWhereSaid);
    world.push(QUEUE, INDEXING, &json!({ "app_id": "app-1" }), 4).await;
    let found = world.named("worker-takes-nothing", NAMED_WITHIN).await;
    assert_eq!(found.severity, Severity::Critical);
    assert_eq!(
        (found.subject.worker.as_deref(), found.subject.queue.as_deref(), found.subject.app.as_deref()),
        (Some("deaf@test"), Some(QUEUE), Some("app-1"))
    );
    assert!(found.remedy.starts_with("mainstay queue act shutdown deaf@test --yes"), "{}", found.remedy);
    proxy.set(Line::Open);
    world.until("everything is taken", |seen| (runs_and_waits(seen) == (0, 0)).then_some(())).await;
    assert_eq!(world.look().await.findings, []);
    // Its twin: both places are taken, so that what waits waits its turn, however long.
    world.push(QUEUE, INDEXING, &json!({ "seconds": 300 }), 6).await;
    world.until("two run and some wait", |seen| matches!(runs_and_waits(seen), (2, 1..)).then_some(())).await;
    for _ in 0..20 {
        assert_eq!(world.look().await.findings, []);
    }
}

#[tokio::test]
async fn what_a_rate_limit_holds_back_is_told_and_not_given_to_another_and_what_a_dead_worker_had_is() {
    let Some(mut world) = World::start() else { return };
    let Some(mut limited) = world.worker("limited", &[QUEUE], 2).await else { return };
    let rate = |rate: &str| Action::RateLimit {
        task: INDEXING.to_owned(),
        rate: rate.to_owned(),
        worker: Some("limited@test".to_owned()),
    };
    world.act(rate("1/h"), false).await.unwrap();
    world.push(QUEUE, INDEXING, &json!({}), 6).await;
    // The first is started at once; then it holds as many as it may take ahead, and tells of none of them.
    let tag = world.until("two are held back", held_and_waits(2, 3)).await;
    let only = |id: &str| BTreeSet::from([id.to_owned()]);
    let (ids, last) = world.minutes(8).await;
    assert_eq!(ids, only("rate-limited"), "{last:?}");
    let remedy = &last[0].remedy;
    assert!(remedy.starts_with(&format!("mainstay queue act rate-limit {INDEXING} 0")), "{remedy}");
    let requeue = |tag: &str| Action::Requeue { tag: tag.to_owned() };
    let refused = world.refusal(requeue(&tag)).await;
    assert!(refused.contains("the rate limit 1/h") && refused.contains("is on"), "{refused}");

    // Taken off, it lives on for what was taken before.
    let lifted = world.act(rate("0"), false).await.unwrap();
    assert!(format!("{:?}", lifted.undo).contains("1/h"), "{lifted:?}");
    let (ids, last) = world.minutes(8).await;
    assert_eq!(ids, only("rate-limited"), "{last:?}");
    assert!(last[0].remedy.starts_with("mainstay queue act shutdown limited@test --yes"), "{last:?}");
    world.until("they are held still", held_and_waits(2, 3)).await;
    let refused = world.refusal(requeue(&tag)).await;
    assert!(refused.contains("was taken off"), "{refused}");
    world.act(Action::Shutdown { worker: limited.name.clone() }, true).await.unwrap();
    wait_until("it ends", LONG, || {
        let ended = limited.has_ended();
        async move { ended.then_some(()) }
    })
    .await;
    world.until("what it held is given back", |seen| (waiting(seen) == 5).then_some(())).await;
    world.link.ask::<u64>(cmd("DEL").arg(QUEUE)).await.unwrap();

    // Its twin: held by one that was killed, so that nobody has them; one waits for its time.
    let Some(mut dead) = world.worker("dead", &[QUEUE], 2).await else { return };
    push_for_later(&mut world).await;
    world.push(QUEUE, INDEXING, &json!({ "seconds": 300 }), 4).await;
    world
        .until("two run and some are reserved", |seen| {
            let answers = seen.workers.iter().filter_map(|worker| worker.answer.as_ref());
            let reserved = answers.map(|answer| answer.reserved.len()).sum::<usize>();
            (runs_and_waits(seen).0 == 2 && reserved > 0).then_some(())
        })
        .await;
    let (ids, last) = world.minutes(8).await;
    assert_eq!(ids, BTreeSet::new(), "{last:?}");
    let refused = world.refusal(requeue("later")).await;
    assert!(refused.contains("will run it at its time"), "{refused}");
    dead.kill();
    world.until("nobody listens", |seen| (seen.listeners == Some(0)).then_some(())).await;
    let (ids, last) = world.minutes(8).await;
    assert!(ids.contains("unacked-stuck"), "{last:?}");
    world.act(requeue("later"), false).await.unwrap();
    let seen = world.observer.fresh(world.clock).await.unwrap();
    let queue = seen.queues.iter().find(|queue| queue.name == QUEUE).unwrap();
    assert_eq!(queue.tail().and_then(|peek| peek.id()), Some("later"));
}

/// A task that may run in an hour only.
async fn push_for_later(world: &mut World) {
    let message =
        NewTask { task: INDEXING, queue: QUEUE, id: "later", delivery_tag: "later", kwargs: &Map::new() };
    let mut message: Value = serde_json::from_slice(&message.encode()).unwrap();
    message["headers"]["eta"] = "2099-01-01T00:00:00+00:00".into();
    world.link.ask::<u64>(cmd("LPUSH").arg(QUEUE).arg(message.to_string())).await.unwrap();
}
