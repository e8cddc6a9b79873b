//! Webhooks out: results of runs to their callbacks, alerts to their receivers.
//!
//! Promises: every delivery in the outbox is tried until it is delivered, refused for good or too old; every repeat
//! carries the same `webhook-id`; a call goes nowhere the address rule forbids; the body is signed when there is a key.

mod schedule;
mod send;
#[cfg(test)]
mod tests;

pub use schedule::{MAX_AGE, MAX_RETRY_AFTER, Next, PAUSES, Verdict, next, retry_after, verdict};
pub(crate) use send::Deliverer;
