//! Worker processes and their heartbeats.

use crate::StoreError;
use crate::model::Worker;

pub struct Workers {}

impl Workers {
    /// Inserts the worker or says that it lives; `beat_at` is set here.
    pub async fn beat(&self, worker: Worker) -> Result<(), StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn list(&self) -> Result<Vec<Worker>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn remove(&self, id: &str) -> Result<bool, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }
}
