//! A changed configuration, put in force while the process serves.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use mainstay_testkit::{
    HttpServer,
    http_server::{Reply, json as answer, streamed},
    wait_until,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{Caller, Home, Process, READY, SOON, wait_for_instance};

/// A provider whose streams end when the test lets them.
pub(crate) async fn provider(gate: Arc<Semaphore>) -> HttpServer {
    HttpServer::start(move |request| serve(request, gate.clone())).await
}

async fn serve(request: Request<Bytes>, gate: Arc<Semaphore>) -> Reply {
    let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    if body["stream"] != true {
        let message = json!({"role": "assistant", "content": "hello"});
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4});
        return answer(
            200,
            &json!({"id": "c", "object": "chat.completion", "created": 1, "model": body["model"],
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}),
        );
    }
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "small", "choices": [choice]});
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let first = chunk(json!({"role": "assistant", "content": "be"}), Value::Null);
    let rest = [
        chunk(json!({"content": "fore and after"}), Value::Null),
        chunk(json!({}), json!("stop")),
        Bytes::from("data: [DONE]\n\n"),
    ];
    let pieces = futures_util::stream::unfold(0_usize, move |number| {
        let (first, rest, gate) = (first.clone(), rest.clone(), gate.clone());
        async move {
            if number == 0 {
                return Some((Ok(first), 1));
            }
            if number == 1 {
                gate.acquire().await.unwrap().forget();
            }
            rest.get(number - 1).map(|piece| (Ok(piece.clone()), number + 1))
        }
    });
    streamed(200, "text/event-stream", pieces)
}

/// Everything a model gateway needs, with one provider.
pub(crate) fn configuration(home: &Home, provider_url: &str, models: &str, more: &str) -> String {
    let (caller, provider) = (home.path("caller-key"), home.path("provider-key"));
    format!(
        "[listeners]\nadmin = \"127.0.0.1:0\"\napp = \"127.0.0.1:0\"\nmodel = \"127.0.0.1:0\"\n[log]\nfilter = \"info\"\n\
         [[provider]]\nname = \"one\"\nbase_url = \"{provider_url}/v1\"\nkey = \"file:{}\"\nmodels = [{models}]\n\
         [[model.key]]\nname = \"tester\"\nkey = \"file:{}\"\n{more}",
        provider.display(),
        caller.display(),
    )
}

pub(crate) fn write_keys(home: &Home) {
    home.write("caller-key", "mk-caller");
    home.write("provider-key", "sk-old");
}

pub(crate) fn chat(model: &str, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]})
}

const CHAT: &str = "/v1/chat/completions";
const ADMIN: &str = "/api/config";
const NO_WORKERS: &str = "[workers]\ncount = 0\n";

async fn component(admin: &Caller, name: &str) -> Option<String> {
    let report = admin.get("/health").await.json();
    let found = report["components"].as_array()?.iter().find(|component| component["id"] == name)?.clone();
    Some(found["state"].as_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_routes_and_secrets_and_drops_no_stream() {
    let gate = Arc::new(Semaphore::new(0));
    let one = provider(gate.clone()).await;
    let home = Home::new();
    write_keys(&home);
    home.write("mainstay.toml", &configuration(&home, &one.url(), "\"small\"", NO_WORKERS));
    let process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    let caller = Caller::new(&home.address("model"), "mk-caller");
    assert_ne!(caller.post(CHAT, chat("second", false)).await.status, 200, "not known yet");

    let streaming = caller.clone();
    let stream = tokio::spawn(async move { streaming.post(CHAT, chat("small", true)).await });
    wait_until("the stream is open", SOON, || async {
        one.requests().iter().any(|seen| seen.uri().path() == CHAT).then_some(())
    })
    .await;

    home.write("provider-key", "sk-new");
    let more = "[workers]\ncount = 1\n[records]\nkeep_success = 0.5\n";
    home.write("mainstay.toml", &configuration(&home, &one.url(), "\"small\", \"second\"", more));
    let ran = home.run(&["reload", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let applied = ran.json();
    assert_eq!((&applied["generation"], &applied["applied_by"]), (&json!(2), &json!("local")), "{applied}");
    assert_eq!(applied["restart_needed"], json!(["workers"]));

    let answered = caller.post(CHAT, chat("second", false)).await;
    assert_eq!(answered.status, 200, "{answered:?}");
    assert_eq!(one.requests().last().unwrap().headers()["authorization"], "Bearer sk-new");

    gate.add_permits(1);
    let ended = stream.await.unwrap();
    assert!(ended.text.contains("fore and after") && ended.text.ends_with("data: [DONE]\n\n"), "{ended:?}");
    assert_eq!(one.requests()[0].headers()["authorization"], "Bearer sk-old");

    let admin = home.admin();
    let revision = applied["revision"].as_str().unwrap();
    let metrics = admin.get("/metrics").await.text;
    assert!(
        metrics.contains(&format!("mainstay_config_applied_revision{{revision=\"{revision}\"}} 1\n")),
        "{metrics}"
    );
    assert!(!metrics.contains("sk-new") && !metrics.contains("sk-old"), "{metrics}");
    assert!(home.run(&["status"]).out.contains(&format!("configuration: {revision}")));
    wait_until("both are in the timeline", SOON, || async {
        let told = admin.get("/api/timeline").await.text;
        (told.matches("config_applied").count() >= 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_is_refused_whole_and_the_last_good_one_stays() {
    let one = provider(Arc::new(Semaphore::new(0))).await;
    let home = Home::new();
    write_keys(&home);
    let good = configuration(&home, &one.url(), "\"small\"", NO_WORKERS);
    home.write("mainstay.toml", &good);
    let process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    let admin = home.admin();
    let before = admin.get("/api/config").await.json();

    // One part of it is good: it is not taken either.
    let bad = format!(
        "{good}[[provider]]\nname = \"two\"\nbase_url = \"http://two/v1\"\nmodels = [\"other\"]\n[model.policy]\nmax_attempts = 0\nhegde.enabled = true\n"
    );
    home.write("mainstay.toml", &bad);
    process.signal(Signal::HUP);
    wait_until("health says so", SOON, || async {
        (component(&admin, "config").await? == "degraded").then_some(())
    })
    .await;
    let ran = home.run(&["reload"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    for problem in ["model.policy.max_attempts is 0", "model.policy.hegde is not a key; did you mean hedge?"]
    {
        assert!(ran.err.contains(problem), "{problem} is not in {}", ran.err);
    }
    home.write("mainstay.toml", "[listeners\n");
    assert_eq!(home.run(&["reload"]).code, 2, "what is no TOML is refused as well");

    // A secret that cannot be read is a problem like any other; the one in memory stays.
    home.write("mainstay.toml", &good);
    std::fs::remove_file(home.path("provider-key")).unwrap();
    let ran = home.run(&["reload"]);
    assert!(ran.code == 2 && ran.err.contains("provider[0].key refers to"), "{ran:?}");

    let now = admin.get("/api/config").await.json();
    assert_eq!((&now["revision"], &now["generation"]), (&before["revision"], &before["generation"]));
    assert_eq!(now["reload_failures"], 4);
    assert!(admin.get("/metrics").await.text.contains("mainstay_config_reload_failures_total 4\n"));
    let caller = Caller::new(&home.address("model"), "mk-caller");
    assert_eq!(caller.post(CHAT, chat("small", false)).await.status, 200);
    assert_ne!(caller.post(CHAT, chat("other", false)).await.status, 200);

    write_keys(&home);
    assert_eq!(home.run(&["reload"]).code, 0);
    wait_until("health is at peace", SOON, || async {
        (component(&admin, "config").await? == "ok").then_some(())
    })
    .await;
    assert!(admin.get("/api/config").await.json()["refused"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_or_reloads_a_configuration_without_a_token() {
    let one = provider(Arc::new(Semaphore::new(0))).await;
    let home = Home::new();
    write_keys(&home);
    home.write("mainstay.toml", &configuration(&home, &one.url(), "\"small\"", NO_WORKERS));
    assert_eq!(home.run(&["migrate"]).code, 0);
    // A gateway of its own has no console; its door is the same.
    let mut process = Process::start(home.command(&["serve", "--role", "gateway"]));
    let line = process.line(READY);
    let admin = line.split(' ').find_map(|pair| pair.strip_prefix("admin=")).unwrap();
    for key in ["", "wrong"] {
        let caller = Caller::new(admin, key);
        assert_eq!(caller.get("/api/config").await.status, 401);
        let refused = caller.post("/api/reload", json!({})).await;
        assert_eq!((refused.status, refused.text.contains("sk-old")), (401, false), "{refused:?}");
    }
}

// The revision knows references only: nobody could see whether a rotated key had been taken up.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_is_told_by_its_reference_and_never_by_its_value() {
    let one = provider(Arc::new(Semaphore::new(0))).await;
    let home = Home::new();
    write_keys(&home);
    home.write("mainstay.toml", &configuration(&home, &one.url(), "\"small\"", NO_WORKERS));
    let process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    let before = home.admin().get(ADMIN).await.json();
    assert_eq!((&before["secrets"]["generation"], &before["secrets"]["changed"]), (&json!(1), &json!([])));

    home.write("provider-key", "sk-new\n");
    let ran = home.run(&["reload", "--json"]);
    let after = ran.json();
    assert_eq!(
        (&after["revision"], &after["secrets"]["generation"]),
        (&before["revision"], &json!(2)),
        "{after}"
    );
    let reference = format!("file:{}", home.path("provider-key").display());
    assert_eq!(after["secrets"]["changed"], json!([reference]));
    let told = [ran.out, home.admin().get("/metrics").await.text, process.err.lock().clone()].concat();
    assert!(told.contains("mainstay_config_secrets_generation 2\n"), "{told}");
    assert!(!told.contains("sk-new") && !told.contains("sk-old"), "{told}");

    let again = home.run(&["reload", "--json"]).json();
    assert_eq!((&again["secrets"]["generation"], &again["secrets"]["changed"]), (&json!(2), &json!([])));
}

// A leaked token let its holder in until a restart dropped every stream.
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_token_comes_and_goes_with_a_reload() {
    let one = provider(Arc::new(Semaphore::new(0))).await;
    let home = Home::new();
    write_keys(&home);
    let token = home.write("ops-token", "leaked-token");
    let more = format!("{NO_WORKERS}[[admin.token]]\nname = \"ops\"\ntoken = \"file:{}\"\n", token.display());
    home.write("mainstay.toml", &configuration(&home, &one.url(), "\"small\"", &more));
    let process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    let holder = |token: &str| Caller::new(&home.address("admin"), token);
    let statuses = async |token: &str| {
        let (caller, mut found) = (holder(token), Vec::new());
        for path in [ADMIN, "/api/timeline"] {
            found.push(caller.get(path).await.status);
        }
        found
    };
    assert_eq!(statuses("leaked-token").await, [200, 200]);
    home.write("ops-token", "fresh-token");
    let applied = holder("leaked-token").post("/api/reload", json!({})).await.json();
    assert_eq!(
        (&applied["applied_by"], &applied["restart_needed"]),
        (&json!("ops"), &json!([])),
        "{applied}"
    );
    assert_eq!(statuses("leaked-token").await, [401, 401]);
    assert_eq!(statuses("fresh-token").await, [200, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_copy_leaves_behind_is_refused() {
    let one = provider(Arc::new(Semaphore::new(0))).await;
    let home = Home::new();
    write_keys(&home);
    let good = configuration(&home, &one.url(), "\"small\"", NO_WORKERS);
    home.write("mainstay.toml", &good);
    let process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    let refused = |why: &str| {
        let ran = home.run(&["reload"]);
        assert!(ran.code == 2 && ran.err.contains(why), "{why}: {ran:?}");
    };
    home.write("mainstay.toml", "\n");
    refused("is empty");
    std::fs::remove_file(home.path("mainstay.toml")).unwrap();
    refused("cannot read");
    home.write("mainstay.toml", "key = \"sk-in-the-file");
    refused("line 1, column");
    // A secret behind a pipe without a writer: nothing waits for it.
    home.write("mainstay.toml", &good);
    std::fs::remove_file(home.path("provider-key")).unwrap();
    make_pipe(&home, "provider-key");
    refused("which is not a file");
    assert!(!process.err.lock().contains("sk-in-the-file"));
    let caller = Caller::new(&home.address("model"), "mk-caller");
    assert_eq!(caller.post(CHAT, chat("small", false)).await.status, 200);
}

fn make_pipe(home: &Home, name: &str) {
    let made = std::process::Command::new("mkfifo").arg(home.path(name)).status().unwrap();
    assert!(made.success());
}

// SIGHUP ended a process that was still starting, as it does where nobody listens for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_during_the_start_ends_nothing() {
    let one = provider(Arc::new(Semaphore::new(0))).await;
    let home = Home::new();
    write_keys(&home);
    make_pipe(&home, "mainstay.toml");
    let process = Process::start(home.command(&["serve", "--migrate"]));
    let path = home.path("mainstay.toml");
    // It opens when the process has come as far as to read it.
    let mut pipe =
        tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(path).unwrap())
            .await
            .unwrap();
    process.signal(Signal::HUP);
    std::io::Write::write_all(
        &mut pipe,
        configuration(&home, &one.url(), "\"small\"", NO_WORKERS).as_bytes(),
    )
    .unwrap();
    drop(pipe);
    wait_for_instance(&home, &process).await;
    let admin = home.admin();
    wait_until("the hangup is answered", SOON, || async {
        let now = admin.get(ADMIN).await.json();
        now["refused"]["reason"].as_str()?.contains("it is not a file").then_some(())
    })
    .await;
}
