//! The replay itself: calls in time order through the code that decides in production, with a queue of discrete events.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
    time::Duration,
};

use mainstay_base::{
    Micros, Usd,
    record::AttemptRole,
    snapshot::{LogicalModel, ModelRoutes, ModelTarget, Retry},
};

use super::{
    chance::Chance,
    figures::{Side, Tally},
    live::{Bounds, Live},
    recording::{Call, Ended, How, Outcome, Recording},
    target::{Rests, Target},
};
use crate::{chain, ejection, retry::Budget};

mod after;
mod attempt;

/// How often a chain's targets are compared with each other, as in the gateway.
const EJECTION_EVERY: Duration = Duration::from_millis(500);
/// Burst of a hedge budget.
const HEDGE_BURST: f64 = 10.0;

/// What answers attempts.
pub trait World {
    /// The number by which it knows this target; `None`: it does not, and cannot answer for it.
    fn target(&self, provider: &str, model: &str) -> Option<usize>;
    fn outcome(&mut self, asked: &Asked) -> Outcome;
    /// What the caller itself granted this call.
    fn granted(&self, call: &Call) -> Granted {
        Granted { deadline: call.deadline, max_cost: call.max_cost }
    }
}

/// What a caller granted a call, besides the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    pub deadline: Option<Duration>,
    pub max_cost: Option<Usd>,
}

/// One attempt to be answered.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Index of the call.
    pub call: usize,
    /// By [`World::target`].
    pub target: usize,
    /// The call's n-th try there, from 0.
    pub nth: u32,
    pub at: Micros,
    /// For what is left to chance.
    pub chance: f64,
}

/// Who wants to see each step of a replay.
pub trait Trace {
    /// An attempt began. `target` is the world's number.
    fn attempt(&mut self, _call: usize, _target: usize, _role: AttemptRole, _is_probe: bool, _at: Micros) {}
    /// The call is over, with its attempts: the world's number of the target, when, and how it went.
    fn ended(&mut self, _call: usize, _ended: &Ended, _attempts: &[(usize, Micros, Outcome)]) {}
    /// Whether [`Trace::ended`] is to be told the attempts.
    fn wants_attempts(&self) -> bool {
        false
    }
}

impl Trace for () {}

/// Replays the calls under a policy in a world. Calls must be sorted by arrival.
pub fn run(
    recording: &Recording,
    policy: &ModelRoutes,
    world: &mut impl World,
    seed: u64,
    trace: &mut impl Trace,
) -> Side {
    let mut engine = Engine::new(recording, policy, world, seed, trace);
    for index in 0..recording.calls.len() {
        engine.play_until(recording.calls[index].at);
        engine.arrive(index);
    }
    engine.play_until(Micros(i64::MAX));
    engine.close()
}

struct Chain {
    model: Arc<LogicalModel>,
    /// The same without classes of data: no old record says of which class a call's data was, so it is taken for one that
    /// every target may see.
    for_old: Arc<LogicalModel>,
    /// Indices into the replay's targets.
    targets: Vec<usize>,
    retry: Budget,
    hedge: Budget,
    compared_at: Micros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: Micros,
    /// Events of one time happen in the order in which they were planned.
    number: u64,
    live: usize,
    generation: u32,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    FirstToken { flight: usize },
    End { flight: usize },
    Hedge,
    Again,
}

struct Engine<'a, W, T> {
    recording: &'a Recording,
    policy: &'a ModelRoutes,
    world: &'a mut W,
    trace: &'a mut T,
    chance: Chance,
    chains: Vec<Option<Chain>>,
    targets: Vec<Target>,
    rests: Vec<Rests>,
    tallies: Vec<Tally>,
    lives: Vec<Live>,
    free: Vec<usize>,
    queue: BinaryHeap<Reverse<Event>>,
    events: u64,
    now: Micros,
}

impl<'a, W: World, T: Trace> Engine<'a, W, T> {
    fn new(
        recording: &'a Recording,
        policy: &'a ModelRoutes,
        world: &'a mut W,
        seed: u64,
        trace: &'a mut T,
    ) -> Engine<'a, W, T> {
        let mut build = Build { policy, targets: Vec::new(), by_name: HashMap::new(), providers: Vec::new() };
        let chains = recording.models.iter().map(|name| build.chain(name, world)).collect();
        let rests = build.providers.iter().map(|(_, keys)| vec![None; *keys]).collect();
        Engine {
            recording,
            policy,
            world,
            trace,
            chance: Chance::new(seed),
            chains,
            targets: build.targets,
            rests,
            tallies: vec![Tally::default(); recording.models.len()],
            lives: Vec::new(),
            free: Vec::new(),
            queue: BinaryHeap::new(),
            events: 0,
            now: Micros::default(),
        }
    }

    fn play_until(&mut self, until: Micros) {
        while let Some(Reverse(event)) = self.queue.peek().copied() {
            if event.at > until {
                break;
            }
            self.queue.pop();
            if self.lives[event.live].generation == event.generation {
                self.now = event.at;
                self.happen(event.live, event.what);
            }
        }
    }

    fn happen(&mut self, live: usize, what: What) {
        match what {
            What::FirstToken { flight } => self.first_token(live, flight),
            What::End { flight } => self.flight_ended(live, flight),
            What::Hedge => self.hedge(live),
            What::Again => {
                let place = self.lives[live].again;
                if !self.launch(live, place, AttemptRole::Retry, true) {
                    self.finish(live, How::Failed);
                }
            }
        }
    }

    fn arrive(&mut self, index: usize) {
        let call = &self.recording.calls[index];
        self.now = call.at;
        let Some(chain) = &mut self.chains[call.model()] else {
            // The policy does not know the model.
            self.tallies[call.model()].end(&Ended { how: How::Unanswerable, ..Ended::default() });
            return;
        };
        chain.retry.earn();
        chain.hedge.earn();
        self.compare(call.model());
        let Some(chain) = &self.chains[call.model()] else { return };
        let (targets, rests, chance, now) = (&self.targets, &self.rests, &mut self.chance, self.now);
        let seen = |place: usize| {
            let target = &targets[chain.targets[place]];
            target.seen(&rests[target.provider], call.streams, call.tokens(), now)
        };
        let failovers = &self.policy.failovers;
        let model = if call.needs.are_unknown { &chain.for_old } else { &chain.model };
        let plan = chain::order(model, &self.recording.ask(&call.needs), seen, failovers, || chance.draw());
        let live = self.free.pop().unwrap_or_else(|| {
            self.lives.push(Live::default());
            self.lives.len() - 1
        });
        let bounds = Bounds::new(call.at, self.world.granted(call), &chain.model.policy);
        self.lives[live].begin(index, call.model(), plan.candidates, bounds);
        let insists = plan.is_last_resort;
        if !self.launch_next(live, AttemptRole::First, insists) {
            self.lives[live].position = 0;
            if !self.launch_next(live, AttemptRole::First, true) {
                self.finish(live, How::Failed);
            }
        }
    }

    fn compare(&mut self, chain: usize) {
        let Some(chain) = &mut self.chains[chain] else { return };
        if chain.targets.len() < 2 || self.now.since(chain.compared_at) < EJECTION_EVERY {
            return;
        }
        chain.compared_at = self.now;
        let counts: Vec<_> =
            chain.targets.iter().map(|target| self.targets[*target].counts(self.now)).collect();
        let settings = &self.policy.ejection;
        for (target, is_out) in chain.targets.iter().zip(ejection::eject(&counts, settings)) {
            if is_out {
                self.targets[*target].ejected_until = Some(self.now + settings.eject_for);
            }
        }
    }

    /// Plans an event of a call under way.
    fn plan(&mut self, live: usize, at: Micros, what: What) {
        self.events += 1;
        let generation = self.lives[live].generation;
        self.queue.push(Reverse(Event { at, number: self.events, live, generation, what }));
    }

    fn close(self) -> Side {
        let names: Vec<String> = self.targets.iter().map(|target| target.name.clone()).collect();
        let figures = self.targets.iter().map(Target::closed_figures).collect();
        let unknown = self.targets.iter().filter(|target| target.known.is_none());
        let unknown_targets = unknown.map(|target| target.name.clone()).collect();
        let mut tallies = self.tallies;
        for (tally, chain) in tallies.iter_mut().zip(&self.chains) {
            tally.figures.budget_refusals =
                chain.as_ref().map_or(0, |chain| chain.retry.refused() + chain.hedge.refused());
        }
        let mut side = Side { unknown_targets, ..Side::default() };
        side.close(&self.recording.models, tallies, &names, figures);
        side
    }
}

/// Makes the chains of a policy; a target that stands in several of them is one.
struct Build<'a> {
    policy: &'a ModelRoutes,
    targets: Vec<Target>,
    by_name: HashMap<(String, String), usize>,
    /// By name, with the number of their keys.
    providers: Vec<(String, usize)>,
}

impl Build<'_> {
    fn chain(&mut self, name: &str, world: &impl World) -> Option<Chain> {
        let model = self.model(name)?;
        let mut for_old = Arc::clone(&model);
        if model.targets.iter().any(|target| !target.offer.data_classes.is_empty()) {
            let targets = &mut Arc::make_mut(&mut for_old).targets;
            targets.iter_mut().for_each(|target| target.offer.data_classes.clear());
        }
        let targets = model.targets.iter().map(|target| self.target(target, world)).collect();
        let Retry { ratio, burst, .. } = model.policy.retry;
        let hedge = model.policy.hedge.map_or(0.0, |hedge| hedge.ratio);
        Some(Chain {
            targets,
            retry: Budget::new(ratio, burst),
            hedge: Budget::new(hedge, HEDGE_BURST),
            compared_at: Micros::default(),
            model,
            for_old,
        })
    }

    /// As the gateway finds it: a name without a route goes where such names go.
    fn model(&self, name: &str) -> Option<Arc<LogicalModel>> {
        let ModelRoutes { models, other_models_to, other_models_policy, .. } = self.policy;
        if let Some(model) = models.get(name) {
            return Some(Arc::clone(model));
        }
        let targets: Vec<ModelTarget> =
            other_models_to.iter().map(|provider| ModelTarget::new(Arc::clone(provider), name)).collect();
        let policy = other_models_policy.clone();
        (!targets.is_empty())
            .then(|| Arc::new(LogicalModel { policy, ..LogicalModel::ordered(name, targets) }))
    }

    fn target(&mut self, target: &ModelTarget, world: &impl World) -> usize {
        let provider = &target.provider;
        let name = (provider.name.clone(), target.model.clone());
        if let Some(known) = self.by_name.get(&name) {
            return *known;
        }
        let of_provider = self.providers.iter().position(|(known, _)| *known == provider.name);
        let of_provider = of_provider.unwrap_or_else(|| {
            self.providers.push((provider.name.clone(), provider.keys.len()));
            self.providers.len() - 1
        });
        let known = world.target(&provider.name, &target.model);
        let is_drained = self.policy.drained.contains(&provider.name);
        self.targets.push(Target::new(target, known, of_provider, is_drained, self.policy.breaker));
        self.by_name.insert(name, self.targets.len() - 1);
        self.targets.len() - 1
    }
}
