//! What happened and what was done: append-only, a hash chain.

use crate::StoreError;
use crate::model::{ChainBreak, NewEvent, TimelineEvent, TimelineFilter, Verified};

pub struct Timeline {}

impl Timeline {
    pub async fn append(&self, event: NewEvent) -> Result<TimelineEvent, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn list(&self, filter: TimelineFilter) -> Result<Vec<TimelineEvent>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Walks the whole chain.
    pub async fn verify(&self) -> Result<Result<Verified, ChainBreak>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }
}
