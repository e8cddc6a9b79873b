//! The hash chain.

use std::time::Duration;

use mainstay_store::model::{NewEvent, TimelineFilter};
use serde_json::json;
use tokio::task::JoinSet;

use crate::fixture::{Fixture, START, on_each};

fn event(number: u64, subject: &str) -> NewEvent {
    NewEvent {
        at: START + Duration::from_secs(number),
        subject: subject.to_owned(),
        kind: "restarted".to_owned(),
        actor: "runbook restart-service".to_owned(),
        text: format!("event {number} \u{0} \"quoted\""),
        detail: json!({"before": number, "after": null}),
    }
}

async fn append(fixture: &Fixture, count: u64) {
    for number in 1..=count {
        let subject = if number % 2 == 0 { "worker:0" } else { "worker:1" };
        fixture.store.timeline().append(event(number, subject)).await.unwrap();
    }
}

#[tokio::test]
async fn events_are_numbered_listed_and_chained() {
    on_each(|fixture| async move {
        let timeline = fixture.store.timeline();
        assert_eq!(timeline.verify().await.unwrap().unwrap().events, 0);
        append(&fixture, 5).await;
        let seqs = async |filter: TimelineFilter| -> Vec<i64> {
            timeline.list(filter).await.unwrap().iter().map(|event| event.seq).collect()
        };
        let all = TimelineFilter::default;
        assert_eq!(seqs(all()).await, [5, 4, 3, 2, 1]);
        assert_eq!(seqs(TimelineFilter { after: Some(2), limit: 2, ..all() }).await, [3, 4]);
        assert_eq!(seqs(TimelineFilter { before: Some(3), ..all() }).await, [2, 1]);
        assert_eq!(seqs(TimelineFilter { subject: Some("worker:0".into()), ..all() }).await, [4, 2]);
        let since = Some(START + Duration::from_secs(4));
        assert_eq!(seqs(TimelineFilter { since, ..all() }).await, [5, 4]);
        let verified = timeline.verify().await.unwrap().unwrap();
        let last = timeline.list(TimelineFilter { limit: 1, ..all() }).await.unwrap().remove(0);
        assert_eq!((verified.events, verified.head), (5, last.hash));
        assert_eq!(last.event.detail, json!({"before": 5, "after": null}));
    })
    .await;
}

#[tokio::test]
async fn writers_at_the_same_time_make_one_chain() {
    on_each(|fixture| async move {
        let mut writers = JoinSet::new();
        for number in 0..20 {
            let store = if number % 5 == 0 { fixture.another().await } else { fixture.store.clone() };
            writers.spawn(async move { store.timeline().append(event(number, "x")).await.unwrap().seq });
        }
        let mut seqs = writers.join_all().await;
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=20).collect::<Vec<i64>>());
        assert_eq!(fixture.store.timeline().verify().await.unwrap().unwrap().events, 20);
    })
    .await;
}

#[tokio::test]
async fn whatever_is_changed_behind_its_back_is_found() {
    for (sql, broken_at) in [
        ("UPDATE timeline SET text = 'nothing happened' WHERE seq = 2", 2),
        ("UPDATE timeline SET at = at + 1 WHERE seq = 3", 3),
        ("UPDATE timeline SET actor = 'somebody else' WHERE seq = 1", 1),
        ("UPDATE timeline SET detail = '{}' WHERE seq = 4", 4),
        ("DELETE FROM timeline WHERE seq = 3", 3),
        ("DELETE FROM timeline WHERE seq = 4", 4),
        ("DELETE FROM timeline WHERE seq = 2; UPDATE timeline SET seq = seq - 1 WHERE seq > 2", 2),
        ("UPDATE timeline SET hash = 'ff' WHERE seq = 4", 4),
    ] {
        on_each(|fixture| async move {
            append(&fixture, 4).await;
            fixture.tamper(sql).await;
            let broken = fixture.store.timeline().verify().await.unwrap().unwrap_err();
            assert_eq!(broken.seq, broken_at, "{sql}: {broken}");
        })
        .await;
    }
}
