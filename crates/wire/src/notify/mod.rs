//! Notices about alerts: the neutral document, and how each receiver is told in its own dialect.

mod notice;

pub use notice::{Alert, Escalation, MAX_ALERTS, Notice, Severity, What};
