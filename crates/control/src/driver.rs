//! Runs control: one task that looks, one that acts when it holds the lease, one that sends what is in the outbox.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mainstay_store::{Store, StoreError};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    delivery::{Acted, Deliverer, Pulse, Sent},
    facade::{Facade, Shared},
    health::{Component, Report, State, WORKER_LEFT},
    incident::Incidents,
    leader::{Leader, RENEW_EVERY},
    options::Options,
    outage::Outage,
    overrides::{self, Freeze, Overrides},
    ports::{Peers, Ports},
    runbook, slo,
    watch::Watch,
};

/// Between two rounds of acting, unless something wakes it.
const ROUND: Duration = Duration::from_millis(400);
/// A round that hangs (a database that does not answer) is given up; the next begins anew from the store.
const ROUND_DEADLINE: Duration = Duration::from_secs(15);
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// When a sweep reached its own limit there is more to do.
const SWEEP_AGAIN: Duration = Duration::from_secs(5);
const ROWS_EVERY: Duration = Duration::from_secs(10);
/// A run outside the queue that is older than the longest run allowed, and this, has lost its process.
const ABANDONED_GRACE: Duration = Duration::from_secs(60);
/// A round takes milliseconds. One that took this long was held up by the store, and so were the heartbeats of the
/// workers: their silence proves nothing until they have had the time to beat again. A shorter delay cannot make a
/// worker that beats every second seem silent for three.
const ROUND_SLOW: Duration = Duration::from_secs(2);
const CALM_AFTER_SLOW: Duration = Duration::from_secs(3);
const WAKE_PAUSE: Duration = Duration::from_millis(50);

/// Control as it runs. Dropping it stops everything at once; [`Control::shutdown`] does so in order.
pub struct Control {
    facade: Facade,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Control {
    /// Starts to look, to act and to deliver.
    pub fn start(ports: Ports) -> Control {
        let now = ports.clock.now();
        let wake = Arc::new(Notify::new());
        let shared = Arc::new(Shared {
            store: ports.store.clone(),
            clock: ports.clock.clone(),
            client: ports.client.clone(),
            peers: ports.peers.clone(),
            observer: ports.observer.clone(),
            options: ports.options.clone(),
            report: watch::Sender::new(Arc::new(Report::unknown(now))),
            overrides: watch::Sender::new(Arc::new(Overrides::default())),
            freeze: watch::Sender::new(Arc::new(Freeze::default())),
            is_leader: false.into(),
            leads: watch::Sender::new(false),
            slos: watch::Sender::new(None),
            waiting: watch::Sender::new(None),
            sent: Sent::default(),
            wake: wake.clone(),
        });
        let shutdown = CancellationToken::new();
        let deliverer = Deliverer::new(
            ports.store.clone(),
            ports.client.clone(),
            ports.clock.clone(),
            ports.callbacks.clone(),
            ports.options.clone(),
        )
        .counting(shared.sent.clone());
        let acted = Acted::default();
        let pulse = Pulse {
            client: ports.client.clone(),
            clock: ports.clock.clone(),
            options: ports.options.clone(),
            acted: acted.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(Watch::new(&ports, shared.clone()).run(shutdown.clone()));
        tasks.spawn(Act::new(&ports, shared.clone(), wake, acted).run(shutdown.clone()));
        tasks.spawn(slo::Judging::new(shared.clone(), ports.options.clone()).run(shutdown.clone()));
        tasks.spawn(slo::Ended::new(shared.clone()).run(shutdown.clone()));
        tasks.spawn(deliverer.run(shutdown.clone()));
        tasks.spawn(pulse.run(shutdown.clone()));
        Control { facade: Facade { shared }, shutdown, tasks }
    }

    pub fn facade(&self) -> Facade {
        self.facade.clone()
    }

    /// Ends everything, waiting `limit` for what is under way.
    pub async fn shutdown(mut self, limit: Duration) {
        self.shutdown.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(limit, all).await.is_err() {
            warn!("control did not end in time; what is left is dropped");
        }
        self.tasks.shutdown().await;
    }
}

/// The task that acts, while this process holds the lease.
struct Act {
    shared: Arc<Shared>,
    store: Store,
    peers: watch::Receiver<Arc<Peers>>,
    options: watch::Receiver<Arc<Options>>,
    leader: Leader,
    incidents: Incidents,
    runbooks: runbook::Shell,
    outage: Outage,
    wake: Arc<Notify>,
    sweep: JoinSet<Result<bool, StoreError>>,
    next_campaign_at: Instant,
    next_sweep_at: Instant,
    next_rows_at: Instant,
    /// Until then nothing is done about anybody.
    calm_until: Instant,
    /// For the heartbeat.
    acted: Acted,
}

impl Act {
    fn new(ports: &Ports, shared: Arc<Shared>, wake: Arc<Notify>, acted: Acted) -> Act {
        let (store, options) = (ports.store.clone(), ports.options.borrow().clone());
        let now = Instant::now();
        Act {
            shared,
            peers: ports.peers.clone(),
            options: ports.options.clone(),
            leader: Leader::new(store.clone(), options.holder.clone()),
            incidents: Incidents::new(store.clone(), ports.options.clone()),
            runbooks: runbook::Shell::new(
                store.clone(),
                options.host.clone(),
                ports.supervisor.clone(),
                wake.clone(),
            ),
            store,
            outage: Outage::new(ports.client.clone(), ports.clock.clone(), ports.options.clone()),
            wake,
            sweep: JoinSet::new(),
            next_campaign_at: now,
            next_sweep_at: now + SWEEP_AGAIN,
            next_rows_at: now + ROWS_EVERY,
            calm_until: now,
            acted,
        }
    }

    async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = interval(ROUND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
                () = self.wake.notified() => tokio::time::sleep(WAKE_PAUSE).await,
            }
            let report = self.shared.report.borrow().clone();
            self.outage.look(&report, self.shared.clock.now());
            match timeout(ROUND_DEADLINE, self.round()).await {
                Ok(Ok(())) if self.leader.epoch().is_some() => self.acted.now(self.shared.clock.now()),
                Ok(Ok(())) => {}
                // The report says so too; it is the alert's business to be loud.
                Ok(Err(error)) => debug!(%error, "a round of control failed; the next begins anew"),
                Err(_) => warn!("a round of control took too long; the next begins anew"),
            }
        }
        self.runbooks.shutdown().await;
        self.sweep.shutdown().await;
        self.outage.shutdown().await;
        if timeout(ROUND, self.leader.resign()).await.is_err() {
            debug!("the lease could not be given back; it ends by itself");
        }
    }

    async fn round(&mut self) -> Result<(), StoreError> {
        let started = Instant::now();
        let campaign = self.campaign().await;
        let is_leader = self.leader.epoch().is_some();
        if self.shared.is_leader.swap(is_leader, Ordering::Relaxed) != is_leader {
            self.shared.leads.send_replace(is_leader);
            info!(is_leader, "this control {}", if is_leader { "acts" } else { "only watches" });
            self.incidents.reset();
        }
        campaign?;
        let overrides = Arc::new(overrides::overrides(&self.store).await?);
        publish(&self.shared.overrides, overrides.clone());
        let freeze = Arc::new(overrides::freeze(&self.store).await?);
        publish(&self.shared.freeze, freeze.clone());

        let report = self.shared.report.borrow().clone();
        if !is_leader || report.components.is_empty() {
            return Ok(());
        }
        self.incidents.refresh().await?;
        let says = self.runbooks.says(&self.incidents).await?;
        let components = self.components(&report);
        self.incidents.look(&components, &says, self.leader.fence(), self.shared.clock.now()).await?;
        if self.may_act(started) {
            self.act(&report, &overrides, &freeze).await?;
        }
        self.keep_house(&report).await
    }

    /// What alerts may be about: parts of the report, and service levels. Until those are judged, their open alerts stay.
    fn components(&self, report: &Report) -> Vec<Component> {
        let mut components = report.components.clone();
        match &*self.shared.slos.borrow() {
            Some(slos) => components.extend(slos.iter().cloned()),
            None => {
                let firing = self.incidents.firing();
                components.extend(
                    firing.filter_map(|incident| slo::unjudged(&incident.component, incident.labels())),
                );
            }
        }
        components
    }

    async fn campaign(&mut self) -> Result<(), StoreError> {
        if Instant::now() < self.next_campaign_at {
            return Ok(());
        }
        self.next_campaign_at = Instant::now() + RENEW_EVERY;
        self.leader.campaign().await
    }

    /// Between a decision and its effect neither the lease may have ended nor the store have stood still.
    fn may_act(&mut self, round_started: Instant) -> bool {
        let now = Instant::now();
        if now.duration_since(round_started) >= ROUND_SLOW {
            warn!("the store stood still for a while; nothing is done until heartbeats mean something again");
            self.calm_until = now + CALM_AFTER_SLOW;
        }
        now >= self.calm_until && self.leader.epoch().is_some()
    }

    async fn act(
        &mut self,
        report: &Report,
        overrides: &Overrides,
        freeze: &Freeze,
    ) -> Result<(), StoreError> {
        let (peers, now) = (self.peers.borrow().clone(), self.shared.clock.now());
        let automatic = self.options.borrow().automatic;
        let world = runbook::World { report, peers: &peers, overrides, freeze, automatic, now };
        self.runbooks.round(&self.incidents, &world).await
    }

    async fn keep_house(&mut self, report: &Report) -> Result<(), StoreError> {
        let now = Instant::now();
        while let Some(swept) = self.sweep.try_join_next() {
            match swept {
                Ok(Ok(true)) => self.next_sweep_at = now + SWEEP_AGAIN,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => warn!(%error, "cannot remove what is too old"),
                Err(error) => warn!(%error, "a sweep ended badly"),
            }
        }
        if now >= self.next_sweep_at && self.sweep.is_empty() {
            self.next_sweep_at = now + SWEEP_EVERY;
            let (retention, policy) = (self.store.retention(), self.options.borrow().retention);
            self.sweep.spawn(async move { retention.sweep(policy).await.map(|swept| swept.more) });
        }
        if now >= self.next_rows_at && report.component("store").is_some_and(|store| store.state == State::Ok)
        {
            self.next_rows_at = now + ROWS_EVERY;
            self.remove_gone_workers().await?;
            self.fail_abandoned_runs().await?;
        }
        Ok(())
    }

    /// Runs outside the queue whose process died would say `running` for ever.
    async fn fail_abandoned_runs(&self) -> Result<(), StoreError> {
        let longest_run = self.options.borrow().longest_run;
        let before = self.shared.clock.now() - longest_run - ABANDONED_GRACE;
        let failed =
            self.store.runs().fail_abandoned(before, "The process that executed it has ended.").await?;
        if failed > 0 {
            warn!(runs = failed, "runs whose process has died were marked as failed");
        }
        Ok(())
    }

    /// Rows of processes that ended without saying so. Their jobs come back by their leases.
    async fn remove_gone_workers(&self) -> Result<(), StoreError> {
        let now = self.shared.clock.now();
        for worker in self.store.workers().list().await? {
            if now.since(worker.beat_at) >= 2 * WORKER_LEFT {
                info!(worker.id = %worker.id, worker.host = %worker.host, "a worker that is gone is forgotten");
                self.store.workers().remove(&worker.id).await?;
            }
        }
        Ok(())
    }
}

/// Tells followers only of what has changed.
fn publish<T: PartialEq>(sender: &watch::Sender<Arc<T>>, value: Arc<T>) {
    sender.send_if_modified(|before| {
        let is_news = *before != value;
        if is_news {
            *before = value;
        }
        is_news
    });
}
