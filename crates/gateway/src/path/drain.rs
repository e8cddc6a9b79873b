//! Streams whose caller left. By policy they are read on for a while, so that their usage is known; bounded in number,
//! bytes and time, and waited for at shutdown.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::deliver::model::Exchange;

/// More than any policy's `max_at_once` is meant to be; a bound of the process.
const MAX_DRAINS: usize = 1024;

/// All drains of one gateway.
pub(crate) struct Drains {
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    /// The time to wait is over.
    over: CancellationToken,
}

impl Drains {
    pub(crate) fn new() -> Drains {
        Drains {
            room: Arc::new(Semaphore::new(MAX_DRAINS)),
            tasks: TaskTracker::new(),
            over: CancellationToken::new(),
        }
    }

    /// Room for one more stream, when fewer than `max_at_once` are being drained.
    pub(crate) fn room(&self, max_at_once: usize) -> Option<Room> {
        let most = max_at_once.min(MAX_DRAINS);
        if MAX_DRAINS - self.room.available_permits() >= most {
            return None;
        }
        self.room.clone().try_acquire_owned().ok().map(|room| Room { _room: room })
    }

    /// Drives `drain` on its own. Outside of a runtime, or once shutdown has begun, it is dropped at once.
    pub(crate) fn spawn(&self, room: Room, drain: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.tasks.is_closed() {
            return;
        }
        let over = self.over.clone();
        self.tasks.spawn_on(
            async move {
                let _room = room;
                over.run_until_cancelled(drain).await;
            },
            &runtime,
        );
    }

    /// No more are begun; those under way are waited for, for so long at most, and then let go of: their records are
    /// written with what is known by then.
    pub(crate) async fn finish(&self, grace: Duration) {
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            self.over.cancel();
            self.tasks.wait().await;
        }
    }

    /// How many streams are being drained.
    pub(crate) fn under_way(&self) -> usize {
        MAX_DRAINS - self.room.available_permits()
    }
}

/// A place among the drains, given back when it is dropped.
pub(crate) struct Room {
    _room: OwnedSemaphorePermit,
}

/// Reads a stream to its end, or to the first bound of its policy.
pub(crate) async fn read_on(mut exchange: Box<Exchange>) {
    let policy = exchange.drain();
    let mut read = 0_u64;
    let to_the_end = async {
        while read < policy.max_bytes {
            match poll_fn(|context| exchange.poll_drained(context)).await {
                Some(bytes) => read += bytes as u64,
                None => break,
            }
        }
    };
    // At a bound, what was said so far is booked when the exchange is dropped.
    let _ = tokio::time::timeout(policy.max_wait, to_the_end).await;
}
