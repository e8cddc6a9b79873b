//! Control in a process of its own: what gateways elsewhere met is an incident there, in right numbers.

use bytes::Bytes;
use http::Request;
use mainstay_testkit::{
    HttpServer,
    http_server::{json as answer, whole},
    wait_until,
};
use serde_json::{Value, json};

use crate::{
    reload::{chat, configuration, write_keys},
    support::{Caller, Home, Process, READY, SOON},
};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test(flavor = "multi_thread")]
async fn control_alone_knows_the_shares_of_what_gateways_met() {
    let provider = HttpServer::start(|request: Request<Bytes>| async move {
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        match body["model"] == "bad" {
            true => whole(500, "text/plain", "no"),
            false => {
                let message = json!({"role": "assistant", "content": "hello"});
                let usage = json!({"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4});
                answer(
                    200,
                    &json!({"id": "c", "object": "chat.completion", "created": 1, "model": "small",
                                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                                    "usage": usage}),
                )
            }
        }
    })
    .await;
    let home = Home::new();
    write_keys(&home);
    home.write("other-key", "mk-other");
    home.write("ops-token", "mt-ops");
    let more = format!(
        "[[model.key]]\nname = \"other\"\nkey = \"file:{}\"\n[[admin.token]]\nname = \"ops\"\ntoken = \"file:{}\"\n\
         [model.policy]\nmax_attempts = 1\n[model.breaker]\nconsecutive = 1000\nmin_calls = 1000\n[workers]\ncount = 0\n",
        home.path("other-key").display(),
        home.path("ops-token").display()
    );
    home.write("mainstay.toml", &configuration(&home, &provider.url(), "\"small\", \"bad\"", &more));
    assert_eq!(home.run(&["migrate"]).code, 0);
    let mut control = Process::start(home.command(&["serve", "--role", "control"]));
    let address = |line: &str, name: &str| {
        line.split(' ').find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap().to_owned()
    };
    let admin = Caller::new(&address(&control.line(READY), "admin"), "mt-ops");
    let gateways = [0, 1].map(|_| {
        let mut gateway = Process::start(home.command(&["serve", "--role", "gateway"]));
        let model = address(&gateway.line(READY), "model");
        (gateway, model)
    });
    let calls = async |gateway: usize, key: &str, model: &str, count: usize| {
        let caller = Caller::new(&gateways[gateway].1, key);
        for _ in 0..count {
            caller.post(CHAT, chat(model, false)).await;
        }
    };
    let trouble = async || {
        let report = admin.get("/health").await.json();
        let components = report["components"].as_array()?.clone();
        Some(components.into_iter().find(|component| component["id"] == "provider:one")?["trouble"].clone())
    };
    calls(0, "mk-caller", "bad", 6).await;
    wait_until("the failures are known", SOON, || async {
        (trouble().await?["failures"] == 6).then_some(())
    })
    .await;
    calls(1, "mk-other", "small", 12).await;
    calls(0, "mk-caller", "small", 2).await;
    calls(1, "mk-other", "bad", 4).await;
    let told = wait_until("all of it is known", SOON, || async {
        let told = trouble().await?;
        (told["attempts"] == 24).then_some(told)
    })
    .await;
    assert_eq!((&told["failures"], &told["share_percent"]), (&json!(10), &json!(41)), "{told}");
    assert_eq!((&told["callers"], &told["callers_well"]), (&json!(["other", "tester"]), &json!(0)), "{told}");
    assert_eq!(told["classes"]["server_error"], 10, "{told}");
    // Said again each second, counted once.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(3);
    while std::time::Instant::now() < until {
        assert_eq!(trouble().await.unwrap()["attempts"], 24);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }

    // Control that comes later, or anew, knows the last minute.
    control.kill_group();
    let mut control = Process::start(home.command(&["serve", "--role", "control"]));
    let admin = Caller::new(&address(&control.line(READY), "admin"), "mt-ops");
    wait_until("the failures are known again", SOON, || async {
        let report = admin.get("/health").await.json();
        let found = report["components"].as_array()?.iter().find(|one| one["id"] == "provider:one")?.clone();
        (found["trouble"]["failures"].as_u64()? > 0).then_some(())
    })
    .await;
}
