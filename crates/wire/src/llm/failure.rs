//! What a provider says of a failure, in whatever dialect, as one [`Class`].

use std::time::Duration;

use mainstay_base::Class;

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
