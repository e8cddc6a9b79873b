//! What happens when something that Mainstay depends on is gone: each test holds a row of docs/dependencies.md.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use mainstay_base::id;
use mainstay_testkit::{
    HttpServer,
    proxy::{Line, Proxy},
    wait_until,
};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::{
    kill::{on_server, postgres_server},
    reload::{chat, configuration, provider, write_keys},
    support::{Caller, Home, Process, READY, SOON, quote},
};

const CHAT: &str = "/v1/chat/completions";

/// The addresses of a process that says `mainstay ready admin=… app=… model=…`.
struct Addresses {
    admin: Caller,
    app: String,
    model: String,
}

impl Addresses {
    fn of(process: &mut Process) -> Addresses {
        let line = process.line(READY);
        let find = |name: &str| {
            let found =
                line.split(' ').find_map(|pair| pair.strip_prefix(&format!("{name}=")).map(str::to_owned));
            found.unwrap_or_else(|| panic!("no {name} in {line}"))
        };
        Addresses { admin: Caller::new(&find("admin"), ""), app: find("app"), model: find("model") }
    }

    async fn answers(&self) -> bool {
        Caller::new(&self.model, "mk-caller").post(CHAT, chat("small", false)).await.status == 200
    }

    async fn metric(&self, line: &str) -> bool {
        self.admin.get("/metrics").await.text.lines().any(|found| found == line)
    }

    async fn wait_for_metric(&self, line: &str) {
        wait_until(line, SOON, || async { self.metric(line).await.then_some(()) }).await;
    }

    async fn state_of(&self, component: &str) -> Value {
        let report = self.admin.get("/health").await.json();
        let found = report["components"].as_array().into_iter().flatten().find(|one| one["id"] == component);
        found.cloned().unwrap_or_default()["state"].clone()
    }
}

async fn set_up(more: &str) -> (Home, HttpServer) {
    let one = provider(Arc::new(Semaphore::new(0))).await;
    let home = Home::new();
    write_keys(&home);
    home.write("mainstay.toml", &configuration(&home, &one.url(), "\"small\"", more));
    (home, one)
}

fn gateway(home: &Home) -> Process {
    Process::start(home.command(&["serve", "--role", "gateway"]))
}

fn move_store(home: &Home, from: &str, to: &str) {
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::rename(home.path(&format!("{from}{end}")), home.path(&format!("{to}{end}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_starts_from_what_was_published_and_joins_the_store_when_it_is_back() {
    let (home, _one) = set_up("[workers]\ncount = 0\n").await;
    assert_eq!(home.run(&["migrate"]).code, 0);
    let gone = home.run(&["serve", "--role", "gateway", "--config", "missing.toml"]);
    assert_eq!(gone.code, 2, "{gone:?}");
    // An app is imported, published and so kept.
    let mut all = Process::start(home.command(&["serve"]));
    crate::support::wait_for_instance(&home, &all).await;
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/apps/order-quote.yml");
    let imported = home.run(&["apps", "import", sample.to_str().unwrap(), "--json"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    let key = find_key(&imported.json()).unwrap();
    wait_until("the app is kept", SOON, || async {
        let kept = std::fs::read_to_string(home.path("mainstay.db.published.json")).ok()?;
        kept.contains("order-quote").then_some(())
    })
    .await;
    all.signal(rustix::process::Signal::TERM);
    all.wait(SOON);

    move_store(&home, "mainstay.db", "away.db");
    for role in ["all", "control", "worker"] {
        let refused = home.run(&["serve", "--role", role]);
        assert_ne!(refused.code, 0, "{role} cannot do without: {refused:?}");
        assert!(role == "worker" || refused.code == 3, "{refused:?}");
    }
    let mut process = gateway(&home);
    let addresses = Addresses::of(&mut process);
    assert!(addresses.answers().await, "the model path needs no store");
    assert_eq!(addresses.state_of("store").await, "down");
    assert_eq!(addresses.admin.get("/readyz").await.status, 200);
    assert!(addresses.metric("mainstay_store_joined 0").await);
    let app = Caller::new(&addresses.app, &key);
    let answer = app.post("/v1/workflows/run", quote(12, "blocking")).await;
    assert!(answer.status >= 500, "its key is known, its app is in the store: {answer:?}");
    let stranger =
        Caller::new(&addresses.app, "app-stranger").post("/v1/workflows/run", quote(1, "blocking")).await;
    assert_eq!(stranger.status, 401, "{stranger:?}");

    move_store(&home, "away.db", "mainstay.db");
    addresses.wait_for_metric("mainstay_store_joined 1").await;
    assert_eq!(addresses.state_of("store").await, "ok");
    let answer = app.post("/v1/workflows/run", quote(12, "blocking")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn find_key(value: &Value) -> Option<String> {
    match value {
        Value::Object(fields) => match fields.get("api_key") {
            Some(Value::String(key)) => Some(key.clone()),
            _ => fields.values().find_map(find_key),
        },
        Value::Array(items) => items.iter().find_map(find_key),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_and_without_a_kept_state_nothing_starts() {
    let (home, _one) = set_up("").await;
    let ran = home.run(&["serve", "--role", "gateway"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.contains("no published state was kept"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_at_the_start_is_refused_unless_the_last_good_one_is_wanted() {
    let (home, one) = set_up("[workers]\ncount = 0\n").await;
    let good = std::fs::read_to_string(home.path("mainstay.toml")).unwrap();
    let ran = home.run(&["serve", "--last-good", "--config", "missing.toml"]);
    assert_eq!(ran.code, 2, "nothing was kept yet: {ran:?}");
    let mut first = Process::start(home.command(&["serve", "--migrate"]));
    Addresses::of(&mut first);
    wait_until("it is kept", SOON, || async {
        (std::fs::read_to_string(home.path("mainstay.db.last-good.toml")).ok()? == good).then_some(())
    })
    .await;
    first.signal(rustix::process::Signal::TERM);
    first.wait(SOON);

    home.write("mainstay.toml", &format!("{good}\n[model.policy]\nmax_attempts = 0\non_cut = \"stop\"\n"));
    let refused = home.run(&["serve"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    for problem in ["model.policy.max_attempts is 0", "model.policy.on_cut is none of end, continue"] {
        assert!(refused.err.contains(problem), "{problem} is not in {}", refused.err);
    }
    let mut process = Process::start(home.command(&["serve", "--last-good"]));
    let addresses = Addresses::of(&mut process);
    assert!(addresses.answers().await, "{:?}", one.requests());
    wait_until("health says so", SOON, || async {
        (addresses.state_of("config").await == "degraded").then_some(())
    })
    .await;
    home.write("mainstay.toml", &good);
    assert_eq!(home.run(&["reload"]).code, 0);
    wait_until("it is mended", SOON, || async { (addresses.state_of("config").await == "ok").then_some(()) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_cannot_be_written_is_counted_and_stops_nothing() {
    let (home, _one) = set_up("[store]\nstate_dir = \"caller-key\"\n[workers]\ncount = 0\n").await;
    assert_eq!(home.run(&["migrate"]).code, 0);
    let mut process = gateway(&home);
    let addresses = Addresses::of(&mut process);
    assert!(addresses.answers().await);
    wait_until("it is counted", SOON, || async {
        let metrics = addresses.admin.get("/metrics").await.text;
        let line = metrics.lines().find(|line| line.starts_with("mainstay_state_write_failures "))?;
        (line.rsplit(' ').next()? != "0").then_some(())
    })
    .await;
}

/// A PostgreSQL of this test alone behind a line that can be cut or frozen.
struct Remote {
    proxy: Proxy,
    url: String,
    server: String,
    schema: String,
}

impl Remote {
    async fn start() -> Option<Remote> {
        let server = postgres_server()?;
        let schema = format!("server_{}", id::new().replace('-', ""));
        on_server(&server, format!("CREATE SCHEMA {schema}"));
        let mut url = url::Url::parse(&server).unwrap();
        let to = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
        let proxy = Proxy::start(to).await;
        url.set_ip_host(proxy.address.ip()).unwrap();
        url.set_port(Some(proxy.address.port())).unwrap();
        let mark = if url.query().is_some() { '&' } else { '?' };
        let url = format!("{url}{mark}options=-csearch_path%3D{schema}");
        Some(Remote { proxy, url, server, schema })
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let sql = format!("DROP SCHEMA {} CASCADE", self.schema);
        if !std::thread::panicking() {
            on_server(&self.server, sql);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_goes_or_hangs_while_serving_slows_no_call() {
    let Some(remote) = Remote::start().await else { return };
    let (home, _one) = set_up(&format!("[store]\nurl = \"{}\"\nstate_dir = \"state\"\n", remote.url)).await;
    assert_eq!(home.run(&["migrate"]).code, 0);
    let mut process = gateway(&home);
    let addresses = Addresses::of(&mut process);
    for line in [Line::Cut, Line::Frozen] {
        addresses.wait_for_metric("mainstay_store_joined 1").await;
        remote.proxy.set(line);
        let asked = Instant::now();
        for _ in 0..20 {
            assert!(addresses.answers().await, "{line:?}");
        }
        assert!(asked.elapsed() < SOON / 6, "{line:?}: 20 calls took {:?}", asked.elapsed());
        addresses.wait_for_metric("mainstay_store_joined 0").await;
        assert_eq!(addresses.state_of("store").await, "down", "{line:?}");
        assert!(addresses.answers().await, "{line:?}");
        remote.proxy.set(Line::Open);
    }
    addresses.wait_for_metric("mainstay_store_joined 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_starts_while_the_store_hangs() {
    let Some(remote) = Remote::start().await else { return };
    let (home, _one) = set_up(&format!("[store]\nurl = \"{}\"\nstate_dir = \"state\"\n", remote.url)).await;
    assert_eq!(home.run(&["migrate"]).code, 0);
    let mut first = gateway(&home);
    Addresses::of(&mut first);
    wait_until("it is kept", SOON, || async { home.path("state/published.json").exists().then_some(()) })
        .await;
    drop(first);
    remote.proxy.set(Line::Frozen);
    assert_eq!(home.run(&["serve", "--role", "control"]).code, 3, "control cannot judge without it");
    let mut process = gateway(&home);
    let addresses = Addresses::of(&mut process);
    assert!(addresses.answers().await);
    assert_eq!(addresses.state_of("store").await, "down");
    remote.proxy.set(Line::Open);
    addresses.wait_for_metric("mainstay_store_joined 1").await;
}

/// The page is a contract only while every test that it names is there.
#[test]
fn every_test_that_the_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/dependencies.md")).unwrap();
    let folders =
        ["server/tests/it", "server/src", "control/src", "gateway/tests/path", "net/tests", "store/tests/it"];
    let sources: String = folders.iter().map(|folder| all_text(&root.join("crates").join(folder))).collect();
    let named: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|word| word.split([' ', ':']).next_back())
        .filter(|word| word.matches('_').count() >= 4)
        .collect();
    assert!(named.len() >= 10, "{named:?}");
    for name in named {
        let start = name.trim_end_matches('…');
        assert!(
            sources.contains(&format!("fn {start}")),
            "docs/dependencies.md names {name}, which is no test"
        );
    }
}

/// Of a folder and those in it.
fn all_text(folder: &Path) -> String {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: PathBuf| match path.is_dir() {
        true => all_text(&path),
        false => std::fs::read_to_string(&path).unwrap_or_default(),
    };
    files.map(text).collect()
}
