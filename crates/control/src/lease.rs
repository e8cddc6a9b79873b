//! One of several processes does a thing: a fenced lease in the store, asked for when its turn comes.

use std::time::Duration;

use mainstay_store::{Store, StoreError};
use tokio::time::Instant;

/// How long a lease lasts, and after how much of it is renewed.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) lasts: Duration,
    pub(crate) renew_every: Duration,
}

/// This process's part in one lease.
pub(crate) struct Lease {
    store: Store,
    name: String,
    holder: String,
    terms: Terms,
    held: Option<(i64, Instant)>,
}

impl Lease {
    pub(crate) fn new(store: Store, name: String, holder: String, terms: Terms) -> Lease {
        Lease { store, name, holder, terms, held: None }
    }

    /// Whether this process is the one. Asks the store when the lease is to be renewed, or is another's.
    pub(crate) async fn hold(&mut self) -> Result<bool, StoreError> {
        if self.held.is_some_and(|(_, at)| at.elapsed() < self.terms.renew_every) {
            return Ok(true);
        }
        let asked_at = Instant::now();
        let epoch = self.store.leases().acquire(&self.name, &self.holder, self.terms.lasts).await?;
        self.held = epoch.map(|epoch| (epoch, asked_at));
        Ok(self.held.is_some())
    }

    /// Lets others have it at once.
    pub(crate) async fn release(&mut self) {
        if let Some((epoch, _)) = self.held.take() {
            // If it fails, the lease ends by itself.
            let _ = self.store.leases().release(&self.name, &self.holder, epoch).await;
        }
    }
}
