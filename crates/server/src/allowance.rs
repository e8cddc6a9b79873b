//! Budgets of virtual keys, kept in the store: the gateway's port, filled.

use std::time::Duration;

use mainstay_base::{Micros, Usd};
use mainstay_gateway::{Allowance, BoxFuture, Gone};
use mainstay_store::{Store, StoreError};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

/// How long the end of the process waits for what is given back. A store that hangs keeps nobody longer: what is not
/// given back stays taken.
const LAST_GIVE_BACK: Duration = Duration::from_secs(2);

pub(crate) struct AllowancePort {
    pub(crate) store: Store,
    /// What is given back runs beside its caller, and is waited for at the end.
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Allowance for AllowancePort {
    fn take(
        &self,
        key: &str,
        window_start: Micros,
        limit: Usd,
        wanted: Usd,
    ) -> BoxFuture<'static, Result<Usd, Gone>> {
        let (store, key) = (self.store.clone(), key.to_owned());
        Box::pin(async move {
            store
                .allowances()
                .take(&key, window_start, limit, wanted)
                .await
                .map_err(|error| gone(&key, &error))
        })
    }

    fn book(&self, key: &str, window_start: Micros, spent: Usd) -> BoxFuture<'static, Result<(), Gone>> {
        let (store, key) = (self.store.clone(), key.to_owned());
        Box::pin(async move {
            store.allowances().book(&key, window_start, spent).await.map_err(|error| gone(&key, &error))
        })
    }

    fn give_back(&self, key: &str, window_start: Micros, unused: Usd) {
        let (store, key, stop) = (self.store.clone(), key.to_owned(), self.stop.clone());
        self.tasks.spawn(async move {
            let over = async {
                stop.cancelled().await;
                tokio::time::sleep(LAST_GIVE_BACK).await;
            };
            tokio::select! {
                biased;
                given = give_back(&store, &key, window_start, unused) => {
                    if let Err(error) = given {
                        debug!(%error, "{unused} of the budget of {key} stay taken until its window ends");
                    }
                }
                () = over => {}
            }
        });
    }
}

async fn give_back(store: &Store, key: &str, window_start: Micros, unused: Usd) -> Result<(), StoreError> {
    store.allowances().give_back(key, window_start, unused).await
}

fn gone(key: &str, error: &StoreError) -> Gone {
    warn!(%error, "the budget of {key} cannot be asked for");
    Gone
}
