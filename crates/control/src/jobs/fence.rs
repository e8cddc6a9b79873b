//! How long a lease is surely ours, by this process's monotonic clock alone. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// One lease. The database granted it at some moment after the request was sent, so counting from *before* the
/// request was sent never counts too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fence {
    pub(super) asked_at: Instant,
}

impl Fence {
    /// From here on the work must not go on: it is cancelled now, so that it has ended before the lease has.
    pub(super) fn stop_at(self, lease: Duration, margin: Duration) -> Instant {
        self.asked_at + lease.saturating_sub(margin)
    }

    /// A renewal that was asked for later counts; answers may come out of order.
    pub(super) fn renewed(self, asked_at: Instant) -> Fence {
        Fence { asked_at: self.asked_at.max(asked_at) }
    }
}
