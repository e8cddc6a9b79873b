//! Dify's Service API as bytes and values: error bodies, request bodies with Dify's checks and words, answers and
//! stream events with Dify's fields in Dify's order.
//!
//! Promises: no I/O, no clock, no randomness, nothing panics on any bytes. Refuses to know: how a run is executed or
//! stored. Facts were taken from recorded answers of Dify 1.12.1 and, where those are silent, from its source.

pub mod answer;
pub mod error;
pub mod event;
pub mod form;
pub mod query;
pub mod request;
pub mod usage;
mod validation;

pub use error::ApiError;
pub use event::{Envelope, Frame};
pub use form::InputForm;
pub use request::{ChatBody, ResponseMode, RunBody};
pub use usage::Usage;

/// The version of Dify whose behaviour is reproduced; sent as `X-Version`.
pub const DIFY_VERSION: &str = "1.12.1";
