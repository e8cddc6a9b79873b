//! The data plane: every request to an app or a model walks the six stages of [`path`], and leaves one record.
//!
//! Promises: it works from the last [`Snapshot`](mainstay_base::Snapshot) it was given and needs nothing else to
//! serve; nothing is sent without a permit; nothing is retried after a byte has reached the caller; what streams in
//! streams out, event by event, at the reader's own pace. Refuses to know: storage, judgement and the engine, which
//! it reaches only through the ports of [`ports`].

mod allowance;
pub mod fuzzing;
mod gateway;
pub mod limits;
pub mod listen;
mod path;
pub mod ports;
pub mod records;
mod targets;

pub use gateway::{Gateway, Ports, Stats};
pub use limits::{Limits, ListenLimits};
pub use listen::listen;
pub use path::{CandidateExplained, Needs, PassedOver, RouteExplained};
pub use ports::{Allowance, BoxFuture, Durable, Embedded, EmbeddedCall, Endpoint, Gone, Submission};
pub use records::{RecordReceiver, RecordSender};
