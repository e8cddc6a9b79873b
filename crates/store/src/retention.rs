//! Removing what has been kept long enough, a bounded piece at a time.

use crate::StoreError;
use crate::model::{Policy, Swept};

pub struct Retention {}

impl Retention {
    pub async fn sweep(&self, policy: Policy) -> Result<Swept, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }
}
