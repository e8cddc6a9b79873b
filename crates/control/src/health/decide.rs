//! From facts to a report. Pure.
//!
//! Overall: `down` when nobody can answer the app path (without an app path: no provider can); `degraded` when any
//! component is degraded or down; `ok` otherwise. The engine answers only while the store does.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::Micros;

use super::{
    Component, Group, PeerFacts, ProbeFacts, Report, State, Traffic, WorkerFacts, World, provider, receiver,
};
use crate::ports::{Slot, SlotState};

/// A worker beats every second; after this long it is wedged, stopped or gone.
pub(crate) const WORKER_SILENT: Duration = Duration::from_secs(3);
/// How long a new worker process may take until its first heartbeat.
pub(crate) const WORKER_START: Duration = Duration::from_secs(15);
/// Workers of other hosts that have been silent for longer are taken to have left for good.
pub(crate) const WORKER_LEFT: Duration = Duration::from_secs(60);

/// Failed pings in a row after which the store is down; one is a hiccup.
const STORE_DOWN_FAILURES: u32 = 2;
/// A ping is a commit's cost; slower than this, everything durable is slow.
const STORE_SLOW: Duration = Duration::from_millis(500);

/// A due job that waits longer means that workers do not keep up.
const QUEUE_WAIT_DEGRADED: Duration = Duration::from_secs(30);
const QUEUE_WAIT_DOWN: Duration = Duration::from_secs(300);

/// Requests in the window from which on traffic alone decides.
const TRAFFIC_DECIDES: u32 = 4;
/// So many failures without a success between are enough, whatever came before.
const BAD_IN_A_ROW_DOWN: u32 = 4;
/// So many successes without a failure between: failures still in the window are history.
const GOOD_IN_A_ROW_BACK: u32 = 5;
const BAD_SHARE_DOWN_PERCENT: u32 = 50;
const BAD_SHARE_DEGRADED_PERCENT: u32 = 10;
/// One failure among ten is chance.
const BAD_DEGRADED: u32 = 2;
const PROBE_DOWN_FAILURES: u32 = 2;

/// What one component was found to be.
pub(super) struct Verdict {
    pub(super) state: State,
    pub(super) reason: String,
    pub(super) last_check: Option<Micros>,
}

impl Verdict {
    pub(super) fn new(state: State, reason: impl Into<String>, last_check: Option<Micros>) -> Verdict {
        Verdict { state, reason: reason.into(), last_check }
    }
}

pub fn decide(world: &World, now: Micros) -> Report {
    let mut draft = Draft { world, now, components: Vec::new() };
    draft.add("store", Group::Store, "store", store(world));
    if let Some(engine) = &world.engine {
        let mut verdict = peer(engine);
        if draft.state_of("store") == State::Down {
            verdict = Verdict::new(
                State::Down,
                "the store is down, and the engine's apps are in it",
                verdict.last_check,
            );
        }
        draft.add("engine", Group::Engine, "engine", verdict);
    }
    draft.add_workers();
    draft.add("queue", Group::Queue, "queue", queue(world, draft.state_of("workers")));
    for facts in &world.upstreams {
        draft.add(&format!("upstream:{}", facts.name), Group::Upstream, &facts.name, peer(facts));
    }
    for facts in &world.providers {
        draft.add_provider(facts);
    }
    for part in &world.dify {
        let verdict = Verdict::new(part.state, part.reason.clone(), part.at);
        draft.add(&format!("dify:{}", part.name), Group::Dify, &part.name, verdict);
        if let Some(component) = draft.components.last_mut() {
            component.finding.clone_from(&part.finding);
        }
    }
    for facts in &world.receivers {
        let verdict = receiver::verdict(facts, now);
        draft.add(&format!("receiver:{}", facts.name), Group::Receiver, &facts.name, verdict);
    }
    for (group, told) in &world.told {
        let verdict = Verdict::new(told.state, told.reason.clone(), Some(told.at));
        draft.add(group.as_str(), *group, group.as_str(), verdict);
    }
    draft.finish()
}

fn store(world: &World) -> Verdict {
    let Some(read) = &world.store else { return Verdict::new(State::Unknown, "not checked yet", None) };
    match &read.value {
        Ok(took) if *took >= STORE_SLOW => {
            let reason = format!("a round trip takes {} ms", took.as_millis());
            Verdict::new(State::Degraded, reason, Some(read.at))
        }
        Ok(took) => {
            let reason = format!("a round trip takes {:.1} ms", took.as_secs_f64() * 1e3);
            Verdict::new(State::Ok, reason, Some(read.at))
        }
        Err(error) if read.failures >= STORE_DOWN_FAILURES => {
            Verdict::new(State::Down, error.clone(), Some(read.at))
        }
        Err(error) => Verdict::new(State::Degraded, error.clone(), Some(read.at)),
    }
}

fn queue(world: &World, workers: State) -> Verdict {
    let Some(read) = &world.queue else { return Verdict::new(State::Unknown, "not checked yet", None) };
    let at = Some(read.at);
    let stats = match &read.value {
        Ok(stats) => stats,
        Err(error) => return Verdict::new(State::Unknown, format!("cannot be read: {error}"), at),
    };
    let waited = Duration::from_micros(u64::try_from(stats.oldest_queued_us).unwrap_or(0));
    let line = format!("{} waiting, {} running, {} dead letters", stats.queued, stats.leased, stats.dead);
    if stats.queued > 0 && workers == State::Down {
        return Verdict::new(State::Down, format!("nobody takes jobs: no worker is well; {line}"), at);
    }
    if waited >= QUEUE_WAIT_DOWN {
        return Verdict::new(
            State::Down,
            format!("the oldest job waits for {} s; {line}", waited.as_secs()),
            at,
        );
    }
    if waited >= QUEUE_WAIT_DEGRADED {
        return Verdict::new(
            State::Degraded,
            format!("the oldest job waits for {} s; {line}", waited.as_secs()),
            at,
        );
    }
    Verdict::new(State::Ok, line, at)
}

/// Real traffic decides when there is enough of it, probes otherwise.
fn peer(facts: &PeerFacts) -> Verdict {
    let PeerFacts { traffic, probe, .. } = facts;
    if traffic_decides(traffic) {
        return by_traffic(traffic);
    }
    match probe {
        Some(probe) => by_probe(probe),
        None if traffic.total() > 0 => by_traffic(traffic),
        None => Verdict::new(State::Unknown, "no traffic and no probe yet", None),
    }
}

pub(super) fn traffic_decides(traffic: &Traffic) -> bool {
    let in_a_row = traffic.total() > 0 && traffic.bad_in_a_row >= BAD_IN_A_ROW_DOWN;
    traffic.total() >= TRAFFIC_DECIDES || in_a_row
}

pub(super) fn by_traffic(traffic: &Traffic) -> Verdict {
    let (bad, total) = (traffic.bad, traffic.total());
    let percent = (u64::from(bad) * 100).checked_div(u64::from(total)).unwrap_or(0);
    let is_back = traffic.good_in_a_row >= GOOD_IN_A_ROW_BACK;
    let in_a_row = traffic.bad_in_a_row >= BAD_IN_A_ROW_DOWN;
    let mostly_bad = total >= TRAFFIC_DECIDES && percent >= u64::from(BAD_SHARE_DOWN_PERCENT);
    let partly_bad = bad >= BAD_DEGRADED && percent >= u64::from(BAD_SHARE_DEGRADED_PERCENT);
    let state = match () {
        () if is_back => State::Ok,
        () if in_a_row || mostly_bad => State::Down,
        () if partly_bad => State::Degraded,
        () => State::Ok,
    };
    let mut reason =
        format!("{bad} of {total} requests failed in the last {} s", super::traffic::WINDOW_SECONDS);
    if let (true, Some(error)) = (state.is_trouble(), &traffic.last_error) {
        reason = format!("{reason}; last: {error}");
    }
    Verdict::new(state, reason, traffic.last_at)
}

pub(super) fn by_probe(probe: &ProbeFacts) -> Verdict {
    let at = Some(probe.at);
    match &probe.error {
        None => Verdict::new(State::Ok, "answers probes", at),
        Some(error) if probe.bad_in_a_row >= PROBE_DOWN_FAILURES => Verdict::new(
            State::Down,
            format!("{} probes failed in a row; last: {error}", probe.bad_in_a_row),
            at,
        ),
        Some(error) => Verdict::new(State::Degraded, format!("a probe failed: {error}"), at),
    }
}

struct Draft<'a> {
    world: &'a World,
    now: Micros,
    components: Vec<Component>,
}

impl Draft<'_> {
    fn add(&mut self, id: &str, group: Group, name: &str, verdict: Verdict) {
        let Verdict { state, reason, last_check } = verdict;
        let before = self.world.previous.as_ref().and_then(|report| report.component(id));
        let since = before.filter(|before| before.state == state).map_or(self.now, |before| before.since);
        let (id, name) = (id.to_owned(), name.to_owned());
        let (trouble, finding) = (None, None);
        self.components.push(Component {
            id,
            group,
            name,
            state,
            reason,
            since,
            last_check,
            trouble,
            finding,
            labels: BTreeMap::new(),
        });
    }

    fn add_provider(&mut self, facts: &PeerFacts) {
        let verdict = provider::verdict(facts, self.now);
        self.add(&format!("provider:{}", facts.name), Group::Provider, &facts.name, verdict);
        if let Some(component) = self.components.last_mut() {
            component.trouble.clone_from(&facts.traffic.trouble);
        }
        let previous = self.world.previous.as_ref();
        let before = |id: &str| {
            let component = previous.and_then(|report| report.component(id));
            component.map(|component| (component.state, component.since))
        };
        let is_key = |component: &&Component| component.group == Group::ProviderKey;
        let known: Vec<String> = previous
            .map(|report| report.components.iter().filter(is_key).map(|key| key.id.clone()).collect())
            .unwrap_or_default();
        for (id, name, verdict) in provider::keys(facts, before, &known, self.now) {
            self.add(&id, Group::ProviderKey, &name, verdict);
        }
    }

    fn state_of(&self, id: &str) -> State {
        let found = self.components.iter().find(|component| component.id == id);
        found.map_or(State::Unknown, |component| component.state)
    }

    /// First the workers together, then each. A store that does not answer says nothing about workers.
    fn add_workers(&mut self) {
        let (beating, last_check, unreadable) = match &self.world.workers {
            Some(read) => match &read.value {
                Ok(workers) => (workers.as_slice(), Some(read.at), false),
                Err(_) => (&[][..], Some(read.at), true),
            },
            None => (&[][..], None, true),
        };
        let mut verdicts: Vec<(String, Verdict)> = Vec::new();
        for slot in &self.world.slots {
            let verdict = slot_verdict(slot, beating, unreadable, last_check, self.now);
            verdicts.push((slot.slot.to_string(), verdict));
        }
        let is_ours = |worker: &WorkerFacts| {
            let same_slot = |slot: &Slot| i64::from(slot.slot) == worker.slot;
            worker.host == self.world.host && self.world.slots.iter().any(same_slot)
        };
        for worker in beating.iter().filter(|worker| worker.silent < WORKER_LEFT && !is_ours(worker)) {
            verdicts.push((format!("{}:{}", worker.host, worker.slot), beat_verdict(worker, last_check)));
        }
        let well = verdicts.iter().filter(|(_, verdict)| verdict.state == State::Ok).count();
        let starting = verdicts.iter().filter(|(_, verdict)| verdict.state == State::Unknown).count();
        let all = verdicts.len();
        let reason = format!("{well} of {all} worker processes are well");
        let together = match () {
            () if all == 0 && unreadable => Verdict::new(State::Unknown, "not checked yet", last_check),
            () if all == 0 => Verdict::new(State::Down, "there is no worker process", last_check),
            () if well == all => Verdict::new(State::Ok, reason, last_check),
            () if well + starting == all && well == 0 => Verdict::new(State::Unknown, reason, last_check),
            () if well == 0 && starting == 0 => Verdict::new(State::Down, reason, last_check),
            () if well + starting == all => Verdict::new(State::Ok, reason, last_check),
            () => Verdict::new(State::Degraded, reason, last_check),
        };
        self.add("workers", Group::Workers, "workers", together);
        for (name, verdict) in verdicts {
            self.add(&format!("worker:{name}"), Group::Worker, &name, verdict);
        }
    }

    fn finish(self) -> Report {
        let (state, reason) = overall(&self.components);
        let before = self.world.previous.as_ref().filter(|report| report.state == state);
        let since = before.map_or(self.now, |report| report.since);
        Report { state, reason, since, at: self.now, components: self.components }
    }
}

fn slot_verdict(
    slot: &Slot,
    beating: &[WorkerFacts],
    unreadable: bool,
    last_check: Option<Micros>,
    now: Micros,
) -> Verdict {
    if let SlotState::Exited(how) = &slot.state {
        return Verdict::new(State::Down, format!("the process has ended: {how}"), Some(now));
    }
    if unreadable {
        return Verdict::new(State::Unknown, "heartbeats cannot be read", last_check);
    }
    let is_its = |worker: &&WorkerFacts| {
        worker.slot == i64::from(slot.slot) && slot.pid.is_some_and(|pid| i64::from(pid) == worker.pid)
    };
    // An older process of the slot may have left a row behind: the process id tells them apart.
    match beating.iter().find(is_its) {
        Some(worker) => beat_verdict(worker, last_check),
        None if now.since(slot.started_at) < WORKER_START => {
            Verdict::new(State::Unknown, "starting: no heartbeat yet", last_check)
        }
        None => {
            let reason = format!("no heartbeat within {} s of its start", WORKER_START.as_secs());
            Verdict::new(State::Down, reason, last_check)
        }
    }
}

fn beat_verdict(worker: &WorkerFacts, last_check: Option<Micros>) -> Verdict {
    if worker.silent >= WORKER_SILENT {
        let reason =
            format!("no heartbeat from process {} for {:.1} s", worker.pid, worker.silent.as_secs_f64());
        return Verdict::new(State::Down, reason, last_check);
    }
    Verdict::new(State::Ok, format!("process {} beats, {} jobs in hand", worker.pid, worker.jobs), last_check)
}

fn overall(components: &[Component]) -> (State, String) {
    let of = |groups: &[Group]| -> Vec<&Component> {
        components.iter().filter(|component| groups.contains(&component.group)).collect()
    };
    let mut answerers = of(&[Group::Engine, Group::Upstream]);
    if answerers.is_empty() {
        answerers = of(&[Group::Provider]);
    }
    let all_down = !answerers.is_empty() && answerers.iter().all(|component| component.state == State::Down);
    if all_down {
        return (State::Down, format!("nobody can answer: {}", list(&answerers)));
    }
    let troubled: Vec<&Component> =
        components.iter().filter(|component| component.state.is_trouble()).collect();
    if !troubled.is_empty() {
        return (State::Degraded, list(&troubled));
    }
    let is_checked = |component: &Component| component.state != State::Unknown;
    let essential = components.iter().filter(|component| matches!(component.group, Group::Store));
    if essential.clone().any(|component| !is_checked(component))
        || !answerers.iter().any(|one| is_checked(one))
    {
        return (State::Unknown, "the first checks are under way".to_owned());
    }
    (State::Ok, "every component is well".to_owned())
}

fn list(components: &[&Component]) -> String {
    let line = |component: &&Component| {
        format!("{} is {}: {}", component.id, component.state.as_str(), component.reason)
    };
    components.iter().map(line).collect::<Vec<_>>().join("; ")
}
