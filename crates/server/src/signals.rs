//! SIGTERM and SIGINT, as one wish to end; SIGHUP as the wish to load the configuration again.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{failure::Failure, reload::Reloader};

/// Cancels the token at the first SIGTERM or SIGINT. A second one ends the process at once, as users expect.
pub(crate) fn cancel_on_end(token: &CancellationToken) -> Result<(), Failure> {
    let fail = |error| Failure::problem("cannot listen for signals", error, "check the limits of this user");
    let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
    let token = token.clone();
    tokio::spawn(async move {
        for round in 0.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if round > 0 {
                end_at_once();
            }
            token.cancel();
        }
    });
    Ok(())
}

/// SIGHUP, heard from now on: unheard it ends a process.
pub(crate) struct Hangups(Signal);

impl Hangups {
    pub(crate) fn listen() -> Result<Hangups, Failure> {
        let fail =
            |error| Failure::problem("cannot listen for signals", error, "check the limits of this user");
        signal(SignalKind::hangup()).map(Hangups).map_err(fail)
    }

    /// Loads the configuration again at each, as daemons do; one that came before counts.
    pub(crate) fn reload(mut self, reloader: Arc<Reloader>) {
        tokio::spawn(async move {
            // What came of it is told by the reloader: in the log, in health and in the timeline.
            while self.0.recv().await.is_some() {
                let _ = reloader.reload("SIGHUP").await;
            }
        });
    }
}

/// The exit code of a process that SIGTERM ended, as shells spell it.
const ENDED_BY_TERM: i32 = 128 + 15;

#[expect(clippy::disallowed_methods, reason = "the second signal means: do not wait for anything")]
fn end_at_once() {
    std::process::exit(ENDED_BY_TERM);
}
