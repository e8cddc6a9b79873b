//! A dead man's switch: calls out while this control acts, and only then. Whoever is called tells people when it is not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use http::{Request, header::USER_AGENT};
use mainstay_base::{Clock, Micros, snapshot::Timeouts};
use mainstay_net::{AddressRule, Client};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::tell::AGENT;
use crate::options::{Heartbeat, Options};

/// A control that acts does so more than twice a second; one that has not for so long has lost its lease or its store.
const ALIVE: Duration = Duration::from_secs(15);
/// Between two looks at whether a call is due.
const LOOK: Duration = Duration::from_secs(1);
/// After a call that failed, if that is sooner than the next.
const AGAIN: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(10),
    idle: Duration::from_secs(5),
    total: Duration::from_secs(15),
};

/// When this process last decided and stored something as the one that acts. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Acted(Arc<AtomicI64>);

impl Acted {
    /// A whole round has ended, its store answered, and the lease is held.
    pub(crate) fn now(&self, now: Micros) {
        self.0.store(now.0, Ordering::Relaxed);
    }

    fn is_fresh(&self, now: Micros) -> bool {
        let at = Micros(self.0.load(Ordering::Relaxed));
        at.0 > 0 && now.since(at) <= ALIVE
    }
}

pub(crate) struct Pulse {
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    pub(crate) options: watch::Receiver<Arc<Options>>,
    pub(crate) acted: Acted,
}

impl Pulse {
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut next_at = Instant::now();
        let mut was_well = true;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let Some(heartbeat) = self.options.borrow().heartbeat.clone() else { continue };
            if Instant::now() < next_at || !self.acted.is_fresh(self.clock.now()) {
                continue;
            }
            let called = tokio::select! {
                () = shutdown.cancelled() => return,
                called = call(&self.client, &heartbeat) => called,
            };
            next_at =
                Instant::now() + if called.is_ok() { heartbeat.every } else { heartbeat.every.min(AGAIN) };
            match &called {
                Ok(()) if !was_well => info!("the heartbeat is heard again"),
                Err(error) if was_well => warn!(%error, "the heartbeat is not heard; it is tried again"),
                _ => {}
            }
            was_well = called.is_ok();
        }
    }
}

/// The address is a secret: errors name its host only.
async fn call(client: &Client, heartbeat: &Heartbeat) -> Result<(), String> {
    let request = Request::get(heartbeat.url.expose())
        .header(USER_AGENT, AGENT)
        .body(mainstay_net::empty())
        .map_err(|error| format!("its address cannot be called: {error}"))?;
    let response =
        client.send(request, &TIMEOUTS, AddressRule::Any).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let _ = mainstay_net::collect(response.into_body(), MAX_ANSWER_BYTES).await;
    if status.is_success() { Ok(()) } else { Err(format!("answered {}", status.as_u16())) }
}

#[cfg(test)]
mod tests {
    use mainstay_base::Secret;
    use mainstay_net::ClientOptions;
    use mainstay_testkit::{HttpServer, http_server::whole, wait_until};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn it_beats_while_control_acts_and_only_then() {
        let server = HttpServer::start(|_| async { whole(200, "text/plain", "") }).await;
        let heartbeat = Heartbeat { url: Secret::new(server.url()), every: Duration::ZERO };
        let options = Options { heartbeat: Some(heartbeat), ..Options::new("test", "here") };
        let (clock, acted) = (Clock::manual(Micros(1_000_000)), Acted::default());
        let pulse = Pulse {
            client: Client::new(ClientOptions::default()).unwrap(),
            clock: clock.clone(),
            options: watch::channel(Arc::new(options)).1,
            acted: acted.clone(),
        };
        assert!(!acted.is_fresh(clock.now()), "nothing was done yet");
        acted.now(clock.now());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(pulse.run(shutdown.clone()));
        wait_until("two beats", LIMIT, || async { (server.requests().len() >= 2).then_some(()) }).await;
        clock.advance(ALIVE + Duration::from_secs(1));
        assert!(!acted.is_fresh(clock.now()), "it has not acted for too long");
        shutdown.cancel();
        task.await.unwrap();
    }
}
