//! Events of this process on their way to the timeline: written in order, as soon as the store takes them.
//!
//! Promises: whoever notes something never waits; while the store is away events wait in a bounded queue; one that
//! finds no room is counted and stands in the log all the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mainstay_store::{Store, model::NewEvent};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Configurations change by hand; hundreds of events while the store is away mean a loop somewhere.
const QUEUE: usize = 256;
/// How long the store may take for one event before it is tried again.
const APPEND_WAIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(crate) struct Notes {
    sender: mpsc::Sender<NewEvent>,
    lost: Arc<AtomicU64>,
}

/// Takes the events to the store.
pub(crate) struct Writer {
    store: Store,
    events: mpsc::Receiver<NewEvent>,
}

pub(crate) fn channel(store: Store) -> (Notes, Writer) {
    let (sender, events) = mpsc::channel(QUEUE);
    (Notes { sender, lost: Arc::default() }, Writer { store, events })
}

impl Notes {
    pub(crate) fn send(&self, event: NewEvent) {
        if let Err(refused) = self.sender.try_send(event) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            warn!("an event will be missing in the timeline: {}", refused.into_inner().text);
        }
    }
}

impl Writer {
    /// At the end one more try is made for what waits; a store that is away then keeps nobody.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut stop_seen = false;
        while let Some(event) = self.next(&stop, &mut stop_seen).await {
            while !self.append(&event).await && !stop_seen {
                tokio::select! {
                    () = stop.cancelled() => stop_seen = true,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }

    async fn next(&mut self, stop: &CancellationToken, stop_seen: &mut bool) -> Option<NewEvent> {
        if !*stop_seen {
            tokio::select! {
                biased;
                event = self.events.recv() => return event,
                () = stop.cancelled() => *stop_seen = true,
            }
        }
        self.events.try_recv().ok()
    }

    async fn append(&self, event: &NewEvent) -> bool {
        let appended = tokio::time::timeout(APPEND_WAIT, self.store.timeline().append(event.clone())).await;
        matches!(appended, Ok(Ok(_)))
    }
}
