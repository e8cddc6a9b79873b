//! Arithmetic of judgement, without I/O: breakers, budgets of retries, latencies, limits, the order of a chain.
//!
//! Promises: pure state machines; time comes in as a value, chance as a number, so that a seeded simulation can run
//! any schedule. What is asked for on each request ([`breaker`], [`limits`], [`latency`], [`retry`]) allocates nothing.
//! Refuses to know HTTP, dialects and storage.
//!
//! # How success and a bounded amplification go together
//!
//! *Amplification* is attempts sent to providers, divided by calls, over an illness and the time around it. Three things
//! make attempts beyond the first: tries of the same target again and hedges (spent from [`retry::Budget`], a tenth of the
//! traffic), and fallbacks to another target. A fallback to a target whose breaker is closed is never refused: it does not
//! load the target that fails, and refusing it would make a provider's bad day the caller's. It is booked as debt of the
//! budget, so that retries and hedges pause meanwhile, and bounded by the [`breaker`], which takes out a target that fails
//! half of its calls after 13 calls in the mean (nine times of ten within 20, 99 of 100 times within 40), one
//! that fails all of them after 5, and one that stalls after 12 calls and twice its usual time.
//!
//! While a target is out, only its probes fail: one in four seconds or so, which is what finding its recovery within 5 s
//! costs at any rate of traffic. From ten calls a second on the whole stays far below 1.1 (1.00 to 1.04 over a minute of
//! illness in 150 s); at one call a second each failed probe is one call in five, and the sum reaches 1.1 to 1.2. When all
//! targets fail, calls go to the last resort alone, and the budget bounds the rest. `tests/bad_days.rs` holds all this.

pub mod breaker;
pub mod chain;
pub mod ejection;
pub mod forecast;
pub mod jitter;
pub mod keys;
pub mod latency;
pub mod limits;
pub mod next;
pub mod retry;
pub mod simulate;
pub mod slo;
