//! `mainstay serve` in front of a Dify, as one process and as several.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http::Request;
use mainstay_testkit::{
    HttpServer,
    http_server::{Reply, events, json as answer, whole},
    wait_until,
};
use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::{Value, json};

use crate::support::{Caller, Home, Process, SOON, demo, quote, wait_for_instance};

/// A body with spaces and an order of keys that nobody would write again the same way.
const RAW: &str = "{\"b\":  1,\n \"a\": \"\\u00e9\"}";

async fn dify(request: Request<Bytes>) -> Reply {
    let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    match request.uri().path() {
        "/v1/parameters" => whole(200, "application/json; charset=utf-8", RAW),
        "/v1/workflows/run" if body["response_mode"] == "streaming" => {
            let run = |data: Value, event: &str| json!({"event": event, "workflow_run_id": "dify-run-1", "task_id": "dify-task-1", "data": data});
            let started = run(json!({"id": "dify-run-1"}), "workflow_started");
            let finished = run(
                json!({"id": "dify-run-1", "status": "succeeded", "outputs": {"text": body["inputs"]["item"]},
                       "error": null, "elapsed_time": 0.5, "total_tokens": 3, "total_steps": 2}),
                "workflow_finished",
            );
            let frame = |event: Value| (Duration::ZERO, Bytes::from(format!("data: {event}\n\n")));
            events(
                vec![(Duration::ZERO, Bytes::from("event: ping\n\n")), frame(started), frame(finished)],
                false,
            )
        }
        "/v1/workflows/run" => {
            answer(200, &json!({"data": {"status": "succeeded", "outputs": {"text": "dify"}}}))
        }
        _ => answer(404, &json!({"code": "not_found", "message": "no such path", "status": 404})),
    }
}

fn configure(home: &Home, dify_url: &str) {
    home.write("support-key", "app-support");
    home.configure(&format!(
        r#"
[workers]
count = 1
[[upstream]]
name = "dify"
base_url = "{dify_url}"
connect_timeout = "2s"
[app_path]
unknown_keys_to = "dify"
[[app]]
name = "support"
upstream = "dify"
key = "file:{key}"
mode = "workflow"
standby = "order-quote"
"#,
        key = home.path("support-key").display()
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dify_is_passed_through_queued_for_and_stood_in_for() {
    let upstream = HttpServer::start(dify).await;
    let home = Home::new();
    configure(&home, &upstream.url());
    assert_eq!(home.run(&["serve"]).code, 3, "a store without a schema is refused");
    assert_eq!(home.run(&["migrate"]).code, 0);
    let process = Process::start(home.command(&["serve"]));
    wait_for_instance(&home, &process).await;
    let app = home.address("app");

    // Whatever Dify says comes through as it is, for keys that only Dify knows.
    let stranger = Caller::new(&app, "app-known-to-dify-only");
    let passed = stranger.get("/v1/parameters?user=tester").await;
    assert_eq!((passed.status, passed.text.as_str()), (200, RAW));
    assert_eq!(stranger.get("/v1/no-such-path").await.json()["message"], "no such path");
    let stream = stranger.post("/v1/workflows/run", quote(1, "streaming")).await;
    assert!(stream.text.starts_with("event: ping\n\ndata: {\"event\":\"workflow_started\""), "{stream:?}");

    // A queued run is executed there, in streaming mode, and its result is kept here.
    let caller = Caller::new(&app, "app-support");
    let headers = [("prefer", "respond-async")];
    let queued =
        caller.send("POST", "/v1/workflows/run", Some(quote(1, "blocking")), &headers).await.unwrap();
    assert_eq!(queued.status, 202, "{queued:?}");
    let run_id = queued.json()["workflow_run_id"].as_str().unwrap().to_owned();
    let shown = wait_until("the queued run is finished", SOON, || async {
        let shown = home.run(&["runs", "show", &run_id, "--json"]).json();
        (shown["run"]["status"] == "succeeded").then_some(shown)
    })
    .await;
    assert_eq!(shown["run"]["upstream_run_id"], "dify-run-1");
    assert_eq!(shown["run"]["outputs"]["text"], " Chair ");

    // The standby answers while Dify is away.
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/apps/order-quote.yml");
    assert_eq!(home.run(&["apps", "import", sample.to_str().unwrap()]).code, 0);
    let from_dify = caller.post("/v1/workflows/run", quote(12, "blocking")).await;
    assert_eq!(from_dify.json()["data"]["outputs"]["text"], "dify");
    upstream.stop().await;
    let stood_in = caller.post("/v1/workflows/run", quote(12, "blocking")).await;
    assert_eq!(stood_in.json()["data"]["outputs"]["quote"], "12 x chair: bulk price, 96 EUR", "{stood_in:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_cannot_be_done_changes_nothing_and_names_everything() {
    let home = Home::new();
    let (_process, _) = demo(&home, &["--traffic", "0", "--workers", "1"]);
    let sample =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/slow.yml")).unwrap();
    let good = home.write("good.yml", &sample);
    let bad =
        home.write("bad.yml", &sample.replace("type: llm\n        title", "type: teleport\n        title"));
    let ran = home.run(&["apps", "import", good.to_str().unwrap(), bad.to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("nothing was imported") && ran.err.contains("teleport"), "{}", ran.err);
    assert!(ran.err.contains("bad.yml") && ran.err.contains("llm"), "{}", ran.err);
    assert!(!home.run(&["apps", "list"]).out.contains("slow"));
    let ran = home.run(&["apps", "import", good.to_str().unwrap()]);
    assert_eq!((ran.code, ran.out.contains("app-")), (0, true), "{ran:?}");
    let ran = home.run(&["apps", "import", "missing.yml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_share_one_store() {
    let home = Home::new();
    home.write("model-key", "engine-key");
    home.write(
        "mainstay.toml",
        &format!(
            "[listeners]\nadmin = \"127.0.0.1:0\"\napp = \"127.0.0.1:0\"\nmodel = \"127.0.0.1:0\"\n[log]\nfilter = \"warn\"\n\
             [workers]\ncount = 1\n[engine]\nmodel_key = \"file:{}\"\nmodel_url = \"http://127.0.0.1:9/v1\"\n",
            home.path("model-key").display()
        ),
    );
    assert_eq!(home.run(&["migrate"]).code, 0);
    let control = Process::start(home.command(&["serve", "--role", "control"]));
    wait_until("control has told where it is", SOON, || async { home.instance().map(|_| ()) }).await;
    let _worker = Process::start(home.command(&["serve", "--role", "worker"]));
    wait_for_instance(&home, &control).await;
    let admin = home.admin();
    wait_until("control sees the worker of the other process", SOON, || async {
        let overview = admin.get("/api/overview").await.json();
        (overview["workers"].as_array()?.len() == 1 && overview["health"]["state"] == "ok").then_some(())
    })
    .await;
    let control_pid = home.instance().unwrap()["pid"].clone();
    assert_eq!(control_pid, control.pid(), "the instance file is that of the process with the console");
}

#[test]
fn workers_alone_need_a_key_for_models() {
    let home = Home::new();
    home.write("mainstay.toml", "[listeners]\nadmin = \"127.0.0.1:0\"\n");
    assert_eq!(home.run(&["migrate"]).code, 0);
    let ran = home.run(&["serve", "--role", "worker"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("engine.model_key"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_parent_leaves_no_worker() {
    let home = Home::new();
    let (mut process, ready) = demo(&home, &["--traffic", "0", "--workers", "2"]);
    let overview = Caller::new(&ready.admin, &ready.token).get("/api/overview").await.json();
    let pids: Vec<i64> = overview["workers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|worker| worker["pid"].as_i64().unwrap())
        .collect();
    assert_eq!(pids.len(), 2, "{overview}");
    process.signal(Signal::KILL);
    process.wait(SOON);
    wait_until("the workers are gone", SOON, || async {
        let lives = |pid: &i64| {
            let pid = Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
            test_kill_process(pid).is_ok() && !is_zombie(pid)
        };
        (!pids.iter().any(lives)).then_some(())
    })
    .await;
}

/// An orphan that has ended may stay in the table when nobody in this container waits for orphans.
fn is_zombie(pid: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}
