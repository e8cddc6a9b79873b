use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::Request;
use mainstay_base::{Secret, Severity};
use mainstay_net::ClientOptions;
use mainstay_testkit::{
    HttpServer, Reply,
    http_server::{events, json, whole},
    raw::{RawServer, Step},
    wait_until,
};
use serde_json::{Map, Value, json};

use super::*;
use crate::deployment::{Canary, Database, Redis, RedisAt, Service, Storage, Tls, Vector};

const HEALTH: &str = r#"{"pid": 21554, "status": "ok", "version": "1.12.1"}"#;
const POOL: &str = r#"{"pid":21554,"pool_size":100,"checked_in_connections":2,"checked_out_connections":0,"overflow_connections":-98,"connection_timeout":30,"recycle_time":3600}"#;
const SETUP: &str = r#"{"step":"finished","setup_at":"2026-11-23T00:00:00"}"#;

/// Answers each path as told, 404 to any other.
async fn serving(answers: &'static [(&'static str, u16, &'static str)]) -> HttpServer {
    HttpServer::start(move |request: Request<Bytes>| async move {
        let found = answers.iter().find(|(path, ..)| *path == request.uri().path());
        match found {
            Some((_, status, body)) => whole(*status, "application/json", *body),
            None => whole(404, "text/html", "<html>no such page</html>"),
        }
    })
    .await
}

fn prober(change: impl FnOnce(&mut Deployment)) -> Prober {
    let mut deployment = Deployment::named("test");
    change(&mut deployment);
    Prober::new(deployment, Client::new(ClientOptions::default()).unwrap())
}

async fn api(url: String) -> Report {
    prober(|deployment| deployment.api_url = Some(url)).probe(Component::Api).await
}

fn ids(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.id.as_str()).collect()
}

#[tokio::test]
async fn an_api_is_well_when_it_reads_its_database() {
    let server = serving(&[
        ("/health", 200, HEALTH),
        ("/db-pool-stat", 200, POOL),
        ("/console/api/setup", 200, SETUP),
    ])
    .await;
    let report = api(server.url()).await;
    assert_eq!((report.state, report.reason.as_str()), (State::Ok, "Dify 1.12.1, reads its database"));
    assert_eq!(report.facts["pool"], "0 of 110 connections in use");
    assert!(report.findings.is_empty() && report.latency_ms.is_some());
}

#[tokio::test]
async fn health_that_says_ok_hides_no_database_that_is_gone() {
    let server = serving(&[("/health", 200, HEALTH), ("/console/api/setup", 500, "{}")]).await;
    let report = api(server.url()).await;
    assert_eq!((report.state, ids(&report)), (State::Down, vec!["api-database"]));
}

#[tokio::test]
async fn an_api_behind_nginx_has_no_health_and_is_well() {
    let server = serving(&[("/console/api/setup", 200, SETUP)]).await;
    let report = api(server.url()).await;
    assert_eq!((report.state, ids(&report)), (State::Ok, vec![]));
    assert!(report.facts["health"].contains("not routed"));
}

#[tokio::test]
async fn a_full_pool_is_a_warning() {
    const FULL: &str = r#"{"pool_size":30,"checked_out_connections":38}"#;
    let server = serving(&[
        ("/health", 200, HEALTH),
        ("/db-pool-stat", 200, FULL),
        ("/console/api/setup", 200, SETUP),
    ])
    .await;
    let report = api(server.url()).await;
    assert_eq!((report.state, ids(&report)), (State::Degraded, vec!["S02"]));
    assert!(report.findings[0].remedy.contains("SQLALCHEMY_POOL_SIZE"));
}

#[tokio::test]
async fn whatever_answers_instead_of_an_api_is_one_finding() {
    let page = serving(&[("/health", 200, "<html>")]).await;
    assert_eq!(ids(&api(page.url()).await), ["api-not-dify"]);
    let failing = serving(&[("/health", 502, "<html>Bad Gateway")]).await;
    assert_eq!(ids(&api(failing.url()).await), ["api-failing"]);
    let elsewhere = HttpServer::start(|_| async {
        let mut reply = whole(302, "text/html", "");
        reply.headers_mut().insert("location", "https://sso.example/login".parse().unwrap());
        reply
    })
    .await;
    let report = api(elsewhere.url()).await;
    assert_eq!(ids(&report), ["api-not-dify"]);
    assert!(report.findings[0].evidence[0].answered.contains("302 to https://sso.example/login"));
    let huge = HttpServer::start(|_| async { whole(200, "application/json", vec![b' '; 20_000_000]) }).await;
    assert_eq!(ids(&api(huge.url()).await), ["api-down"]);
    let cut =
        RawServer::start(vec![Step::Send(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()), Step::Close]).await;
    assert_eq!(ids(&api(cut.url()).await), ["api-down"]);
    let nobody = api("http://127.0.0.1:1".to_owned()).await;
    assert_eq!((nobody.state, ids(&nobody)), (State::Down, vec!["api-down"]));
    assert_eq!(ids(&api("not a url".to_owned()).await), ["api-down"]);
}

/// Accepts and says nothing: each probe ends by itself, says so once, and a second one is not begun meanwhile.
#[tokio::test]
async fn half_open_peers_are_one_finding_each_and_gather_no_probes() {
    let silent = RawServer::start(vec![Step::Hang]).await;
    let (host, port) = (silent.address.ip().to_string(), silent.address.port());
    let database = Database {
        host: host.clone(),
        port,
        user: "mainstay".to_owned(),
        password: None,
        name: "dify".to_owned(),
        tls: Tls::Off,
    };
    let redis = Redis {
        at: RedisAt::Server { host, port },
        user: None,
        password: Some(Secret::new("s3cret")),
        database: 0,
        tls: Tls::Off,
        key_prefix: String::new(),
    };
    let prober = prober(|deployment| {
        deployment.api_url = Some(silent.url());
        deployment.database = Some(database);
        deployment.broker = Some(redis);
        deployment.plugin_daemon = Some(Service { url: silent.url(), key: None });
    });
    let prober = Arc::new(prober);
    let looked_at = [Component::Api, Component::Database, Component::Broker, Component::PluginDaemon];
    let first = tokio::spawn({
        let prober = prober.clone();
        async move { prober.all(&looked_at, |_| {}).await }
    });
    wait_until("the probes are under way", Duration::from_secs(5), || async {
        let under_way = |component: &Component| prober.under_way[*component as usize].load(Ordering::Acquire);
        looked_at.iter().all(under_way).then_some(())
    })
    .await;
    for component in looked_at {
        let second = prober.probe(component).await;
        assert_eq!((second.state, second.findings.len()), (State::Unknown, 0), "{component:?}");
    }
    for report in first.await.unwrap() {
        assert_eq!((report.state, report.findings.len()), (State::Down, 1), "{report:?}");
        let finding = &report.findings[0];
        let is_whole =
            !finding.remedy.is_empty() && !finding.cause.is_empty() && !finding.evidence.is_empty();
        assert!(is_whole, "{finding:?}");
        assert!(!format!("{report:?}").contains("s3cret"));
    }
    assert!(prober.under_way.iter().all(|flag| !flag.load(Ordering::Acquire)));
}

#[tokio::test]
async fn what_is_not_named_is_not_configured() {
    let reports = prober(|_| {}).all(&Component::ALL, |_| {}).await;
    let components: Vec<&str> = reports.iter().map(|report| report.component.as_str()).collect();
    assert_eq!(components, Component::ALL.map(Component::as_str));
    assert!(reports.iter().all(|report| report.state == State::NotConfigured), "{reports:?}");
}

async fn daemon(answers: &'static [(&'static str, u16, &'static str)]) -> Report {
    let server = serving(answers).await;
    let daemon = Service { url: server.url(), key: Some(Secret::new("s3cret-of-daemon")) };
    prober(|deployment| deployment.plugin_daemon = Some(daemon)).probe(Component::PluginDaemon).await
}

#[tokio::test]
async fn a_plugin_daemon_is_asked_for_its_health_its_key_and_its_plugins() {
    const WELL: &str = r#"{"status":"ok","pool_status":{"free":9,"busy":1,"total":10},"version":"0.5.7","active_requests":2}"#;
    const MODELS: &str = "/plugin/00000000-0000-0000-0000-000000000000/management/models";
    const NONE: &str = r#"{"code":0,"message":"","data":[]}"#;
    const METRICS: &str = "# TYPE plugin_runtime_status gauge\nplugin_runtime_status{plugin_id=\"langgenius/openai\"} 1\nplugin_runtime_status{plugin_id=\"acme/broken\"} 0\n";
    let well = daemon(&[("/health/check", 200, WELL), (MODELS, 200, NONE)]).await;
    assert_eq!((well.state, well.reason.as_str()), (State::Ok, "version 0.5.7, takes our key"));
    let refused =
        daemon(&[("/health/check", 200, WELL), (MODELS, 401, r#"{"message":"unauthorized"}"#)]).await;
    assert_eq!((refused.state, ids(&refused)), (State::Down, vec!["plugin-daemon-key"]));
    let stuck = daemon(&[("/health/check", 200, WELL), (MODELS, 500, "boom")]).await;
    assert_eq!((stuck.state, ids(&stuck)), (State::Down, vec!["plugin-daemon-stuck"]));
    let stopped =
        daemon(&[("/health/check", 200, WELL), (MODELS, 200, NONE), ("/metrics/", 200, METRICS)]).await;
    assert_eq!((stopped.state, ids(&stopped)), (State::Degraded, vec!["S42"]));
    assert!(stopped.reason.contains("1 of 2 plugins do not run: acme/broken"), "{}", stopped.reason);
    assert_eq!(ids(&daemon(&[]).await), ["plugin-daemon-down"]);
    assert!(!serde_json::to_string(&refused).unwrap().contains("s3cret"));
}

async fn sandbox(run: (u16, &'static str)) -> Report {
    let server = HttpServer::start(move |request: Request<Bytes>| async move {
        match request.uri().path() {
            "/health" => whole(200, "application/json", "\"ok\""),
            _ if request.headers()["x-api-key"] != "sandbox-key" => whole(401, "application/json", "{}"),
            _ => whole(run.0, "application/json", run.1),
        }
    })
    .await;
    let sandbox = Service { url: server.url(), key: Some(Secret::new("sandbox-key")) };
    prober(|deployment| deployment.sandbox = Some(sandbox)).probe(Component::Sandbox).await
}

#[tokio::test]
async fn a_sandbox_is_well_when_it_runs_code() {
    let well = sandbox((200, r#"{"code":0,"message":"success","data":{"error":"","stdout":"42\n"}}"#)).await;
    assert_eq!((well.state, well.reason.as_str()), (State::Ok, "runs code"));
    let busy = sandbox((503, r#"{"code":-503,"message":"max"}"#)).await;
    assert_eq!((busy.state, ids(&busy)), (State::Down, vec!["sandbox-busy"]));
    assert_eq!(ids(&sandbox((401, "{}")).await), ["sandbox-key"]);
    let ended =
        r#"{"code":0,"message":"success","data":{"error":"error: operation not permitted","stdout":""}}"#;
    assert_eq!(ids(&sandbox((200, ended)).await), ["S76"]);
    assert_eq!(ids(&sandbox((200, "<html>")).await), ["sandbox-failing"]);
}

async fn vector(kind: &str, answers: &'static [(&'static str, u16, &'static str)]) -> Report {
    let server = serving(answers).await;
    let vector = Vector {
        kind: kind.to_owned(),
        url: Some(server.url()),
        api_key: Some(Secret::new("vector-key")),
        login: None,
        database: None,
        index_prefix: "Vector_index".to_owned(),
    };
    prober(|deployment| deployment.vector = Some(vector)).probe(Component::Vector).await
}

#[tokio::test]
async fn a_vector_store_is_asked_in_its_own_words() {
    let weaviate = vector(
        "weaviate",
        &[("/v1/.well-known/ready", 200, ""), ("/v1/meta", 200, r#"{"version":"1.27.0"}"#)],
    )
    .await;
    assert_eq!((weaviate.state, weaviate.reason.as_str()), (State::Ok, "weaviate 1.27.0 ready"));
    let readonly = vector(
        "weaviate",
        &[
            ("/v1/.well-known/ready", 200, ""),
            ("/v1/meta", 200, r#"{"version":"1.27.0"}"#),
            ("/v1/schema", 200, r#"{"classes":[{"class":"Other"},{"class":"Vector_index_1_Node"}]}"#),
            ("/v1/schema/Vector_index_1_Node/shards", 200, r#"[{"name":"a","status":"READONLY"}]"#),
        ],
    )
    .await;
    assert_eq!((readonly.state, ids(&readonly)), (State::Down, vec!["vector-readonly"]));
    assert!(readonly.findings[0].remedy.contains("index again"), "{:?}", readonly.findings[0]);
    assert_eq!(ids(&vector("weaviate", &[("/v1/.well-known/ready", 503, "")]).await), ["vector-down"]);

    let qdrant = vector(
        "qdrant",
        &[
            ("/readyz", 200, "all shards are ready"),
            ("/", 200, r#"{"title":"qdrant","version":"1.8.3"}"#),
            ("/collections", 200, r#"{"result":{"collections":[{"name":"a"}]}}"#),
        ],
    )
    .await;
    assert_eq!(qdrant.reason, "qdrant 1.8.3 ready");
    assert_eq!(qdrant.facts["collections"], "1");
    let refused = vector("qdrant", &[("/readyz", 200, ""), ("/collections", 401, "no key")]).await;
    assert_eq!(ids(&refused), ["vector-key"]);

    let old = vector(
        "chroma",
        &[
            ("/api/v1/heartbeat", 200, r#"{"nanosecond heartbeat":1}"#),
            ("/api/v1/version", 200, "\"0.5.20\""),
        ],
    )
    .await;
    assert_eq!(old.reason, "chroma 0.5.20 beats");

    let red = vector("opensearch", &[("/_cluster/health", 200, r#"{"status":"red"}"#)]).await;
    assert_eq!(ids(&red), ["vector-down"]);
    let yellow =
        vector("elasticsearch", &[("/_cluster/health", 200, r#"{"status":"yellow","unassigned_shards":3}"#)])
            .await;
    assert_eq!(yellow.reason, "elasticsearch yellow: 3 shards have no replica");
    assert_eq!(yellow.state, State::Ok);
    let unknown = vector("oceanbase", &[]).await;
    assert_eq!((unknown.state, unknown.reason.as_str()), (State::Ok, "oceanbase answers 404"));
}

async fn storage(folder: &std::path::Path) -> Report {
    let folder = Storage::Folder(folder.to_owned());
    prober(|deployment| deployment.storage = Some(folder)).probe(Component::Storage).await
}

#[tokio::test]
async fn storage_is_written_read_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let report = storage(folder.path()).await;
    let is_low = report.findings.iter().any(|finding| finding.id == "disk-low");
    assert!(report.state == State::Ok || is_low, "{report:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the marker stayed");
    let gone = storage(&folder.path().join("gone")).await;
    assert_eq!((gone.state, ids(&gone)), (State::Down, vec!["storage-failing"]));
    let s3 = prober(|deployment| deployment.storage = Some(Storage::Elsewhere("s3".to_owned())));
    assert_eq!(s3.probe(Component::Storage).await.state, State::NotConfigured);
}

#[test]
fn a_workspace_without_its_private_key_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for tenant in ["a", "b"] {
        std::fs::create_dir_all(folder.path().join(tenant)).unwrap();
    }
    std::fs::write(folder.path().join("a/private.pem"), "-----BEGIN RSA PRIVATE KEY-----").unwrap();
    std::fs::write(folder.path().join("b/private.pem"), "").unwrap();
    let tenants = ["a", "b", "c"].map(str::to_owned).to_vec();
    let report = storage::keys_in(Report::of(Component::Keys), folder.path(), tenants);
    assert_eq!((report.state, ids(&report)), (State::Down, vec!["key-file-missing"]));
    assert!(report.reason.contains("2 of 3 workspaces have no private key: b, c"), "{}", report.reason);
    let well = storage::keys_in(Report::of(Component::Keys), folder.path(), vec!["a".to_owned()]);
    assert_eq!(well.state, State::Ok);
}

async fn canary(mode: &'static str, run: impl Fn() -> Reply + Send + Sync + 'static) -> Report {
    let server = HttpServer::start(move |request: Request<Bytes>| {
        let may = request.headers()["authorization"] == "Bearer app-key";
        let reply = match request.uri().path() {
            "/v1/info" if !may => json(401, &json!({"code": "unauthorized"})),
            "/v1/info" => json(200, &json!({"name": "canary", "mode": mode})),
            _ => run(),
        };
        async move { reply }
    })
    .await;
    let canary = Canary { key: Secret::new("app-key"), inputs: Map::new() };
    prober(|deployment| {
        deployment.api_url = Some(server.url());
        deployment.canary = Some(canary);
    })
    .probe(Component::Canary)
    .await
}

fn stream(lines: &[Value]) -> Reply {
    let lines = lines.iter().map(|line| (Duration::ZERO, Bytes::from(format!("data: {line}\n\n"))));
    events(lines.collect(), false)
}

#[tokio::test]
async fn a_canary_is_judged_by_how_its_run_ended() {
    let finished = |status: &str, error: Value| {
        let data = json!({"status": status, "error": error, "total_tokens": 7});
        json!({"event": "workflow_finished", "workflow_run_id": "r1", "data": data})
    };
    let started = || json!({"event": "workflow_started", "workflow_run_id": "r1"});
    let well = canary("workflow", move || stream(&[started(), finished("succeeded", Value::Null)])).await;
    assert_eq!(
        (well.state, well.facts["tokens"].as_str(), well.facts["run"].as_str()),
        (State::Ok, "7", "r1")
    );
    assert!(well.reason.contains("for 7 tokens"), "{}", well.reason);
    // Status 200, and failed all the same.
    let limited =
        move || stream(&[started(), finished("failed", json!("Error code: 429 - Rate limit reached"))]);
    let failed = canary("workflow", limited).await;
    assert_eq!((failed.state, ids(&failed)), (State::Down, vec!["S54"]));
    let chat = canary("advanced-chat", || {
        let end = json!({"event": "message_end", "metadata": {"usage": {"total_tokens": 3}}});
        stream(&[json!({"event": "message", "answer": "x"}), end])
    })
    .await;
    assert_eq!((chat.state, chat.facts["tokens"].as_str()), (State::Ok, "3"));
    let error = canary("chat", || {
        stream(&[json!({"event": "error", "status": 400, "message": "q is required in input form"})])
    })
    .await;
    assert_eq!(ids(&error), ["M10"]);
    let refused = canary("workflow", || json(400, &json!({"code": "app_unavailable"}))).await;
    assert_eq!(ids(&refused), ["canary-unanswered"]);
    // The first piece is on its way before the connection is cut.
    let cut_after = |first: &'static [u8]| {
        let wait = Duration::from_millis(50);
        events(
            vec![(Duration::ZERO, Bytes::from_static(first)), (wait, Bytes::from_static(b": more\n\n"))],
            true,
        )
    };
    let cut = canary("workflow", move || cut_after(b"event: ping\n\n")).await;
    assert_eq!(ids(&cut), ["canary-not-started"]);
    let slow = canary("workflow", move || {
        cut_after(
            b"data: {\"event\":\"workflow_started\"}\n\ndata: {\"event\":\"node_started\",\"data\":{\"title\":\"LLM\"}}\n\n",
        )
    })
    .await;
    assert_eq!((slow.state, ids(&slow)), (State::Degraded, vec!["canary-slow"]));
    assert!(slow.reason.contains("at node LLM"));
}

#[test]
fn what_a_redis_says_of_itself_is_judged() {
    let base = "redis_version:7.2.0 role:master used_memory:100 used_memory_human:100B maxmemory:0 maxmemory_policy:noeviction \
                rdb_last_bgsave_status:ok aof_last_write_status:ok connected_clients:10 maxclients:10000 evicted_keys:0";
    let judged = |component: Component, change: &str| {
        let mut info: BTreeMap<String, String> = BTreeMap::new();
        for line in base.split_whitespace().chain(change.split_whitespace()) {
            let (key, value) = line.split_once(':').unwrap();
            info.insert(key.to_owned(), value.to_owned());
        }
        let mut report = Report::of(component);
        redis::judge(&mut report, component, &info);
        let found: Vec<(String, Severity)> =
            report.findings.iter().map(|finding| (finding.id.clone(), finding.severity)).collect();
        assert!(
            report.findings.iter().all(|finding| !finding.remedy.is_empty() && !finding.cause.is_empty())
        );
        found
    };
    let one = |id: &str, severity| vec![(id.to_owned(), severity)];
    assert_eq!(judged(Component::Broker, ""), []);
    assert_eq!(judged(Component::Redis, "role:slave"), one("redis-readonly", Severity::Critical));
    assert_eq!(
        judged(Component::Redis, "rdb_last_bgsave_status:err"),
        one("redis-persistence", Severity::Critical)
    );
    assert_eq!(judged(Component::Redis, "maxmemory:105"), one("redis-memory", Severity::Warning));
    assert_eq!(judged(Component::Redis, "connected_clients:9500"), one("S17", Severity::Warning));
    let evicts = "maxmemory:1000 maxmemory_policy:allkeys-lru";
    assert_eq!(judged(Component::Redis, evicts), []);
    assert_eq!(judged(Component::Broker, evicts), one("broker-evicts", Severity::Warning));
    assert_eq!(
        judged(Component::Broker, &format!("{evicts} evicted_keys:4")),
        one("broker-evicts", Severity::Critical)
    );
}
