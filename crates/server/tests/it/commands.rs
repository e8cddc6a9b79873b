//! Commands without an instance, with a wrong one, and with wrong usage: what they say and how they exit.

use mainstay_testkit::http_server::{HttpServer, json as answer};
use serde_json::json;

use crate::support::Home;

#[test]
fn without_an_instance_commands_say_what_to_start() {
    let home = Home::new();
    for arguments in [
        &["health"][..],
        &["status", "--json"],
        &["explain", "x"],
        &["runs", "list"],
        &["runs", "dead"],
        &["apps", "list"],
        &["alert", "list"],
        &["runbook", "list"],
    ] {
        let ran = home.run(arguments);
        assert_eq!(ran.code, 3, "{arguments:?}: {ran:?}");
        assert!(ran.err.contains("mainstay demo or mainstay serve"), "{arguments:?}: {}", ran.err);
        assert!(ran.out.is_empty());
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    let home = Home::new();
    for arguments in [
        &["no-such-command"][..],
        &["runs", "show"],
        &["demo", "--scenario", "meteor"],
        &["demo", "--traffic", "-1"],
        &["runs", "list", "--limit", "0"],
        &["health", "--admin", "127.0.0.1:1", "--token", "t"],
        &["health", "--admin", "http://127.0.0.1:1"],
        &["serve", "--config", "missing.toml"],
        &["worker"],
    ] {
        let ran = home.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
    }
}

#[test]
fn an_instance_that_cannot_be_reached_exits_with_3() {
    let home = Home::new();
    let ran = home.run(&["health", "--admin", "http://127.0.0.1:1", "--token", "t"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("cannot reach the admin API at http://127.0.0.1:1"), "{}", ran.err);
}

#[test]
fn a_stale_instance_file_is_recognised() {
    let home = Home::new();
    let mut gone = std::process::Command::new("true").spawn().unwrap();
    let pid = gone.id();
    gone.wait().unwrap();
    std::fs::create_dir_all(home.path("state/mainstay")).unwrap();
    let file = json!({"pid": pid, "version": "0", "admin": "http://127.0.0.1:1", "token": "t"});
    home.write("state/mainstay/instance.json", &file.to_string());
    let ran = home.run(&["status"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains(&format!("is of process {pid}, which is gone")), "{}", ran.err);
}

#[test]
fn the_token_of_the_instance_file_is_sent_nowhere_else() {
    let home = Home::new();
    std::fs::create_dir_all(home.path("state/mainstay")).unwrap();
    let file =
        json!({"pid": std::process::id(), "version": "0", "admin": "http://127.0.0.1:1", "token": "t"});
    home.write("state/mainstay/instance.json", &file.to_string());
    let ran = home.run(&["runs", "list", "--admin", "http://127.0.0.1:2"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("no token was given"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_the_admin_api_are_told_in_its_words() {
    let server = HttpServer::start(|request| async move {
        match request.uri().path() {
            "/health" => {
                answer(503, &json!({"state": "down", "reason": "the store is down", "components": []}))
            }
            "/api/runs" => answer(401, &json!({"error": {"message": "this needs an admin token"}})),
            "/api/alerts" => answer(200, &json!({"open": [], "resolved": []})),
            _ => answer(404, &json!({"error": {"message": "there is no run x", "next": "check the id"}})),
        }
    })
    .await;
    let home = Home::new();
    let url = server.url();
    let run = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--admin", &url, "--token", "t"]);
        home.run(&all)
    };
    let ran = run(&["health"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("the store is down"), "{}", ran.out);
    let ran = run(&["runs", "list"]);
    assert_eq!((ran.code, ran.err.contains("--token")), (2, true), "{ran:?}");
    let ran = run(&["runs", "show", "x"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("there is no run x") && ran.err.contains("check the id"), "{}", ran.err);
    let ran = run(&["alert", "list"]);
    assert_eq!((ran.code, ran.out.trim()), (0, "no alerts"));
}
