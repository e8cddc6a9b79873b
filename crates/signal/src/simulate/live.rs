//! A replayed call under way.

use std::time::Duration;

use mainstay_base::{Fault, Micros, Usd, snapshot::CallPolicy};

use super::{engine::Granted, flight::Flight, target::key_bit};

#[derive(Debug, Default)]
pub(super) struct Live {
    /// Index into the recording's calls.
    pub(super) call: usize,
    /// Grows each time the place is used again: events of earlier calls are stale.
    pub(super) generation: u32,
    /// Index into the replay's chains.
    pub(super) chain: usize,
    pub(super) candidates: Vec<usize>,
    pub(super) bounds: Bounds,
    /// The next candidate.
    pub(super) position: usize,
    pub(super) flights: Vec<Flight>,
    /// The flight whose content goes to the caller.
    pub(super) committed: Option<usize>,
    pub(super) has_hedged: bool,
    pub(super) spent: Usd,
    /// The place that is tried again after a wait.
    pub(super) again: usize,
}

impl Live {
    pub(super) fn begin(&mut self, call: usize, chain: usize, candidates: Vec<usize>, bounds: Bounds) {
        self.flights.clear();
        *self = Live {
            call,
            generation: self.generation.wrapping_add(1),
            chain,
            candidates,
            bounds,
            flights: std::mem::take(&mut self.flights),
            ..Live::default()
        };
    }

    pub(super) fn under_way(&self) -> usize {
        self.flights.iter().filter(|flight| !flight.is_over).count()
    }

    /// Tries at this target so far.
    pub(super) fn tries_at(&self, target: usize) -> u32 {
        self.flights.iter().filter(|flight| flight.target == target).count() as u32
    }

    pub(super) fn tries_in_place(&self, place: usize) -> u32 {
        self.flights.iter().filter(|flight| flight.place == place).count() as u32
    }

    /// Keys of this place that failed this call, a bit each.
    pub(super) fn tried_keys(&self, place: usize) -> u64 {
        let failed = |flight: &&Flight| {
            flight.place == place && flight.outcome.class.is_some_and(|class| class.fault() == Fault::Key)
        };
        let keys = self.flights.iter().filter(failed).filter_map(|flight| flight.share.key);
        keys.fold(0, |tried, key| tried | key_bit(key))
    }
}

/// What a call may take over all its attempts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds {
    arrived: Micros,
    answer_within: Duration,
    deadline: Duration,
    pub(super) max_cost: Option<Usd>,
}

impl Bounds {
    /// The tighter of what the caller and the policy grant.
    pub(super) fn new(arrived: Micros, granted: Granted, policy: &CallPolicy) -> Bounds {
        Bounds {
            arrived,
            answer_within: policy.answer_within,
            deadline: granted.deadline.map_or(policy.deadline, |deadline| deadline.min(policy.deadline)),
            max_cost: [granted.max_cost, policy.max_cost].into_iter().flatten().min(),
        }
    }

    /// What is left: until the first content, and until the end.
    pub(super) fn time_left(&self, now: Micros) -> (Duration, Duration) {
        let elapsed = now.since(self.arrived);
        let total = self.deadline.saturating_sub(elapsed);
        (self.answer_within.saturating_sub(elapsed).min(total), total)
    }
}
