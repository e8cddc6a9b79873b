//! Why a transaction did not happen, as the threads of the pool need to know it.

use crate::StoreError;

#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) error: StoreError,
    /// Surely rolled back, and for a reason that passes: the same work may be run again.
    pub(super) again: bool,
    /// The connection is of no more use.
    pub(super) lost: bool,
}

impl Failure {
    /// The statement or the closure itself is at fault.
    pub(super) fn of(error: StoreError) -> Failure {
        Failure { error, again: false, lost: false }
    }
}
