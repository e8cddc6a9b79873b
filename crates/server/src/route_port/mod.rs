//! The console's and the command line's questions about routing, answered: where a call would go, and what recorded
//! calls would have come to under another policy. Asked of whichever process has the console, gateway or not: how the
//! targets stand is what the gateways tell the store.

mod explain;
mod simulate;

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use mainstay_base::{Clock, Snapshot, Standing};
use mainstay_console::{Explained, RouteAsk, RouteRefused, Routes, Simulation};
use mainstay_store::Store;
use tokio::sync::Semaphore;

#[derive(Clone)]
pub(crate) struct RoutePort {
    snapshot: Arc<ArcSwap<Snapshot>>,
    store: Store,
    clock: Clock,
    simulating: Arc<Semaphore>,
}

impl RoutePort {
    pub(crate) fn new(snapshot: Arc<ArcSwap<Snapshot>>, store: Store, clock: Clock) -> RoutePort {
        RoutePort { snapshot, store, clock, simulating: Arc::new(Semaphore::new(1)) }
    }
}

impl Routes for RoutePort {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    fn explain(&self, ask: RouteAsk) -> BoxFuture<'static, Result<Explained, RouteRefused>> {
        let port = self.clone();
        Box::pin(async move {
            let stood = port.store.standings().list(Standing::MAX_AGE).await;
            let stood = stood.map_err(|error| RouteRefused::Unavailable(Box::new(error)))?;
            explain::explain(&port.snapshot.load(), &ask, &stood, port.clock.now())
        })
    }

    fn simulate(&self, what: Simulation) -> BoxFuture<'static, Result<serde_json::Value, RouteRefused>> {
        Box::pin(simulate::simulate(self.clone(), what))
    }
}
