//! Replays recorded calls under another policy: success, latency and cost before it is put in force.
//!
//! [`compare`] runs the same calls twice through the code that decides in production ([`crate::chain`],
//! [`crate::breaker`], [`crate::retry`], [`crate::limits`], [`crate::next`]): once under the current policy, once under
//! the changed one, in time order, with a queue of discrete events. What an attempt would have come to is told by records
//! (`pool`). The replay of the current policy is held against what really happened; the difference is told as
//! [`Fidelity`].
//!
//! What it leaves out: a call that every candidate turns away (busy, out of its grant) is not queued but sent to the first
//! one; the inner life of keys is one rest for each; a provider does not get slower because more is sent to it. A recorded
//! time-out stays one under a longer limit, because nobody knows when the answer would have come. A stream that breaks
//! after its first content ends its call, whatever `on_cut` says.
//!
//! Deterministic by seed.

use mainstay_base::snapshot::ModelRoutes;

pub use chance::Chance;
pub use engine::{Asked, Granted, Trace, World, run};
pub use figures::{Fidelity, Figures, Quantiles, Report, Side, TargetFigures};
pub use recording::{Attempt, Call, Ended, How, Needs, Outcome, Place, Recording, Word};

use figures::Tally;
use pool::Pool;

mod chance;
mod engine;
mod figures;
mod flight;
mod live;
mod pool;
mod recording;
mod target;

/// Replays the recording under both policies. The recording must be sorted ([`Recording::sort`]).
pub fn compare(recording: &Recording, current: &ModelRoutes, changed: &ModelRoutes, seed: u64) -> Report {
    let replay = |policy| {
        let mut pool = Pool::new(recording, current);
        let side = run(recording, policy, &mut pool, seed, &mut ());
        let own = (pool.own + pool.drawn > 0).then(|| pool.own as f64 / (pool.own + pool.drawn) as f64);
        (side, own)
    };
    let recorded = recorded(recording);
    let (baseline, own_share_baseline) = replay(current);
    let (changed, own_share_changed) = replay(changed);
    let fidelity = Fidelity::of(&recorded.whole, &baseline.whole);
    let fidelity = Fidelity { own_share_baseline, own_share_changed, ..fidelity };
    Report { seed, recorded, baseline, changed, fidelity }
}

/// What really happened, in the same figures.
fn recorded(recording: &Recording) -> Side {
    let mut tallies = vec![Tally::default(); recording.models.len()];
    let names = recording.target_names();
    let mut side = Side::default();
    let mut targets = vec![TargetFigures::default(); names.len()];
    for call in &recording.calls {
        let answered = |attempt: &&Attempt| call.ended.how == How::Well && attempt.outcome.class.is_none();
        if let Some(answer) = recording.attempts(call).iter().find(answered) {
            targets[answer.target()].answers += 1;
        }
        let tally = &mut tallies[call.model()];
        tally.end(&call.ended);
        for attempt in recording.attempts(call) {
            tally.attempt(attempt.target(), attempt.outcome.cost);
            targets[attempt.target()].attempts += 1;
            let class = attempt.outcome.class;
            targets[attempt.target()].failures +=
                u64::from(class.is_some_and(|class| class.counts_against_target()));
        }
    }
    side.close(&recording.models, tallies, &names, targets);
    side
}

impl Side {
    fn close(
        &mut self,
        models: &[String],
        tallies: Vec<Tally>,
        names: &[String],
        targets: Vec<TargetFigures>,
    ) {
        let mut whole = Tally::default();
        for (model, tally) in models.iter().zip(tallies) {
            whole.merge(&tally);
            self.models.insert(model.clone(), tally.close(names));
        }
        let all = whole.figures.attempts.max(1) as f64;
        for (name, figures) in names.iter().zip(targets) {
            let share = figures.attempts as f64 / all;
            self.targets.insert(name.clone(), TargetFigures { share, ..figures });
        }
        self.whole = whole.close(names);
    }
}
