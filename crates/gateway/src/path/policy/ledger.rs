//! What all requests share: slots, memory for bodies that are held, the virtual keys, and the sums of what was settled.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use mainstay_base::Snapshot;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::keys::Keys;
use crate::{
    gateway::{Ports, Stats},
    limits::Limits,
    path::failure::{Failure, Reason},
};

const BYTES_PER_UNIT: usize = 1024;

pub(crate) struct Ledger {
    pub(super) keys: Keys,
    slots: Arc<Semaphore>,
    max_in_flight: usize,
    held_kib: Arc<Semaphore>,
    admitted: AtomicU64,
    settled: AtomicU64,
    settled_early: AtomicU64,
}

impl Ledger {
    pub(crate) fn new(ports: &Ports) -> Ledger {
        Ledger::of(&ports.limits, Keys::new(ports.allowance.clone(), &ports.clock))
    }

    fn of(limits: &Limits, keys: Keys) -> Ledger {
        let max_in_flight = limits.max_in_flight.min(Semaphore::MAX_PERMITS);
        Ledger {
            keys,
            slots: Arc::new(Semaphore::new(max_in_flight)),
            max_in_flight,
            held_kib: Arc::new(Semaphore::new(limits.max_held_bodies_bytes / BYTES_PER_UNIT)),
            admitted: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            settled_early: AtomicU64::new(0),
        }
    }

    /// A snapshot may have taken virtual keys out.
    pub(crate) fn follow(&self, snapshot: &Snapshot) {
        self.keys.sweep(snapshot);
    }

    pub(super) fn slot(&self) -> Result<OwnedSemaphorePermit, Failure> {
        self.slots.clone().try_acquire_owned().map_err(|error| match error {
            TryAcquireError::NoPermits | TryAcquireError::Closed => {
                Failure::new(Reason::Saturated, "as many requests are in flight as max_in_flight allows")
            }
        })
    }

    /// Room for `bytes` of a body that is held; given back when the value is dropped.
    pub(crate) fn hold(&self, bytes: usize) -> Result<Held, Failure> {
        let units = u32::try_from(bytes.div_ceil(BYTES_PER_UNIT)).unwrap_or(u32::MAX);
        match self.held_kib.clone().try_acquire_many_owned(units) {
            Ok(room) => Ok(Held { _room: room }),
            Err(_) => Err(Failure::new(
                Reason::Saturated,
                "the bodies held by this gateway reached max_held_bodies_bytes",
            )),
        }
    }

    pub(super) fn count_admitted(&self) {
        self.admitted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_settled(&self, is_early: bool) {
        let count = if is_early { &self.settled_early } else { &self.settled };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            in_flight: self.max_in_flight - self.slots.available_permits(),
            admitted: self.admitted.load(Ordering::Relaxed),
            settled: self.settled.load(Ordering::Relaxed),
            settled_early: self.settled_early.load(Ordering::Relaxed),
            draining: 0,
            records_lost: 0,
        }
    }
}

/// Memory that a held body occupies.
pub(crate) struct Held {
    _room: OwnedSemaphorePermit,
}

#[cfg(test)]
mod tests {
    use mainstay_base::Clock;

    use super::*;

    #[test]
    fn held_memory_comes_back() {
        let limits = Limits { max_held_bodies_bytes: 4096, ..Limits::default() };
        let ledger = Ledger::of(&limits, Keys::new(None, &Clock::System));
        let held = ledger.hold(3000).unwrap_or_else(|_| panic!("room for 3 KiB"));
        assert!(ledger.hold(3000).is_err());
        drop(held);
        assert!(ledger.hold(4096).is_ok());
    }
}
