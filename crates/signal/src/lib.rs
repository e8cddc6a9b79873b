//! Arithmetic of judgement, without I/O: breakers, budgets of retries, latencies, limits, the order of a chain.
//!
//! Promises: pure state machines; time comes in as a value, chance as a number, so that a seeded simulation can run
//! any schedule. What is asked for on each request ([`breaker`], [`limits`], [`latency`], [`retry`]) allocates nothing.
//! Refuses to know HTTP, dialects and storage.
//!
//! # How success and a bounded amplification go together
//!
//! *Amplification* is attempts sent to providers, divided by calls. Three things make attempts beyond the first: tries
//! of the same target again and hedges (spent from [`retry::Budget`], a tenth of the traffic), and fallbacks to another
//! target. A fallback to a target whose breaker is closed is never refused: it does not load the target that fails, and
//! refusing it would make a provider's bad day the caller's. It is bounded by the [`breaker`] instead, which takes a
//! target that fails half of its calls out within about 20 calls; what was let through before is booked as debt of the
//! budget, so that retries and hedges pause meanwhile. While a target is out, only its probes fail: one every few
//! seconds, which is what finding its recovery within 5 s costs at any rate of traffic.

pub mod breaker;
pub mod chain;
pub mod ejection;
pub mod jitter;
pub mod keys;
pub mod latency;
pub mod limits;
pub mod next;
pub mod retry;
pub mod simulate;
