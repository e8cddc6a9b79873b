//! Webhooks out: results of runs to their callbacks, alerts to their receivers.
//!
//! Promises: every delivery in the outbox is tried until it is delivered, refused for good or too old; every repeat
//! carries the same `webhook-id`; a call goes nowhere the address rule forbids; a receiver that is down or asks for time
//! delays no other; no error, log or page tells a receiver's secret.

mod ask;
mod attempt;
mod callback;
mod email;
#[cfg(test)]
mod mail_tests;
mod pulse;
mod receiver;
mod schedule;
mod send;
mod sent;
mod tell;
mod template;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod told_tests;

pub use ask::{Preview, PreviewRefused, ReceiverState, TestRefused, preview};
pub use email::check_address;
pub(crate) use pulse::{Acted, Pulse};
pub use receiver::{Receiver, Trust};
pub use schedule::{
    MAX_AGE, MAX_NOTICE_AGE, MAX_RETRY_AFTER, NOTICE_PAUSES, Next, PAUSES, Verdict, next, next_notice,
    retry_after, verdict,
};
pub(crate) use send::Deliverer;
pub use send::{PER_CHAT, PER_RECEIVER, deliver_until};
pub(crate) use sent::Sent;
pub use sent::Tries;
pub(crate) use tell::{Try, tell};
pub use template::{MAX_TEMPLATE_BYTES, Templates};
