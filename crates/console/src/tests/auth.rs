//! Who gets in: each route with each kind of caller, as data from the route table.

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, StatusCode, header, request::Builder};

use super::world::*;
use crate::{
    auth::{attempts::LOGIN_FAILURES_MAX, session::SESSION_TTL},
    route::{self, Door, Route},
};

fn address(route: &Route, world: &World) -> String {
    let id = match route.path.as_str() {
        path if path.contains("/runs/") => OLD_RUN,
        path if path.contains("/incidents/") || path.contains("/alerts/") => ALERT,
        path if path.contains("/requests/") => REQUEST,
        path if path.contains("/executions/") => EXECUTION,
        path if path.contains("/groups/") => super::control::GROUP,
        path if path.contains("/apps/") => &world.app_id,
        _ => "console.css",
    };
    let name = match route.path.as_str() {
        path if path.contains("assets") => "console.css",
        path if path.contains("/providers/") => "openai",
        path if path.contains("/models/") => "gpt",
        path if path.contains("/slos/") => "workflow-availability",
        path if path.contains("/preview") => "on-call",
        _ => "x",
    };
    route.path.replace("{id}", id).replace("{name}", name)
}

fn to(route: &Route, world: &World) -> Builder {
    Request::builder().method(route.method.clone()).uri(address(route, world))
}

fn form(request: Builder, body: &str) -> Request<Body> {
    let kind = "application/x-www-form-urlencoded";
    request.header(header::CONTENT_TYPE, kind).body(Body::from(body.to_owned())).unwrap()
}

async fn log_in(world: &World) -> String {
    let answer = world.send(form(Request::post("/login"), &format!("token={TOKEN}&to="))).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

/// The form token on a page of this session.
async fn csrf(world: &World, cookie: &str) -> String {
    let request = Request::get("/runs").header(header::COOKIE, cookie).body(Body::empty()).unwrap();
    let page = world.send(request).await.text;
    let at = page.find("name=\"csrf\" value=\"").expect("a page of a session has a form") + 19;
    page[at - 1..].trim_start_matches('"').split('"').next().unwrap().to_owned()
}

/// How a closed route turns away who is not known.
fn is_turned_away(route: &Route, status: StatusCode, location: &str) -> bool {
    if route.path.starts_with("/api/") || route.path == "/live" {
        status == StatusCode::UNAUTHORIZED
    } else {
        status == StatusCode::SEE_OTHER && location.starts_with("/login")
    }
}

#[tokio::test]
async fn closed_routes_turn_away_who_does_not_prove_himself() {
    let world = World::seeded().await;
    let long = "x".repeat(4_000);
    let wrong = ["", "Bearer ", "Bearer wrong", "Basic b3BzOm9wcw==", &format!("Bearer {TOKEN}x"), &long];
    for route in route::table().iter().filter(|route| route.door == Door::Closed) {
        for authorization in wrong {
            let request = to(route, &world).header(header::AUTHORIZATION, authorization);
            let answer = world.send(request.body(Body::empty()).unwrap()).await;
            let location = answer.header("location");
            assert!(
                is_turned_away(route, answer.status, location),
                "{} {}: {}",
                route.method,
                route.path,
                answer.status
            );
            assert!(!answer.text.contains("Triage"), "{} shows data", route.path);
        }
        let forged = to(route, &world).header(header::COOKIE, "mainstay_session=b3Bz.9999999999.00.00");
        let answer = world.send(forged.body(Body::empty()).unwrap()).await;
        assert!(
            is_turned_away(route, answer.status, answer.header("location")),
            "{} by a forged cookie",
            route.path
        );
    }
}

#[tokio::test]
async fn a_good_token_and_a_session_pass_every_door() {
    let world = World::seeded().await;
    let cookie = log_in(&world).await;
    // Those of a Dify answer where there is one; see its own tests.
    let of_a_dify = |path: &str| {
        ["/dify", "/queues"].iter().any(|page| path.trim_start_matches("/api").starts_with(page))
    };
    let reads = route::table()
        .into_iter()
        .filter(|route| route.method == Method::GET && route.path != "/live" && !of_a_dify(&route.path));
    for route in reads {
        let by_token = to(&route, &world).header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
        let by_session = to(&route, &world).header(header::COOKIE, &cookie);
        for request in [by_token, by_session] {
            let answer = world.send(request.body(Body::empty()).unwrap()).await;
            let good = matches!(answer.status, StatusCode::OK | StatusCode::SEE_OTHER);
            assert!(
                good && !answer.header("location").starts_with("/login"),
                "{}: {}",
                route.path,
                answer.text
            );
        }
    }
}

#[tokio::test]
async fn writes_from_other_sites_and_without_the_form_token_are_refused() {
    let world = World::seeded().await;
    let cookie = log_in(&world).await;
    let writes =
        route::table().into_iter().filter(|route| route.method == Method::POST && route.path != "/login");
    for route in writes {
        let session = || to(&route, &world).header(header::COOKIE, &cookie);
        let requests = [
            form(session(), "target=worker:0&frozen=true"),
            form(session(), "csrf=0000&target=worker:0&frozen=true"),
            form(session().header("x-csrf-token", "0000"), ""),
            form(session().header("sec-fetch-site", "cross-site"), ""),
            form(session().header("origin", "https://evil.example").header("host", "127.0.0.1:7000"), ""),
        ];
        for request in requests {
            let answer = world.send(request).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}: {}", route.path, answer.text);
        }
    }
    let login = Request::post("/login").header("sec-fetch-site", "cross-site");
    let answer = world.send(form(login, &format!("token={TOKEN}"))).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "nobody is logged in from another site");
}

#[tokio::test]
async fn a_form_of_our_own_page_is_done() {
    let world = World::seeded().await;
    let cookie = log_in(&world).await;
    let csrf = csrf(&world, &cookie).await;
    let path = format!("/runs/{DEAD_RUN}/retry");
    let request =
        Request::post(&path).header(header::COOKIE, &cookie).header("sec-fetch-site", "same-origin");
    let answer = world.send(form(request, &format!("csrf={csrf}"))).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    assert_eq!(answer.header("location"), format!("/runs/{DEAD_RUN}?done=run-queued"));
    let request = Request::post(format!("/api/alerts/{ALERT}/ack"))
        .header(header::COOKIE, &cookie)
        .header("x-csrf-token", csrf)
        .body(Body::empty());
    assert_eq!(
        world.send(request.unwrap()).await.status,
        StatusCode::OK,
        "a script of a page proves itself by header"
    );
}

#[tokio::test]
async fn a_session_ends_at_logout_and_with_time() {
    let world = World::seeded().await;
    let (first, second) = (log_in(&world).await, log_in(&world).await);
    let visit =
        |cookie: &str| Request::get("/api/runs").header(header::COOKIE, cookie).body(Body::empty()).unwrap();
    let csrf = csrf(&world, &first).await;
    let request = Request::post("/logout").header(header::COOKIE, &first);
    let answer = world.send(form(request, &format!("csrf={csrf}"))).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/login?left"));
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(
        world.send(visit(&first)).await.status,
        StatusCode::UNAUTHORIZED,
        "a kept cookie is of no use"
    );
    assert_eq!(world.send(visit(&second)).await.status, StatusCode::OK, "another session goes on");
    world.clock.advance(SESSION_TTL + Duration::from_secs(1));
    assert_eq!(world.send(visit(&second)).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_cookie_is_kept_from_scripts_and_other_sites() {
    let world = World::empty().await;
    let answer = world.send(form(Request::post("/login"), &format!("token={TOKEN}"))).await;
    let cookie = answer.header("set-cookie");
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains(TOKEN));
    assert_eq!(answer.header("location"), "/overview");
}

#[tokio::test]
async fn a_login_leads_back_to_the_page_that_was_asked_for_and_nowhere_else() {
    let world = World::seeded().await;
    let asked = Request::get(format!("/runs/{OLD_RUN}")).body(Body::empty()).unwrap();
    assert_eq!(world.send(asked).await.header("location"), format!("/login?to=/runs/{OLD_RUN}"));
    for (to, leads_to) in
        [("/runs", "/runs"), ("//evil.example", "/overview"), ("https://evil.example", "/overview")]
    {
        let answer = world.send(form(Request::post("/login"), &format!("token={TOKEN}&to={to}"))).await;
        assert_eq!(answer.header("location"), leads_to, "{to}");
    }
}

#[tokio::test]
async fn who_fails_too_often_waits_even_with_the_right_token() {
    let world = World::empty().await;
    for _ in 0..LOGIN_FAILURES_MAX {
        let answer = world.send(form(Request::post("/login"), "token=guess")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    let good = || form(Request::post("/login"), &format!("token={TOKEN}"));
    let answer = world.send(good()).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.header("retry-after"), "61");
    assert_eq!(
        world.get("/api/runs").await.status,
        StatusCode::OK,
        "programs with a token are not held back"
    );
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(world.send(good()).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_token_without_characters_lets_nobody_in() {
    let world = World::empty().await;
    let answer = world.send(form(Request::post("/login"), "token=")).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}
