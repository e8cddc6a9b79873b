//! The demo as its first user meets it.

use std::time::Duration;

use mainstay_testkit::wait_until;
use rustix::process::Signal;
use serde_json::json;

use crate::support::{Caller, Home, SOON, demo, exists, quote};

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_serves_runs_that_can_be_explained() {
    let home = Home::new();
    let (mut process, ready) = demo(&home, &["--traffic", "0", "--workers", "1"]);
    assert_eq!(home.instance().unwrap()["admin"], ready.admin.as_str());

    // Health for orchestrators, without a token.
    let anyone = Caller::new(&ready.admin, "nobody");
    let health = anyone.get("/health").await;
    assert_eq!((health.status, &health.json()["state"]), (200, &json!("ok")));
    let components: Vec<String> = health.json()["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|component| component["id"].as_str().unwrap().to_owned())
        .collect();
    for expected in
        ["store", "engine", "workers", "worker:0", "queue", "provider:primary", "provider:reserve"]
    {
        assert!(components.iter().any(|id| id == expected), "{expected} is not in {components:?}");
    }
    assert_eq!(anyone.get("/livez").await.status, 200);
    assert_eq!(anyone.get("/readyz").await.status, 200);
    assert_eq!(anyone.get("/api/runs").await.status, 401);

    // A blocking run.
    let caller = Caller::new(&ready.app, &ready.app_key);
    let answer = caller.post("/v1/workflows/run", quote(12, "blocking")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["data"]["status"], "succeeded", "{answer:?}");
    assert_eq!(answer.json()["data"]["outputs"]["quote"], "12 x chair: bulk price, 96 EUR");
    let request_id = answer.header("x-request-id").to_owned();

    // A streamed one.
    let answer = caller.post("/v1/workflows/run", quote(3, "streaming")).await;
    let events = answer.events();
    assert_eq!(events.first().unwrap()["event"], "workflow_started");
    let last = events.last().unwrap();
    assert_eq!(last["event"], "workflow_finished");
    assert_eq!(last["data"]["outputs"]["quote"], "3 x chair: list price, 30 EUR");

    // Why the first one came out as it did. Records are written behind the answer.
    let ran = wait_until("the request can be explained", SOON, || async {
        let ran = home.run(&["explain", &request_id]);
        (ran.code == 0).then_some(ran)
    })
    .await;
    for stage in ["bootstrap", "normalize", "admit", "execute", "check", "compose", "telemetry"] {
        assert!(ran.out.contains(stage), "{stage} is not in {}", ran.out);
    }
    let walk = home.run(&["explain", &request_id, "--json"]).json();
    assert!(walk.to_string().contains("order-quote"), "{walk}");

    // The model listener lets only known keys in.
    let stranger = Caller::new(&ready.model, "nobody");
    let answer = stranger.post("/v1/chat/completions", json!({"model": "demo-chat", "messages": []})).await;
    assert_eq!(answer.status, 401, "{answer:?}");

    // What the commands show of it.
    assert!(home.run(&["status"]).out.contains("health: ok"));
    assert_eq!(home.run(&["health"]).code, 0);
    let runs = home.run(&["runs", "list", "--json"]).json();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 2);
    let run_id = runs["runs"][0]["id"].as_str().unwrap().to_owned();
    assert!(home.run(&["runs", "show", &run_id]).out.contains("template-transform"));
    assert!(home.run(&["apps", "list"]).out.contains("ticket-triage"));
    assert!(home.run(&["apps", "show", "help-desk"]).out.contains("advanced-chat"));
    assert!(home.run(&["apps", "export", "order-quote"]).out.contains("name: order-quote"));
    assert_eq!(home.run(&["runs", "show", "nonsense"]).code, 1);
    assert!(home.run(&["runbook", "list"]).out.contains("restart-service"));
    assert_eq!(home.run(&["alert", "list"]).code, 0);
    let metrics = anyone.get("/metrics").await.text;
    assert!(
        metrics.contains("mainstay_requests_total{path=\"app\",outcome=\"ok\",kind=\"none\"} 2"),
        "{metrics}"
    );
    assert!(!metrics.contains(&ready.app_key) && !health.text.contains(&ready.token));

    // Its end.
    process.signal(Signal::TERM);
    assert_eq!(process.wait(Duration::from_secs(60)), 0);
    assert_eq!(process.other_lines(), Vec::<String>::new(), "one line on standard output");
    assert!(home.instance().is_none(), "the instance file goes with the process");
    let left = std::fs::read_dir(home.path(".")).unwrap().flatten().map(|entry| entry.file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("mainstay-demo-")).collect();
    assert!(left.is_empty(), "the demo's own folder goes with it: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_runs_are_idempotent_and_finish_in_a_worker() {
    let home = Home::new();
    let (_process, ready) = demo(&home, &["--traffic", "0", "--workers", "1"]);
    let caller = Caller::new(&ready.app, &ready.app_key);
    let headers = [("prefer", "respond-async"), ("idempotency-key", "order-7")];
    let submit = |quantity| {
        let caller = caller.clone();
        async move {
            let body = Some(quote(quantity, "blocking"));
            caller.send("POST", "/v1/workflows/run", body, &headers).await.unwrap()
        }
    };
    let first = submit(4).await;
    assert_eq!(first.status, 202, "{first:?}");
    assert_eq!(first.json()["data"]["status"], "queued");
    let run_id = first.json()["workflow_run_id"].as_str().unwrap().to_owned();
    assert_eq!(first.header("location"), format!("/v1/workflows/run/{run_id}"));
    let same = submit(4).await;
    assert_eq!((same.status, &same.json()["workflow_run_id"]), (202, &json!(run_id)));
    let other = submit(5).await;
    assert_eq!(other.status, 422, "{other:?}");

    let path = format!("/v1/workflows/run/{run_id}");
    let done = wait_until("the run is finished", SOON, || async {
        let run = caller.get(&path).await.json();
        (run["status"] == "succeeded").then_some(run)
    })
    .await;
    assert!(done["outputs"].to_string().contains("4 x chair: list price, 40 EUR"), "{done}");
    let shown = home.run(&["runs", "show", &run_id, "--json"]).json();
    assert_eq!(shown["run"]["status"], "succeeded");
    assert_eq!(home.run(&["runs", "retry", &run_id]).code, 1, "only dead letters are run again");
    assert_eq!(home.run(&["runs", "cancel", &run_id]).code, 1, "it has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_folder_is_kept_and_gives_the_same_keys_again() {
    let home = Home::new();
    let data = home.path("data");
    let more =
        ["--traffic", "2", "--workers", "1", "--data-dir", data.to_str().unwrap(), "--exit-after", "3"];
    let (mut process, first) = demo(&home, &more);
    assert_eq!(process.wait(Duration::from_secs(60)), 0);
    assert!(exists(&data.join("mainstay.db")));
    let (mut process, second) = demo(&home, &more);
    assert_eq!((first.token, first.app_key), (second.token, second.app_key));
    assert_eq!(process.wait(Duration::from_secs(60)), 0);
}

/// What a listener cannot play (that nobody listens, that its address is wrong) is rehearsed like everything else, and
/// the call is answered by the other provider all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_reached_is_rehearsed() {
    let home = Home::new();
    let (process, ready) = demo(&home, &["--traffic", "0", "--workers", "1"]);
    let faults = wait_until("the demo tells where its faults are switched", SOON, || async {
        let told = process.err.lock().clone();
        let primary = told.lines().find(|line| line.ends_with("(primary)"))?;
        primary.split_whitespace().nth(2).map(str::to_owned)
    })
    .await;
    let (switch, model) = (Caller::new(&faults, ""), Caller::new(&ready.model, &ready.model_key));
    for (fault, class) in
        [("refuse", "connect"), ("unreachable", "connect_timeout"), ("dns", "dns"), ("tls", "tls")]
    {
        assert_eq!(switch.post("", json!({"mode": fault})).await.status, 200, "{fault}");
        let hello = json!([{"role": "user", "content": fault}]);
        let answer = model
            .post(
                "/v1/chat/completions",
                json!({"model": "demo-chat", "messages": hello, "temperature": 0.5}),
            )
            .await;
        assert_eq!(answer.status, 200, "{fault}: {answer:?}");
        let id = answer.header("x-request-id").to_owned();
        let walk = wait_until("the call can be explained", SOON, || async {
            let ran = home.run(&["explain", &id, "--json"]);
            (ran.code == 0).then(|| ran.json().to_string())
        })
        .await;
        assert!(walk.contains(&format!("\"class\":\"{class}\"")), "{fault}: {walk}");
        assert_eq!(switch.post("", json!({"mode": "none"})).await.status, 200);
        assert_eq!(home.run(&["provider", "restore", "primary"]).code, 0);
        wait_until("primary answers again", SOON, || async {
            (home.run(&["provider", "test", "primary"]).code == 0).then_some(())
        })
        .await;
    }
}

#[test]
fn a_taken_port_is_said_at_once() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = home.run(&["demo", "--admin", &address, "--app", "127.0.0.1:0", "--model", "127.0.0.1:0"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.contains(&format!("cannot listen on {address} for admin")), "{}", ran.err);
}
