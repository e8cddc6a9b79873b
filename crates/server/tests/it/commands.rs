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

/// Names are there to be typed and reasons to be read: none is cut. What was wrong once is not told as what is wrong now.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_and_a_chain_are_shown_whole() {
    let (name, why) = ("n".repeat(90), format!("{}the end", "because ".repeat(20)));
    let target = json!({
        "provider": &name, "model": "m", "priority": 7, "weight": 30, "drained": null,
        "standing": {"breaker": "closed", "in_flight": 1, "requests_left": 12, "tokens_left": 3400},
        "recent": {"answers": 3, "attempts": 5, "share_percent": 60, "failures": {"server_error": 2}, "cost": 1_500_000},
    });
    let provider = json!({
        "name": &name, "base_url": "http://p", "state": "down", "reason": &why, "dialect": "openai", "key_count": 2,
        "targets": [&target], "recent": target["recent"],
        "keys": [
            {"name": "used", "state": "in use", "standing": {"why": "bad_key", "rests_until": 1}},
            {"name": "out", "state": "refused", "standing": {"why": "bad_key", "rests_until": 1_800_000_000_000_000_i64}},
        ],
        "trouble": {
            "since": "2026-11-23T15:00:00Z", "attempts": 8, "failures": 6, "share_percent": 75,
            "classes": {"server_error": 4, "stall": 2}, "callers": ["shop", "desk"],
            "detours": [{"provider": "reserve", "model": "m", "calls": 6}],
        },
        "open_alerts": [{"id": "a-1", "summary": "it is down"}],
    });
    let model = json!({
        "name": "gpt", "strategy": "weighted", "keys": [], "targets": [&target], "policy": [],
        "recent": {"calls": 5, "answered": 3, "failed": 2, "cost": 1_500_000},
    });
    let route = json!({"route": {"candidates": [{"provider": &name, "model": "m", "why": &why}]}});
    let server = HttpServer::start(move |request| {
        let answers = match request.uri().path() {
            "/api/providers" => json!({"providers": [&provider]}),
            "/api/models" => json!({"models": [&model]}),
            "/api/providers/p" => provider.clone(),
            "/api/models/gpt/route" => route.clone(),
            _ => model.clone(),
        };
        async move { answer(200, &answers) }
    })
    .await;
    let home = Home::new();
    let url = server.url();
    let run = |arguments: &[&str]| home.run(&[arguments, &["--admin", &url, "--token", "t"]].concat());
    let of_target = format!("{name}/m");
    let shown = "since 2026-11-23T15:00:00Z: 6 of 8 attempts failed (75 %): 4 server_error, 2 stall; seen by shop, desk; \
                 answered instead: reserve/m (6)";
    for (arguments, wanted) in [
        (&["provider", "list"][..], &[name.as_str(), &why][..]),
        (
            &["provider", "show", "p"],
            &[
                &of_target,
                &why,
                shown,
                "incident  it is down (mainstay alert ack a-1)",
                "12 requests, 3400 tokens",
            ],
        ),
        (&["model", "list"], &[&of_target, "weighted"]),
        (&["model", "show", "gpt"], &[&of_target, "PRIORITY", "WEIGHT", "7         30"]),
        (&["model", "route", "gpt", "--explain"], &[&of_target, &why]),
    ] {
        let ran = run(arguments);
        for text in wanted {
            assert!(ran.out.contains(text), "{arguments:?} does not show {text}:\n{}", ran.out);
        }
        assert!(!ran.out.contains('…'), "{arguments:?} cuts:\n{}", ran.out);
    }
    let shown = run(&["provider", "show", "p"]).out;
    let key = |name: &str| shown.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert_eq!(
        key("used").split_whitespace().collect::<Vec<_>>(),
        ["used", "in", "use", "-", "-"],
        "{shown}"
    );
    assert!(key("out").contains("2027-01-15 08:00:00  bad_key"), "{shown}");
}

/// A replay that is not like what happened is no prophecy, and is not printed as one.
#[tokio::test(flavor = "multi_thread")]
async fn a_simulation_says_whether_it_can_be_believed() {
    let home = Home::new();
    let policy = home.write("changed.toml", "");
    for (is_faithful, said) in
        [(true, "trust the change as far as"), (false, "warning: `current, replayed` is not like")]
    {
        let told = json!({"read": {"calls": 9, "is_whole": true}, "report": {"fidelity": {"is_faithful": is_faithful}}});
        let server = HttpServer::start(move |_| {
            let told = told.clone();
            async move { answer(200, &told) }
        })
        .await;
        let (url, policy) = (server.url(), policy.to_str().unwrap());
        let ran = home.run(&["route", "simulate", "--policy", policy, "--admin", &url, "--token", "t"]);
        assert!(ran.code == 0 && ran.out.contains(said), "{ran:?}");
    }
}

/// Whatever names and texts hold, no command lets it drive the terminal; `--json` gives it to programs as it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_admin_api_tells_never_drives_the_terminal() {
    const NAMES: [&str; 5] = [
        "\u{1b}[2J\u{1b}]0;owned\u{7}",
        "\u{9b}31mred",
        "two\nlines\r\ttabs",
        "\u{202e}drow\u{2066}s\u{200b}",
        "<script>'\"&\u{7f}",
    ];
    let server = HttpServer::start(|request| async move {
        let place = request.uri().query().and_then(|query| query.split("name=").nth(1));
        let path = request.uri().path().to_owned();
        let place = place.or_else(|| path.rsplit(['/', '-']).find(|part| part.parse::<usize>().is_ok()));
        let name = NAMES[place.and_then(|place| place.parse().ok()).unwrap_or(0)];
        answer(200, &everything_named(name))
    })
    .await;
    let home = Home::new();
    let policy = home.write("changed.toml", "");
    let policy = policy.to_str().unwrap();
    for (place, name) in NAMES.iter().enumerate() {
        let (url, one) = (server.url(), place.to_string());
        for arguments in [
            &["provider", "show", &one][..],
            &["provider", "test", &one],
            &["provider", "drain", &one, "--why", "w"],
            &["model", "show", &one],
            &["model", "route", &one],
            &["model", "route", &one, "--explain"],
            &["explain", &one],
        ] {
            for json in [false, true] {
                let mut all = arguments.to_vec();
                all.extend(["--admin", &url, "--token", "t"]);
                all.extend(json.then_some("--json"));
                let ran = home.run(&all);
                let drives = |letter: char| {
                    (letter.is_control() && letter != '\n')
                        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
                };
                let told = format!("{}{}", ran.out, ran.err);
                assert!(!told.chars().any(drives), "{all:?}: {told:?}");
                assert!(!told.is_empty(), "{all:?}");
                if json {
                    assert_eq!(ran.json(), everything_named(name), "{all:?}");
                }
            }
        }
    }
    let lists = [&["provider", "list"][..], &["model", "list"], &["route", "simulate", "--policy", policy]];
    for arguments in lists {
        let mut all = arguments.to_vec();
        let url = server.url();
        all.extend(["--admin", &url, "--token", "t"]);
        let ran = home.run(&all);
        assert!(
            !ran.out.chars().any(|letter| letter.is_control() && letter != '\n'),
            "{all:?}: {:?}",
            ran.out
        );
        assert!(ran.out.contains("owned"), "{all:?} shows no name: {}", ran.out);
    }
}

/// One document with what every answer has, all called so.
fn everything_named(name: &str) -> serde_json::Value {
    let target = json!({ "provider": name, "model": name, "why": name, "drained": name, "recent": { "failures": { name: 1 } },
        "standing": { "breaker": name, "why": name } });
    let side = json!({ "whole": {}, "targets": { name: { "answers": 1 } }, "unknown_targets": [name] });
    json!({
        "name": name, "strategy": name, "base_url": name, "state": name, "reason": name, "drained": name,
        "fails_over_to": { "to": name }, "provider": name, "model": name, "text": name, "undo": name,
        "changed": true, "warnings": [name], "woken": [name], "other_models_to": [name],
        "keys": [{ "name": name, "state": name, "standing": { "why": name } }, name],
        "targets": [target], "policy": [{ "name": name, "value": name }],
        "providers": [{ "name": name, "state": name, "dialect": name, "reason": name, "recent": {} }],
        "models": [{ "name": name, "strategy": name, "targets": [target], "recent": {}, "model": name, "answered_by": [name] }],
        "calls": [{ "key": name, "class": name, "said": name, "status": 1 }],
        "route": { "candidates": [target], "passed_over": [target], "notes": [name] },
        "record": { "request_id": name, "model": name, "error": name, "stages": [], "attempts": [] },
        "read": { "calls": 1, "is_whole": true, "notes": [name] },
        "report": { "recorded": side, "baseline": side, "changed": side },
    })
}
