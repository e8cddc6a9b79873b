//! What the outbox promises, tried by seeded schedules: no notice is lost, whatever dies or is cut off, and whoever drops
//! the `webhook-id`s that it has seen sees each once.
//!
//! The store is a real one on SQLite, the deliverer is the product's, the receiver is a socket. Faults happen when a
//! notice has arrived: the deliverer dies before or after the answer (its next incarnation finds what the store knows),
//! the answer is lost, or nothing is taken. The store's clock is moved by hand, so that leases and pauses take no time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use mainstay_base::{Clock, Micros};
use mainstay_control::{CallbackBody, Receiver, delivery::deliver_until};
use mainstay_net::{Client, ClientOptions};
use mainstay_store::{
    Lane, Store, StoreError,
    model::{DeliveryKind, NewDelivery},
};
use mainstay_wire::notify::{Notice, What};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

const START: Micros = Micros(1_800_000_000_000_000);
const RECEIVER: &str = "pager";
/// Faults of one schedule; after them everything is well, so that it ends.
const MAX_FAULTS: u32 = 6;
/// One step of the store's clock, and how long it takes really.
const STEP: Duration = Duration::from_secs(5);
const STEP_TAKES: Duration = Duration::from_millis(40);
/// Steps after which what has not arrived is lost: four hours.
const MAX_STEPS: u32 = 2_880;
/// What a deliverer has in hand for one receiver at most.
const IN_HAND: u64 = 8;
const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Product,
    /// A broken twin: says that a notice was delivered, and then sends it.
    MarksFirst,
    /// A broken twin: its leases end at once, so that two of it send the same.
    NoLease,
}

/// What came of one schedule or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub alerts: u64,
    pub lost: u64,
    /// Notices that arrived again, under an id that the receiver knew.
    pub repeats: u64,
    /// Notices that arrived again under another id: no receiver can tell.
    pub duplicates: u64,
    pub kills: u64,
    /// Answers that were lost, and calls that were not taken.
    pub cuts: u64,
}

impl Outcome {
    /// Whether each repeat has a reason: a kill repeats at most what was in hand, a cut one notice.
    pub fn keeps_bounds(&self) -> bool {
        self.repeats <= self.kills * IN_HAND + self.cuts
    }

    pub fn add(&mut self, other: Outcome) {
        let Outcome { alerts, lost, repeats, duplicates, kills, cuts } = other;
        self.alerts += alerts;
        self.lost += lost;
        self.repeats += repeats;
        self.duplicates += duplicates;
        self.kills += kills;
        self.cuts += cuts;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The deliverer dies while it waits for the answer.
    KillBefore,
    /// The answer is on its way; the deliverer dies all the same.
    KillAfter,
    /// Taken, and the answer is lost.
    Cut,
    /// Not taken at all.
    Refuse,
}

/// What the receiver knows.
#[derive(Default)]
struct Seen {
    /// How often each id came.
    ids: BTreeMap<String, u64>,
    /// Under which ids each notice (key and number) came.
    notices: BTreeMap<(String, i64), BTreeSet<String>>,
    random: u64,
    faults: u32,
    kills: u64,
    cuts: u64,
}

impl Seen {
    fn draw(&mut self) -> Fault {
        let drawn = splitmix(&mut self.random) % 10;
        let fault = match drawn {
            0 => Fault::KillBefore,
            1 => Fault::KillAfter,
            2 => Fault::Cut,
            3 => Fault::Refuse,
            _ => return Fault::None,
        };
        if self.faults >= MAX_FAULTS {
            return Fault::None;
        }
        self.faults += 1;
        match fault {
            Fault::KillBefore | Fault::KillAfter => self.kills += 1,
            Fault::Cut | Fault::Refuse | Fault::None => self.cuts += 1,
        }
        fault
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

struct NoCallbacks;

impl CallbackBody for NoCallbacks {
    fn body(&self, _: String) -> BoxFuture<'static, Result<Option<Bytes>, StoreError>> {
        Box::pin(async { Ok(None) })
    }
}

/// One schedule: `alerts` notices, some of them enqueued while faults happen.
pub async fn schedule(seed: u64, alerts: u32, way: Way) -> anyhow::Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let clock = Clock::manual(START);
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    let options = mainstay_store::Options { url, clock: clock.clone() };
    Store::migrate(&options).await?;
    let store = Store::open(options).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    // Without leases notices come twice even where nothing fails.
    let faults = if way == Way::NoLease { MAX_FAULTS } else { 0 };
    let seen = Arc::new(Mutex::new(Seen { random: seed, faults, ..Seen::default() }));
    let (kill, mut killed) = mpsc::channel(64);
    let mut receiving = JoinSet::new();
    receiving.spawn(receive(listener, seen.clone(), kill));

    let senders = if way == Way::NoLease { 2 } else { 1 };
    let start = || sender(way, store.clone(), clock.clone(), address.clone(), senders);
    let mut sending = start()?;
    let mut enqueued = 0;
    for _ in 0..MAX_STEPS {
        if enqueued < alerts {
            store.outbox().enqueue(notice(seed, enqueued)).await?;
            enqueued += 1;
        }
        tokio::select! {
            () = tokio::time::sleep(STEP_TAKES) => {
                clock.advance(STEP);
            }
            Some(()) = killed.recv() => {
                sending.shutdown().await;
                sending = start()?;
            }
        }
        let (pending, _) = store.outbox().backlog().await?;
        if enqueued == alerts && pending == 0 {
            break;
        }
    }
    // What is marked before it is sent may be on its way yet.
    if way != Way::MarksFirst {
        sending.shutdown().await;
    } else {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Outcome {
        alerts: alerts.into(),
        lost: u64::from(alerts) - seen.notices.len() as u64,
        repeats: seen.ids.values().map(|count| count - 1).sum(),
        duplicates: seen.notices.values().map(|ids| ids.len() as u64 - 1).sum(),
        kills: seen.kills,
        cuts: seen.cuts,
    })
}

fn notice(seed: u64, number: u32) -> NewDelivery {
    let key = format!("{seed}-{number}");
    let notice = Notice { key: key.clone(), number: 1, ..Notice::sample(What::Firing, START) };
    NewDelivery {
        id: format!("alert-{key}"),
        kind: DeliveryKind::Alert,
        run_id: None,
        receiver: Some(RECEIVER.to_owned()),
        topic: Some(key),
        replaces: true,
        url: String::new(),
        payload: serde_json::to_value(&notice).ok(),
    }
}

fn sender(way: Way, store: Store, clock: Clock, address: String, count: u32) -> anyhow::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let client = Client::new(ClientOptions::default())?;
        let receiver = Receiver::webhook(RECEIVER, &address, None);
        if way == Way::Product {
            let mut options = mainstay_control::Options::new("bench", "here");
            options.receivers.push(receiver);
            let (store, clock) = (store.clone(), clock.clone());
            tasks.spawn(deliver_until(
                CancellationToken::new(),
                store,
                client,
                clock,
                Arc::new(NoCallbacks),
                options,
            ));
        } else {
            tasks.spawn(twin(way, store.clone(), clock.clone(), address.clone()));
        }
    }
    Ok(tasks)
}

/// The broken deliverers.
async fn twin(way: Way, store: Store, clock: Clock, address: String) {
    let lease = if way == Way::NoLease { Duration::ZERO } else { Duration::from_secs(60) };
    loop {
        for delivery in
            store.outbox().due(&Lane::Receiver(RECEIVER.to_owned()), 8, lease).await.unwrap_or_default()
        {
            if way == Way::MarksFirst {
                let _ = store.outbox().delivered(&delivery.id, 200).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            let body = delivery.payload.unwrap_or_default().to_string();
            let sent = post(&address, &delivery.id, &body).await;
            if way == Way::NoLease {
                let again = clock.now() + Duration::from_secs(5);
                let _ = match sent {
                    Ok(()) => store.outbox().delivered(&delivery.id, 200).await,
                    Err(error) => {
                        store.outbox().failed(&delivery.id, None, &error.to_string(), Some(again)).await
                    }
                };
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn post(address: &str, id: &str, body: &str) -> anyhow::Result<()> {
    let host = address.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).await?;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {host}\r\nwebhook-id: {id}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "not taken");
    Ok(())
}

async fn receive(listener: TcpListener, seen: Arc<Mutex<Seen>>, kill: mpsc::Sender<()>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, seen.clone(), kill.clone()));
    }
}

/// Requests of one connection, until a fault ends it.
async fn connection(
    mut stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
    kill: mpsc::Sender<()>,
) -> anyhow::Result<()> {
    let mut read = Vec::new();
    loop {
        let (id, body) = request(&mut stream, &mut read).await?;
        let fault = {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let fault = seen.draw();
            if fault != Fault::Refuse {
                let notice = notice_of(&body)?;
                *seen.ids.entry(id.clone()).or_default() += 1;
                seen.notices.entry(notice).or_default().insert(id);
            }
            fault
        };
        match fault {
            Fault::KillBefore => {
                let _ = kill.send(()).await;
                return std::future::pending().await;
            }
            Fault::Cut => return Ok(()),
            Fault::Refuse => {
                stream.write_all(b"HTTP/1.1 503 busy\r\ncontent-length: 0\r\n\r\n").await?;
            }
            Fault::None | Fault::KillAfter => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
                if fault == Fault::KillAfter {
                    let _ = kill.send(()).await;
                }
            }
        }
    }
}

/// The key and number of the notice, from a webhook's body or from the document itself.
fn notice_of(body: &[u8]) -> anyhow::Result<(String, i64)> {
    let value: Value = serde_json::from_slice(body)?;
    let data = if value["data"].is_object() { &value["data"] } else { &value };
    let key = data["key"].as_str().context("a key")?.to_owned();
    Ok((key, data["number"].as_i64().context("a number")?))
}

async fn request(stream: &mut TcpStream, read: &mut Vec<u8>) -> anyhow::Result<(String, Vec<u8>)> {
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let field = |name: &str| {
                head.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
            };
            let length: usize = field("content-length:").context("a length")?.parse()?;
            if read.len() >= end + 4 + length {
                let id = field("webhook-id:").context("an id")?;
                let body = read[end + 4..end + 4 + length].to_vec();
                read.drain(..end + 4 + length);
                return Ok((id, body));
            }
        }
        ensure!(read.len() <= MAX_REQUEST_BYTES, "a request that is too long");
        ensure!(stream.read_buf(read).await? > 0, "closed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(way: Way, seeds: std::ops::Range<u64>) -> Outcome {
        let mut tasks = JoinSet::new();
        for seed in seeds {
            tasks.spawn(schedule(seed, 6, way));
        }
        let mut sum = Outcome::default();
        while let Some(one) = tasks.join_next().await {
            sum.add(one.unwrap().unwrap());
        }
        sum
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_is_lost_and_every_repeat_is_known_by_its_id() {
        let sum = all(Way::Product, 0..12).await;
        assert_eq!((sum.alerts, sum.lost, sum.duplicates), (72, 0, 0), "{sum:?}");
        assert!(sum.kills > 5 && sum.cuts > 5, "the faults happened: {sum:?}");
        assert!(sum.keeps_bounds(), "{sum:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_deliverer_that_marks_before_it_sends_is_caught() {
        let sum = all(Way::MarksFirst, 0..12).await;
        assert!(sum.lost > 0, "{sum:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn deliverers_without_leases_are_caught() {
        let sum = all(Way::NoLease, 0..12).await;
        assert!(!sum.keeps_bounds(), "{sum:?}");
    }
}
