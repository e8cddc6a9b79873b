//! `mainstay doctor` from outside: a Dify that is well, and each way in which its world can be hostile.

use std::{
    io::Read as _,
    time::{Duration, Instant},
};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use mainstay_testkit::{
    HttpServer,
    http_server::whole,
    proxy::{Line, Proxy},
    raw::{RawServer, Step},
    wait_until,
};
use mainstay_wire::celery::NewTask;
use serde_json::Value;

use crate::{
    dify_world::World,
    support::{Ran, SOON},
};

/// A look ends within 20 s; on a machine that does everything at once its process may wait as long again.
const LONGEST: Duration = Duration::from_secs(40);
/// Nobody listens there: the port is not for users.
const CLOSED: &str = "1";

/// The test's PostgreSQL trusts everybody else. Another test may make the role at the same time.
const NEEDS_PASSWORD: &str = "DO $$ BEGIN CREATE ROLE needs_password; \
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$";

/// One change of a world that was well, and what has to be said of it.
struct Hostile {
    name: &'static str,
    changes: Vec<(&'static str, String)>,
    /// The id of the one finding.
    finding: &'static str,
    code: i32,
}

fn look(world: &World, name: &str, more: &[&str]) -> (Ran, Duration) {
    let env = format!("{name}.env");
    let began = Instant::now();
    let ran = world.home.run(&[&["doctor", "--dify-env", &env], more].concat());
    (ran, began.elapsed())
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dify_that_is_well_is_said_to_be_and_is_left_as_it_was() {
    let Some(world) = World::start().await else { return };
    let role = world.role("reader");
    world.write_env("well.env", &role, &[]);
    world.redis(&["RPUSH", "elsewhere", "kept"]);
    let (keys, storage) = (world.keys(), files(&world.home.path("volumes")));
    let connections = world.watch_connections();
    let (ran, took) = look(&world, "well", &[]);
    let most = connections.most();

    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert!(took < LONGEST, "it took {took:?}");
    assert!(ran.out.contains("Dify 1.12.1") && ran.out.contains("Nothing is wrong"), "{}", ran.out);
    let seen_from_here: &[&str] = if world.has_storage() { &["storage ", "keys "] } else { &[] };
    let everywhere = [
        "api ",
        "web ",
        "database ",
        "plugin-database ",
        "redis ",
        "broker ",
        "plugin-daemon ",
        "sandbox ",
        "ssrf-proxy ",
        "vector ",
    ];
    for line in everywhere.iter().chain(seen_from_here) {
        let found = ran.out.lines().find(|found| found.starts_with(*line));
        assert!(found.is_some_and(|found| found.contains(" ok ")), "{line}: {}", ran.out);
    }
    assert!(ran.out.contains(&world.worker.name), "the worker is not told of: {}", ran.out);
    let widest = ran.out.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{widest:?} letters in a line: {}", ran.out);

    // One connection to each database, by a role that may write nowhere; Redis and storage as before.
    assert_eq!(most.len(), 2, "{most:?}");
    assert!(most.values().all(|count| *count == 1), "{most:?}");
    assert_eq!(world.keys(), keys);
    assert_eq!(files(&world.home.path("volumes")), storage);

    let (ran, _) = look(&world, "well", &["--json"]);
    let told = ran.json();
    assert_eq!((ran.code, &told["outcome"], &told["findings"]), (0, &"well".into(), &Value::Array(vec![])));
    assert_eq!(told["schema"]["release"], "1.12.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hostile_world_is_one_finding_with_a_remedy() {
    let Some(world) = World::start().await else { return };
    let host = || "127.0.0.1".to_owned();
    let (database, broker) = (world.server_address(), world.broker_address());
    // Connections stand and carry nothing, as behind a firewall that forgot them.
    let (mute_database, mute_broker) = (Proxy::start(database).await, Proxy::start(broker.clone()).await);
    mute_database.set(Line::Frozen);
    mute_broker.set(Line::Frozen);
    // A command of it takes twice as long: there and back.
    let slow = Proxy::start(broker.clone()).await;
    slow.set(Line::Slow(Duration::from_millis(400)));
    let slowest = Proxy::start(broker).await;
    slowest.set(Line::Slow(Duration::from_millis(2_500)));
    let mute_api = RawServer::start(vec![Step::Hang]).await;
    let redis_at = |port: String, password: &str| {
        let number = world.broker.database;
        vec![
            ("REDIS_HOST", host()),
            ("REDIS_PORT", port.clone()),
            ("REDIS_USERNAME", if password.is_empty() { String::new() } else { "nobody".to_owned() }),
            ("REDIS_PASSWORD", password.to_owned()),
            (
                "CELERY_BROKER_URL",
                match password {
                    "" => format!("redis://127.0.0.1:{port}/{number}"),
                    _ => format!("redis://nobody:{password}@127.0.0.1:{port}/{number}"),
                },
            ),
        ]
    };
    let http = |url: String| {
        ["PLUGIN_DIFY_INNER_API_URL", "CONSOLE_WEB_URL", "SSRF_PROXY_HTTP_URL"]
            .map(|name| (name, url.clone()))
            .to_vec()
    };
    let nowhere = format!("http://127.0.0.1:{CLOSED}");
    let nothing_answers = [
        vec![("DB_PORT", CLOSED.to_owned()), ("PLUGIN_DAEMON_URL", nowhere.clone())],
        vec![("CODE_EXECUTION_ENDPOINT", nowhere.clone()), ("WEAVIATE_ENDPOINT", nowhere.clone())],
        // Storage is seen where Mainstay runs beside Dify only.
        vec![("STORAGE_TYPE", "s3".to_owned())],
        redis_at(CLOSED.to_owned(), ""),
        http(nowhere.clone()),
    ];
    let one = |name, changes, finding| Hostile { name, changes, finding, code: 1 };
    let worlds = vec![
        one("password", vec![("DB_PASSWORD", "wrong-password".to_owned())], "database-password"),
        one("unreachable", vec![("DB_PORT", CLOSED.to_owned())], "database-down"),
        one("half-open", vec![("DB_PORT", mute_database.address.port().to_string())], "database-silent"),
        one("missing-tables", vec![("DB_DATABASE", "postgres".to_owned())], "migration-unfinished"),
        one("redis-password", redis_at(world.broker.port.to_string(), "wrong-password"), "redis-password"),
        one("redis-unreachable", redis_at(CLOSED.to_owned(), ""), "redis-down"),
        one("redis-half-open", redis_at(mute_broker.address.port().to_string(), ""), "redis-silent"),
        one("redis-slow", redis_at(slow.address.port().to_string(), ""), "redis-slow"),
        one("redis-slowest", redis_at(slowest.address.port().to_string(), ""), "redis-silent"),
        one("api-unreachable", vec![("PLUGIN_DIFY_INNER_API_URL", nowhere)], "api-down"),
        one("api-half-open", vec![("PLUGIN_DIFY_INNER_API_URL", mute_api.url())], "api-down"),
        Hostile { code: 3, ..one("nothing", nothing_answers.concat(), "") },
    ];
    let roles: Vec<String> =
        worlds.iter().map(|hostile| world.role(&hostile.name.replace('-', "_"))).collect();
    // Only where a password is asked for can one be wrong.
    world.run_sql(NEEDS_PASSWORD);
    world.run_sql(&format!("GRANT needs_password TO {}", roles[0]));
    let connections = world.watch_connections();
    let looks: Vec<(Ran, Duration)> = std::thread::scope(|scope| {
        let run = |(hostile, role): (&Hostile, &String)| {
            world.write_env(&format!("{}.env", hostile.name), role, &hostile.changes);
            let (world, name) = (&world, hostile.name);
            scope.spawn(move || look(world, name, &["--json"]))
        };
        let running: Vec<_> = worlds.iter().zip(&roles).map(run).collect();
        running.into_iter().map(|look| look.join().unwrap()).collect()
    });
    let most = connections.most();
    assert!(most.values().all(|count| *count == 1), "{most:?}");

    let mut wrong = Vec::new();
    for (hostile, (ran, took)) in worlds.iter().zip(looks) {
        let told = ran.json();
        let findings = told["findings"].as_array().unwrap();
        let ids: Vec<&str> = findings.iter().filter_map(|finding| finding["id"].as_str()).collect();
        let is_whole = |finding: &Value| {
            let said = ["what", "cause", "remedy"].iter().all(|part| finding[part].as_str() != Some(""));
            said && finding["evidence"][0]["answered"].is_string()
        };
        let is_found = match hostile.finding {
            "" => told["outcome"] == "unreachable",
            id => ids == [id],
        };
        let tells = ran.out.contains("wrong-password");
        let is_right = ran.code == hostile.code && is_found && findings.iter().all(is_whole);
        if !is_right || tells || took >= LONGEST {
            let name = hostile.name;
            wrong.push(format!("{name}: code {}, {ids:?}, after {took:?}: {findings:#?}", ran.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A secret, and every form in which it may stand in a text.
fn forms(secret: &str) -> Vec<String> {
    let percent = |keep: &str| -> String {
        let one = |byte: u8| match char::from(byte) {
            letter if letter.is_ascii_alphanumeric() || keep.contains(letter) => letter.to_string(),
            _ => format!("%{byte:02X}"),
        };
        secret.bytes().map(one).collect()
    };
    let mut forms = vec![secret.to_owned(), percent("-_.~"), percent("-_.~").to_lowercase(), percent("")];
    for before in ["", "u:", "us:", "user:"] {
        forms.push(STANDARD.encode(format!("{before}{secret}")));
        forms.push(STANDARD.encode(format!("{before}{secret}@db")));
    }
    forms.push(Value::from(secret).to_string().trim_matches('"').to_owned());
    forms
}

/// Everything that a server was sent, told back in an error, and secrets of others beside it.
fn echo(secrets: &[String]) -> String {
    let all: Vec<String> = secrets.iter().flat_map(|secret| forms(secret)).collect();
    format!("you sent {}; postgresql://dify:pw-of-nobody@db/x", all.join(" "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_can_be_read_and_holds_no_secret_wherever_one_was_planted() {
    let Some(world) = World::start().await else { return };
    let canary = |place: &str| format!("canary-{place}/+ \"s3cret%=");
    let places = ["db", "redis", "broker", "daemon", "sandbox", "vector", "secret-key", "mail", "inner"];
    let secrets: Vec<String> = places.iter().map(|place| canary(place)).collect();
    let said = echo(&secrets);
    let peer = HttpServer::start(move |_| {
        let said = said.clone();
        async move { whole(500, "text/plain", said) }
    })
    .await;
    let percent = |text: &str| forms(text)[1].clone();
    let url = peer.url();
    // One whose password is right, so that names of queues are in the bundle too.
    let user = format!("user_{}", world.broker.database);
    world.redis(&["ACL", "SETUSER", &user, "on", &format!(">{}", canary("broker")), "~*", "&*", "+@all"]);
    let broker = format!(
        "redis://{user}:{}@{}/{}",
        percent(&canary("broker")),
        world.broker_address(),
        world.broker.database
    );
    world.write_env(
        "canary.env",
        &world.role("reader"),
        &[
            ("DB_PASSWORD", canary("db")),
            ("REDIS_USERNAME", "user".to_owned()),
            ("REDIS_PASSWORD", canary("redis")),
            ("CELERY_BROKER_URL", broker),
            ("PLUGIN_DAEMON_KEY", canary("daemon")),
            ("CODE_EXECUTION_API_KEY", canary("sandbox")),
            ("WEAVIATE_API_KEY", canary("vector")),
            // Nothing of Mainstay's reads these; a server may say them all the same.
            ("SECRET_KEY", canary("secret-key")),
            ("SMTP_PASSWORD", canary("mail")),
            ("PLUGIN_DIFY_INNER_API_KEY", canary("inner")),
            ("PLUGIN_DIFY_INNER_API_URL", url.clone()),
            ("CONSOLE_WEB_URL", url.clone()),
            ("PLUGIN_DAEMON_URL", url.clone()),
            ("CODE_EXECUTION_ENDPOINT", url.clone()),
            ("WEAVIATE_ENDPOINT", url),
        ],
    );
    // A queue whose name is a secret, and a message that says them all.
    world.redis(&["RPUSH", &canary("mail"), "kept"]);
    world.redis(&["SADD", &format!("_kombu.binding.{}", canary("mail")), "x"]);
    world.redis(&["RPUSH", "mail", &echo(&secrets)]);
    let (ran, _) = look(&world, "canary", &["--bundle", "support.tar.gz"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let packed = world.home.path("support.tar.gz");
    let listed = std::process::Command::new("tar").arg("-tzf").arg(&packed).output().unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    for name in
        ["README.txt", "doctor.json", "versions.json", "deployment.json", "schema.json", "queues.json"]
    {
        assert!(names.contains(&format!("mainstay-doctor/{name}")), "{names}");
    }
    let mut whole = Vec::new();
    GzDecoder::new(std::fs::File::open(&packed).unwrap()).read_to_end(&mut whole).unwrap();
    let whole = String::from_utf8_lossy(&whole);
    assert!(
        whole.contains("you sent") && whole.contains("(removed)"),
        "the servers' words are not in it: {whole}"
    );
    for secret in &secrets {
        for form in forms(secret) {
            assert!(!whole.contains(&form), "{form} of {secret} is in the bundle: {whole}");
        }
    }
    assert!(!whole.contains("pw-of-nobody"), "a login of an address is in the bundle");
    // What tells places and not secrets stays.
    assert!(whole.contains("\"host\": \"127.0.0.1\""), "{whole}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_message_in_a_queue_is_one_finding_and_stays_where_it_is() {
    let Some(world) = World::start().await else { return };
    world.write_env("broken.env", &world.role("reader"), &[]);
    // Behind tasks that take long: a worker that takes the broken one ends by it.
    let kwargs = serde_json::json!({ "seconds": 120 }).as_object().unwrap().clone();
    for number in 0..8 {
        let id = format!("long-{number}");
        let task = "tasks.document_indexing_task.normal_document_indexing_task";
        let message = NewTask { task, queue: "dataset", id: &id, delivery_tag: &id, kwargs: &kwargs };
        world.redis(&["LPUSH", "dataset", &String::from_utf8(message.encode()).unwrap()]);
    }
    world.redis(&["LPUSH", "dataset", "{ this is no message"]);
    // Two run and two are held, and the rest stays.
    wait_until("the worker has taken what it takes", SOON, || async {
        (world.redis(&["LLEN", "dataset"]).trim() == "5").then_some(())
    })
    .await;
    let (ran, _) = look(&world, "broken", &["--json"]);
    let told = ran.json();
    let ids: Vec<&Value> =
        told["findings"].as_array().unwrap().iter().map(|finding| &finding["id"]).collect();
    assert_eq!((ran.code, ids), (1, vec![&Value::from("broken-message")]), "{}", ran.out);
    let left = world.redis(&["--raw", "LRANGE", "dataset", "0", "0"]);
    assert_eq!((world.redis(&["LLEN", "dataset"]).trim(), left.trim()), ("5", "{ this is no message"));
}
