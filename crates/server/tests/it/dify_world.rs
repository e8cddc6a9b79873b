//! A Dify to look at: its tables in a real PostgreSQL, a real Redis with a real worker, and peers that answer as the API, the
//! plugin daemon, the sandbox and the vector store do. It is known by an `.env` alone, as an operator has it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use mainstay_base::id;
use mainstay_testkit::{
    HttpServer, Reply,
    celery::{Broker, RunningWorker, Worker},
    http_server::{json, whole},
};
use serde_json::{Value, json};

use crate::{
    kill::{on_server, postgres_server},
    support::{Home, SOON},
};

const TABLES: &str = include_str!("../../../dify/tests/tables.sql");
const WORKSPACE: &str = include_str!("../../../dify/tests/workspace.sql");
const QUEUES: &[&str] = &["dataset", "mail", "workflow_based_app_execution", "ops_trace"];
/// Letters that an address, JSON and base64 each write in another way.
const DAEMON_KEY: &str = "daemon+Key/\"7%==";
const SANDBOX_KEY: &str = "sandbox-key-1";
const VECTOR_KEY: &str = "vector-key-1";

pub(crate) struct World {
    pub(crate) home: Home,
    pub(crate) broker: Broker,
    pub(crate) worker: RunningWorker,
    /// `postgres://…` of the server, for its owner.
    server: String,
    database: String,
    plugins: String,
    /// What `mainstay init` prints for its role, to be run for a role of each look.
    grants: String,
    env: BTreeMap<&'static str, String>,
    _peers: [HttpServer; 4],
}

impl World {
    /// `None` where PostgreSQL, Redis or Celery were not prepared.
    pub(crate) async fn start() -> Option<World> {
        let server = postgres_server()?;
        let broker = Broker::start()?;
        let worker = Worker { name: "w1", pool: "threads", concurrency: 2, queues: QUEUES, key_prefix: "" };
        let worker = worker.start(&broker)?;
        let unique = id::new().replace('-', "");
        let (database, plugins) = (format!("dify_{unique}"), format!("plugin_{unique}"));
        for name in [&database, &plugins] {
            on_server(&server, format!("CREATE DATABASE {name}"));
        }
        on_server(&within(&server, &database), format!("{TABLES}{WORKSPACE}"));
        let peers = [
            HttpServer::start(|request| async move { api(&request) }).await,
            HttpServer::start(|request| async move { daemon(&request) }).await,
            HttpServer::start(|request| async move { sandbox(&request) }).await,
            HttpServer::start(|request| async move { vector(&request) }).await,
        ];
        let [api, daemon, sandbox, vector] = [0, 1, 2, 3].map(|peer: usize| peers[peer].url());
        let (host, port) = host_port(&server);
        let Broker { host: redis, port: redis_port, database: redis_database, .. } = &broker;
        let env = BTreeMap::from([
            ("DB_HOST", host),
            ("DB_PORT", port),
            ("DB_DATABASE", database.clone()),
            ("DB_PLUGIN_DATABASE", plugins.clone()),
            ("DB_PASSWORD", "not-asked-for".to_owned()),
            // So that pools fit the server of the tests.
            ("SQLALCHEMY_POOL_SIZE", "5".to_owned()),
            ("POSTGRES_MAX_CONNECTIONS", "200".to_owned()),
            ("REDIS_HOST", redis.clone()),
            ("REDIS_PORT", redis_port.to_string()),
            ("REDIS_DB", redis_database.to_string()),
            ("REDIS_PASSWORD", String::new()),
            ("CELERY_BROKER_URL", broker.url()),
            ("PLUGIN_DIFY_INNER_API_URL", api.clone()),
            ("CONSOLE_WEB_URL", api.clone()),
            ("SSRF_PROXY_HTTP_URL", api),
            ("PLUGIN_DAEMON_URL", daemon),
            ("PLUGIN_DAEMON_KEY", DAEMON_KEY.to_owned()),
            ("CODE_EXECUTION_ENDPOINT", sandbox),
            ("CODE_EXECUTION_API_KEY", SANDBOX_KEY.to_owned()),
            ("WEAVIATE_ENDPOINT", vector),
            ("WEAVIATE_API_KEY", VECTOR_KEY.to_owned()),
            ("SECRET_KEY", "sk-not-the-published-one".to_owned()),
            ("PLUGIN_DIFY_INNER_API_KEY", "inner-key-1".to_owned()),
        ]);
        let home = Home::new();
        // As Dify's compose file mounts it; with the key of the one workspace.
        let keys = home.path("volumes/app/storage/privkeys/00000000-0000-0000-0000-000000000001");
        std::fs::create_dir_all(&keys).unwrap();
        std::fs::write(keys.join("private.pem"), "-----BEGIN RSA PRIVATE KEY-----").unwrap();
        let mut env = env;
        if is_nearly_full(&home.path("")) {
            // The disk of the machine that runs the tests is none of theirs.
            env.insert("STORAGE_TYPE", "s3".to_owned());
        }
        let mut world = World {
            home,
            broker,
            worker,
            server,
            database,
            plugins,
            grants: String::new(),
            env,
            _peers: peers,
        };
        world.write_env(".env", "nobody", &[]);
        let init = world.home.run(&["init", "--dify-env", ".env", "--output", "init.toml", "--json"]).json();
        world.grants = init["grants"]["reader"].as_str().unwrap().to_owned();
        world.wait_for_worker();
        Some(world)
    }

    /// Writes an `.env` for a role; `changes` over what is well.
    pub(crate) fn write_env(&self, name: &str, role: &str, changes: &[(&'static str, String)]) {
        let mut env = self.env.clone();
        env.insert("DB_USERNAME", role.to_owned());
        env.extend(changes.iter().cloned());
        let quoted = |value: &str| format!("'{}'", value.replace('\'', "\\'"));
        let lines: Vec<String> =
            env.iter().map(|(name, value)| format!("{name}={}\n", quoted(value))).collect();
        self.home.write(name, &lines.concat());
    }

    /// A role with the rights that `mainstay init` names, and no others. Its name begins with that of the database.
    pub(crate) fn role(&self, name: &str) -> String {
        let role = format!("{}_{name}", self.database);
        let lines = self.grants.lines().filter(|line| !line.starts_with('\\'));
        let script = lines.collect::<Vec<_>>().join("\n").replace("mainstay_reader", &role);
        on_server(&within(&self.server, &self.database), script);
        role
    }

    /// Runs SQL as the owner of the main database.
    pub(crate) fn run_sql(&self, sql: &str) {
        on_server(&within(&self.server, &self.database), sql.to_owned());
    }

    /// Whether storage is looked at: not where the disk of the tests is nearly full.
    pub(crate) fn has_storage(&self) -> bool {
        !self.env.contains_key("STORAGE_TYPE")
    }

    /// The name of the main database.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    pub(crate) fn server_address(&self) -> String {
        let (host, port) = host_port(&self.server);
        format!("{host}:{port}")
    }

    pub(crate) fn broker_address(&self) -> String {
        format!("{}:{}", self.broker.host, self.broker.port)
    }

    /// What Redis holds but for what Celery's own machinery keeps moving, by key.
    pub(crate) fn keys(&self) -> BTreeMap<String, String> {
        let keys = self.redis(&["--raw", "KEYS", "*"]);
        let keys = keys.lines().filter(|key| !key.contains("pidbox") && !key.is_empty());
        keys.map(|key| (key.to_owned(), self.redis(&["DUMP", key]))).collect()
    }

    pub(crate) fn redis(&self, command: &[&str]) -> String {
        let (port, database) = (self.broker.port.to_string(), self.broker.database.to_string());
        let mut cli = std::process::Command::new("redis-cli");
        cli.args(["-h", &self.broker.host, "-p", &port, "-n", &database]).args(command);
        String::from_utf8_lossy(&cli.output().unwrap().stdout).into_owned()
    }

    fn wait_for_worker(&self) {
        let until = std::time::Instant::now() + SOON;
        let database = format!(" db={} ", self.broker.database);
        // It follows the channel of questions by a pattern.
        let follows = |client: &str| client.contains(&database) && !client.contains(" psub=0 ");
        while !self.redis(&["CLIENT", "LIST"]).lines().any(follows) {
            assert!(std::time::Instant::now() < until, "the worker did not come");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Counts connections until it is asked what was the most.
    pub(crate) fn watch_connections(&self) -> Connections {
        let (server, prefix) = (self.server.clone(), self.database.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        // The synchronous client brings a runtime of its own, so it needs a thread of its own.
        let watching = std::thread::spawn(move || {
            let mut client = postgres::Client::connect(&server, postgres::NoTls).unwrap();
            let mut most = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                let mut now: BTreeMap<(String, String), usize> = BTreeMap::new();
                for row in client.query("TABLE pg_stat_activity", &[]).unwrap() {
                    let role: Option<String> = row.get("usename");
                    let Some(role) = role.filter(|role| role.starts_with(&prefix)) else { continue };
                    let database: Option<String> = row.get("datname");
                    *now.entry((role, database.unwrap_or_default())).or_default() += 1;
                }
                for (place, count) in now {
                    let most = most.entry(place).or_insert(0);
                    *most = count.max(*most);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            most
        });
        Connections { stop, watching: Some(watching) }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let drop_both = format!("DROP DATABASE {} WITH (FORCE)", self.database);
        let server = self.server.clone();
        let plugins = format!("DROP DATABASE {} WITH (FORCE)", self.plugins);
        // A test that fails must not fail again here.
        let _ = std::panic::catch_unwind(move || {
            on_server(&server, drop_both);
            on_server(&server, plugins);
        });
    }
}

/// As the look at storage judges it.
fn is_nearly_full(folder: &std::path::Path) -> bool {
    let disk = rustix::fs::statvfs(folder).unwrap();
    disk.f_bavail < disk.f_blocks / 9
}

/// The most connections that were seen at a time, by role and database.
pub(crate) struct Connections {
    stop: Arc<AtomicBool>,
    watching: Option<JoinHandle<BTreeMap<(String, String), usize>>>,
}

impl Connections {
    pub(crate) fn most(mut self) -> BTreeMap<(String, String), usize> {
        self.stop.store(true, Ordering::Relaxed);
        self.watching.take().unwrap().join().unwrap()
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn within(server: &str, database: &str) -> String {
    let (base, _) = server.rsplit_once('/').unwrap();
    format!("{base}/{database}")
}

fn host_port(server: &str) -> (String, String) {
    let place = server.rsplit_once('@').unwrap().1.split('/').next().unwrap();
    let (host, port) = place.split_once(':').unwrap();
    (host.to_owned(), port.to_owned())
}

fn key<'a>(request: &'a Request<Bytes>, name: &str) -> &'a [u8] {
    request.headers().get(name).map_or(b"", http::HeaderValue::as_bytes)
}

fn api(request: &Request<Bytes>) -> Reply {
    match request.uri().path() {
        "/health" => json(200, &json!({"pid": 1, "status": "ok", "version": "1.12.1"})),
        "/console/api/setup" => json(200, &json!({"step": "finished", "setup_at": "2026-11-23T00:00:00"})),
        "/db-pool-stat" => json(
            200,
            &json!({"pid": 1, "pool_size": 5, "checked_in_connections": 1, "checked_out_connections": 0,
                "overflow_connections": -4, "connection_timeout": 30, "recycle_time": 3600}),
        ),
        _ => whole(200, "text/html", "<html>"),
    }
}

fn daemon(request: &Request<Bytes>) -> Reply {
    match request.uri().path() {
        "/health/check" => json(200, &json!({"status": "ok", "version": "0.5.7", "active_requests": 0})),
        _ if key(request, "x-api-key") != DAEMON_KEY.as_bytes() => {
            json(401, &json!({"message": "unauthorized"}))
        }
        path if path.ends_with("/management/models") => {
            json(200, &json!({"code": 0, "message": "", "data": []}))
        }
        _ => whole(404, "text/plain", "not found"),
    }
}

fn sandbox(request: &Request<Bytes>) -> Reply {
    let ran: Value = json!({"code": 0, "message": "success", "data": {"error": "", "stdout": "42\n"}});
    match request.uri().path() {
        "/health" => json(200, &json!("ok")),
        _ if key(request, "x-api-key") != SANDBOX_KEY.as_bytes() => json(401, &json!({})),
        _ => json(200, &ran),
    }
}

fn vector(request: &Request<Bytes>) -> Reply {
    let may = key(request, "authorization") == format!("Bearer {VECTOR_KEY}").as_bytes();
    match request.uri().path() {
        "/v1/.well-known/ready" => whole(200, "text/plain", ""),
        _ if !may => json(401, &json!({"error": "anonymous access not enabled"})),
        "/v1/meta" => json(200, &json!({"version": "1.27.0"})),
        _ => json(200, &json!({"classes": []})),
    }
}
