//! Light synthetic traffic: blocking, streamed and queued runs and chats through the app listener, whole and streamed
//! answers and embeddings through the model listener. Keeps account of every queued run it has submitted.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use mainstay_base::{id, snapshot::Timeouts};
use mainstay_net::{AddressRule, Client, ClientOptions};
use mainstay_store::{Store, StoreError};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{receiver::Receiver, sample::Keys};

/// Requests at once; what the rate would put on top is left out and counted.
const MAX_AT_ONCE: usize = 128;
/// Queued runs that are accounted for; hours of a demo.
const MAX_ACCOUNTED: usize = 200_000;
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(3),
    first_byte: Duration::from_secs(60),
    idle: Duration::from_secs(30),
    total: Duration::from_secs(90),
};
/// How long requests under way may take when the demo ends.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// Apps on whose behalf the model listener is called.
const MODEL_CALLERS: [&str; 2] = ["storefront", "search"];

/// Where calls go.
pub(crate) struct Urls {
    pub(crate) app: String,
    pub(crate) model: String,
}

pub(crate) struct Traffic {
    urls: Urls,
    keys: Keys,
    client: Client,
    receiver: Receiver,
    slots: Arc<Semaphore>,
    counts: Counts,
    /// Ids of accepted queued runs.
    submitted: Mutex<Vec<String>>,
    round: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
    accepted: AtomicU64,
    left_out: AtomicU64,
}

/// How the queued runs stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) submitted: usize,
    /// With a final stored result.
    pub(crate) finished: usize,
    /// With exactly one result told to the receiver.
    pub(crate) told: usize,
    /// Told as more than one result: must never be.
    pub(crate) told_twice: usize,
    pub(crate) by_status: BTreeMap<String, usize>,
}

impl Account {
    pub(crate) fn is_settled(&self) -> bool {
        self.finished == self.submitted && self.told == self.submitted && self.told_twice == 0
    }
}

impl Traffic {
    pub(crate) fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    pub(crate) fn new(
        urls: Urls,
        keys: Keys,
        receiver: Receiver,
    ) -> Result<Traffic, mainstay_net::client::ClientError> {
        Ok(Traffic {
            urls,
            keys,
            client: Client::new(ClientOptions::default())?,
            receiver,
            slots: Arc::new(Semaphore::new(MAX_AT_ONCE)),
            counts: Counts::default(),
            submitted: Mutex::default(),
            round: AtomicU64::new(0),
        })
    }

    /// Until `stop`; what is under way then may end.
    pub(crate) async fn run(self: Arc<Traffic>, per_second: f64, stop: CancellationToken) {
        if per_second <= 0.0 {
            return;
        }
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let requests = TaskTracker::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
                self.counts.left_out.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let traffic = Arc::clone(&self);
            requests.spawn(async move {
                traffic.one().await;
                drop(slot);
            });
        }
        requests.close();
        let _ = tokio::time::timeout(LAST_REQUESTS, requests.wait()).await;
    }

    /// The next request of the round.
    async fn one(&self) {
        let round = self.round.fetch_add(1, Ordering::Relaxed);
        match round % 10 {
            0 | 3 => self.call("/v1/workflows/run", &self.keys.quote, quote(round, "blocking")).await,
            1 => self.submit_triage(round).await,
            2 => self.call("/v1/workflows/run", &self.keys.triage, triage(round, "streaming")).await,
            4 => self.submit(&self.keys.quote, quote(round, "blocking")).await,
            5 => self.call("/v1/chat-messages", &self.keys.help, chat(round)).await,
            6 => self.model("/v1/chat/completions", round, message("demo-chat", round, false)).await,
            7 => self.model("/v1/chat/completions", round, message("demo-chat", round, true)).await,
            8 => self.model("/v1/chat/completions", round, message("demo-fast", round, true)).await,
            _ => self.model("/v1/embeddings", round, texts(round)).await,
        }
    }

    /// Queues several runs that take a while, all at once.
    pub(crate) async fn burst(&self, count: u64) {
        let submissions = (0..count).map(|number| self.submit_triage(number));
        futures_util::future::join_all(submissions).await;
    }

    async fn submit_triage(&self, round: u64) {
        self.submit(&self.keys.triage, triage(round, "blocking")).await;
    }

    async fn call(&self, path: &str, key: &str, body: Value) {
        let good = match self.post(&format!("{}{path}", self.urls.app), key, body, &[]).await {
            Ok((StatusCode::OK, body)) => !is_failed_run(&body),
            Ok(_) | Err(_) => false,
        };
        self.count(good);
    }

    /// A call of the model listener, on behalf of one of two apps.
    async fn model(&self, path: &str, round: u64, body: Value) {
        let streams = body["stream"] == true;
        let app = MODEL_CALLERS[usize::try_from(round / 10 % 2).unwrap_or(0)];
        let url = format!("{}{path}", self.urls.model);
        let good = match self.post(&url, &self.keys.model, body, &[("mainstay-app", app)]).await {
            Ok((StatusCode::OK, body)) => !streams || body.ends_with(b"data: [DONE]\n\n"),
            Ok(_) | Err(_) => false,
        };
        self.count(good);
    }

    fn count(&self, good: bool) {
        let counter = if good { &self.counts.answered } else { &self.counts.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that were not answered as they should be, so far.
    pub(crate) fn failed(&self) -> u64 {
        self.counts.failed.load(Ordering::Relaxed)
    }

    async fn submit(&self, key: &str, body: Value) {
        let idempotency_key = id::new();
        let headers = [
            ("prefer", "respond-async"),
            ("idempotency-key", idempotency_key.as_str()),
            ("mainstay-callback-url", self.receiver.url.as_str()),
        ];
        let answer = self.post(&format!("{}/v1/workflows/run", self.urls.app), key, body, &headers).await;
        let run_id = match answer {
            Ok((StatusCode::ACCEPTED, body)) => run_id(&body),
            Ok(_) | Err(_) => None,
        };
        let Some(run_id) = run_id else {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.counts.accepted.fetch_add(1, Ordering::Relaxed);
        let mut submitted = self.submitted.lock();
        if submitted.len() < MAX_ACCOUNTED {
            submitted.push(run_id);
        }
    }

    async fn post(
        &self,
        url: &str,
        key: &str,
        body: Value,
        headers: &[(&str, &str)],
    ) -> Result<(StatusCode, Bytes), anyhow::Error> {
        let mut request = Request::post(url)
            .header(header::AUTHORIZATION, format!("Bearer {key}"))
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(mainstay_net::full(body.to_string()))?;
        let answer = self.client.send(request, &TIMEOUTS, AddressRule::Any).await?;
        let status = answer.status();
        Ok((status, mainstay_net::collect(answer.into_body(), MAX_ANSWER_BYTES).await?))
    }

    /// Compares what was accepted with what is stored and what was called back.
    pub(crate) async fn account(&self, store: &Store) -> Result<Account, StoreError> {
        let submitted = self.submitted.lock().clone();
        let mut account = Account { submitted: submitted.len(), ..Account::default() };
        for run_id in submitted {
            let status = store.runs().get(&run_id).await?.map(|run| run.summary.status);
            account.finished += usize::from(status.is_some_and(|status| status.is_final()));
            let word = status.map_or("missing", |status| status.as_str());
            *account.by_status.entry(word.to_owned()).or_default() += 1;
            if let Some(arrived) = self.receiver.arrived(&run_id) {
                account.told += usize::from(arrived.ids.len() == 1);
                account.told_twice += usize::from(arrived.ids.len() > 1);
            }
        }
        Ok(account)
    }

    pub(crate) fn summary(&self) -> String {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts { answered, failed, accepted, left_out } = &self.counts;
        let (verified, rejected) = self.receiver.counts();
        format!(
            "traffic: {} answered, {} queued, {} failed, {} left out; callbacks: {verified} verified, {rejected} rejected",
            count(answered),
            count(accepted),
            count(failed),
            count(left_out),
        )
    }
}

fn quote(round: u64, mode: &str) -> Value {
    let inputs = json!({"item": format!("  Chair {round} "), "quantity": round % 20 + 1});
    json!({"inputs": inputs, "response_mode": mode, "user": format!("demo-{}", round % 5)})
}

fn triage(round: u64, mode: &str) -> Value {
    let messages =
        ["My billing address is wrong.", "There is a bug in the export.", "Do you ship to Norway?"];
    let message = messages[usize::try_from(round % 3).unwrap_or(0)];
    json!({"inputs": {"message": message}, "response_mode": mode, "user": format!("demo-{}", round % 5)})
}

fn chat(round: u64) -> Value {
    json!({
        "inputs": {},
        "query": format!("Where is order {round}?"),
        "response_mode": "blocking",
        "user": format!("demo-{}", round % 5),
    })
}

fn message(model: &str, round: u64, streams: bool) -> Value {
    json!({
        "model": model,
        "messages": [{"role": "user", "content": format!("What is new about chair {round}?")}],
        "max_tokens": 200,
        "stream": streams,
        "user": format!("demo-{}", round % 5),
    })
}

fn texts(round: u64) -> Value {
    json!({"model": "demo-embed", "input": [format!("Chair {round}"), "a second text"]})
}

/// A run that failed is answered with 200, as Dify does.
fn is_failed_run(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    ["\"status\": \"failed\"", "\"status\":\"failed\"", "\"event\":\"error\""]
        .iter()
        .any(|mark| text.contains(mark))
}

fn run_id(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let places = ["/workflow_run_id", "/data/id"];
    places.iter().find_map(|place| body.pointer(place)?.as_str()).map(str::to_owned)
}
