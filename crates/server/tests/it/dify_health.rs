//! A running instance that looks after a Dify: its components are health's, and their trouble is an incident.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use mainstay_testkit::{
    HttpServer,
    http_server::{json, whole},
    raw::{RawServer, Step},
    wait_until,
};
use serde_json::{Value, json};

use crate::support::{Home, Process, SOON, wait_for_instance};

async fn component(home: &Home, id: &str) -> Option<Value> {
    let report = home.admin().get("/health").await.json();
    report["components"].as_array()?.iter().find(|component| component["id"] == id).cloned()
}

async fn alert(home: &Home, state: &str) -> Option<Value> {
    let alerts = home.admin().get("/api/alerts").await.json();
    let all = alerts["open"].as_array()?.iter().chain(alerts["resolved"].as_array()?);
    let mut of_api = all.filter(|alert| alert["subject"] == "dify:api" && alert["state"] == state);
    of_api.next().cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_down_is_an_incident_with_cause_and_remedy_until_it_is_well() {
    let is_well = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_well);
    let api = HttpServer::start(move |request| {
        let is_well = seen.load(Ordering::Relaxed);
        async move {
            match request.uri().path() {
                _ if !is_well => whole(502, "text/html", "<html>502 Bad Gateway</html>"),
                "/health" => json(200, &json!({"status": "ok", "version": "1.12.1"})),
                "/console/api/setup" => json(200, &json!({"step": "finished"})),
                _ => whole(404, "text/plain", ""),
            }
        }
    })
    .await;
    // One that hangs, so that others are judged in time beside it.
    let mute = RawServer::start(vec![Step::Hang]).await;
    let home = Home::new();
    let (api, mute) = (api.url(), mute.url());
    home.configure(&format!(
        r#"
[workers]
count = 0
[dify]
api_url = "{api}"
[dify.sandbox]
url = "{mute}"
"#
    ));
    let process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    let firing = wait_until("an incident is open", SOON, || alert(&home, "firing")).await;
    assert_eq!(firing["severity"], "page");
    let summary = firing["summary"].as_str().unwrap();
    assert!(summary.contains("dify:api is down: the API answers 502"), "{summary}");
    let finding = &component(&home, "dify:api").await.unwrap()["finding"];
    assert_eq!(finding["id"], "api-failing");
    assert!(finding["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{finding}");
    let remedy = finding["remedy"].as_str().unwrap().to_owned();
    let told = wait_until("the finding is in the incident's story", SOON, || async {
        let timeline = home.admin().get("/api/timeline").await.json();
        let mut events = timeline["events"].as_array()?.iter();
        events.find(|event| event["kind"] == "finding" && event["subject"] == firing["id"]).cloned()
    })
    .await;
    assert!(told["text"].as_str().is_some_and(|text| text.contains(&remedy)), "{told}");

    let health = home.admin().get("/api/dify/health").await.json();
    let looked = |name: &str| {
        let all = health["components"].as_array().unwrap();
        all.iter().find(|component| component["component"] == name).cloned()
    };
    assert_eq!(looked("api").unwrap()["state"], "down", "{health}");
    assert_eq!(looked("api").unwrap()["every_s"], 15);
    assert!(looked("storage").is_none(), "what is not configured is not looked at: {health}");

    is_well.store(true, Ordering::Relaxed);
    wait_until("the component is well", SOON, || async {
        component(&home, "dify:api").await.filter(|component| component["state"] == "ok")
    })
    .await;
    wait_until("the incident is closed", SOON, || alert(&home, "resolved")).await;
    wait_until("who hangs is found out as well", SOON, || async {
        component(&home, "dify:sandbox").await.filter(|component| component["state"] == "down")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_dify_the_route_says_how_to_name_one() {
    let home = Home::new();
    home.configure("[workers]\ncount = 0\n");
    let process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    let answer = home.admin().get("/api/dify/health").await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &Value::from("no_dify")));
}
