//! Only one control acts: a fenced lease in the store, judged by this process's own clock.

use std::time::Duration;

use mainstay_store::{Store, StoreError, model::Fence};
use tokio::time::Instant;

const NAME: &str = "control";
const TTL: Duration = Duration::from_secs(6);
/// Acting stops so long before the lease ends.
const MARGIN: Duration = Duration::from_secs(2);
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(1);

/// This process's part in the lease.
pub(crate) struct Leader {
    store: Store,
    holder: String,
    held: Option<Held>,
}

#[derive(Clone, Copy)]
struct Held {
    epoch: i64,
    /// Before the last successful request was sent.
    asked_at: Instant,
}

impl Leader {
    pub(crate) fn new(store: Store, holder: String) -> Leader {
        Leader { store, holder, held: None }
    }

    /// Whether this process may act at this moment; its epoch if so.
    pub(crate) fn epoch(&self) -> Option<i64> {
        let held = self.held?;
        (held.asked_at.elapsed() < TTL.saturating_sub(MARGIN)).then_some(held.epoch)
    }

    /// By which the store tells whether this process still acts.
    pub(crate) fn fence(&self) -> Option<Fence> {
        let held = self.held?;
        Some(Fence { lease: NAME.to_owned(), holder: self.holder.clone(), epoch: held.epoch })
    }

    /// Renews the lease, or tries to get it.
    pub(crate) async fn campaign(&mut self) -> Result<(), StoreError> {
        let asked_at = Instant::now();
        if let Some(Held { epoch, .. }) = self.held {
            if self.store.leases().renew(NAME, &self.holder, epoch, TTL).await? {
                self.held = Some(Held { epoch, asked_at });
                return Ok(());
            }
            self.held = None;
        }
        let epoch = self.store.leases().acquire(NAME, &self.holder, TTL).await?;
        self.held = epoch.map(|epoch| Held { epoch, asked_at });
        Ok(())
    }

    /// Lets others act at once.
    pub(crate) async fn resign(&mut self) {
        if let Some(Held { epoch, .. }) = self.held.take() {
            // If it fails, the lease ends by itself.
            let _ = self.store.leases().release(NAME, &self.holder, epoch).await;
        }
    }
}
