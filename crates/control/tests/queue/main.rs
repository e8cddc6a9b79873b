//! Verdicts on real Celery workers over a real Redis: each trouble is provoked and named within a minute, and a busy
//! deployment gives none.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up should fail")]

mod held;
mod soak;
mod world;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use mainstay_control::queue::Verdicts;
use mainstay_dify::redis::cmd;
use serde_json::json;

use world::{INDEXING, NAMED_WITHIN, POLLER, REAL, WORKFLOW, World};

#[tokio::test]
async fn a_queue_that_nobody_consumes_and_one_that_grows_are_named() {
    let Some(mut world) = World::start() else { return };
    let Some(_worker) = world.worker("flows", &["workflow_based_app_execution"], 2).await else { return };
    world.push("priority_dataset", INDEXING, &json!({ "tenant_id": "t1", "dataset_id": "d1" }), 3).await;
    let found = world.named("S18", NAMED_WITHIN).await;
    assert_eq!(found.subject.queue.as_deref(), Some("priority_dataset"));
    assert_eq!(found.subject.task.as_deref(), Some(INDEXING));
    assert_eq!(found.subject.tenant.as_deref(), Some("t1"));
    // More comes than two places can do: each task takes 20 s, and one comes at every look.
    let payload = json!({ "payload": json!({ "app_id": "app-1" }).to_string(), "seconds": 20 });
    world.push("workflow_based_app_execution", WORKFLOW, &payload, 6).await;
    let mut found = None;
    for _ in 0..40 {
        world.push("workflow_based_app_execution", WORKFLOW, &payload, 2).await;
        let verdicts = world.look().await;
        found = verdicts.findings.into_iter().find(|finding| finding.id == "S22");
        if found.is_some() {
            break;
        }
    }
    let found = found.expect("it was found saturated");
    assert_eq!(found.subject.app.as_deref(), Some("app-1"));
    assert!(found.cause.contains("all 2 places"), "{}", found.cause);
}

#[tokio::test]
async fn a_list_of_a_workspace_that_stands_is_named() {
    let Some(mut world) = World::start() else { return };
    let list = "tenant_self_document_indexing_task_queue:t1";
    world.link.ask::<u64>(cmd("LPUSH").arg(list).arg("__WRAPPER__:{}")).await.unwrap();
    let mut last = Verdicts::default();
    for _ in 0..40 {
        last = world.look().await;
    }
    let found = last.findings.iter().find(|finding| finding.id == "S19").expect("a stale list is found");
    assert_eq!(found.subject.tenant.as_deref(), Some("t1"));
}

#[tokio::test]
async fn a_stopped_worker_is_wedged_a_killed_one_is_lost_and_a_thawed_one_is_well() {
    let Some(mut world) = World::start() else { return };
    let Some(mut worker) = world.worker("w", &["priority_dataset", "schedule_poller"], 2).await else {
        return;
    };
    world.push("priority_dataset", INDEXING, &json!({ "app_id": "app-1", "seconds": 300 }), 1).await;
    for _ in 0..4 {
        let verdicts = world.look().await;
        assert!(verdicts.findings.is_empty(), "{:?}", verdicts.findings);
        tokio::time::sleep(REAL).await;
    }
    worker.freeze();
    let found = world.named("worker-wedged", NAMED_WITHIN).await;
    assert_eq!(found.subject.worker.as_deref(), Some("w@test"));
    assert_eq!(
        (found.subject.task.as_deref(), found.subject.app.as_deref()),
        (Some(INDEXING), Some("app-1"))
    );
    worker.thaw();
    let until = Instant::now() + Duration::from_secs(60);
    while !world.look().await.findings.is_empty() {
        assert!(Instant::now() < until, "it is well again");
        tokio::time::sleep(REAL).await;
    }
    worker.kill();
    let found = world.named("worker-lost", NAMED_WITHIN).await;
    assert!(found.what.contains("nobody consumes"), "{}", found.what);
    assert!(found.cause.contains(INDEXING), "what it ran is named: {}", found.cause);
}

#[tokio::test]
async fn a_beat_that_stops_is_missed_and_a_second_one_is_noticed() {
    let Some(mut world) = World::start() else { return };
    let Some(_worker) = world.worker("w", &["schedule_poller"], 2).await else { return };
    // A tick each twelve looks, which are a minute of theirs.
    let mut ticks: BTreeMap<u32, usize> = BTreeMap::new();
    for minute in 0..7 {
        // From the fourth minute on, twice.
        ticks.insert(minute * 12, 1);
        if minute >= 3 {
            ticks.insert(minute * 12 + 6, 1);
        }
    }
    let mut last = Verdicts::default();
    for look in 0..84 {
        world.push("schedule_poller", POLLER, &json!({}), ticks.get(&look).copied().unwrap_or(0)).await;
        last = world.look().await;
        if look < 36 {
            assert!(last.findings.is_empty(), "look {look}: {:?}", last.findings);
        }
    }
    assert_eq!(
        last.findings.first().map(|finding| finding.id.as_str()),
        Some("beat-doubled"),
        "{:?}",
        last.findings
    );
    world.named("beat-missing", Duration::from_secs(400)).await;
}

#[tokio::test]
async fn a_busy_deployment_gives_no_verdict() {
    let Some(mut world) = World::start() else { return };
    let queues = ["priority_dataset", "workflow_based_app_execution", "schedule_poller"];
    let Some(_one) = world.worker("one", &queues, 4).await else { return };
    for look in 0..30_u32 {
        // Bursts that both queues work off, a tick each minute.
        let burst = usize::try_from(look * 7 % 5).unwrap();
        world.push("priority_dataset", INDEXING, &json!({ "seconds": 0.05 }), burst).await;
        world.push("workflow_based_app_execution", WORKFLOW, &json!({ "seconds": 0.1 }), 2).await;
        world.push("schedule_poller", POLLER, &json!({}), usize::from(look % 12 == 0)).await;
        let verdicts = world.look().await;
        assert!(verdicts.findings.is_empty(), "look {look}: {:?}", verdicts.findings);
        tokio::time::sleep(REAL).await;
    }
}
