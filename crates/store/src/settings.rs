//! Documents that operators change at run time, with a revision against lost updates.

use crate::StoreError;
use crate::model::Setting;
use serde_json::Value;

pub struct Settings {}

impl Settings {
    pub async fn get(&self, name: &str) -> Result<Option<Setting>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Stores the value if the revision is still `expected` (0: not stored yet). False: somebody was faster.
    pub async fn put(
        &self,
        name: &str,
        value: Value,
        expected: i64,
        actor: &str,
    ) -> Result<bool, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }
}
