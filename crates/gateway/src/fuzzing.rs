//! The readers of callers' bytes, opened for fuzzers only: nothing else may build on them.

use std::ops::Range;

use crate::path::normalize::model::{form, scan};

/// What a reader found of the model in a body that it takes.
#[derive(Debug)]
pub struct Found {
    pub model: Option<String>,
    pub model_at: Option<Range<usize>>,
}

/// A JSON body; `None` when it is refused.
pub fn body(bytes: &[u8]) -> Option<Found> {
    scan::scan(bytes).ok().map(found)
}

/// A form with files; `None` when it or its content type is refused.
pub fn form(content_type: &str, bytes: &[u8]) -> Option<Found> {
    form::scan(bytes, form::boundary(content_type)?).ok().map(found)
}

fn found(scanned: scan::Scanned) -> Found {
    Found { model: scanned.model, model_at: scanned.spots.model }
}
