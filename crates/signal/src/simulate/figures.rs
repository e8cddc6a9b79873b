//! What a simulation tells.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::Usd;
use serde::Serialize;

use super::recording::{Ended, How};

/// The same calls under two policies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub seed: u64,
    /// What really happened.
    pub recorded: Side,
    /// The current policy, replayed.
    pub baseline: Side,
    pub changed: Side,
    pub fidelity: Fidelity,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Side {
    pub whole: Figures,
    /// By the name of the logical model.
    pub models: BTreeMap<String, Figures>,
    /// By `provider/model`.
    pub targets: BTreeMap<String, TargetFigures>,
    /// Targets of the policy of which there is no record. Calls that went there are unanswerable.
    pub unknown_targets: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    pub calls: u64,
    pub answered: u64,
    pub failed: u64,
    /// Wrong, too long or filtered requests, and callers that left.
    pub callers_doing: u64,
    /// Not answerable from records.
    pub unanswerable: u64,
    /// Answered, of those that could be: `answered / (answered + failed)`.
    pub success_share: Option<f64>,
    /// Of answered calls. A whole answer's first token is its end.
    pub first_token: Quantiles,
    pub total: Quantiles,
    pub attempts: u64,
    pub attempts_per_call: Option<f64>,
    pub cost: Usd,
    /// Of the attempts, by `provider/model`.
    pub target_shares: BTreeMap<String, f64>,
    pub budget_refusals: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TargetFigures {
    pub attempts: u64,
    /// Calls that it answered.
    pub answers: u64,
    pub failures: u64,
    /// Of all attempts.
    pub share: f64,
    pub breaker_opens: u64,
}

/// How far the replay of the current policy is from what was recorded: the trust that `changed` deserves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Fidelity {
    /// Baseline − recorded.
    pub success_share: Option<f64>,
    pub attempts_per_call: Option<f64>,
    /// Baseline / recorded − 1.
    pub first_token_p50: Option<f64>,
    pub first_token_p95: Option<f64>,
    pub total_p50: Option<f64>,
    pub total_p95: Option<f64>,
    pub cost: Option<f64>,
    /// The replay of the policy in force is near enough to what was recorded for `changed` to be believed.
    pub is_faithful: bool,
    /// Attempts of each replay whose outcome was the call's own record; the others were drawn.
    pub own_share_baseline: Option<f64>,
    pub own_share_changed: Option<f64>,
}

/// How far a faithful replay may be off: in the share of answered calls, and of the times and the cost in parts of them.
const FAITHFUL_SHARE: f64 = 0.01;
const FAITHFUL_RATIO: f64 = 0.15;

impl Fidelity {
    pub(super) fn of(recorded: &Figures, baseline: &Figures) -> Fidelity {
        let ratio = |replayed: Option<f64>, real: Option<f64>| {
            replayed.zip(real.filter(|real| *real > 0.0)).map(|(replayed, real)| replayed / real - 1.0)
        };
        let less = |replayed: Option<f64>, real: Option<f64>| {
            replayed.zip(real).map(|(replayed, real)| replayed - real)
        };
        let fidelity = Fidelity {
            success_share: less(baseline.success_share, recorded.success_share),
            attempts_per_call: less(baseline.attempts_per_call, recorded.attempts_per_call),
            first_token_p50: ratio(baseline.first_token.p50_ms, recorded.first_token.p50_ms),
            first_token_p95: ratio(baseline.first_token.p95_ms, recorded.first_token.p95_ms),
            total_p50: ratio(baseline.total.p50_ms, recorded.total.p50_ms),
            total_p95: ratio(baseline.total.p95_ms, recorded.total.p95_ms),
            cost: ratio(Some(baseline.cost.dollars()), Some(recorded.cost.dollars())),
            is_faithful: false,
            own_share_baseline: None,
            own_share_changed: None,
        };
        let within = |off: Option<f64>, bound: f64| off.is_none_or(|off| off.abs() <= bound);
        let is_faithful = within(fidelity.success_share, FAITHFUL_SHARE)
            && [fidelity.total_p50, fidelity.total_p95, fidelity.cost]
                .into_iter()
                .all(|off| within(off, FAITHFUL_RATIO));
        Fidelity { is_faithful, ..fidelity }
    }
}

/// Collects one model's calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) figures: Figures,
    pub(super) attempts_at: BTreeMap<usize, u64>,
    first_tokens_us: Vec<u32>,
    totals_us: Vec<u32>,
}

impl Tally {
    pub(super) fn end(&mut self, ended: &Ended) {
        let figures = &mut self.figures;
        figures.calls += 1;
        match ended.how {
            How::Well => {
                figures.answered += 1;
                self.first_tokens_us.push(micros(ended.first_token.unwrap_or(ended.took)));
                self.totals_us.push(micros(ended.took));
            }
            How::Failed => figures.failed += 1,
            How::CallersDoing => figures.callers_doing += 1,
            How::Unanswerable => figures.unanswerable += 1,
        }
    }

    pub(super) fn attempt(&mut self, target: usize, cost: Usd) {
        self.figures.attempts += 1;
        self.figures.cost += cost;
        *self.attempts_at.entry(target).or_default() += 1;
    }

    pub(super) fn merge(&mut self, other: &Tally) {
        let (sum, more) = (&mut self.figures, &other.figures);
        sum.calls += more.calls;
        sum.answered += more.answered;
        sum.failed += more.failed;
        sum.callers_doing += more.callers_doing;
        sum.unanswerable += more.unanswerable;
        sum.attempts += more.attempts;
        sum.budget_refusals += more.budget_refusals;
        sum.cost += more.cost;
        for (target, attempts) in &other.attempts_at {
            *self.attempts_at.entry(*target).or_default() += attempts;
        }
        self.first_tokens_us.extend(&other.first_tokens_us);
        self.totals_us.extend(&other.totals_us);
    }

    pub(super) fn close(mut self, names: &[String]) -> Figures {
        let mut figures = self.figures;
        let share = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
        figures.success_share = share(figures.answered, figures.answered + figures.failed);
        figures.attempts_per_call = share(figures.attempts, figures.calls);
        figures.first_token = quantiles(&mut self.first_tokens_us);
        figures.total = quantiles(&mut self.totals_us);
        let shares = self.attempts_at.into_iter().map(|(target, attempts)| {
            (names[target].clone(), share(attempts, figures.attempts).unwrap_or(0.0))
        });
        figures.target_shares = shares.collect();
        figures
    }
}

/// Exact: the smallest time that so large a part of the calls did not exceed (nearest rank).
fn quantiles(times_us: &mut [u32]) -> Quantiles {
    times_us.sort_unstable();
    let at = |share: f64| {
        let rank = (share * times_us.len() as f64).ceil() as usize;
        times_us.get(rank.saturating_sub(1)).map(|us| f64::from(*us) / 1000.0)
    };
    Quantiles { p50_ms: at(0.50), p95_ms: at(0.95), p99_ms: at(0.99) }
}

/// Up to 71 minutes.
fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
