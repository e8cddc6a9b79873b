//! What `/metrics` and the store say of model calls that were made.

use std::sync::Arc;

use mainstay_testkit::wait_until;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::{
    reload::{chat, configuration, provider, write_keys},
    support::{Caller, Home, Process, SOON, wait_for_instance},
};

const PRICED: &str = "[workers]\ncount = 0\n[[provider]]\nname = \"dear\"\nbase_url = \"URL/v1\"\n\
     [[provider.model]]\nname = \"priced\"\nprice_input = 1000.0\nprice_output = 1000.0\n";

#[tokio::test(flavor = "multi_thread")]
async fn model_calls_are_counted_by_target_class_and_spender() {
    let gate = Arc::new(Semaphore::new(1));
    let one = provider(gate).await;
    let home = Home::new();
    write_keys(&home);
    let more = PRICED.replace("URL", &one.url());
    home.write("mainstay.toml", &configuration(&home, &one.url(), "\"small\"", &more));
    let process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    let caller = Caller::new(&home.address("model"), "mk-caller");
    for (model, stream) in [("small", true), ("priced", false), ("priced", false)] {
        let answer = caller.post("/v1/chat/completions", chat(model, stream)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let admin = home.admin();
    let expected = [
        "mainstay_model_attempts_total{provider=\"one\",model=\"small\",class=\"ok\",role=\"first\"} 1",
        "mainstay_model_attempts_total{provider=\"dear\",model=\"priced\",class=\"ok\",role=\"first\"} 2",
        "mainstay_model_first_token_seconds_count{provider=\"one\",model=\"small\"} 1",
        "mainstay_model_tokens_total{provider=\"dear\",model=\"priced\",key=\"tester\",app=\"none\",direction=\"input\"} 6",
        // Twice three tokens in and one out, at a thousandth of a dollar each.
        "mainstay_model_cost_usd_total{provider=\"dear\",model=\"priced\",key=\"tester\",app=\"none\"} 0.008",
        "mainstay_gateway_overhead_seconds_count{path=\"model\"} 3",
        "mainstay_target_breaker_state{provider=\"dear\",model=\"priced\"} 0",
        "mainstay_target_in_flight{provider=\"one\",model=\"small\"} 0",
    ];
    wait_until("every line is there", SOON, || async {
        let metrics = admin.get("/metrics").await.text;
        let missing = expected.iter().find(|line| !metrics.lines().any(|found| found == **line));
        missing.is_none().then_some(()).or_else(|| {
            println!("missing {missing:?} in {metrics}");
            None
        })
    })
    .await;
    wait_until("the standing is in the store", SOON, || async {
        let shown = home.run(&["provider", "show", "dear", "--json"]);
        (shown.code == 0 && mentions(&shown.json(), "closed")).then_some(())
    })
    .await;
}

fn mentions(value: &Value, word: &str) -> bool {
    match value {
        Value::String(text) => text == word,
        Value::Array(items) => items.iter().any(|item| mentions(item, word)),
        Value::Object(fields) => fields.values().any(|field| mentions(field, word)),
        _ => false,
    }
}
