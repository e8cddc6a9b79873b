//! What each page says, as snapshots, and that each page has its twin.

use http::{Method, StatusCode};

use super::{routing::CALL, world::*};
use crate::route;

/// Every page of the seeded world.
fn pages(world: &World) -> Vec<(&'static str, String)> {
    vec![
        ("overview", "/overview".to_owned()),
        ("runs", "/runs".to_owned()),
        ("runs_filtered", "/runs?status=failed&kind=embedded&app=".to_owned()),
        ("runs_first_page", "/runs?limit=2".to_owned()),
        ("run_succeeded", format!("/runs/{OLD_RUN}")),
        ("run_failed", format!("/runs/{FAILED_RUN}")),
        ("run_dead", format!("/runs/{DEAD_RUN}")),
        ("run_durable", format!("/runs/{DURABLE_RUN}")),
        ("run_queued", format!("/runs/{QUEUED_RUN}")),
        ("dead", "/dead".to_owned()),
        ("alerts", "/alerts".to_owned()),
        ("groups", "/groups".to_owned()),
        ("group", format!("/groups/{}", super::control::GROUP)),
        ("receivers", "/receivers".to_owned()),
        ("preview", format!("/receivers/on-call/preview?what=escalated&alert={ALERT}")),
        ("silences", "/silences".to_owned()),
        ("oncall", "/oncall".to_owned()),
        ("incident", format!("/incidents/{ALERT}")),
        ("requests", "/requests".to_owned()),
        ("request", format!("/requests/{REQUEST}")),
        ("request_model", format!("/requests/{CALL}")),
        ("providers", "/providers".to_owned()),
        ("provider", "/providers/openai".to_owned()),
        ("provider_drained", "/providers/backup%2Feu".to_owned()),
        ("models", "/models".to_owned()),
        ("model", "/models/gpt".to_owned()),
        ("model_embed", "/models/text%2Fembed".to_owned()),
        ("route", "/models/gpt/route?key=guide&tools=true&input_tokens=1200".to_owned()),
        ("apps", "/apps".to_owned()),
        ("app", format!("/apps/{}", world.app_id)),
        ("runbooks", "/runbooks".to_owned()),
        ("execution", format!("/executions/{EXECUTION}")),
        ("slos", "/slos".to_owned()),
        ("slo", "/slos/workflow-availability".to_owned()),
        ("slo_past", "/slos/workflow-availability/past?since_s=86400&target=99.5".to_owned()),
        ("slo_lint", "/slos/lint?since_seconds=86400".to_owned()),
        ("timeline", "/timeline".to_owned()),
    ]
}

#[tokio::test]
async fn every_page_of_a_world_looks_as_it_did() {
    let world = World::seeded().await;
    for (name, path) in pages(&world) {
        let page = world.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        insta::assert_snapshot!(format!("page_{name}"), world.fixed(&page.text));
    }
}

#[tokio::test]
async fn every_twin_of_a_world_says_what_it_did() {
    let world = World::seeded().await;
    for (name, path) in pages(&world) {
        let twin = world.get(&format!("/api{path}")).await;
        assert_eq!(twin.status, StatusCode::OK, "{path}: {}", twin.text);
        let pretty = serde_json::to_string_pretty(&twin.json()).unwrap();
        insta::assert_snapshot!(format!("twin_{name}"), world.fixed(&pretty));
    }
}

#[tokio::test]
async fn pages_of_an_empty_world_say_what_to_do() {
    let world = World::empty().await;
    for name in ["overview", "runs", "dead", "alerts", "requests", "apps", "runbooks", "timeline"] {
        let page = world.get(&format!("/{name}")).await;
        assert_eq!(page.status, StatusCode::OK, "{name}: {}", page.text);
        assert!(page.text.contains("class=\"empty\""), "{name} is not empty");
    }
}

#[test]
fn every_page_has_a_twin_under_api_and_every_form_has_a_call() {
    let table = route::table();
    let has =
        |method: &Method, path: &str| table.iter().any(|route| route.method == method && route.path == path);
    let alone = ["/", "/login", "/logout", "/live", "/assets/{name}"];
    for route in table.iter().filter(|route| !alone.contains(&route.path.as_str())) {
        if !route.path.starts_with("/api/") {
            assert!(
                has(&route.method, &format!("/api{}", route.path)),
                "{} {} has no twin",
                route.method,
                route.path
            );
        }
    }
}

#[tokio::test]
async fn the_walk_of_pages_sees_every_run_once() {
    let world = World::seeded().await;
    let mut seen = Vec::new();
    let mut path = "/api/runs?limit=2".to_owned();
    for _ in 0..4 {
        let page = world.get(&path).await.json();
        let ids = page["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned());
        seen.extend(ids);
        match page["next_before"].as_str() {
            Some(before) => path = format!("/api/runs?limit=2&before={before}"),
            None => break,
        }
    }
    assert_eq!(seen, [QUEUED_RUN, DURABLE_RUN, DEAD_RUN, FAILED_RUN, OLD_RUN]);
}

#[tokio::test]
async fn what_is_not_there_is_said_with_the_next_step() {
    let world = World::empty().await;
    for path in [
        "/runs/x",
        "/incidents/x",
        "/requests/x",
        "/apps/x",
        "/executions/x",
        "/providers/x",
        "/models/x",
        "/slos/x",
        "/groups/x",
        "/receivers/x/preview",
        "/receivers/on-call/preview?alert=none",
        "/slos/lint?name=x",
        "/slos/x/past",
        "/models/x/route",
        "/nowhere",
        "/api/nowhere",
    ] {
        let twin = world.get(&format!("/api{path}").replace("/api/api", "/api")).await;
        assert_eq!(twin.status, StatusCode::NOT_FOUND, "{path}");
        let error = &twin.json()["error"];
        assert_eq!(error["code"], "not_found");
        assert!(error["message"].is_string() && error["next"].is_string(), "{error}");
    }
    assert_eq!(world.get("/runs/x").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_filter_that_is_not_known_is_refused_with_the_words_there_are() {
    let world = World::empty().await;
    for path in [
        "/api/runs?status=great",
        "/api/runs?kind=x",
        "/api/receivers/on-call/preview?what=x",
        "/api/slos/lint?since_seconds=x",
        "/api/requests?outcome=x",
        "/api/requests?before=x",
        "/api/models/gpt/route?input_tokens=many",
        "/api/slos/workflow-latency/past?target=good",
        "/api/slos/workflow-latency/past?target=100",
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(answer.json()["error"]["code"], "bad_filter");
    }
    let answer = world.get("/api/runs?limit=many").await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (StatusCode::BAD_REQUEST, &"bad_query".into())
    );
}

#[tokio::test]
async fn health_is_shown_while_the_database_is_away() {
    let world = World::seeded().await;
    for file in std::fs::read_dir(world.folder.path()).unwrap() {
        std::fs::write(file.unwrap().path(), "not a database").unwrap();
    }
    let page = world.get("/overview").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(page.text.contains("no heartbeat for 3.2 s") && page.text.contains("only health is shown"));
    assert_eq!(world.get("/api/health").await.json()["state"], "degraded");
    assert!(world.get("/api/runs").await.status.is_server_error());
}
