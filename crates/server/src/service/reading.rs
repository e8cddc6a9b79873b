//! Reading a Dify's database while the instance runs, and what health says of it.

use std::time::Duration;

use mainstay_base::Clock;
use mainstay_control::{
    Group, Observer, Told,
    ingest::{Ingest, Options, view},
};
use mainstay_store::Store;
use tokio_util::sync::CancellationToken;

use super::base::Base;
use crate::{dify_routes::Dify, wiring};

/// Between two looks at what the reader says of itself, in this process or another.
const TELL_EVERY: Duration = Duration::from_secs(5);

impl Base {
    /// Reads what the Dify of the configuration did, from now on. Of several processes one reads; each tells how it goes.
    /// `None`: no Dify, or none with a database.
    pub(super) fn read_dify(&self, observer: &Observer) -> Option<Dify> {
        let deployment = self.config.dify.as_ref()?;
        let reader = self.dify_reader.clone()?;
        let name = deployment.name.clone();
        let mut options = Options::new(&name, &wiring::instance());
        if let Some(longest_s) = deployment.sizes.longest_run_secs {
            options.longest_run = Duration::from_secs(longest_s);
        }
        let ingest =
            Ingest::new(reader.clone(), self.store.clone(), options).classifying_by(self.catalogue.clone());
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            Box::pin(ingest.run(stop)).await;
            reader.close().await;
        });
        let telling =
            tell(name.clone(), self.store.clone(), self.clock.clone(), observer.clone(), self.stop.clone());
        self.tasks.spawn(telling);
        let catalogue = self.catalogue.clone();
        Some(Dify { name, store: self.store.clone(), clock: self.clock.clone(), catalogue })
    }
}

async fn tell(name: String, store: Store, clock: Clock, observer: Observer, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(TELL_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let began_at = clock.now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        // A store that does not answer has a component of its own, which says so.
        let Ok(mut told) = view::reading(&store, &name).await else { continue };
        let now = clock.now();
        // What an instance said that has ended says nothing of this one until it had time to read.
        if now.since(began_at) < view::SILENT {
            told = told.filter(|(at, _)| *at >= began_at);
        }
        let (state, reason) = view::judge(told.as_ref(), now);
        observer.tell(Group::Ingest, Told { state, reason, at: now });
    }
}
