//! kill -9 during 500 queued runs: of a worker, of all workers, of everything. After a restart every run has finished
//! exactly once, as its stored result and its callback receiver see it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use mainstay_base::{Clock, id};
use mainstay_testkit::{HttpServer, http_server::whole, model, wait_until};
use mainstay_wire::webhook::{Headers, Key};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Caller, Home, Process, READY, wait_for_instance};

const RUNS: usize = 500;
/// Calls at once while submitting.
const AT_ONCE: usize = 50;
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ALL_DONE: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn no_run_is_lost_or_told_twice_on_sqlite() {
    let home = Home::new();
    let url = format!("sqlite:{}", home.path("mainstay.db").display());
    survive(&home, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_run_is_lost_or_told_twice_on_postgresql() {
    let Some(server) = postgres_server() else { return };
    let schema = format!("server_{}", id::new().replace('-', ""));
    on_server(&server, format!("CREATE SCHEMA {schema}"));
    let mark = if server.contains('?') { '&' } else { '?' };
    let home = Home::new();
    survive(&home, &format!("{server}{mark}options=-csearch_path%3D{schema}")).await;
    on_server(&server, format!("DROP SCHEMA {schema} CASCADE"));
}

async fn survive(home: &Home, store_url: &str) {
    let model = model::start().await;
    let told = Told::default();
    let receiver = told.receiver().await;
    configure(home, store_url, &model.url(), &receiver.address.to_string());
    let migrated = home.run(&["migrate"]);
    assert_eq!(migrated.code, 0, "{migrated:?}");

    let mut process = serve(home);
    wait_for_instance(home, &process).await;
    let key = import(home);
    let runs = submit(home, &key, &format!("{}/callback", receiver.url())).await;
    assert_eq!(runs.len(), RUNS);

    // One worker.
    told.wait_for(40).await;
    kill(worker_pids(home).await[0]);
    // All of them.
    told.wait_for(120).await;
    for pid in worker_pids(home).await {
        kill(pid);
    }
    // Everything: parent and workers, in the same moment.
    told.wait_for(200).await;
    process.kill_group();
    drop(process);
    let before = told.counts().len();
    assert!(before < RUNS, "the last kill came too late to prove anything: {before} were told");

    let process = serve(home);
    wait_for_instance(home, &process).await;
    wait_until("every run has been told", ALL_DONE, || async { (told.counts().len() >= RUNS).then_some(()) })
        .await;

    let app = home.address("app");
    let caller = Caller::new(&app, &key);
    for (number, run_id) in &runs {
        let run = caller.get(&format!("/v1/workflows/run/{run_id}")).await.json();
        assert_eq!(run["status"], "succeeded", "{run}");
        assert!(run["outputs"].to_string().contains(&format!("number {number}.")), "{run}");
    }
    let counts = told.counts();
    let expected: BTreeSet<&String> = runs.values().collect();
    assert_eq!(counts.keys().collect::<BTreeSet<_>>(), expected, "told were the runs that were submitted");
    for (run_id, ids) in &counts {
        assert_eq!(ids.len(), 1, "run {run_id} was told as {ids:?}");
    }
    assert_eq!(told.rejected(), 0, "every call was rightly signed");
    let queue = home.admin().get("/api/overview").await.json()["queue"].clone();
    assert_eq!(
        (&queue["queued"], &queue["leased"], &queue["dead"]),
        (&json!(0), &json!(0), &json!(0)),
        "{queue}"
    );
}

fn configure(home: &Home, store_url: &str, model_url: &str, receiver: &str) {
    home.write("callback-secret", SECRET);
    let secret = home.path("callback-secret");
    home.configure(&format!(
        r#"
[store]
url = "{store_url}"
[workers]
count = 2
concurrency = 8
[[provider]]
name = "fake"
base_url = "{model_url}/v1"
models = ["fake-chat"]
[callbacks]
secret = "file:{secret}"
allow = ["{receiver}"]
"#,
        secret = secret.display()
    ));
}

fn serve(home: &Home) -> Process {
    Process::start(home.command(&["serve"]))
}

fn import(home: &Home) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/slow.yml");
    let ran = home.run(&["apps", "import", path.to_str().unwrap(), "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.json()["imported"][0]["api_key"].as_str().unwrap().to_owned()
}

/// The runs' ids by their number.
async fn submit(home: &Home, key: &str, callback: &str) -> BTreeMap<usize, String> {
    let caller = Caller::new(&home.address("app"), key);
    let mut runs = BTreeMap::new();
    let numbers: Vec<usize> = (0..RUNS).collect();
    for batch in numbers.chunks(AT_ONCE) {
        let answers = batch.iter().map(|number| {
            let caller = caller.clone();
            async move {
                let message = format!("[[delay:0.1]] number {number}.");
                let body =
                    json!({"inputs": {"message": message}, "response_mode": "blocking", "user": "tester"});
                let headers = [("prefer", "respond-async"), ("mainstay-callback-url", callback)];
                let answer = caller.send("POST", "/v1/workflows/run", Some(body), &headers).await.unwrap();
                assert_eq!(answer.status, 202, "{answer:?}");
                (*number, answer.json()["workflow_run_id"].as_str().unwrap().to_owned())
            }
        });
        runs.extend(join_all(answers).await);
    }
    runs
}

/// The workers that have told that they live, once there are two.
async fn worker_pids(home: &Home) -> Vec<i64> {
    let admin = home.admin();
    wait_until("two workers live", READY, || async {
        let overview = admin.get("/api/overview").await.json();
        let up = |component: &&Value| component["group"] == "worker" && component["state"] == "ok";
        let well = overview["health"]["components"].as_array()?.iter().filter(up).count();
        let workers = overview["workers"].as_array()?;
        (well == 2).then(|| workers.iter().filter_map(|worker| worker["pid"].as_i64()).collect())
    })
    .await
}

fn kill(pid: i64) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // A row of a worker that was killed before may still be there.
    let _ = kill_process(pid, Signal::KILL);
}

/// What the callback receiver has been told: webhook ids by run.
#[derive(Clone, Default)]
struct Told {
    ids: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
    rejected: Arc<Mutex<usize>>,
}

impl Told {
    async fn receiver(&self) -> HttpServer {
        let told = self.clone();
        HttpServer::start(move |request| {
            let told = told.clone();
            async move {
                let header =
                    |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap());
                let headers = Headers {
                    id: header("webhook-id"),
                    timestamp: header("webhook-timestamp"),
                    signature: header("webhook-signature"),
                };
                let key = Key::parse(SECRET).unwrap();
                let now = Clock::System.now().unix_seconds();
                if key.verify(headers, request.body(), now).is_err() {
                    *told.rejected.lock() += 1;
                    return whole(400, "text/plain", "wrong signature");
                }
                let body: Value = serde_json::from_slice(request.body()).unwrap();
                let run_id = body["data"]["id"].as_str().unwrap().to_owned();
                told.ids.lock().entry(run_id).or_default().insert(headers.id.to_owned());
                whole(204, "text/plain", "")
            }
        })
        .await
    }

    fn counts(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.ids.lock().clone()
    }

    fn rejected(&self) -> usize {
        *self.rejected.lock()
    }

    async fn wait_for(&self, runs: usize) {
        wait_until("so many runs are told", ALL_DONE, || async {
            (self.ids.lock().len() >= runs).then_some(())
        })
        .await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the test command says where its PostgreSQL is")]
pub(crate) fn postgres_server() -> Option<String> {
    std::env::var("TEST_DATABASE_URL").ok().filter(|url| !url.is_empty())
}

/// The synchronous client brings a runtime of its own, so it needs a thread of its own.
pub(crate) fn on_server(server: &str, sql: String) {
    let server = server.to_owned();
    let ran = thread::spawn(move || {
        let mut client = postgres::Client::connect(&server, postgres::NoTls).unwrap();
        client.batch_execute(&sql).unwrap();
    });
    ran.join().unwrap();
}
