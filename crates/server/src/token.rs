//! Tokens that this process makes for itself.

use mainstay_base::Secret;
use uuid::Uuid;

/// A prefix that says what it is for, and 244 random bits.
pub(crate) fn random(prefix: &str) -> Secret {
    Secret::new(format!("{prefix}{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
}
