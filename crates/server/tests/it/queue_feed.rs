//! What an instance that serves says of Dify's queues and runs: a trouble is a component's and an incident's until its cause
//! is gone, over a real PostgreSQL, Redis and Celery.

use mainstay_testkit::wait_until;
use mainstay_wire::celery::NewTask;
use serde_json::{Value, json};

use crate::{
    dify_world::World,
    support::{Home, Process, Ran, SOON, wait_for_instance},
};

const RUNS: &str = include_str!("../../../dify/tests/stuck_runs.sql");
/// One that nobody works on, and one that a worker has.
const DEAD: &str = "00000000-0000-4000-8000-000000000001";
const HELD: &str = "00000000-0000-4000-8000-000000000002";
const WORKFLOW: &str = "tasks.app_generate.workflow_execute_task.workflow_based_app_execution_task";
/// Nobody consumes it.
const QUEUE: &str = "retention";

/// A world whose database has two runs that began long ago, and an instance's configuration for it.
fn prepare(world: &World) {
    let (reader, writer) = (world.role("reader"), world.role("writer"));
    world.run_sql(&RUNS.replace("WRITER", &writer));
    let server = world.server_address();
    let (host, port) = server.split_once(':').unwrap();
    let broker = &world.broker;
    let redis =
        format!("host = \"{}\"\nport = {}\ndatabase = {}\n", broker.host, broker.port, broker.database);
    world.home.configure(&format!(
        r#"
[workers]
count = 0
[dify.database]
host = "{host}"
port = {port}
name = "{}"
user = "{reader}"
write_user = "{writer}"
tls = "off"
[dify.redis]
{redis}
[dify.broker]
{redis}"#,
        world.database()
    ));
}

/// The component of queues, when it is in a state with the finding of this id.
async fn queues(home: &Home, state: &str, id: &str) -> Option<Value> {
    let report = home.admin().get("/health").await.json();
    let all = report["components"].as_array()?.clone();
    let found = all.into_iter().find(|component| component["id"] == "dify:queues")?;
    let says = if id.is_empty() { found["finding"].is_null() } else { found["finding"]["id"] == id };
    (found["state"] == state && says).then_some(found)
}

async fn alert(home: &Home, state: &str) -> Option<Value> {
    let alerts = home.admin().get("/api/alerts").await.json();
    let mut all = alerts["open"].as_array()?.iter().chain(alerts["resolved"].as_array()?);
    all.find(|alert| alert["subject"] == "dify:queues" && alert["state"] == state).cloned()
}

/// Does what a finding says, word for word.
fn remedied(home: &Home, finding: &Value) -> Ran {
    let remedy = finding["remedy"].as_str().unwrap();
    let command = remedy.split_once("mainstay ").and_then(|(_, rest)| rest.split_once(" --yes"));
    let (command, _) = command.unwrap_or_else(|| panic!("no command in {remedy}"));
    let words: Vec<&str> = command.split(' ').chain(["--yes"]).collect();
    home.run(&words)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_run_and_a_deadly_message_are_incidents_until_what_the_findings_say_is_done() {
    let Some(world) = World::start().await else { return };
    prepare(&world);
    let kwargs = json!({ "workflow_run_id": HELD, "seconds": 300 }).as_object().unwrap().clone();
    let queue = "workflow_based_app_execution";
    let task = NewTask { task: WORKFLOW, queue, id: "held", delivery_tag: "held", kwargs: &kwargs };
    world.redis(&["LPUSH", queue, &String::from_utf8(task.encode()).unwrap()]);
    let home = &world.home;
    let process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(home, &process).await;

    let part = wait_until("the dead run is told", SOON, || queues(home, "degraded", "S23")).await;
    let dead = part["finding"].clone();
    assert!(dead["what"].as_str().is_some_and(|what| what.starts_with("1 runs")), "{dead}");
    assert_eq!((&dead["subject"]["run"], &dead["subject"]["tenant"]), (&json!(DEAD), &json!(DEAD)));
    let firing = wait_until("an incident is open", SOON, || alert(home, "firing")).await;
    assert_eq!(firing["severity"], "warning");

    world.redis(&["LPUSH", QUEUE, "{ this is no message"]);
    let part = wait_until("the message is told first", SOON, || queues(home, "down", "broken-message")).await;
    assert_eq!(part["finding"]["severity"], "critical");
    let done = remedied(home, &part["finding"]);
    assert_eq!((done.code, world.redis(&["LLEN", QUEUE]).trim()), (0, "0"), "{done:?}");
    wait_until("the run is what is left", SOON, || queues(home, "degraded", "S23")).await;

    let done = remedied(home, &dead);
    assert_eq!(done.code, 0, "{done:?}");
    wait_until("nothing is left", SOON, || queues(home, "ok", "")).await;
    wait_until("the incident is closed", SOON, || alert(home, "resolved")).await;
    let timeline = home.admin().get("/api/timeline").await.text;
    for action in ["purge", "fail-run"] {
        assert!(timeline.contains(&format!("\"action\":\"{action}\"")), "{action} is not in {timeline}");
    }
}
