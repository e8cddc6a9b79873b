//! What a provider says of a failure, in whatever dialect, as one [`Class`].

use std::time::Duration;

use mainstay_base::{Class, snapshot::Dialect};

/// A failure as the provider told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub class: Class,
    /// The provider's words, for operators; shortened.
    pub message: String,
    /// The provider's own word for it, as `rate_limit_exceeded`.
    pub code: Option<String>,
    /// When the provider wants to be asked again.
    pub retry_after: Option<Duration>,
}

impl Told {
    /// In our own words.
    pub fn plain(class: Class, message: impl Into<String>) -> Told {
        Told { class, message: message.into(), code: None, retry_after: None }
    }
}

/// What an answer that is no success says. `now` is in Unix seconds, for providers that name a moment.
pub fn told<'h>(
    _dialect: &Dialect,
    status: u16,
    _header: impl Fn(&str) -> Option<&'h str>,
    _body: &[u8],
    _now: i64,
) -> Told {
    Told {
        class: Class::ServerError,
        message: format!("the provider answered {status}"),
        code: None,
        retry_after: None,
    }
}

/// The error inside an answer of status 200, or inside an event of a stream.
pub fn inside(_dialect: &Dialect, _body: &[u8]) -> Option<Told> {
    None
}
