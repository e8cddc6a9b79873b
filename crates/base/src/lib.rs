//! The words everyone shares: ids, time, the one vocabulary of failure, secrets, and the two documents
//! that cross the planes: [`Snapshot`] (control down to gateway) and [`Record`] (gateway up to control).
//!
//! Promises: no I/O beyond reading the clock, no async runtime, no knowledge of HTTP or SQL.

pub mod app;
pub mod clock;
pub mod id;
pub mod kind;
pub mod record;
pub mod secret;
pub mod snapshot;
pub mod trace;

pub use app::AppMode;
pub use clock::{Clock, Micros};
pub use kind::Kind;
pub use record::Record;
pub use secret::Secret;
pub use snapshot::Snapshot;
pub use trace::TraceParent;
