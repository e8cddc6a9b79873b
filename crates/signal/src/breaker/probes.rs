//! The probes under way in a half-open breaker.

use std::time::Duration;

use mainstay_base::Micros;

/// More at once are not kept.
const MAX_PROBES: usize = 8;

/// When each probe under way began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Probes {
    started: [Option<Micros>; MAX_PROBES],
}

impl Probes {
    /// Starts one if fewer than `at_once` are under way; those older than `patience` are given up for it.
    pub(super) fn start(&mut self, now: Micros, at_once: u32, patience: Duration) -> Result<Micros, Micros> {
        if let Some(until) = self.full_until(now, at_once, patience) {
            return Err(until);
        }
        let free =
            self.started.iter_mut().find(|slot| slot.is_none_or(|started| now.since(started) >= patience));
        if let Some(slot) = free {
            *slot = Some(now);
        }
        Ok(now)
    }

    /// Whether it was still waited for.
    pub(super) fn end(&mut self, started: Micros) -> bool {
        let slot = self.started.iter_mut().find(|slot| **slot == Some(started));
        slot.is_some_and(|slot| slot.take().is_some())
    }

    /// When a place becomes free at the latest; `None`: one is free.
    pub(super) fn full_until(&self, now: Micros, at_once: u32, patience: Duration) -> Option<Micros> {
        let waited_for = || self.started.iter().flatten().filter(|started| now.since(**started) < patience);
        let places = usize::try_from(at_once).unwrap_or(MAX_PROBES).clamp(1, MAX_PROBES);
        let oldest = waited_for().min().copied();
        oldest.filter(|_| waited_for().count() >= places).map(|oldest| oldest + patience)
    }
}
