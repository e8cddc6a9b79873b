//! What the outbox promises, tried by seeded schedules: no notice is lost, whatever dies or is cut off; whoever can tell a
//! repeat by an id sees each notice once, and who cannot reads of every repeat that it may be one.
//!
//! The store is a real one on SQLite, the deliverer is the product's in a process of its own, the receiver is a socket.
//! Faults happen when a notice has arrived: the deliverer is killed before or after the answer (the next one finds what the
//! store knows), the answer is lost, or nothing is taken. The clock of store and deliverer is moved by hand, so that leases
//! and pauses take no time.

mod child;
mod receiver;
mod twin;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mainstay_base::{Clock, Micros};
use mainstay_control::delivery::{PER_CHAT, PER_RECEIVER};
use mainstay_store::{
    Store,
    model::{DeliveryKind, NewDelivery},
};
use mainstay_wire::notify::{Notice, What};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

pub use self::child::{DELIVER, Dialect, deliver};
use self::{
    child::Deliverer,
    receiver::{Arrived, MAX_FAULTS, Seen, receive},
    twin::twin,
};

const START: Micros = Micros(1_800_000_000_000_000);
const RECEIVER: &str = "pager";
/// One step of the clock, and how long it takes really. A lease is 30 s: a busy machine sends within that.
const STEP: Duration = Duration::from_secs(1);
const STEP_TAKES: Duration = Duration::from_millis(40);
/// Steps after which what has not arrived is lost: an hour.
const MAX_STEPS: u32 = 3_600;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Product(Dialect),
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
    /// Times that a notice arrived after its first.
    pub repeats: u64,
    /// Those of them that people see, and that nothing tells them to be repeats.
    pub duplicates: u64,
    pub kills: u64,
    /// Answers that were lost, and calls that were not taken.
    pub cuts: u64,
}

impl Outcome {
    /// Whether each repeat has a reason: a kill repeats at most what was in hand, a cut one notice.
    pub fn keeps_bounds(&self, way: Way) -> bool {
        let in_hand = if way == Way::Product(Dialect::Chat) { PER_CHAT } else { PER_RECEIVER };
        self.repeats <= self.kills * in_hand as u64 + self.cuts
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

/// One schedule: `alerts` notices, some of them enqueued while faults happen. `program`: see [`deliver`].
pub async fn schedule(seed: u64, alerts: u32, way: Way, program: &Path) -> anyhow::Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let clock = Clock::manual(START);
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    let options = mainstay_store::Options { url: url.clone(), clock: clock.clone() };
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

    let start = || Sender::start(way, program, &url, &address, &store, &clock);
    let mut sender = start()?;
    let mut enqueued = 0;
    for _ in 0..MAX_STEPS {
        if enqueued < alerts {
            store.outbox().enqueue(notice(seed, enqueued)).await?;
            enqueued += 1;
        }
        tokio::select! {
            () = tokio::time::sleep(STEP_TAKES) => {
                clock.advance(STEP);
                sender.tick(clock.now()).await?;
            }
            Some(()) = killed.recv() => {
                sender.kill().await?;
                sender = start()?;
            }
        }
        let (pending, _) = store.outbox().backlog().await?;
        if enqueued == alerts && pending == 0 {
            break;
        }
    }
    // What is marked before it is sent may be on its way yet.
    if way == Way::MarksFirst {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    sender.kill().await?;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Outcome {
        alerts: alerts.into(),
        lost: u64::from(alerts) - seen.notices.len() as u64,
        repeats: seen.notices.values().map(|arrived| arrived.times - 1).sum(),
        duplicates: seen.notices.values().map(Arrived::seen_again).sum(),
        kills: seen.kills,
        cuts: seen.cuts,
    })
}

fn notice(seed: u64, number: u32) -> NewDelivery {
    let key = format!("{seed}-{number}");
    let notice = Notice {
        key: key.clone(),
        number: 1,
        title: format!("somebody is down: {key}"),
        ..Notice::sample(What::Firing, START)
    };
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

/// Whoever sends: a process of the product, or twins in this one.
enum Sender {
    Process(Box<Deliverer>),
    Twins(JoinSet<()>),
}

impl Sender {
    fn start(
        way: Way,
        program: &Path,
        url: &str,
        address: &str,
        store: &Store,
        clock: &Clock,
    ) -> anyhow::Result<Sender> {
        if let Way::Product(dialect) = way {
            let started = Deliverer::start(program, url, address, dialect, clock.now())?;
            return Ok(Sender::Process(Box::new(started)));
        }
        let mut twins = JoinSet::new();
        for _ in 0..if way == Way::NoLease { 2 } else { 1 } {
            twins.spawn(twin(way, store.clone(), clock.clone(), address.to_owned()));
        }
        Ok(Sender::Twins(twins))
    }

    async fn tick(&mut self, now: Micros) -> anyhow::Result<()> {
        match self {
            Sender::Process(process) => process.tick(now).await,
            Sender::Twins(_) => Ok(()),
        }
    }

    async fn kill(self) -> anyhow::Result<()> {
        match self {
            Sender::Process(process) => process.kill().await,
            Sender::Twins(mut twins) => {
                twins.shutdown().await;
                Ok(())
            }
        }
    }
}
