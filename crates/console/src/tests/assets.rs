//! Assets and the headers that every answer carries.

use axum::body::Body;
use http::{Request, StatusCode};

use super::world::*;
use crate::{page, route};

async fn asset(world: &World, path: &str, known: Option<&str>) -> Answer {
    let mut request = Request::get(path);
    if let Some(tag) = known {
        request = request.header("if-none-match", tag);
    }
    world.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn an_asset_that_is_known_already_is_not_sent_again() {
    let world = World::empty().await;
    for name in ["console.css", "console.js", "icon.svg"] {
        let first = asset(&world, &page::asset(name), None).await;
        assert_eq!(first.status, StatusCode::OK);
        assert!(first.header("cache-control").contains("immutable"));
        let tag = first.header("etag").to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let again = asset(&world, &page::asset(name), Some(&known)).await;
            assert_eq!((again.status, again.text.as_str()), (StatusCode::NOT_MODIFIED, ""), "{known}");
            assert_eq!(again.header("etag"), tag);
        }
        let old = asset(&world, &format!("/assets/{name}?v=0000"), Some("\"0000\"")).await;
        assert_eq!((old.status, old.header("cache-control")), (StatusCode::OK, "no-cache"));
    }
    let missing = asset(&world, "/assets/..%2f..%2fCargo.toml", None).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn every_answer_keeps_browsers_to_this_origin() {
    let world = World::seeded().await;
    for path in ["/overview", "/login", "/api/runs", "/nowhere", "/api/nowhere", "/assets/console.css"] {
        let answer = world.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{path}");
        assert!(!policy.contains("unsafe"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
    }
    assert_eq!(world.get("/overview").await.header("cache-control"), "no-store");
}

#[tokio::test]
async fn no_page_needs_what_the_policy_forbids() {
    let world = World::seeded().await;
    for page in ["/overview", "/runs", "/runbooks", "/alerts", "/apps", "/login", "/nowhere"] {
        let text = world.get(page).await.text;
        for word in [" style=\"", "<style", " onclick", "javascript:", "http://", "https://"] {
            assert!(!text.contains(word), "{page} holds {word}");
        }
        assert_eq!(
            text.matches("<script").count(),
            text.matches("<script type=\"module\" src=\"/assets/").count()
        );
    }
}

#[tokio::test]
async fn a_live_page_is_sent_marks_for_all_its_topics() {
    use http_body_util::BodyExt;
    use tower::ServiceExt;
    let world = World::seeded().await;
    let request =
        Request::get("/live").header("authorization", format!("Bearer {TOKEN}")).body(Body::empty());
    let response = world.router.clone().oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let frame = response.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
    let text = String::from_utf8(frame.to_vec()).unwrap();
    let data = text.strip_prefix("event: pulse\ndata: ").expect("a pulse comes at once");
    let pulse: serde_json::Value = serde_json::from_str(data.trim()).unwrap();
    assert_eq!((&pulse["alerts"], &pulse["dead"]), (&1.into(), &1.into()));
    let known = pulse["marks"].as_object().unwrap();
    let is_page = |path: &str| path.matches('/').count() == 1 && !["/", "/live"].contains(&path);
    for route in route::table().iter().filter(|route| is_page(&route.path)) {
        let page = world.get(&route.path).await.text;
        let topics =
            page.split("data-topics=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        for topic in topics.split_whitespace() {
            assert!(known.contains_key(topic), "{} follows {topic}, which nobody marks", route.path);
        }
    }
}
