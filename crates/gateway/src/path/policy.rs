//! Stage 3 and 5, two gates of one module: `admit` decides before anything is sent, `check` vets what came back.
//!
//! A [`Permit`] has private fields and is made only here, so nothing is dispatched that was not admitted. It settles
//! once: by [`Permit::settle`] from a complete answer, or when dropped, from what was streamed so far.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use http::Method;
use mainstay_base::{Record, Usd};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::{
    bootstrap::Context,
    execute::Answer,
    failure::{Failure, Reason},
    normalize::Call,
    telemetry::Told,
};
use crate::{
    gateway::{Ports, Stats},
    limits::Limits,
};

const BYTES_PER_UNIT: usize = 1024;

/// What all requests share: slots, memory for bodies that are held, and the sums of what was settled.
pub(crate) struct Ledger {
    slots: Arc<Semaphore>,
    max_in_flight: usize,
    held_kib: Arc<Semaphore>,
    admitted: AtomicU64,
    settled: AtomicU64,
    settled_early: AtomicU64,
}

impl Ledger {
    pub(crate) fn new(ports: &Ports) -> Ledger {
        Ledger::of(&ports.limits)
    }

    fn of(limits: &Limits) -> Ledger {
        let max_in_flight = limits.max_in_flight.min(Semaphore::MAX_PERMITS);
        Ledger {
            slots: Arc::new(Semaphore::new(max_in_flight)),
            max_in_flight,
            held_kib: Arc::new(Semaphore::new(limits.max_held_bodies_bytes / BYTES_PER_UNIT)),
            admitted: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            settled_early: AtomicU64::new(0),
        }
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

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            in_flight: self.max_in_flight - self.slots.available_permits(),
            admitted: self.admitted.load(Ordering::Relaxed),
            settled: self.settled.load(Ordering::Relaxed),
            settled_early: self.settled_early.load(Ordering::Relaxed),
            records_lost: 0,
        }
    }
}

/// Memory that a held body occupies.
pub(crate) struct Held {
    _room: OwnedSemaphorePermit,
}

/// The right to have one call answered.
pub(crate) struct Permit {
    ledger: Arc<Ledger>,
    _slot: OwnedSemaphorePermit,
    is_settled: bool,
    /// What the attempts cost so far.
    noted: AtomicI64,
}

/// Stage 3: may this call be made now?
pub(crate) async fn admit(context: &Context, call: &Call) -> Result<Permit, Failure> {
    check_method(call.method())?;
    check_path(call.path())?;
    let ledger = context.gateway.ledger();
    match ledger.slots.clone().try_acquire_owned() {
        Ok(slot) => {
            ledger.admitted.fetch_add(1, Ordering::Relaxed);
            Ok(Permit { ledger: ledger.clone(), _slot: slot, is_settled: false, noted: AtomicI64::new(0) })
        }
        Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
            Err(Failure::new(Reason::Saturated, "as many requests are in flight as max_in_flight allows"))
        }
    }
}

fn check_method(method: &Method) -> Result<(), Failure> {
    let known = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
    ];
    match known.contains(method) {
        true => Ok(()),
        false => Err(Failure::new(Reason::WrongMethod, "the method is not one that this path knows")),
    }
}

/// Only `/v1` and below is served, and no spelling that an upstream could read as something else.
fn check_path(path: &str) -> Result<(), Failure> {
    if path != "/v1" && !path.starts_with("/v1/") {
        return Err(Failure::new(Reason::NoSuchPath, "the path is not below /v1"));
    }
    if path.contains('\\') || has_dot_segment(path) {
        return Err(Failure::new(Reason::BadPath, "the path has a dot segment or a backslash"));
    }
    Ok(())
}

/// Whether a reader that decodes dots and slashes first, as nginx does, would find a `.` or `..` between slashes.
fn has_dot_segment(path: &str) -> bool {
    let decoded = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    decoded.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// An answer that was vetted, with the permit it will settle at its end.
pub(crate) struct Checked {
    pub(crate) answer: Answer,
    pub(crate) permit: Permit,
}

/// Stage 5: may this answer go out? Today every answer may; the permit travels on to the answer's last byte, where
/// it settles from real usage.
pub(crate) fn check(_context: &Context, permit: Permit, answer: Answer) -> Result<Checked, Failure> {
    Ok(Checked { answer, permit })
}

impl Permit {
    /// Adds what an attempt cost. A permit that is dropped unsettled charges what was noted.
    pub(crate) fn note(&self, spent: Usd) {
        self.noted.fetch_add(spent.0, Ordering::Relaxed);
    }

    /// Whether the key's budget covers `worst` for the whole call, over all its attempts; reserves more if it must, and
    /// waits for nobody. Always true without a budget.
    pub(crate) fn covers(&self, worst: Usd) -> bool {
        worst >= Usd::ZERO
    }

    /// The answer is complete and all that it used is known: what the whole call cost (`None`: what was noted), and
    /// the tokens of all its attempts.
    pub(crate) fn settle(mut self, _spent: Option<Usd>, _tokens: u64) {
        self.is_settled = true;
        self.ledger.settled.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_settled {
            self.ledger.settled_early.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Told for Permit {
    fn told(&self, _record: &mut Record) -> Cow<'static, str> {
        Cow::Borrowed("the path is served and a slot was free")
    }
}

impl Told for Checked {
    fn told(&self, _record: &mut Record) -> Cow<'static, str> {
        Cow::Borrowed(match self.answer.is_event_stream() {
            true => "the answer streams; the permit settles with its last event",
            false => "the answer is whole; the permit settles with its last byte",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_below_v1_are_served() {
        for path in ["/v1", "/v1/", "/v1/workflows/run", "/v1/a.b/...", "/v1/x%2Fy", "/v1/%2e%2e%2e"] {
            assert!(check_path(path).is_ok(), "{path}");
        }
        for path in ["/", "/v2/info", "/v1x", "/console/api", "*", ""] {
            assert_eq!(check_path(path).map_err(|failure| failure.reason), Err(Reason::NoSuchPath), "{path}");
        }
        for path in [
            "/v1/../console",
            "/v1/%2E%2e/x",
            "/v1/.%2e/x",
            "/v1/./x",
            "/v1/a\\b",
            "/v1/..%2fconsole",
            "/v1/x%2F..%2F..%2Fconsole",
            "/v1/x%5C..%5C..%2fconsole",
            "/v1/x/%2e%2E",
        ] {
            assert_eq!(check_path(path).map_err(|failure| failure.reason), Err(Reason::BadPath), "{path}");
        }
    }

    #[test]
    fn held_memory_comes_back() {
        let ledger = Ledger::of(&Limits { max_held_bodies_bytes: 4096, ..Limits::default() });
        let held = ledger.hold(3000).unwrap_or_else(|_| panic!("room for 3 KiB"));
        assert!(ledger.hold(3000).is_err());
        drop(held);
        assert!(ledger.hold(4096).is_ok());
    }
}
