//! Gathers the facts that health is decided by. Every question has a deadline and is never asked twice at a time, so
//! that whoever hangs is found out and nobody waits for it.

mod ask;
mod question;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use mainstay_base::{Clock, Micros, standing::BreakerState};
use mainstay_net::Client;
use mainstay_store::{
    Store,
    model::{Stood, Worker},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    deep,
    delivery::Receiver,
    facade::Shared,
    health::{Observer, PeerFacts, ReceiverFacts, Role, TargetFacts, WorkerFacts, World, decide},
    ports::{EngineProbe, Peers, Ports, ProviderPeer, Supervisor},
};
use ask::Answer;
use question::{Probed, Question};

/// Between two reports.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) struct Watch {
    shared: Arc<Shared>,
    store: Store,
    client: Client,
    clock: Clock,
    observer: Observer,
    /// The name of this process among all.
    holder: String,
    supervisor: Option<Arc<dyn Supervisor>>,
    engine: Option<Arc<dyn EngineProbe>>,
    dify: Option<deep::Watch>,
    peers: watch::Receiver<Arc<Peers>>,
    world: World,
    store_question: Question,
    queue_question: Question,
    workers_question: Question,
    engine_probe: Probed,
    standings_question: Question,
    receivers_question: Question,
    /// What the gateways say of their targets.
    stood: Vec<Stood>,
    /// Whose peers were judged last, to see when keys change.
    judged: Arc<Peers>,
    /// Which key of a provider the next probe uses.
    turns: HashMap<String, usize>,
    probes: HashMap<(Role, String), Probed>,
    beats: HashMap<String, (Micros, Instant)>,
    answers: JoinSet<Answer>,
}

impl Watch {
    pub(crate) fn new(ports: &Ports, shared: Arc<Shared>) -> Watch {
        Watch {
            shared,
            store: ports.store.clone(),
            client: ports.client.clone(),
            clock: ports.clock.clone(),
            observer: ports.observer.clone(),
            holder: ports.options.borrow().holder.clone(),
            supervisor: ports.supervisor.clone(),
            engine: ports.engine.clone(),
            dify: ports.dify.clone(),
            peers: ports.peers.clone(),
            world: World { host: ports.options.borrow().host.clone(), ..World::default() },
            store_question: Question::new(),
            queue_question: Question::new(),
            workers_question: Question::new(),
            engine_probe: Probed::new(),
            standings_question: Question::new(),
            receivers_question: Question::new(),
            stood: Vec::new(),
            judged: ports.peers.borrow().clone(),
            turns: HashMap::new(),
            probes: HashMap::new(),
            beats: HashMap::new(),
            answers: JoinSet::new(),
        }
    }

    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {
                    self.ask();
                    self.report();
                }
                Some(answer) = self.answers.join_next(), if !self.answers.is_empty() => match answer {
                    Ok(answer) => self.take(answer),
                    Err(error) => {
                        warn!(%error, "a check ended badly");
                        self.ask_everything_anew();
                    }
                },
            }
        }
        self.answers.shutdown().await;
    }

    /// How long each heartbeat has been standing still, by our own clock: the clocks of the database and of other
    /// hosts may be wrong, and a heartbeat we did not look at proves nothing.
    fn silences(&mut self, workers: Vec<Worker>) -> Vec<WorkerFacts> {
        let now = Instant::now();
        self.beats.retain(|id, _| workers.iter().any(|worker| worker.id == *id));
        let mut facts = Vec::with_capacity(workers.len());
        for worker in workers {
            let beat = self.beats.entry(worker.id.clone()).or_insert((worker.beat_at, now));
            if beat.0 != worker.beat_at {
                *beat = (worker.beat_at, now);
            }
            let silent = now.saturating_duration_since(beat.1);
            let Worker { id, slot, pid, host, started_at, beat_at: _, jobs } = worker;
            facts.push(WorkerFacts { id, slot, pid, host, jobs, started_at, silent });
        }
        facts
    }

    fn report(&mut self) {
        let now = self.clock.now();
        let peers = self.peers.borrow().clone();
        self.forget_old_keys(&peers);
        let facts = |role: Role, name: &str| PeerFacts {
            name: name.to_owned(),
            traffic: self.observer.traffic(role, name, now),
            probe: self.probes.get(&(role, name.to_owned())).and_then(|probed| probed.facts.clone()),
            ..PeerFacts::default()
        };
        let embedded = peers.upstreams.iter().find(|peer| peer.base_url.is_none());
        self.world.engine = self.engine.as_ref().map(|_| PeerFacts {
            traffic: embedded
                .map(|peer| self.observer.traffic(Role::Upstream, &peer.name, now))
                .unwrap_or_default(),
            probe: self.engine_probe.facts.clone(),
            ..PeerFacts::default()
        });
        let upstreams = peers.upstreams.iter().filter(|peer| peer.base_url.is_some());
        let upstreams = upstreams.map(|peer| facts(Role::Upstream, &peer.name)).collect();
        let overrides = self.shared.overrides.borrow().clone();
        let out = |name: &str| overrides.drained.get(name).map(crate::Drained::words);
        let provider = |peer: &ProviderPeer| PeerFacts {
            drained: out(peer.name()),
            targets: self.targets(peer.name()),
            keys: peer.provider.keys.len(),
            keys_refused: self.refused_keys(peer, now),
            ..facts(Role::Provider, peer.name())
        };
        let providers = peers.providers.iter().map(provider).collect();
        self.world.upstreams = upstreams;
        self.world.providers = providers;
        let dify = self.dify.as_ref();
        self.world.dify = dify.map(|dify| deep::parts(&dify.latest())).unwrap_or_default();
        self.world.receivers = self.receivers();
        self.world.told = self.observer.told();
        self.world.slots = self.supervisor.as_ref().map(|supervisor| supervisor.list()).unwrap_or_default();
        let report = decide(&self.world, now);
        self.world.previous = Some(report.clone());
        self.shared.report.send_replace(Arc::new(report));
    }

    /// Those that are configured, once the outbox has said how they stand.
    fn receivers(&self) -> Vec<ReceiverFacts> {
        let Some((at, waiting)) = self.shared.waiting.borrow().clone() else { return Vec::new() };
        let options = self.shared.options.borrow().clone();
        let facts = |receiver: &Receiver| ReceiverFacts {
            name: receiver.name.clone(),
            waiting: waiting.iter().find(|waiting| waiting.receiver == receiver.name).cloned(),
            at: Some(at),
        };
        options.receivers.iter().map(facts).collect()
    }

    /// Each target of a provider, as the gateway sees it that has the worst of it.
    fn targets(&self, provider: &str) -> Vec<TargetFacts> {
        let mut worst: BTreeMap<&str, TargetFacts> = BTreeMap::new();
        let all = self.stood.iter().flat_map(|stood| &stood.standing.targets);
        for target in all.filter(|target| target.provider == provider) {
            let facts = TargetFacts {
                model: target.model.clone(),
                breaker: target.breaker,
                probe_at: target.probe_at,
                last_failure: target.last_failure,
            };
            let there = worst.entry(&target.model).or_insert_with(|| facts.clone());
            if facts.breaker == BreakerState::Open && facts.probe_at > there.probe_at {
                *there = facts;
            }
        }
        worst.into_values().collect()
    }

    /// A key that was replaced is not the key that was refused.
    fn forget_old_keys(&mut self, peers: &Arc<Peers>) {
        if Arc::ptr_eq(&self.judged, peers) {
            return;
        }
        for peer in &peers.providers {
            let before = self.judged.provider(peer.name());
            if before.is_none_or(|before| before.provider.keys != peer.provider.keys) {
                self.observer.forget_keys(peer.name());
            }
        }
        self.judged = Arc::clone(peers);
    }
}
