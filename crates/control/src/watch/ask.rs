//! Asks: the store, the engine, upstreams and providers, and takes what they answer.

use std::{sync::Arc, time::Duration};

use mainstay_base::{Class, Micros, Standing, snapshot::ProviderKey};
use mainstay_store::{
    Waiting,
    model::{QueueStats, Stood, Worker},
};
use tokio::{task::JoinSet, time::timeout};

use super::{
    Watch,
    question::{PROBE_TROUBLED_EVERY, Probed, pace},
};
use crate::{
    health::{RefusedKey, Role, Traffic},
    ports::ProviderPeer,
    probe::{self, ProviderProbe},
};

const STORE_EVERY: Duration = Duration::from_secs(1);
const QUEUE_EVERY: Duration = Duration::from_secs(1);
const STANDINGS_EVERY: Duration = Duration::from_secs(1);
/// A receiver is tried again after seconds at the soonest.
const RECEIVERS_EVERY: Duration = Duration::from_secs(2);
const WORKERS_EVERY: Duration = Duration::from_millis(500);
/// The store answers in milliseconds; one that takes longer is as good as away.
const STORE_DEADLINE: Duration = Duration::from_secs(2);
/// A provider that refuses every key is asked with them in turn: one may be repaired.
const PROBE_REFUSED_EVERY: Duration = Duration::from_secs(15);
const ENGINE_DEADLINE: Duration = Duration::from_secs(5);

pub(super) enum Answer {
    Store(Result<Duration, String>),
    Queue(Result<QueueStats, String>),
    Workers(Result<Vec<Worker>, String>),
    Engine(Result<(), String>),
    Standings(Result<Vec<Stood>, String>),
    Receivers(Result<Vec<Waiting>, String>),
    Upstream(String, Result<(), String>),
    Provider(String, ProviderProbe),
}

impl Watch {
    pub(super) fn ask(&mut self) {
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
                let list = standings.list(Standing::MAX_AGE);
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
    pub(super) fn refused_keys(&self, peer: &ProviderPeer, now: Micros) -> Vec<RefusedKey> {
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

    pub(super) fn take(&mut self, answer: Answer) {
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
                self.stood.retain(|stood| now.since(stood.at) <= Standing::MAX_AGE);
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

    /// A check that panicked has left no trace of which it was.
    pub(super) fn ask_everything_anew(&mut self) {
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

async fn within<T, E: ToString>(
    deadline: Duration,
    ask: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(deadline, ask).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", deadline.as_secs())),
    }
}
