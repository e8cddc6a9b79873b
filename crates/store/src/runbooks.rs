//! Executions of runbooks.

use crate::StoreError;
use crate::model::{Execution, ExecutionFilter};

pub struct Runbooks {}

impl Runbooks {
    /// False when an execution with this id is there already.
    pub async fn insert(&self, execution: Execution) -> Result<bool, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// False when there is none, or it has ended.
    pub async fn update(&self, execution: Execution) -> Result<bool, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn get(&self, id: &str) -> Result<Option<Execution>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn list(&self, filter: ExecutionFilter) -> Result<Vec<Execution>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }
}
