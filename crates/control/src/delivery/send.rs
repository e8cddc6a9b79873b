//! Takes due deliveries by lease and sends them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use mainstay_base::{Clock, Micros, snapshot::Timeouts};
use mainstay_net::Client;
use mainstay_store::{Lane, Store, StoreError, model::Delivery};
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Sent, attempt::deliver};
use crate::{options::Options, ports::CallbackBody};

/// Callbacks in hand at a time, under way or waiting for their host.
const CONCURRENCY: usize = 128;
/// Notices under way to one receiver at a time. Each receiver has its own places: one that is down holds up no other.
pub const PER_RECEIVER: usize = 8;
/// The same to one that shows a repeat as a second message: what a death repeats is at most what was in hand, and chats take a
/// message a second at most.
pub const PER_CHAT: usize = 1;
/// Calls under way to one host at a time, so that a slow receiver does not take all places.
const PER_HOST: usize = 32;
/// How long one may wait for its host; then it is let go and comes again when its lease ends.
const WAIT: Duration = Duration::from_secs(20);
/// Longer than waiting and an attempt can take, so that nobody else begins one beside it.
const LEASE: Duration = Duration::from_secs(60);
/// The same of a notice, which waits for no host: so long after a death it comes again.
const NOTICE_LEASE: Duration = Duration::from_secs(30);
/// Between two looks into the outbox when it was empty.
const POLL: Duration = Duration::from_millis(250);
/// Calls under way may take so long to end at a shutdown.
const LAST_CALLS: Duration = Duration::from_secs(5);
/// A receiver that takes longer to answer should accept first and work afterwards.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(15),
    idle: Duration::from_secs(5),
    total: Duration::from_secs(20),
};

/// Everything one call needs. Shared by all calls.
pub(super) struct Context {
    pub(super) store: Store,
    pub(super) client: Client,
    pub(super) clock: Clock,
    pub(super) callbacks: Arc<dyn CallbackBody>,
    pub(super) options: watch::Receiver<Arc<Options>>,
    pub(super) timeouts: Timeouts,
    /// Receivers that want none now, until when, and what they said.
    pub(super) rests: Mutex<HashMap<String, (Micros, String)>>,
    pub(super) sent: Sent,
}

/// The outbox's reader. Any number of processes may run one: the store gives each delivery to one at a time.
pub(crate) struct Deliverer {
    context: Arc<Context>,
    calls: JoinSet<()>,
    /// Callbacks under way by host.
    under_way: HashMap<String, Arc<Semaphore>>,
    /// What may be in hand of each lane.
    places: HashMap<String, Arc<Semaphore>>,
}

impl Deliverer {
    pub(crate) fn new(
        store: Store,
        client: Client,
        clock: Clock,
        callbacks: Arc<dyn CallbackBody>,
        options: watch::Receiver<Arc<Options>>,
    ) -> Deliverer {
        let (timeouts, rests, sent) = (TIMEOUTS, Mutex::default(), Sent::default());
        let context = Context { store, client, clock, callbacks, options, timeouts, rests, sent };
        Deliverer {
            context: Arc::new(context),
            calls: JoinSet::new(),
            under_way: HashMap::new(),
            places: HashMap::new(),
        }
    }

    pub(crate) fn counting(mut self, sent: Sent) -> Deliverer {
        if let Some(context) = Arc::get_mut(&mut self.context) {
            context.sent = sent;
        }
        self
    }

    /// A test does not wait as long for a slow receiver.
    #[cfg(test)]
    pub(super) fn with_timeouts(mut self, timeouts: Timeouts) -> Deliverer {
        if let Some(context) = Arc::get_mut(&mut self.context) {
            context.timeouts = timeouts;
        }
        self
    }

    /// Sends what is due until `shutdown`; then waits for the calls under way, for a while.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let taken = match self.round().await {
                Ok(taken) => taken,
                Err(error) => {
                    debug!(%error, "cannot look into the outbox");
                    0
                }
            };
            // Where some were taken, more may be due.
            if taken == 0 {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = tokio::time::sleep(POLL) => {}
                }
            }
        }
        let all = async { while self.calls.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_CALLS, all).await.is_err() {
            debug!("calls under way are dropped; they come again elsewhere");
        }
        self.calls.shutdown().await;
    }

    /// Takes what is due, as far as there is room, and starts to send it. Never waits for a receiver.
    async fn round(&mut self) -> Result<usize, StoreError> {
        while let Some(ended) = self.calls.try_join_next() {
            if let Err(error) = ended {
                warn!(%error, "a delivery ended badly; it comes again when its lease ends");
            }
        }
        self.under_way.retain(|_, places| Arc::strong_count(places) > 1);
        self.places.retain(|_, places| Arc::strong_count(places) > 1);
        let lanes = self.lanes_with_room();
        let mut count = 0;
        for lane in self.context.store.outbox().lanes_due(lanes).await? {
            let places = self.places_of(&lane);
            let lease = if matches!(lane, Lane::Receiver(_)) { NOTICE_LEASE } else { LEASE };
            let taken = self.context.store.outbox().due(&lane, places.available_permits(), lease).await?;
            count += taken.len();
            for delivery in taken {
                self.start(&places, delivery);
            }
        }
        Ok(count)
    }

    fn lanes_with_room(&self) -> Vec<Lane> {
        let options = self.context.options.borrow().clone();
        let names: Vec<String> = options.receivers.iter().map(|receiver| receiver.name.clone()).collect();
        let mut lanes: Vec<Lane> = names.iter().cloned().map(Lane::Receiver).collect();
        lanes.push(Lane::Besides(names));
        let has_room =
            |lane: &Lane| self.places.get(key_of(lane)).is_none_or(|places| places.available_permits() > 0);
        lanes.retain(has_room);
        lanes
    }

    fn places_of(&mut self, lane: &Lane) -> Arc<Semaphore> {
        let most = match lane {
            Lane::Receiver(name) if self.shows_repeats(name) => PER_CHAT,
            Lane::Receiver(_) => PER_RECEIVER,
            Lane::Besides(_) => CONCURRENCY,
        };
        let places = self.places.entry(key_of(lane).to_owned());
        places.or_insert_with(|| Arc::new(Semaphore::new(most))).clone()
    }

    fn shows_repeats(&self, name: &str) -> bool {
        let options = self.context.options.borrow();
        let known = options.receivers.iter().find(|receiver| receiver.name == name);
        known.is_some_and(|receiver| !receiver.channel.kind().knows_repeats())
    }

    fn start(&mut self, places: &Arc<Semaphore>, delivery: Delivery) {
        // Nobody else takes of them: there are as many as were asked for.
        let Ok(in_hand) = places.clone().try_acquire_owned() else { return };
        let host = delivery.receiver.is_none().then(|| {
            let places = self.under_way.entry(host_of(&delivery.url));
            places.or_insert_with(|| Arc::new(Semaphore::new(PER_HOST))).clone()
        });
        let context = self.context.clone();
        self.calls.spawn(async move {
            let _in_hand = in_hand;
            let _place = match host {
                Some(places) => match tokio::time::timeout(WAIT, places.acquire_owned()).await {
                    Ok(Ok(place)) => Some(place),
                    _ => return,
                },
                None => None,
            };
            deliver(&context, delivery).await;
        });
    }
}

/// The name of a lane's places; no receiver has an empty name.
fn key_of(lane: &Lane) -> &str {
    match lane {
        Lane::Receiver(name) => name,
        Lane::Besides(_) => "",
    }
}

/// Sends what is in the outbox, as a running control does: for proofs of what it promises. Dropping it is the death of
/// its process.
pub async fn deliver_until(
    shutdown: CancellationToken,
    store: Store,
    client: Client,
    clock: Clock,
    callbacks: Arc<dyn CallbackBody>,
    options: Options,
) {
    let (_sender, options) = watch::channel(Arc::new(options));
    Deliverer::new(store, client, clock, callbacks, options).run(shutdown).await;
}

/// Host and port; the whole text when it has none, which then fails on its own.
fn host_of(url: &str) -> String {
    let parsed = url.parse::<http::Uri>().ok();
    parsed
        .and_then(|uri| uri.authority().map(|authority| authority.as_str().to_owned()))
        .unwrap_or_else(|| url.to_owned())
}
