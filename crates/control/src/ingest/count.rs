//! What is the same for everything that is counted.

use mainstay_base::Micros;
use mainstay_dify::signature::{Catalogue, Class};

/// The class of an error text; empty where nothing failed.
pub(super) fn class(catalogue: &Catalogue, is_failed: bool, error: Option<&str>) -> &'static str {
    match (is_failed, error) {
        (false, _) => "",
        (true, None) => Class::Unknown.as_str(),
        (true, Some(text)) => catalogue.classify(text).map_or(Class::Unknown, |row| row.class).as_str(),
    }
}

/// The id of the row of the catalogue that knows a text.
pub(super) fn signature_of<'a>(catalogue: &'a Catalogue, error: Option<&str>) -> Option<&'a str> {
    error.and_then(|text| catalogue.classify(text)).map(|row| row.id.as_str())
}

/// From one time to a later one; `None` when one is not known or clocks disagree.
pub(super) fn between(from: Option<Micros>, to: Option<Micros>) -> Option<i64> {
    let micros = to?.0.checked_sub(from?.0)?;
    (micros >= 0).then_some(micros)
}
