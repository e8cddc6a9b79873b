//! The order in which a logical model's targets are asked for one call.
//!
//! 1. Targets that cannot serve the call are passed over ([`fit`]: offer and conditions).
//! 2. Open breakers are passed over.
//! 3. The rest stands by rank ([`Rank`]: what is busy, limited, ejected, resting or drained comes later, for a drained
//!    answer is better than none), then by priority, then by the model's [`Strategy`] ([`strategy`]).
//! 4. Failovers by hand put `to` in front of `from`.
//! 5. When nobody is left, the target whose breaker lets a probe through first is the last resort.
//! 6. When nobody is left because of how long an answer is asked for, it is cut to what a target can.

use std::time::Duration;

use mainstay_base::{
    Micros,
    snapshot::{Failover, LogicalModel},
};

pub use why::{CONVERTED, Why};

mod fit;
mod strategy;
#[cfg(test)]
mod tests;
mod why;

/// What a call needs of its target.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// The virtual key's name.
    pub key: &'a str,
    pub region: Option<&'a str>,
    pub data_class: Option<&'a str>,
    /// Estimated.
    pub input_tokens: u64,
    pub max_output_tokens: Option<u64>,
    pub tools: bool,
    pub vision: bool,
    pub structured_output: bool,
    /// Embeddings of two models do not compare: only targets with the model that is written first are asked.
    pub keeps_model: bool,
    /// A call of the Responses API that uses what cannot be converted: only who speaks it takes the call.
    pub needs_responses: bool,
}

/// How one target stands now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    pub drained: bool,
    /// [`crate::breaker::Breaker::refused_until`].
    pub breaker_open_until: Option<Micros>,
    /// Only while its breaker is closed: an open one judges by itself, and its probes must reach the target.
    pub ejected: bool,
    /// All its places for calls at once are taken.
    pub busy: bool,
    /// How long its minute's grant would make this call wait.
    pub rate_wait: Option<Duration>,
    /// All its provider's keys rest until then.
    pub keys_rest_until: Option<Micros>,
    pub in_flight: u32,
    /// Peak EWMA; `None`: unknown.
    pub mean_first_token: Option<Duration>,
}

/// Who is asked, in order, and why the others are not, or later.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Indices into the model's targets.
    pub candidates: Vec<usize>,
    /// Not asked at all.
    pub passed_over: Vec<(usize, Why)>,
    /// Asked, but later (or, by failover, earlier) than the strategy has it, or for less than the call wants.
    pub moved: Vec<(usize, Why)>,
    /// The only candidate's breaker is open: ask it with [`crate::breaker::Breaker::insist`].
    pub is_last_resort: bool,
}

/// Worse stands later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Ready,
    /// Busy, or out of its minute's grant.
    Crowded,
    Ejected,
    Resting,
    Drained,
}

#[derive(Clone, Copy)]
struct Placed {
    index: usize,
    rank: Rank,
    priority: u32,
    /// Sorts within one rank and priority; smaller first.
    score: f64,
}

/// Orders the chain for one call. `seen` tells how the target of an index stands; `chance` gives numbers in `0..1`.
pub fn order(
    model: &LogicalModel,
    ask: &Ask<'_>,
    seen: impl Fn(usize) -> Seen,
    failovers: &[Failover],
    mut chance: impl FnMut() -> f64,
) -> Plan {
    let plan = arrange(model, ask, &seen, failovers, &mut chance);
    let is_too_long = |(_, why): &(usize, Why)| matches!(why, Why::OutputTooShort { .. });
    if !plan.candidates.is_empty() || !plan.passed_over.iter().any(is_too_long) {
        return plan;
    }
    // A shorter answer is better than none.
    let any_length = Ask { max_output_tokens: None, ..*ask };
    let mut plan = arrange(model, &any_length, &seen, failovers, &mut chance);
    for index in &plan.candidates {
        let most = model.targets[*index].offer.max_output_tokens;
        if let Some(max_output_tokens) =
            most.filter(|most| ask.max_output_tokens.is_some_and(|asked| asked > *most))
        {
            plan.moved.push((*index, Why::AnswerCut { max_output_tokens }));
        }
    }
    plan
}

fn arrange(
    model: &LogicalModel,
    ask: &Ask<'_>,
    seen: &impl Fn(usize) -> Seen,
    failovers: &[Failover],
    chance: &mut impl FnMut() -> f64,
) -> Plan {
    let mut plan = Plan::default();
    let mut placed = place(model, ask, seen, chance, &mut plan);
    placed.sort_by(|left, right| {
        (left.rank, left.priority).cmp(&(right.rank, right.priority)).then(left.score.total_cmp(&right.score))
    });
    strategy::choose_of_two(model.strategy, &mut placed, chance);
    fail_over(model, failovers, &mut placed, &mut plan.moved);
    plan.candidates = placed.into_iter().map(|placed| placed.index).collect();
    if plan.candidates.is_empty() {
        plan.take_last_resort();
    }
    plan
}

/// Who can be asked, in the order written; the plan gets who cannot, and why somebody stands back.
fn place(
    model: &LogicalModel,
    ask: &Ask<'_>,
    seen: impl Fn(usize) -> Seen,
    chance: &mut impl FnMut() -> f64,
    plan: &mut Plan,
) -> Vec<Placed> {
    let mut placed = Vec::with_capacity(model.targets.len());
    // The model as written first, also where that target cannot take this call: what is stored was made by it.
    let kept_model = model.targets.first().map(|target| target.model.as_str());
    for (index, target) in model.targets.iter().enumerate() {
        if let Some(why) = fit::misfit(target, ask, kept_model) {
            plan.passed_over.push((index, why));
            continue;
        }
        let seen = seen(index);
        if let Some(until) = seen.breaker_open_until {
            plan.passed_over.push((index, Why::BreakerOpen { until }));
            continue;
        }
        let (rank, why) = rank(&seen);
        plan.moved.extend(why.map(|why| (index, why)));
        let score = strategy::score(model.strategy, target, &seen, chance);
        placed.push(Placed { index, rank, priority: target.priority, score });
    }
    placed
}

impl Plan {
    /// Of those with an open breaker, the one whose probe is due first.
    fn take_last_resort(&mut self) {
        let open = self.passed_over.iter().enumerate().filter_map(|(at, (_, why))| match why {
            Why::BreakerOpen { until } => Some((*until, at)),
            _ => None,
        });
        let Some((_, at)) = open.min() else { return };
        let (index, _) = self.passed_over.remove(at);
        self.moved.push((index, Why::LastResort));
        self.candidates.push(index);
        self.is_last_resort = true;
    }
}

fn rank(seen: &Seen) -> (Rank, Option<Why>) {
    if seen.drained {
        (Rank::Drained, Some(Why::Drained))
    } else if let Some(until) = seen.keys_rest_until {
        (Rank::Resting, Some(Why::KeysRest { until }))
    } else if seen.ejected {
        (Rank::Ejected, Some(Why::Ejected))
    } else if let Some(wait) = seen.rate_wait.filter(|wait| !wait.is_zero()) {
        (
            Rank::Crowded,
            Some(Why::RateLimited { wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) }),
        )
    } else if seen.busy {
        (Rank::Crowded, Some(Why::Busy))
    } else {
        (Rank::Ready, None)
    }
}

/// Puts the targets of `to` in front of the first target of `from`, unless they stand back for a worse reason.
fn fail_over(
    model: &LogicalModel,
    failovers: &[Failover],
    placed: &mut [Placed],
    moved: &mut Vec<(usize, Why)>,
) {
    let provider = |placed: &Placed| model.targets[placed.index].provider.name.as_str();
    for Failover { from, to } in failovers {
        let Some(mut front) = placed.iter().position(|placed| provider(placed) == from) else { continue };
        for at in front + 1..placed.len() {
            if provider(&placed[at]) == to && placed[at].rank <= placed[front].rank {
                moved.push((placed[at].index, Why::FailedOver { from: from.clone() }));
                placed[front..=at].rotate_right(1);
                front += 1;
            }
        }
    }
}
