//! The words everyone shares: ids, time, money, the vocabularies of failure, secrets, and the documents
//! that cross the planes: [`Snapshot`] (control down to gateway), [`Record`] and [`Standing`] (gateway up to control).
//!
//! Promises: no I/O beyond reading the clock, no async runtime, no knowledge of HTTP or SQL.

pub mod app;
pub mod blame;
pub mod clock;
pub mod finding;
pub mod id;
pub mod kind;
mod listed;
pub mod record;
pub mod secret;
pub mod snapshot;
pub mod standing;
pub mod trace;
pub mod usd;
pub mod verdict;

pub use app::AppMode;
pub use blame::Blame;
pub use clock::{Clock, Micros};
pub use finding::{Evidence, Finding, Severity};
pub use kind::Kind;
pub use listed::listed;
pub use record::Record;
pub use secret::Secret;
pub use snapshot::Snapshot;
pub use standing::Standing;
pub use trace::TraceParent;
pub use usd::Usd;
pub use verdict::{Class, Fault};
