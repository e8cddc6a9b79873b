//! Changing service levels: every problem at its key, nothing stored by asking, and who did it why.

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::world::*;

const NAME: &str = "workflow-availability";
const WRONG: &str = "name: mine\ntarget: 100\nsli: {kind: latency}\nselector: {colour: <b>red</b>}\nwindow: {rolling_days: 0}\n";

async fn target(world: &World) -> Value {
    world.get(&format!("/api/slos/{NAME}")).await.json()["document"]["target"].clone()
}

#[tokio::test]
async fn a_form_says_first_what_it_would_change_and_then_does_it() {
    let world = World::seeded().await;
    let page = world.get(&format!("/slos/{NAME}")).await.text;
    assert!(page.contains("action=\"/slos/set\"") && page.contains("name=\"set.target\""), "{page}");
    let asked = [("dry_run", "true"), ("name", NAME), ("set.target", "99.5"), ("set.owner", "a<b")];
    let said = world.form("/slos/set", &asked).await;
    assert_eq!(said.status, StatusCode::OK, "{}", said.text);
    for part in ["What it would change", "<td class=\"strong mono\">target</td>", "99.5", "a&#60;b"] {
        assert!(said.text.contains(part), "{part} is not in {}", said.text);
    }
    assert_eq!(target(&world).await, 99.0, "asking stored it");
    // What the page then sends: the whole document.
    let text =
        "name: workflow-availability\nsli: {kind: availability}\nselector: {mode: workflow}\ntarget: 99.5\n";
    let done = world.form("/slos/set", &[("dry_run", "false"), ("text", text), ("why", "agreed")]).await;
    assert_eq!(done.header("location"), format!("/slos/{NAME}?done=slo-changed"), "{}", done.text);
    assert_eq!(target(&world).await, 99.5);
    let history = world.get(&format!("/api/slos/{NAME}")).await.json()["history"].clone();
    assert_eq!((&history[0]["actor"], &history[0]["why"]), (&json!("ops"), &json!("agreed")));
    let story = world.get("/api/timeline?subject=slo").await.text;
    assert!(story.contains("slo_changed") && story.contains("agreed"), "{story}");

    let offered = world.get(&format!("/slos/{NAME}")).await.text;
    assert!(offered.contains("Take the last change back") && offered.contains(">Remove<"), "{offered}");
    let said = world.form(&format!("/slos/{NAME}/undo"), &[("dry_run", "true")]).await;
    assert!(said.text.contains("is as it ships again"), "{}", said.text);
    assert_eq!(target(&world).await, 99.5, "asking took it back");
    let done = world.form(&format!("/slos/{NAME}/undo"), &[("dry_run", "false"), ("why", "no")]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    assert_eq!(target(&world).await, 99.0);
}

#[tokio::test]
async fn every_problem_is_shown_at_its_key_and_the_text_is_there_to_be_corrected() {
    let world = World::seeded().await;
    for dry_run in ["true", "false"] {
        let page = world.form("/slos/set", &[("dry_run", dry_run), ("text", WRONG)]).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", page.text);
        for key in ["target", "sli.threshold_ms", "selector.colour", "window.rolling_days"] {
            assert!(page.text.contains(&format!("mono\">{key}</td>")), "{key} is not in {}", page.text);
        }
        assert!(page.text.contains("&#60;b&#62;red") && !page.text.contains("<b>red"), "{}", page.text);
    }
    let page = world.form("/slos/set", &[("dry_run", "true"), ("text", "{")]).await;
    assert!(page.text.contains("not readable as YAML or JSON"), "{}", page.text);
    let answer = world.post("/api/slos/import", &json!({ "text": WRONG })).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let error = &answer.json()["error"];
    assert_eq!(error["code"], "slo_refused");
    assert!(error["problems"].as_array().unwrap().len() >= 4, "{error}");
    assert_eq!(world.get("/api/slos/mine").await.status, StatusCode::NOT_FOUND, "nothing was stored");
}

#[tokio::test]
async fn programs_change_at_once_unless_they_ask_what_would_be() {
    let world = World::seeded().await;
    let mut document = world.get(&format!("/api/slos/{NAME}")).await.json()["document"].clone();
    document["target"] = json!(99.9);
    let mut body = json!({ "documents": [document], "why": "agreed", "dry_run": true });
    let expected = json!([{
        "name": NAME, "effect": "changed",
        "differences": [{ "key": "target", "before": 99.0, "after": 99.9 }],
    }]);
    let said = world.post("/api/slos/set", &body).await.json();
    assert_eq!((&said["dry_run"], &said["planned"]), (&json!(true), &expected));
    assert_eq!(target(&world).await, 99.0);
    body["dry_run"] = json!(false);
    assert_eq!(world.post("/api/slos/set", &body).await.json()["names"], json!([NAME]));
    assert_eq!(target(&world).await, 99.9);
    for (path, body, status, code) in [
        (format!("/api/slos/{NAME}/undo"), json!({ "dry_run": true }), StatusCode::OK, Value::Null),
        (format!("/api/slos/{NAME}/promote"), json!({}), StatusCode::CONFLICT, json!("nothing")),
        ("/api/slos/nobody/promote".to_owned(), json!({}), StatusCode::NOT_FOUND, json!("not_found")),
        ("/api/slos/workflow-latency/promote".to_owned(), json!({}), StatusCode::OK, Value::Null),
        ("/api/slos/workflow-latency/remove".to_owned(), json!({ "why": "no" }), StatusCode::OK, Value::Null),
        ("/api/slos/workflow-latency/remove".to_owned(), json!({}), StatusCode::CONFLICT, json!("nothing")),
        ("/api/slos/set".to_owned(), json!({ "docs": [] }), StatusCode::BAD_REQUEST, json!("bad_body")),
        ("/api/slos/set".to_owned(), json!({ "name": "nobody" }), StatusCode::NOT_FOUND, json!("not_found")),
    ] {
        let answer = world.post(&path, &body).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &code), "{path}");
    }
    assert_eq!(target(&world).await, 99.9, "a dry run took it back");
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let world = World::seeded().await;
    for path in ["/slos/set", "/slos/workflow-latency/promote", "/api/slos/set"] {
        let request = Request::post(path)
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("origin", "https://evil.example")
            .header("content-type", "application/x-www-form-urlencoded");
        let answer = world.send(request.body(Body::from("dry_run=false&name=x")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
    }
    let answer = world.send(Request::post("/api/slos/set").body(Body::from("{}")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}
