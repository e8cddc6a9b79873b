//! What a provider's answer says of its rate limits.

use std::time::Duration;

use mainstay_base::snapshot::Dialect;

/// What was told; every field stands alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    pub requests: Quota,
    /// Input and output together where a provider counts them so.
    pub tokens: Quota,
    /// Providers that count the two apart.
    pub input_tokens: Quota,
    pub output_tokens: Quota,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    pub limit: Option<u64>,
    pub left: Option<u64>,
    /// From now until it is full again.
    pub reset: Option<Duration>,
}

/// `now` in Unix seconds.
pub fn learned<'h>(_dialect: &Dialect, _header: impl Fn(&str) -> Option<&'h str>, _now: i64) -> Learned {
    Learned::default()
}
