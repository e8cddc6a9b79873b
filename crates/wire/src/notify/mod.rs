//! Notices about alerts: the neutral document, and how each receiver is told in its own dialect.
//!
//! Promises: nothing that a component's name or a provider's error says becomes a mention, a link or markup; a text is cut
//! to what its receiver takes; what an answer means is decided by its body where its status says nothing. Bodies, limits
//! and codes are those of the vendors, as far as they publish them; `docs/receivers.md` names them.

mod answer;
mod call;
mod channel;
mod chat;
mod incident;
mod notice;
#[cfg(test)]
mod tests;
mod words;

pub use answer::{Answer, judge};
pub use call::{Call, call, shown, webhook_body};
pub use channel::{Channel, Email, Kind, Limits, Markup, Security};
pub use notice::{Alert, Escalation, MAX_ALERTS, Notice, Severity, What};
pub use words::{Words, words};
