//! Two control processes beside one Dify: one looks, the other shows what it saw and goes on when it is killed.

use mainstay_testkit::{
    HttpServer,
    http_server::{json, whole},
    wait_until,
};
use serde_json::{Value, json};

use crate::support::{Home, Process, SOON, wait_for_instance};

/// Each with a home of its own, over one store.
async fn start(store: &str, api: &str, more: &[&str]) -> (Home, Process) {
    let home = Home::new();
    home.configure(&format!(
        r#"
[store]
url = "{store}"
state_dir = "{state}"
[workers]
count = 0
[dify]
api_url = "{api}"
[dify.probes]
api = "5s"
"#,
        state = home.path("kept").display()
    ));
    let process = Process::start(home.command(&[&["serve", "--role", "control"], more].concat()));
    wait_for_instance(&home, &process).await;
    (home, process)
}

/// Who looks, and how often the API was looked at: as this process tells it.
async fn told(home: &Home) -> Option<(String, u64)> {
    let health = home.admin().get("/api/dify/health").await.json();
    let api = health["components"].as_array()?.iter().find(|component| component["component"] == "api")?;
    let is_known = api["state"] == "ok";
    is_known.then_some((health["looked_by"].as_str()?.to_owned(), api["looks"].as_u64()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_one_looks_and_the_other_goes_on_when_it_is_killed() {
    let api = HttpServer::start(|request| async move {
        match request.uri().path() {
            "/health" => json(200, &json!({"status": "ok", "version": "1.12.1"})),
            "/console/api/setup" => json(200, &json!({"step": "finished"})),
            _ => whole(404, "text/plain", ""),
        }
    })
    .await;
    // Each look asks it once.
    let asked = || api.requests().iter().filter(|request| request.uri().path() == "/health").count() as u64;
    let shared = Home::new();
    let store = format!("sqlite:{}", shared.path("store.db").display());
    let (first, mut killed) = start(&store, &api.url(), &["--migrate"]).await;
    let (by, _) = wait_until("the first looks", SOON, || told(&first)).await;
    assert!(by.ends_with(&format!(":{}", killed.pid())), "{by}");

    let (second, process) = start(&store, &api.url(), &[]).await;
    let (heard_by, before) = wait_until("the second shows what the first saw", SOON, || told(&second)).await;
    assert_eq!(heard_by, by);
    let part = wait_until("health of the second has it", SOON, || async {
        let report = second.admin().get("/health").await.json();
        report["components"].as_array()?.iter().find(|component| component["id"] == "dify:api").cloned()
    })
    .await;
    assert_eq!(part["state"], "ok", "{part}");
    // If the second looked too, more would have been asked than the first has looked, from its start on.
    let looks = wait_until("every look is the first one's, and the second heard of it", SOON, || async {
        let (_, looks) = told(&first).await?;
        let (heard_by, heard) = told(&second).await?;
        (looks > before && heard == looks && asked() == looks && heard_by == by).then_some(looks)
    })
    .await;

    killed.kill_group();
    let goes_on = wait_until("the second looks", SOON, || async {
        told(&second).await.filter(|(by, now)| by.ends_with(&format!(":{}", process.pid())) && *now > looks)
    })
    .await;
    assert!(goes_on.1 <= asked(), "{goes_on:?}");
    assert_eq!(
        second.admin().get("/api/dify/health").await.json()["components"][0]["every_s"],
        Value::from(5)
    );
}
