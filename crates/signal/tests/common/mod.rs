//! Worlds for the simulator: two providers whose health is a function of time, driven through the real state machines.

#![expect(dead_code, reason = "each test binary uses a part of this")]

use std::{sync::Arc, time::Duration};

use mainstay_base::{
    Class, Micros,
    record::AttemptRole,
    snapshot::{CallPolicy, Dialect, LogicalModel, ModelRoutes, ModelTarget, Provider, Timeouts},
};
use mainstay_signal::simulate::{
    Asked, Attempt, Call, Chance, Ended, How, Needs, Outcome, Recording, Side, Trace, World, run,
};

pub(crate) const PRIMARY: usize = 0;
pub(crate) const FIRST_TOKEN: Duration = Duration::from_secs(10);
/// Calls begin long after time zero, as they do on a real clock.
pub(crate) const START: Micros = Micros(1_000_000_000);

pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

pub(crate) fn provider(name: &str) -> Arc<Provider> {
    Arc::new(Provider {
        name: name.into(),
        dialect: Dialect::OpenAi,
        base_url: String::new(),
        keys: Vec::new(),
        timeouts: Timeouts { first_byte: FIRST_TOKEN, ..Timeouts::default() },
        first_token: FIRST_TOKEN,
        speaks_responses: true,
    })
}

/// One logical model `m` over these providers, in order.
pub(crate) fn routes(providers: &[&str], policy: CallPolicy) -> ModelRoutes {
    let targets = providers.iter().map(|name| ModelTarget::new(provider(name), "m"));
    let model = LogicalModel { policy, ..LogicalModel::ordered("m", targets.collect()) };
    ModelRoutes { models: [("m".to_owned(), Arc::new(model))].into(), ..ModelRoutes::default() }
}

/// What is wrong with the primary while it is ill.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Illness {
    /// This share of its answers is a server error, at once.
    Fails(f64),
    /// Nothing comes any more.
    Stalls,
}

/// Two providers, `a` and `b`; `a` is ill for a while, or both are.
pub(crate) struct Two {
    pub(crate) illness: Illness,
    pub(crate) both: bool,
    pub(crate) from: Micros,
    pub(crate) to: Micros,
}

impl World for Two {
    fn target(&self, provider: &str, _model: &str) -> Option<usize> {
        ["a", "b"].iter().position(|name| *name == provider)
    }

    fn outcome(&mut self, asked: &Asked) -> Outcome {
        let mut chance = Chance::new(asked.chance.to_bits());
        let first_token = seconds(0.2 + 0.3 * chance.draw());
        let good = Outcome::good(Some(first_token), first_token + seconds(2.0 * chance.draw()));
        if (asked.target != PRIMARY && !self.both) || asked.at < self.from || asked.at >= self.to {
            return good;
        }
        match self.illness {
            Illness::Fails(share) if chance.draw() < share => Outcome::bad(Class::ServerError, seconds(0.08)),
            Illness::Fails(_) => good,
            // It would answer when it is back at the earliest: never, for this test.
            Illness::Stalls => Outcome::good(Some(seconds(3600.0)), seconds(3600.0)),
        }
    }
}

/// Streaming calls of model `m` at a steady pace.
pub(crate) fn steady(a_second: f64, lasts: Duration, seed: u64) -> Recording {
    let mut recording = Recording::default();
    let mut chance = Chance::new(seed);
    let calls = (a_second * lasts.as_secs_f64()) as usize;
    for index in 0..calls {
        // Up to a quarter of the pace early or late.
        let at = (index as f64 + 0.25 * chance.draw()) / a_second;
        recording.push("m", call(START + seconds(at)), &[]);
    }
    recording.sort();
    recording
}

pub(crate) fn call(at: Micros) -> Call {
    let needs = Needs { input_tokens: 500, used_input_tokens: 500, output_tokens: 200, ..Needs::default() };
    Call { at, streams: true, needs, ..Call::default() }
}

/// The target of an attempt, when it began, and how it went.
type Told = (usize, Micros, Outcome);

/// What was seen of each attempt and each call.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) attempts: Vec<SeenAttempt>,
    pub(crate) ends: Vec<(usize, Ended)>,
    pub(crate) outcomes: Vec<(usize, Vec<Told>)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct SeenAttempt {
    pub(crate) call: usize,
    pub(crate) target: usize,
    pub(crate) role: AttemptRole,
    pub(crate) is_probe: bool,
    pub(crate) at: Micros,
}

impl Trace for Seen {
    fn attempt(&mut self, call: usize, target: usize, role: AttemptRole, is_probe: bool, at: Micros) {
        self.attempts.push(SeenAttempt { call, target, role, is_probe, at });
    }

    fn ended(&mut self, call: usize, ended: &Ended, attempts: &[Told]) {
        self.ends.push((call, *ended));
        self.outcomes.push((call, attempts.to_vec()));
    }

    fn wants_attempts(&self) -> bool {
        true
    }
}

/// Runs the calls and writes down what happened, as a gateway's records would.
pub(crate) fn record(
    recording: &Recording,
    policy: &ModelRoutes,
    world: &mut impl World,
    names: &[&str],
    seed: u64,
) -> (Recording, Side) {
    let mut seen = Seen::default();
    let side = run(recording, policy, world, seed, &mut seen);
    let mut recorded = Recording::default();
    for ((index, ended), (_, attempts)) in seen.ends.into_iter().zip(seen.outcomes) {
        let call = Call { ended, ..recording.calls()[index] };
        let attempts = attempts.into_iter().map(|(target, at, outcome)| {
            let target = recorded.target(names[target], "m");
            Attempt { target, at, outcome }
        });
        let attempts: Vec<Attempt> = attempts.collect();
        recorded.push("m", call, &attempts);
    }
    recorded.sort();
    (recorded, side)
}

pub(crate) fn is_well(how: How) -> bool {
    how == How::Well
}
