//! A stream that was committed to, with everything that its end settles. Made by `execute`, carried to its end by
//! `deliver`.

use std::sync::Arc;

use mainstay_base::snapshot::{Drain, Price};
use mainstay_wire::llm::responses;

use super::{Proved, Reading, relay::Terms};
use crate::{
    path::{
        drain::Drains,
        failure::Failure,
        telemetry::{Attempted, Open},
    },
    ports::BoxFuture,
    targets::Flight,
};

/// One attempt's stream, proved.
pub(crate) struct Committed {
    pub(crate) reading: Reading,
    pub(crate) proved: Proved,
    pub(crate) flight: Flight,
    pub(crate) attempted: Attempted,
    pub(crate) price: Option<Price>,
    /// `provider/model`, shown where an answer goes on here.
    pub(crate) target: String,
}

/// What `execute` hands over for a call that streams.
pub(crate) struct Streaming {
    pub(crate) committed: Committed,
    pub(crate) terms: Terms,
    pub(crate) drain: Drain,
    pub(crate) drains: Arc<Drains>,
    /// `OnCut::Continue`, for answers in text with a target left; asked at most once.
    pub(crate) continue_with: Option<ContinueWith>,
}

/// Where a stream broke off, for another target to go on from.
pub(crate) struct Said {
    pub(crate) text: String,
    /// Of a call of `/v1/responses`: what goes on is written by the same hand.
    pub(crate) typed: Option<Box<responses::StreamWriter>>,
}

/// Asks another target to go on from what was said. The record goes along, so that the attempts stand in it, and comes
/// back; when the caller leaves meanwhile, dropping the future closes it.
pub(crate) type ContinueWith =
    Box<dyn FnOnce(Said, Open) -> BoxFuture<'static, (Open, Result<Committed, Failure>)> + Send>;
