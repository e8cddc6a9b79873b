//! `mainstay dify`, `/api/dify/ingest` and health, over an instance that reads a real PostgreSQL with Dify's tables.

use mainstay_base::id;
use mainstay_testkit::{celery::Broker, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    kill::{on_server, postgres_server},
    support::{Home, Process, SOON, wait_for_instance},
};

const TABLES: &str = include_str!("../../../dify/tests/tables.sql");
const GENERATE: &str = include_str!("../../../dify/tests/generate.sql");

/// A database of its own, removed at the end, with a role that may only read.
struct Database {
    server: String,
    name: String,
}

impl Database {
    fn start() -> Option<Database> {
        let server = postgres_server()?;
        let name = format!("dify_{}", id::new().replace('-', ""));
        on_server(&server, format!("CREATE DATABASE {name}"));
        on_server(&server, format!("CREATE ROLE {name} LOGIN"));
        let database = Database { server, name };
        let grant = format!("GRANT select ON ALL TABLES IN SCHEMA public TO {}", database.name);
        database.run(&format!("{TABLES}{GENERATE}{grant}"));
        Some(database)
    }

    fn run(&self, sql: &str) {
        let (base, _) = self.server.rsplit_once('/').unwrap();
        on_server(&format!("{base}/{}", self.name), sql.to_owned());
    }

    /// Runs of the last minutes, ten a second.
    fn generate(&self, first: u32, last: u32) {
        let start = format!("(now() AT TIME ZONE 'utc')::timestamp - interval '{} seconds'", last / 10 + 30);
        self.run(&format!("CALL generate({first}, {last}, {start}, 0.1)"));
    }

    /// Throws the reader out, and lets it in again or not.
    fn let_in(&self, is_let_in: bool) {
        let word = if is_let_in { "LOGIN" } else { "NOLOGIN" };
        self.run(&format!(
            "ALTER ROLE {0} {word}; DO $$ BEGIN PERFORM pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE usename = '{0}'; END $$",
            self.name
        ));
    }

    async fn connections(&self) -> usize {
        let (server, name) = (self.server.clone(), self.name.clone());
        // The synchronous client brings a runtime of its own, so it needs a thread of its own.
        let counting = tokio::task::spawn_blocking(move || {
            let mut client = postgres::Client::connect(&server, postgres::NoTls).unwrap();
            let sessions = client.query("TABLE pg_stat_activity", &[]).unwrap();
            let ours = |row: &&postgres::Row| row.get::<_, Option<String>>("usename").as_ref() == Some(&name);
            sessions.iter().filter(ours).count()
        });
        counting.await.unwrap()
    }

    fn configuration(&self) -> String {
        let place = self.server.rsplit_once('@').unwrap().1.split('/').next().unwrap();
        let (host, port) = place.split_once(':').unwrap();
        format!(
            "[dify.database]\nhost = \"{host}\"\nport = {port}\nname = \"{0}\"\nuser = \"{0}\"\ntls = \"off\"\n",
            self.name
        )
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A test that fails must not fail again here.
        let _ = std::panic::catch_unwind(move || {
            on_server(&server, format!("DROP DATABASE {name} WITH (FORCE)"));
            on_server(&server, format!("DROP ROLE {name}"));
        });
    }
}

/// Takes a part of what the shipped rows know for something else.
const OWN_ROWS: &str = "[[signature]]\nid = \"our-proxy\"\npatterns = ['Errno 111. Connection refused']\npriority = 100\n\
     class = \"edge\"\ncause = \"The outgoing proxy is restarted at night.\"\nremedy = \"Ask the network team.\"\n";
fn ingest(home: &Home) -> Option<Value> {
    let report = home.run(&["health", "--json"]).json();
    let components = report["components"].as_array()?.clone();
    components.into_iter().find(|component| component["id"] == "ingest")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dify_did_is_read_over_one_connection_and_told_and_a_break_is_survived() {
    let Some(database) = Database::start() else { return };
    database.generate(1, 400);
    let home = Home::new();
    let mut config =
        format!("[workers]\ncount = 0\n[dify]\nsignatures = \"own.toml\"\n{}", database.configuration());
    home.write("own.toml", OWN_ROWS);
    // Whoever looks at queues asks the database too, over the same connection.
    let broker = Broker::start();
    if let Some(Broker { host, port, database, .. }) = &broker {
        let broker = format!("[dify.broker]\nhost = \"{host}\"\nport = {port}\ndatabase = {database}\n");
        config.push_str(&broker);
    }
    home.configure(&config);
    let mut process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    let read_of = |runs: i64| {
        let (home, database) = (&home, &database);
        async move {
            wait_until("every run is read", SOON, || async {
                assert!(database.connections().await <= 1, "more than one connection");
                let apps = home.admin().get("/api/dify/ingest/apps").await.json();
                let apps = apps["apps"].as_array()?.clone();
                let count = apps.iter().filter_map(|app| app["runs"].as_i64()).sum::<i64>();
                (count == runs).then_some(apps)
            })
            .await
        }
    };
    let apps = read_of(400).await;
    let worst = &apps[0];
    assert_eq!((&worst["name"], &worst["runs"], &worst["failed"]), (&json!("App 7"), &json!(20), &json!(20)));
    assert_eq!(worst["failures"], json!({ "edge": 10, "provider_rate_limited": 10 }));
    assert!(worst["p95_ms"].as_i64() > worst["p50_ms"].as_i64(), "{worst}");

    let status = wait_until("reading is told to be well", SOON, || async {
        let ran = home.run(&["dify", "status", "--json"]);
        (ran.code == 0).then(|| ran.json())
    })
    .await;
    assert_eq!(
        (&status["state"], &status["reading"]["release"], &status["reading"]["connections"]),
        (&json!("ok"), &json!("1.12.1"), &json!(1))
    );
    assert!(status["lag_seconds"].as_f64().unwrap() < 60.0, "{status}");
    let shown = home.run(&["dify", "apps", "--since", "1h"]);
    assert!(shown.out.contains("App 7") && shown.out.contains("provider_rate_limited 10"), "{shown:?}");
    let by_model = home.run(&["dify", "usage", "--by", "model", "--json"]).json();
    let mut calls = by_model["usage"].as_array().unwrap().iter().map(|row| (&row["value"], &row["count"]));
    assert_eq!(calls.next_back(), Some((&json!("model-2"), &json!(100))), "{by_model}");
    let shown = home.run(&["dify", "usage", "--by", "endpoint"]);
    assert!(shown.out.contains("service-api") && shown.out.contains("web-app"), "{shown:?}");
    let unknown = home.admin().get("/api/dify/ingest/usage?by=tenant").await;
    assert_eq!((unknown.status, &unknown.json()["error"]["code"]), (400, &json!("unknown_label")));
    let app = worst["app_id"].as_str().unwrap();
    let runs = home.run(&["dify", "runs", "--app", app, "--failed", "--limit", "5", "--json"]).json();
    assert_eq!(runs["runs"].as_array().map(Vec::len), Some(5));
    let errors = home.run(&["dify", "errors", "--json"]).json();
    let limited =
        errors["errors"].as_array().unwrap().iter().find(|row| row["class"] == "provider_rate_limited");
    let limited = limited.unwrap();
    assert_eq!((&limited["count"], &limited["apps"][app]), (&json!(10), &json!(10)));
    assert!(limited["signature"]["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{limited}");
    let shown = home.run(&["dify", "errors"]);
    assert!(shown.out.contains("status code 429") && shown.out.contains("remedy"), "{shown:?}");
    // The operators' own row, wherever errors are explained.
    assert!(
        shown.out.contains("10 x edge (our-proxy)") && shown.out.contains("Ask the network team."),
        "{shown:?}"
    );
    let page = home.admin().get(&format!("/api/dify/apps/{app}?span=day")).await.json();
    let of_proxy = |item: &&Value| item["signature"] == "our-proxy";
    let explained = page["failures"].as_array().unwrap().iter().find(of_proxy).unwrap();
    assert_eq!(explained["cause"], "The outgoing proxy is restarted at night.");

    // Thrown out: health says why and what to do; nothing of the rest is down. Let in again, it goes on.
    database.let_in(false);
    let told = wait_until("the break is told", SOON, || async {
        ingest(&home).filter(|component| component["state"] == "degraded")
    })
    .await;
    assert!(told["reason"].as_str().unwrap().contains("refuses the role"), "{told}");
    database.let_in(true);
    database.generate(401, 420);
    read_of(420).await;
    wait_until("health is well again", SOON, || async {
        ingest(&home).filter(|component| component["state"] == "ok")
    })
    .await;

    process.signal(Signal::TERM);
    assert_eq!(process.wait(SOON), 0, "{}", process.err.lock());
    wait_until("no connection is left", SOON, || async { (database.connections().await == 0).then_some(()) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_dify_each_answer_says_how_to_name_one() {
    let home = Home::new();
    home.configure("[workers]\ncount = 0\n");
    let process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    for command in ["status", "apps", "usage", "runs", "errors"] {
        let ran = home.run(&["dify", command]);
        assert!(ran.code != 0 && ran.err.contains("mainstay init --dify-env"), "{ran:?}");
    }
    assert_eq!(ingest(&home), None);
}
