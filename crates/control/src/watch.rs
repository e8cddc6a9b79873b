//! Gathers the facts that health is decided by. Every question has a deadline and is never asked twice at a time, so
//! that whoever hangs is found out and nobody waits for it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use mainstay_base::{Class, Clock, Micros, snapshot::ProviderKey, standing::BreakerState};
use mainstay_net::Client;
use mainstay_store::{
    Store, Waiting,
    model::{QueueStats, Stood, Worker},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    deep,
    delivery::Receiver,
    facade::Shared,
    health::{
        Observer, PeerFacts, ProbeFacts, Read, ReceiverFacts, RefusedKey, Role, TargetFacts, Traffic,
        WorkerFacts, World, decide,
    },
    ports::{EngineProbe, Peers, Ports, ProviderPeer, Supervisor},
    probe::{self, ProviderProbe},
};

/// Between two reports.
const LOOK: Duration = Duration::from_millis(500);
const STORE_EVERY: Duration = Duration::from_secs(1);
const QUEUE_EVERY: Duration = Duration::from_secs(1);
const STANDINGS_EVERY: Duration = Duration::from_secs(1);
/// A gateway says each second how its targets stand; one that is silent for longer knows nothing of now.
const STANDING_MAX_AGE: Duration = Duration::from_secs(10);
/// A receiver is tried again after seconds at the soonest.
const RECEIVERS_EVERY: Duration = Duration::from_secs(2);
const WORKERS_EVERY: Duration = Duration::from_millis(500);
/// The store answers in milliseconds; one that takes longer is as good as away.
const STORE_DEADLINE: Duration = Duration::from_secs(2);
/// A provider that refuses every key is asked with them in turn: one may be repaired.
const PROBE_REFUSED_EVERY: Duration = Duration::from_secs(15);
/// Idle peers are asked so often, those in trouble or out of rotation more often.
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBE_TROUBLED_EVERY: Duration = Duration::from_secs(2);
const ENGINE_DEADLINE: Duration = Duration::from_secs(5);

/// One question's bookkeeping.
struct Question {
    under_way: bool,
    next_at: Instant,
    failures: u32,
}

impl Question {
    fn new() -> Question {
        Question { under_way: false, next_at: Instant::now(), failures: 0 }
    }

    /// Whether to ask now; if so, it is under way.
    fn begin(&mut self, every: Duration) -> bool {
        let now = Instant::now();
        let due = !self.under_way && now >= self.next_at;
        if due {
            self.under_way = true;
            self.next_at = now + every;
        }
        due
    }

    fn end<T>(&mut self, at: Micros, value: Result<T, String>) -> Read<T> {
        self.under_way = false;
        self.failures = if value.is_ok() { 0 } else { self.failures.saturating_add(1) };
        Read { at, value, failures: self.failures }
    }
}

enum Answer {
    Store(Result<Duration, String>),
    Queue(Result<QueueStats, String>),
    Workers(Result<Vec<Worker>, String>),
    Engine(Result<(), String>),
    Standings(Result<Vec<Stood>, String>),
    Receivers(Result<Vec<Waiting>, String>),
    Upstream(String, Result<(), String>),
    Provider(String, ProviderProbe),
}

struct Probed {
    question: Question,
    facts: Option<ProbeFacts>,
}

impl Probed {
    fn new() -> Probed {
        Probed { question: Question::new(), facts: None }
    }

    fn end(&mut self, at: Micros, result: Result<(), String>) {
        self.question.under_way = false;
        let before = self.facts.take().unwrap_or_default();
        let (bad_in_a_row, good_in_a_row) = match &result {
            Ok(()) => (0, before.good_in_a_row.saturating_add(1)),
            Err(_) => (before.bad_in_a_row.saturating_add(1), 0),
        };
        self.facts = Some(ProbeFacts { at, error: result.err(), bad_in_a_row, good_in_a_row });
    }

    fn is_well(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.error.is_none())
    }
}

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

    fn ask(&mut self) {
        let store = &self.store;
        if self.store_question.begin(STORE_EVERY) {
            let store = store.clone();
            self.answers.spawn(async move { Answer::Store(within(STORE_DEADLINE, store.ping()).await) });
        }
        if self.queue_question.begin(QUEUE_EVERY) {
            let jobs = store.jobs();
            self.answers.spawn(async move { Answer::Queue(within(STORE_DEADLINE, jobs.stats()).await) });
        }
        if self.workers_question.begin(WORKERS_EVERY) {
            let workers = store.workers();
            self.answers.spawn(async move { Answer::Workers(within(STORE_DEADLINE, workers.list()).await) });
        }
        if self.standings_question.begin(STANDINGS_EVERY) {
            let standings = store.standings();
            self.answers.spawn(async move {
                let list = standings.list(STANDING_MAX_AGE);
                Answer::Standings(within(STORE_DEADLINE, list).await)
            });
        }
        if self.receivers_question.begin(RECEIVERS_EVERY) {
            let outbox = store.outbox();
            self.answers
                .spawn(async move { Answer::Receivers(within(STORE_DEADLINE, outbox.waiting()).await) });
        }
        let every = pace(&self.engine_probe, false);
        if let Some(engine) = &self.engine
            && self.engine_probe.question.begin(every)
        {
            let probe = engine.probe();
            self.answers.spawn(async move { Answer::Engine(within(ENGINE_DEADLINE, probe).await) });
        }
        self.ask_peers();
    }

    fn ask_peers(&mut self) {
        let peers = self.peers.borrow().clone();
        let now = self.clock.now();
        for upstream in &peers.upstreams {
            let Some(base_url) = upstream.base_url.clone() else { continue };
            let traffic = self.observer.traffic(Role::Upstream, &upstream.name, now);
            if self.is_due(Role::Upstream, &upstream.name, &traffic, None) {
                let (client, name) = (self.client.clone(), upstream.name.clone());
                self.answers.spawn(async move {
                    let result = within(probe::DEADLINE, probe::dify(&client, &base_url)).await;
                    Answer::Upstream(name, result)
                });
            }
        }
        for provider in &peers.providers {
            self.ask_provider(provider, now);
        }
        let is_peer = |role: Role, name: &str| match role {
            Role::Upstream => peers.upstreams.iter().any(|peer| peer.name == name),
            Role::Provider => peers.provider(name).is_some(),
        };
        self.probes.retain(|(role, name), _| is_peer(*role, name));
        self.turns.retain(|name, _| peers.provider(name).is_some());
    }

    fn ask_provider(&mut self, peer: &ProviderPeer, now: Micros) {
        let name = peer.name();
        let traffic = self.observer.traffic(Role::Provider, name, now);
        let refused = self.refused_keys(peer, now);
        let keys = &peer.provider.keys;
        let is_refused = |key: &ProviderKey| refused.iter().any(|refused| refused.key == key.name);
        let all_refused = !keys.is_empty() && keys.iter().all(is_refused);
        let every = match () {
            () if all_refused => Some(PROBE_REFUSED_EVERY),
            () if self.shared.overrides.borrow().drained.contains_key(name) => Some(PROBE_TROUBLED_EVERY),
            () => None,
        };
        if !self.is_due(Role::Provider, name, &traffic, every) {
            return;
        }
        let turn = self.turns.entry(name.to_owned()).or_default();
        let key = match keys.iter().find(|key| !is_refused(key)) {
            Some(key) => Some(key.clone()),
            None => {
                *turn = turn.wrapping_add(1);
                turn.checked_rem(keys.len()).and_then(|turn| keys.get(turn)).cloned()
            }
        };
        let (client, clock, peer) = (self.client.clone(), self.clock.clone(), peer.clone());
        self.answers.spawn(async move {
            let asked = timeout(probe::DEADLINE, probe::provider(&client, &clock, &peer, key)).await;
            let late = || format!("no answer within {} s", probe::DEADLINE.as_secs());
            let probe = asked.unwrap_or_else(|_| ProviderProbe { result: Err(late()), key: None });
            Answer::Provider(peer.name().to_owned(), probe)
        });
    }

    /// By our own records and probes, and by what gateways elsewhere say.
    fn refused_keys(&self, peer: &ProviderPeer, now: Micros) -> Vec<RefusedKey> {
        let mut refused = self.observer.refused_keys(peer.name());
        let resting = self.stood.iter().flat_map(|stood| &stood.standing.keys).filter(|key| {
            key.provider == peer.name()
                && key.why == Some(Class::BadKey)
                && key.rests_until.is_some_and(|until| until > now)
        });
        for key in resting {
            if !refused.iter().any(|refused| refused.key == key.key) {
                refused.push(RefusedKey { key: key.key.clone(), since: now });
            }
        }
        refused.retain(|refused| peer.provider.keys.iter().any(|key| key.name == refused.key));
        refused
    }

    /// Peers that real traffic vouches for are left alone.
    fn is_due(&mut self, role: Role, name: &str, traffic: &Traffic, every: Option<Duration>) -> bool {
        let probed = self.probes.entry((role, name.to_owned())).or_insert_with(Probed::new);
        let vouched_for = traffic.good > 0 && traffic.bad == 0 && probed.facts.is_some();
        if vouched_for && every.is_none() {
            return false;
        }
        let every = every.unwrap_or_else(|| pace(probed, traffic.bad > 0));
        probed.question.begin(every)
    }

    fn take(&mut self, answer: Answer) {
        let now = self.clock.now();
        match answer {
            Answer::Store(result) => self.world.store = Some(self.store_question.end(now, result)),
            Answer::Queue(result) => self.world.queue = Some(self.queue_question.end(now, result)),
            Answer::Workers(result) => {
                let facts = result.map(|workers| self.silences(workers));
                self.world.workers = Some(self.workers_question.end(now, facts));
            }
            Answer::Engine(result) => self.engine_probe.end(now, result),
            Answer::Standings(result) => {
                // Silence of the store says nothing of the targets; what was known grows old by itself.
                if let Ok(stood) = self.standings_question.end(now, result).value {
                    // Our own records told us ourselves.
                    let others = stood.iter().filter(|stood| stood.instance != self.holder);
                    self.observer.hear(&others.collect::<Vec<_>>(), now);
                    self.stood = stood;
                }
                self.stood.retain(|stood| now.since(stood.at) <= STANDING_MAX_AGE);
            }
            Answer::Receivers(result) => {
                // While the store does not answer, what was known stays.
                if let Ok(waiting) = self.receivers_question.end(now, result).value {
                    self.shared.waiting.send_replace(Some((now, Arc::new(waiting))));
                }
            }
            Answer::Upstream(name, result) => self.probe_ended(Role::Upstream, name, result, now),
            Answer::Provider(name, ProviderProbe { result, key }) => {
                if let Some((key, is_refused)) = key {
                    self.observer.key_probed(&name, &key, is_refused, now);
                }
                self.probe_ended(Role::Provider, name, result, now);
            }
        }
    }

    fn probe_ended(&mut self, role: Role, name: String, result: Result<(), String>, now: Micros) {
        if let Some(probed) = self.probes.get_mut(&(role, name)) {
            probed.end(now, result);
        }
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

    /// A check that panicked has left no trace of which it was.
    fn ask_everything_anew(&mut self) {
        self.answers.abort_all();
        self.answers = JoinSet::new();
        self.store_question.under_way = false;
        self.queue_question.under_way = false;
        self.workers_question.under_way = false;
        self.standings_question.under_way = false;
        self.receivers_question.under_way = false;
        self.engine_probe.question.under_way = false;
        for probed in self.probes.values_mut() {
            probed.question.under_way = false;
        }
    }
}

fn pace(probed: &Probed, in_trouble: bool) -> Duration {
    if in_trouble || !probed.is_well() { PROBE_TROUBLED_EVERY } else { PROBE_EVERY }
}

async fn within<T, E: ToString>(
    deadline: Duration,
    ask: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(deadline, ask).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", deadline.as_secs())),
    }
}
