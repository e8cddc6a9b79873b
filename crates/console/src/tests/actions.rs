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
        ("/api/receivers/none/test".to_owned(), json!({}), 404, "not_found"),
        ("/api/silences".to_owned(), json!({ "matchers": ["app=chat"] }), 400, "bad_input"),
        ("/api/silences".to_owned(), json!({ "matchers": 7 }), 400, "bad_body"),
        ("/api/silences/none/end".to_owned(), json!({}), 404, "not_found"),
        ("/api/shadows/promote".to_owned(), json!({ "matchers": ["app=x"] }), 404, "not_found"),
        ("/api/oncall/override".to_owned(), json!({}), 409, "conflict"),
        ("/api/oncall/overrides/none/end".to_owned(), json!({}), 404, "not_found"),
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
        ("/api/providers/none/drain".to_owned(), json!({}), 404, "not_found"),
        ("/api/providers/openai/drain".to_owned(), json!({}), 409, "conflict"),
        ("/api/providers/openai/drain".to_owned(), json!({ "dry_run": "maybe" }), 400, "bad_body"),
        ("/api/providers/openai/failover".to_owned(), json!({}), 400, "bad_body"),
        ("/api/providers/openai/failover".to_owned(), json!({ "to": "openai" }), 400, "bad_procedure"),
        ("/api/providers/none/test".to_owned(), json!({}), 404, "not_found"),
        ("/api/route/simulate".to_owned(), json!({ "policy": "", "since_s": 60 }), 400, "bad_policy"),
        ("/api/route/simulate".to_owned(), json!({ "since_s": 60 }), 400, "bad_body"),
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
async fn a_procedure_says_first_what_it_would_do_and_a_refusal_says_what_to_do_instead() {
    let world = World::seeded().await;
    let refused = world.post("/api/providers/openai/drain", &json!({ "why": "maintenance" })).await.json();
    let error = &refused["error"];
    assert!(error["message"].as_str().unwrap().contains("model embed"), "{error}");
    assert!(error["next"].as_str().unwrap().contains("another target"), "{error}");
    let body = json!({ "why": "maintenance", "force": true, "dry_run": true });
    let planned = world.post("/api/providers/openai/drain", &body).await.json();
    assert_eq!((&planned["dry_run"], &planned["changed"]), (&json!(true), &json!(false)));
    assert_eq!(planned["models"][0], json!({ "model": "gpt", "answered_by": ["anthropic"] }));
    let body = json!({ "why": "maintenance", "force": true });
    assert_eq!(world.post("/api/providers/openai/drain", &body).await.json()["changed"], true);
    for (path, name) in [
        ("/api/providers/openai/failover", "failover"),
        ("/api/providers/openai/failover/undo", "failover-undo"),
        ("/api/providers/backup%2Feu/restore", "restore"),
    ] {
        let done = world.post(path, &json!({ "to": "anthropic" })).await;
        assert_eq!(done.json()["name"], name, "{}", done.text);
    }
}

#[tokio::test]
async fn a_test_of_a_provider_tells_of_each_key_and_a_simulation_answers_as_json() {
    let world = World::seeded().await;
    let report = world.post("/api/providers/openai/test", &json!({ "model": "gpt-4o" })).await.json();
    assert_eq!((&report["ok"], &report["cost"]), (&json!(false), &json!(33)));
    assert_eq!(report["calls"][1]["class"], "bad_key");
    let body = json!({ "policy": "[model]", "since_s": 3_600 });
    let simulated = world.post("/api/route/simulate", &body).await;
    assert_eq!(simulated.json()["read"]["since_s"], 3_600);
    assert!(!report.to_string().contains("sk-never-shown"));
}

#[tokio::test]
async fn a_form_asks_for_a_dry_run_and_its_page_offers_to_do_it() {
    let world = World::seeded().await;
    let page = world.form("/providers/anthropic/drain", &[("dry_run", "true"), ("why", "a < b")]).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(page.text.contains("nobody else is left for model embed") && page.text.contains("a &#60; b"));
    assert!(page.text.contains("action=\"/providers/anthropic/drain\""), "{}", page.text);
    let done = world.form("/providers/anthropic/drain", &[("why", "a < b"), ("force", "false")]).await;
    assert_eq!(done.header("location"), "/providers/anthropic?done=provider-drained");
    let tested = world.form("/providers/openai/test", &[("model", "")]).await;
    assert!(tested.text.contains("bad key") && tested.text.contains("321 ms"), "{}", tested.text);
}

#[tokio::test]
async fn a_simulation_is_a_form_whose_page_compares_before_and_after_and_asks_again() {
    let world = World::seeded().await;
    let models = world.get("/models").await.text;
    assert!(models.contains("action=\"/route/simulate\"") && models.contains("name=\"policy\""), "{models}");
    let policy = "# </textarea><script>";
    let fields = [("policy", policy), ("since_s", "86400"), ("model", "gpt"), ("seed", "")];
    let page = world.form("/route/simulate", &fields).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    insta::assert_snapshot!("page_simulated", world.fixed(&page.text));
    for (fields, code) in [
        ([("policy", ""), ("since_s", "60"), ("model", ""), ("seed", "")], "cannot be used"),
        ([("policy", "x"), ("since_s", "many"), ("model", ""), ("seed", "")], "expected a whole number"),
    ] {
        let page = world.form("/route/simulate", &fields).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
        assert!(page.text.contains(code), "{}", page.text);
    }
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
