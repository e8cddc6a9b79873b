//! What a reload takes out, moves and adds while calls, streams and runs are under way.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::Request;
use mainstay_base::{Clock, Micros, record};
use mainstay_faulty::{Options, Provider};
use mainstay_store::{Store, model::RecordFilter};
use mainstay_testkit::{
    HttpServer,
    http_server::{Reply, json as answer, whole},
    wait_until,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    reload::{chat, provider, write_keys},
    support::{Caller, Home, Process, SOON, wait_for_instance},
};

const CHAT: &str = "/v1/chat/completions";
const HEAD: &str = "[listeners]\nadmin = \"127.0.0.1:0\"\napp = \"127.0.0.1:0\"\nmodel = \"127.0.0.1:0\"\n[log]\nfilter = \"info\"\n";

fn declared(name: &str, url: &str, key: &str, model: &str) -> String {
    format!(
        "[[provider]]\nname = \"{name}\"\nbase_url = \"{url}/v1\"\nkey = \"file:{key}\"\n\
         [[provider.model]]\nname = \"{model}\"\nprice_input = 1.0\nprice_output = 1.0\n"
    )
}

fn key(home: &Home, name: &str, file: &str, more: &str) -> String {
    format!("[[model.key]]\nname = \"{name}\"\nkey = \"file:{}\"\n{more}", home.path(file).display())
}

/// Calls of a model; probes of control are none.
fn asked(provider: &HttpServer) -> Vec<Request<Bytes>> {
    provider.requests().into_iter().filter(|seen| seen.uri().path() == CHAT).collect()
}

async fn store_of(home: &Home) -> Store {
    let url = format!("sqlite:{}", home.path("mainstay.db").display());
    Store::open(mainstay_store::Options { url, clock: Clock::System }).await.unwrap()
}

async fn metrics(home: &Home) -> String {
    home.admin().get("/metrics").await.text
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_out_ends_whole_and_what_stays_keeps_its_state() {
    let gate = Arc::new(Semaphore::new(0));
    let (one, other) = (provider(gate.clone()).await, provider(gate.clone()).await);
    let broken = HttpServer::start(|_| async { whole(500, "text/plain", "no") }).await;
    let home = Home::new();
    write_keys(&home);
    home.write("leaving-key", "mk-leaving");
    let provider_key = home.path("provider-key").display().to_string();
    let other_key = home.write("other-key", "sk-other").display().to_string();
    let workers =
        "[workers]\ncount = 0\n[model.policy]\nmax_attempts = 1\n[model.breaker]\nconsecutive = 2\n";
    let stays = declared("stays", &broken.url(), &provider_key, "bad");
    let before = [
        HEAD,
        &declared("leaves", &one.url(), &provider_key, "small"),
        &declared("shrinks", &one.url(), &provider_key, "gone"),
        &declared("moves", &one.url(), &provider_key, "moved"),
        &stays,
        &key(&home, "tester", "caller-key", ""),
        &key(&home, "leaving", "leaving-key", "budget = 5.0\nconcurrency = 9\n"),
        workers,
    ];
    home.write("mainstay.toml", &before.concat());
    let process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    let model = |key: &str| Caller::new(&home.address("model"), key);
    let caller = model("mk-caller");
    for _ in 0..2 {
        assert!(caller.post(CHAT, chat("bad", false)).await.status >= 500);
    }
    let open = |name: &str, model: &str, value: u8| {
        format!("mainstay_target_breaker_state{{provider=\"{name}\",model=\"{model}\"}} {value}\n")
    };
    let told = metrics(&home).await;
    assert!(told.contains(&open("stays", "bad", 2)) && told.contains(&open("leaves", "small", 0)), "{told}");

    let streams =
        [("small", "mk-caller"), ("gone", "mk-caller"), ("moved", "mk-caller"), ("small", "mk-leaving")];
    let streams = streams.map(|(name, key)| {
        let caller = model(key);
        tokio::spawn(async move { caller.post(CHAT, chat(name, true)).await })
    });
    wait_until("all streams are open", SOON, || async { (asked(&one).len() == 4).then_some(()) }).await;
    let after = [
        HEAD,
        &declared("shrinks", &one.url(), &provider_key, "new"),
        &declared("moves", &other.url(), &other_key, "moved"),
        &stays,
        &key(&home, "tester", "caller-key", ""),
        workers,
    ];
    home.write("mainstay.toml", &after.concat());
    let applied = home.run(&["reload", "--json"]).json();
    assert_eq!(applied["restart_needed"], json!([]), "{applied}");

    for (name, status) in [("small", 404), ("gone", 404), ("new", 200), ("moved", 200)] {
        let answered = caller.post(CHAT, chat(name, false)).await;
        assert_eq!(answered.status, status, "{name}: {answered:?}");
    }
    assert_eq!(asked(&other)[0].headers()["authorization"], "Bearer sk-other");
    assert_eq!(model("mk-leaving").post(CHAT, chat("new", false)).await.status, 401);
    let told = metrics(&home).await;
    assert!(told.contains(&open("stays", "bad", 2)), "what stays keeps its breaker: {told}");
    assert!(told.contains("mainstay_target_in_flight{provider=\"leaves\",model=\"small\"} 2\n"), "{told}");

    gate.add_permits(4);
    for stream in streams {
        let ended = stream.await.unwrap();
        assert!(
            ended.text.contains("fore and after") && ended.text.ends_with("data: [DONE]\n\n"),
            "{ended:?}"
        );
    }
    wait_until("what is gone is not told of any more", SOON, || async {
        let told = metrics(&home).await;
        let names = ["provider=\"leaves\",model", "model=\"gone\"} 0"];
        let is_gone = told
            .lines()
            .filter(|line| line.starts_with("mainstay_target"))
            .all(|line| names.iter().all(|name| !line.contains(name)));
        is_gone.then_some(())
    })
    .await;
    let store = store_of(&home).await;
    let streamed = wait_until("the streams are recorded", SOON, || async {
        let filter = RecordFilter { path: Some(record::Path::Model), limit: 100, ..RecordFilter::default() };
        let records = store.records().list(filter).await.unwrap();
        let streamed: Vec<_> = records.into_iter().filter(|record| record.streamed).collect();
        (streamed.len() == 4).then_some(streamed)
    })
    .await;
    let mut models = BTreeMap::<String, usize>::new();
    for record in &streamed {
        assert_eq!(record.outcome, record::Outcome::Ok, "{record:?}");
        *models.entry(record.model.clone().unwrap_or_default()).or_default() += 1;
    }
    assert_eq!(
        models,
        BTreeMap::from([("gone", 1), ("moved", 1), ("small", 2)].map(|(n, c)| (n.to_owned(), c)))
    );
    // What the call of the key that left has cost stays written down, and nothing else of its slice.
    let spent = wait_until("its slice is given back", SOON, || async {
        let windows = store.allowances().list(Micros(0)).await.unwrap();
        let taken = windows.iter().find(|window| window.key == "leaving")?.taken.0;
        (taken < 5_000_000 / 20).then_some(taken)
    })
    .await;
    assert!(spent > 0, "a stream that said nothing of its tokens costs what was estimated");
}

/// $100 for a million tokens and 100 tokens an answer: a call costs $0.01.
fn budgeted(home: &Home, url: &str, name: &str, more: &str) -> String {
    let provider_key = home.path("provider-key").display().to_string();
    let declared = declared("one", url, &provider_key, "small")
        .replace("price_input = 1.0\nprice_output = 1.0", "price_input = 0.0\nprice_output = 100.0");
    let window = "budget_window = \"30d\"\nbudget_when_store_gone = \"closed\"\n";
    [HEAD, &declared, &key(home, name, "caller-key", &format!("{more}{window}")), "[workers]\ncount = 0\n"]
        .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_outlives_the_name_of_its_key_and_a_lowered_one_holds_at_once() {
    let provider = Provider::start(Options::default()).await.unwrap();
    let home = Home::new();
    write_keys(&home);
    let configure = |name: &str, more: &str| {
        home.write("mainstay.toml", &budgeted(&home, &provider.url(), name, more));
        home.run(&["reload"])
    };
    home.write("mainstay.toml", &budgeted(&home, &provider.url(), "tester", "budget = 0.05\n"));
    let process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    let caller = Caller::new(&home.address("model"), "mk-caller");
    let ask = async || {
        let body = json!({"model": "small", "max_tokens": 100,
                          "messages": [{"role": "user", "content": "[[words:100]]"}]});
        caller.post(CHAT, body).await.status
    };
    // What the process holds of a slice may be on its way back; what is there is there soon.
    let served = async |calls: usize| {
        for number in 0..calls {
            let what = format!("call {number} of {calls} is served");
            wait_until(&what, SOON, || async { (ask().await == 200).then_some(()) }).await;
        }
    };
    let spent_is_all = async |calls: usize| {
        for _ in 0..3 {
            assert_eq!(ask().await, 429);
        }
        let sent = provider.calls().into_iter().filter(|call| call.target.ends_with(CHAT)).count();
        assert_eq!(sent, calls);
    };
    served(3).await;

    let refused = configure("renamed", "budget = 0.05\n");
    assert!(refused.code == 2 && refused.err.contains("write \"tester\" to go on"), "{refused:?}");
    served(1).await;
    let renamed = "budget = 0.05\nbudget_name = \"tester\"\n";
    assert_eq!(configure("renamed", renamed).code, 0);
    served(1).await;
    spent_is_all(5).await;
    // A new secret is no new budget, nor is a name that is taken back.
    home.write("caller-key", "mk-rotated");
    assert_eq!(configure("tester", "budget = 0.05\n").code, 0);
    let caller = Caller::new(&home.address("model"), "mk-rotated");
    let body = json!({"model": "small", "max_tokens": 100, "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(caller.post(CHAT, body).await.status, 429);
    home.write("caller-key", "mk-caller");
    // Lowered below what is spent, and raised again.
    assert_eq!(configure("tester", "budget = 0.02\n").code, 0);
    spent_is_all(5).await;
    assert_eq!(configure("tester", "budget = 0.07\n").code, 0);
    served(2).await;
    spent_is_all(7).await;
    let store = store_of(&home).await;
    let windows = store.allowances().list(Micros(0)).await.unwrap();
    let taken: Vec<_> = windows.iter().map(|window| (window.key.as_str(), window.taken.0)).collect();
    assert_eq!(taken, [("tester", 70_000)], "one name, everything once");
}

/// A Dify that says who it is, and a receiver of callbacks.
async fn dify(name: &'static str) -> HttpServer {
    HttpServer::start(move |request: Request<Bytes>| async move { run_of(name, &request) }).await
}

fn run_of(name: &str, request: &Request<Bytes>) -> Reply {
    if request.method() != http::Method::POST || request.uri().path() == "/hook" {
        return answer(200, &json!({}));
    }
    let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    let data = |status: &str| {
        json!({"id": "run-1", "workflow_id": "w", "status": status, "outputs": {"by": name}, "error": null,
               "elapsed_time": 0.1, "total_tokens": 1, "total_steps": 1, "created_at": 1, "finished_at": 2})
    };
    if body["response_mode"] != "streaming" {
        return answer(200, &json!({"workflow_run_id": "run-1", "task_id": "t", "data": data("succeeded")}));
    }
    let event = |event: &str, status: &str| {
        let event = json!({"event": event, "task_id": "t", "workflow_run_id": "run-1", "data": data(status)});
        format!("data: {event}\n\n")
    };
    let text = event("workflow_started", "running") + &event("workflow_finished", "succeeded");
    whole(200, "text/event-stream", text)
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_apps_callbacks_and_limits_change_while_workers_run_on() {
    let (first, second, hook) = (dify("first").await, dify("second").await, dify("hook").await);
    let home = Home::new();
    home.write("app-key", "app-declared");
    home.write("hook-key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let configured = |url: Option<&str>, more: &str| {
        let app = url.map_or_else(String::new, |url| {
            format!(
                "[[upstream]]\nname = \"dify\"\nbase_url = \"{url}\"\n[[app]]\nname = \"far\"\nupstream = \"dify\"\n\
                 mode = \"workflow\"\nkey = \"file:{}\"\n",
                home.path("app-key").display()
            )
        });
        format!("{HEAD}[workers]\ncount = 1\n{app}{more}")
    };
    let reload = |url: Option<&str>, more: &str| {
        home.write("mainstay.toml", &configured(url, more));
        let ran = home.run(&["reload", "--json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.json()["restart_needed"], json!([]));
    };
    home.write("mainstay.toml", &configured(None, ""));
    let process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    let app = Caller::new(&home.address("app"), "app-declared");
    let body = |mode: &str| json!({"inputs": {}, "response_mode": mode, "user": "u"});
    let run = async || app.post("/v1/workflows/run", body("blocking")).await;
    let queue = async |headers: &[(&str, &str)]| {
        let headers = [&[("prefer", "respond-async")], headers].concat();
        app.send("POST", "/v1/workflows/run", Some(body("streaming")), &headers).await.unwrap()
    };
    let ended = async |accepted: &crate::support::Answer| {
        assert_eq!(accepted.status, 202, "{accepted:?}");
        let path = accepted.header("location").to_owned();
        wait_until("the run has ended", SOON, || async {
            let run = app.get(&path).await.json();
            (run["status"] == "succeeded").then(|| run.to_string())
        })
        .await
    };
    assert_eq!(run().await.status, 401);
    let pids = || {
        let err = process.err.lock();
        err.matches("worker 0 started").count()
    };
    wait_until("the worker runs", SOON, || async { (pids() == 1).then_some(()) }).await;

    reload(Some(&first.url()), "");
    assert_eq!(run().await.json()["data"]["outputs"]["by"], "first");
    assert!(ended(&queue(&[]).await).await.contains("first"));
    let hook_url = format!("{}/hook", hook.url());
    let with_hook = [("mainstay-callback-url", hook_url.as_str())];
    assert_eq!(queue(&with_hook).await.status, 400, "nothing signs yet");

    let callbacks = format!(
        "[callbacks]\nsecret = \"file:{}\"\nallow = [\"{}\"]\n[limits]\nbody_bytes = 2048\n",
        home.path("hook-key").display(),
        hook.address
    );
    reload(Some(&second.url()), &callbacks);
    assert_eq!(run().await.json()["data"]["outputs"]["by"], "second");
    assert!(ended(&queue(&with_hook).await).await.contains("second"));
    wait_until("the callback came", SOON, || async { (!hook.requests().is_empty()).then_some(()) }).await;
    assert!(hook.requests()[0].headers().contains_key("webhook-signature"));
    let large = json!({"inputs": {"x": "y".repeat(4096)}, "response_mode": "blocking", "user": "u"});
    assert_eq!(app.post("/v1/workflows/run", large).await.status, 413);

    reload(None, &callbacks);
    assert_eq!(run().await.status, 401);
    assert_eq!((pids(), hook.requests().len()), (1, 1), "the same worker; one callback");
}
