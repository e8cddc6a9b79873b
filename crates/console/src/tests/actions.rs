//! Writes: what each does, refuses and leaves in the timeline.

use axum::body::Body;
use http::{Request, StatusCode};
use mainstay_store::model::TimelineFilter;
use serde_json::json;

use super::world::*;
use crate::{action::ACTION_BODY_MAX, pages::apps::IMPORT_FILES_MAX};

#[tokio::test]
async fn a_write_is_in_the_timeline_under_the_name_of_its_token() {
    let world = World::seeded().await;
    let answer = world.post(&format!("/api/runs/{QUEUED_RUN}/cancel"), &json!({})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    assert_eq!(answer.json(), json!({ "id": QUEUED_RUN, "cancelled": "stopped" }));
    let subject = Some(format!("run:{QUEUED_RUN}"));
    let filter = TimelineFilter { subject, limit: 5, ..TimelineFilter::default() };
    let events = world.store.timeline().list(filter).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].event.actor.as_str(), events[0].event.kind.as_str()), ("ops", "run.cancel"));
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_a_reason() {
    let world = World::seeded().await;
    let cases = [
        (format!("/api/runs/{OLD_RUN}/cancel"), json!({}), 409, "conflict"),
        (format!("/api/runs/{OLD_RUN}/retry"), json!({}), 409, "conflict"),
        ("/api/runs/none/retry".to_owned(), json!({}), 404, "not_found"),
        ("/api/alerts/none/ack".to_owned(), json!({}), 404, "not_found"),
        ("/api/runbooks/none/run".to_owned(), json!({ "target": "worker:0" }), 404, "not_found"),
        ("/api/runbooks/restart-service/run".to_owned(), json!({ "target": "queue" }), 400, "no_such_target"),
        ("/api/runbooks/restart-service/run".to_owned(), json!({}), 400, "bad_body"),
        (
            "/api/runbooks/restart-service/run".to_owned(),
            json!({ "target": "worker:0", "dry_run": false }),
            409,
            "conflict",
        ),
        ("/api/freeze".to_owned(), json!({ "frozen": "perhaps" }), 400, "bad_body"),
        ("/api/apps".to_owned(), json!({ "files": [] }), 400, "bad_import"),
        ("/api/apps".to_owned(), json!({ "files": [{ "name": "a" }] }), 400, "bad_body"),
    ];
    for (path, body, status, code) in cases {
        let answer = world.post(&path, &body).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
        assert_eq!(answer.json()["error"]["code"], code, "{path}");
    }
}

#[tokio::test]
async fn a_runbook_by_hand_is_a_dry_run_unless_told_otherwise() {
    let world = World::seeded().await;
    let answer = world.post("/api/runbooks/restart-service/run", &json!({ "target": "worker:0" })).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    assert_eq!(answer.json()["dry_run"], true);
    assert_eq!(answer.json()["at"], format!("/api/executions/{EXECUTION}"));
}

#[tokio::test]
async fn the_freeze_switch_says_who_turned_it() {
    let world = World::seeded().await;
    let answer = world.post("/api/freeze", &json!({ "frozen": true, "why": "upgrade" })).await;
    assert_eq!(answer.json(), json!({ "frozen": true }));
    let freeze = &world.get("/api/runbooks").await.json()["freeze"];
    assert_eq!((&freeze["by"], &freeze["why"]), (&json!("ops"), &json!("upgrade")));
    assert!(world.get("/overview").await.text.contains("Runbooks are frozen"));
}

#[tokio::test]
async fn an_import_is_all_or_nothing_and_names_every_problem() {
    let world = World::seeded().await;
    let good = json!({ "name": "a.yml", "content": "kind: app\n" });
    let bad = json!({ "name": "b.yml", "content": HOSTILE });
    let answer = world.post("/api/apps", &json!({ "files": [good, bad, bad] })).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.json()["error"]["problems"].as_array().unwrap().len(), 2);
    let answer = world.post("/api/apps", &json!({ "files": [good] })).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.json()["imported"][0]["api_key"], "app-shown-once");
    let many = vec![good; IMPORT_FILES_MAX + 1];
    assert_eq!(world.post("/api/apps", &json!({ "files": many })).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_app_is_exported_as_it_was_imported() {
    let world = World::seeded().await;
    let answer = world.get(&format!("/api/apps/{}/export", world.app_id)).await;
    assert_eq!(answer.text, "app:\n  name: Triage\nkind: app\n");
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"Triage-v2.yml\"");
    let other = world.get("/api/apps").await.json()["apps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|app| app["name"] == "Guide")
        .map(|app| app["version_id"].as_str().unwrap().to_owned())
        .unwrap();
    let answer = world.get(&format!("/api/apps/{}/export?version={other}", world.app_id)).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "a version of another app");
}

#[tokio::test]
async fn bodies_that_are_too_long_or_broken_are_refused() {
    let world = World::empty().await;
    let send = |path: &str, body: Vec<u8>| {
        let request = Request::post(path).header("authorization", format!("Bearer {TOKEN}"));
        world.send(request.body(Body::from(body)).unwrap())
    };
    let answer = send("/api/freeze", vec![b' '; ACTION_BODY_MAX + 1]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.json()["error"]["code"], "body_too_large");
    for broken in [&b"{"[..], b"[]", b"\"x\"", b"\xff\xfe", &[b'['; 10_000]] {
        let answer = send("/api/freeze", broken.to_vec()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{broken:?}");
        assert_eq!(answer.json()["error"]["code"], "bad_body");
    }
    let answer = send("/api/apps", vec![b' '; ACTION_BODY_MAX + 1]).await;
    assert_eq!(answer.json()["error"]["code"], "bad_body", "an import may be longer");
}
