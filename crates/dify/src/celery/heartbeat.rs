//! Who was heard, and when.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::Micros;
use mainstay_wire::celery::Event;

use super::{keys, seen::Heard};
use crate::{
    deployment,
    redis::{Error, Listener, Message, Waits},
};

/// More workers than this are not kept.
pub(super) const MAX_WORKERS: usize = 200;

/// The ears of an observer. They are put on when they are first needed, and again after they fell off.
pub(super) struct Ears {
    listener: Option<Listener>,
    pub(super) since: Option<Micros>,
    pub(super) heard: BTreeMap<String, Heard>,
    /// Those that said that they end.
    pub(super) gone: BTreeMap<String, Micros>,
}

impl Ears {
    pub(super) fn new() -> Ears {
        Ears { listener: None, since: None, heard: BTreeMap::new(), gone: BTreeMap::new() }
    }

    /// Takes in what was published since the last time, waiting this long for more.
    pub(super) async fn listen(
        &mut self,
        redis: &deployment::Redis,
        waits: Waits,
        within: Duration,
        now: Micros,
    ) -> Result<(), Error> {
        let mut listener = match self.listener.take() {
            Some(listener) => listener,
            None => {
                self.since = None;
                let pattern = keys::worker_events(redis.database);
                let listener = Listener::subscribe(redis, waits, &pattern).await?;
                self.since = Some(now);
                listener
            }
        };
        match listener.hear(within).await {
            Ok(messages) => {
                self.listener = Some(listener);
                messages.iter().for_each(|message| self.take(message, now));
                Ok(())
            }
            Err(error) => {
                self.since = None;
                Err(error)
            }
        }
    }

    fn take(&mut self, message: &Message, now: Micros) {
        match Event::parse(&message.payload) {
            Ok(Event::Heartbeat(beat)) => {
                self.gone.remove(&beat.worker);
                if self.heard.len() < MAX_WORKERS || self.heard.contains_key(&beat.worker) {
                    let heard = Heard {
                        at: now,
                        every_s: beat.every_s,
                        active: beat.active,
                        processed: beat.processed,
                        load: beat.load,
                        pid: beat.pid,
                    };
                    self.heard.insert(beat.worker, heard);
                }
            }
            Ok(Event::Online { worker }) => drop(self.gone.remove(&worker)),
            Ok(Event::Offline { worker }) if self.gone.len() < MAX_WORKERS => {
                self.gone.insert(worker, now);
            }
            // Not ours to complain about: other tools publish here too.
            Ok(Event::Offline { .. } | Event::Other(_)) | Err(_) => {}
        }
    }

    /// Forgets a worker.
    pub(super) fn forget(&mut self, worker: &str) {
        self.heard.remove(worker);
        self.gone.remove(worker);
    }
}
