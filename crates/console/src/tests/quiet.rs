//! Alerts that nobody is told of say why, and a group is acknowledged at once.

use http::StatusCode;
use mainstay_store::model::{Alert, AlertFilter};
use serde_json::{Value, json};

use super::{control::GROUP, world::*};

async fn suppressed(world: &World, why: &str, subject: &str) -> Value {
    let filter = AlertFilter { open_only: true, limit: 1, ..AlertFilter::default() };
    let known = world.store.alerts().list(filter).await.unwrap().remove(0);
    let id = format!("01930000-0000-7000-8000-00000000c{:03}", why.len());
    let alert =
        Alert { id: id.clone(), subject: subject.to_owned(), suppressed: Some(why.to_owned()), ..known };
    world.store.alerts().upsert(alert).await.unwrap();
    let page = world.get(&format!("/incidents/{id}")).await;
    assert!(page.text.contains("<dt>Quiet</dt>"), "{}", page.text);
    world.get(&format!("/api/incidents/{id}")).await.json()["quiet"].clone()
}

#[tokio::test]
async fn an_alert_says_why_nobody_is_told_of_it() {
    let world = World::seeded().await;
    let silence = super::control::silence(&[], "ana").id;
    for (why, subject, kind, words, at) in [
        (
            format!("silence:{silence}"),
            "worker:1",
            "silence",
            "silenced by ana until 2026-11-23 10:00:00 UTC: upgrade",
            "/silences".to_owned(),
        ),
        ("silence:gone".to_owned(), "worker:2", "silence", "silenced by gone", "/silences".to_owned()),
        (
            "inhibited:worker:0".to_owned(),
            "queue",
            "inhibited",
            "explained by worker:0: worker:0 is down: no heartbeat for 3.2 s",
            format!("/incidents/{ALERT}"),
        ),
        (
            "inhibited:provider:x".to_owned(),
            "slo:a",
            "inhibited",
            "explained by provider:x",
            "/alerts".to_owned(),
        ),
        (
            "shadow".to_owned(),
            "slo:chat-latency",
            "shadow",
            "in the shadow: nobody is told until it is promoted",
            "/slos/chat-latency".to_owned(),
        ),
    ] {
        let quiet = suppressed(&world, &why, subject).await;
        assert_eq!(
            (&quiet["kind"], &quiet["words"], &quiet["at"]),
            (&json!(kind), &json!(words), &json!(at))
        );
    }
    let page = world.get("/alerts").await.text;
    assert!(page.contains("Quiet: <a href=\"/silences\">silenced by ana"), "{page}");
    let told = world.get(&format!("/api/incidents/{ALERT}")).await.json();
    assert_eq!(told["quiet"], Value::Null);
}

#[tokio::test]
async fn a_group_is_acknowledged_by_a_form_and_by_a_call() {
    let world = World::seeded().await;
    let done = world.form(&format!("/groups/{GROUP}/ack"), &[]).await;
    assert_eq!(done.header("location"), format!("/groups/{GROUP}?done=group-acknowledged"));
    let done = world.post(&format!("/api/groups/{GROUP}/ack"), &json!({})).await;
    assert_eq!(done.json(), json!({ "acknowledged": [ALERT], "before": [] }));
    let none = world.post("/api/groups/none/ack", &json!({})).await;
    assert_eq!((none.status, &none.json()["error"]["code"]), (StatusCode::NOT_FOUND, &json!("not_found")));
}
