//! Tells the store each second how the gateway's targets stand and what providers answered, for control and the console
//! of any process.

use std::time::Duration;

use mainstay_control::Observer;
use mainstay_gateway::Gateway;
use mainstay_store::Store;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

const EVERY: Duration = Duration::from_secs(1);
/// A standing is worth nothing later: the next one says more.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// Until `stop`; then the word is taken back, so that nobody takes a process that ended for one that serves.
pub(crate) async fn run(
    instance: String,
    gateway: Gateway,
    observer: Observer,
    store: Store,
    stop: CancellationToken,
) {
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
        let mut standing = gateway.standing();
        standing.answers = observer.answers(standing.at);
        let put = tokio::time::timeout(STORE_WAIT, store.standings().put(&instance, &standing)).await;
        let outcome = match put {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {STORE_WAIT:?}")),
        };
        match (outcome, failing) {
            (Err(error), false) => {
                warn!(%error, "other processes do not see how the targets of models stand");
                failing = true;
            }
            (Ok(()), true) => {
                info!("other processes see again how the targets of models stand");
                failing = false;
            }
            (Ok(()), false) | (Err(_), true) => {}
        }
    }
    let _ = tokio::time::timeout(STORE_WAIT, store.standings().remove(&instance)).await;
}
