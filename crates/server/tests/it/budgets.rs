//! Budgets of virtual keys in real processes: two gateways on one store, one that ends in order and one that is killed.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use mainstay_base::{Clock, Micros, id};
use mainstay_faulty::{Options, Provider};
use mainstay_store::Store;
use mainstay_testkit::wait_until;
use rustix::process::Signal;
use serde_json::json;

use crate::{
    kill::{on_server, postgres_server},
    support::{Caller, Home, Process, READY, SOON},
};

/// $100 for a million tokens and 100 tokens an answer: a call costs $0.01 and reserves no more than that.
const CALL_MICROS: i64 = 10_000;
const LIMIT_MICROS: i64 = 500_000;
/// A twentieth of the limit.
const SLICE_MICROS: i64 = LIMIT_MICROS / 20;

#[tokio::test(flavor = "multi_thread")]
async fn gateways_spend_one_budget_on_sqlite() {
    let home = Home::new();
    spend(&format!("sqlite:{}", home.path("shared.db").display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_spend_one_budget_on_postgresql() {
    let Some(server) = postgres_server() else { return };
    let schema = format!("budgets_{}", id::new().replace('-', ""));
    on_server(&server, format!("CREATE SCHEMA {schema}"));
    let mark = if server.contains('?') { '&' } else { '?' };
    spend(&format!("{server}{mark}options=-csearch_path%3D{schema}")).await;
    on_server(&server, format!("DROP SCHEMA {schema} CASCADE"));
}

async fn spend(store_url: &str) {
    let provider = Provider::start(Options::default()).await.unwrap();
    let homes = [0, 1].map(|_| {
        let home = Home::new();
        configure(&home, store_url, &provider.url());
        home
    });
    assert_eq!(homes[0].run(&["migrate"]).code, 0);
    let store = Store::open(mainstay_store::Options { url: store_url.to_owned(), clock: Clock::System });
    let store = store.await.unwrap();

    let (mut orderly, first) = gateway(&homes[0]);
    let (mut killed, second) = gateway(&homes[1]);
    let statuses = ask([&first, &second], 20).await;
    assert_eq!(statuses.get(&200), Some(&40), "$0.40 of $0.50: {statuses:?}");
    assert!(taken(&store).await <= LIMIT_MICROS);

    // One ends in order and gives back what it did not spend; of the other, its slices stay taken.
    killed.kill_group();
    orderly.signal(Signal::TERM);
    assert_eq!(orderly.wait(SOON), 0);
    wait_until("what was not spent is given back", Duration::from_secs(5), || async {
        let taken = taken(&store).await;
        assert!(taken >= 40 * CALL_MICROS, "{taken}: what was spent is never forgotten");
        (taken <= 40 * CALL_MICROS + 2 * SLICE_MICROS).then_some(())
    })
    .await;

    let (_third, third) = gateway(&homes[0]);
    let (_fourth, fourth) = gateway(&homes[1]);
    let statuses = ask([&third, &fourth], 30).await;
    let served = statuses.get(&200).copied().unwrap_or(0);
    assert!((1..=10).contains(&served), "at most $0.10 are left: {statuses:?}");
    assert_eq!(served + statuses.get(&429).copied().unwrap_or(0), 60, "{statuses:?}");
    assert_eq!(provider.calls().len(), 40 + served, "nothing was sent for what was refused");
    assert!(taken(&store).await <= LIMIT_MICROS);
}

async fn taken(store: &Store) -> i64 {
    let windows = store.allowances().list(Micros(0)).await.unwrap();
    windows.iter().filter(|window| window.key == "tester").map(|window| window.taken.0).sum()
}

/// So many calls at once on each, and how many had which status.
async fn ask(gateways: [&Caller; 2], each: usize) -> BTreeMap<u16, usize> {
    let call = |caller: &Caller| {
        let caller = caller.clone();
        let content = "[[words:100]]";
        let body =
            json!({"model": "small", "max_tokens": 100, "messages": [{"role": "user", "content": content}]});
        async move {
            let answer = caller.post("/v1/chat/completions", body).await;
            if answer.status == 429 {
                assert_eq!(answer.json()["error"]["code"], "insufficient_quota", "{answer:?}");
            }
            answer.status
        }
    };
    let calls = gateways.into_iter().flat_map(|caller| (0..each).map(move |_| caller)).map(call);
    let mut statuses = BTreeMap::new();
    for status in join_all(calls).await {
        *statuses.entry(status).or_default() += 1;
    }
    statuses
}

fn gateway(home: &Home) -> (Process, Caller) {
    let mut process = Process::start(home.command(&["serve", "--role", "gateway"]));
    let line = process.line(READY);
    let model = line.split(' ').find_map(|pair| pair.strip_prefix("model=")).unwrap();
    let caller = Caller::new(model, "mk-caller");
    (process, caller)
}

fn configure(home: &Home, store_url: &str, provider_url: &str) {
    let (caller, provider) = (home.write("caller-key", "mk-caller"), home.write("provider-key", "sk-one"));
    home.configure(&format!(
        r#"
[store]
url = "{store_url}"
[workers]
count = 0
[[provider]]
name = "one"
base_url = "{provider_url}/v1"
key = "file:{}"
[[provider.model]]
name = "small"
price_input = 0.0
price_output = 100.0
[[model.key]]
name = "tester"
key = "file:{}"
budget = 0.5
budget_window = "30d"
budget_when_store_gone = "closed"
"#,
        provider.display(),
        caller.display(),
    ));
}
