//! One process reads. The store's sequence keeps two from counting twice; this keeps them from asking twice.

use std::time::Duration;

use mainstay_store::{Store, StoreError};
use tokio::time::Instant;

use super::Options;

const TTL: Duration = Duration::from_secs(20);
const RENEW_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Lease {
    store: Store,
    name: String,
    holder: String,
    held: Option<(i64, Instant)>,
}

impl Lease {
    pub(super) fn new(store: Store, options: &Options) -> Lease {
        Lease { store, name: format!("dify:{}", options.source), holder: options.holder.clone(), held: None }
    }

    pub(super) async fn hold(&mut self) -> Result<bool, StoreError> {
        if self.held.is_some_and(|(_, at)| at.elapsed() < RENEW_EVERY) {
            return Ok(true);
        }
        let asked_at = Instant::now();
        let epoch = self.store.leases().acquire(&self.name, &self.holder, TTL).await?;
        self.held = epoch.map(|epoch| (epoch, asked_at));
        Ok(self.held.is_some())
    }

    pub(super) async fn release(&mut self) {
        if let Some((epoch, _)) = self.held.take() {
            // If it fails, the lease ends by itself.
            let _ = self.store.leases().release(&self.name, &self.holder, epoch).await;
        }
    }
}
