//! Deliveries that must happen: results of runs to their callbacks, alerts to their receivers.

use crate::StoreError;
use crate::model::{Delivery, NewDelivery};
use mainstay_base::Micros;
use std::time::Duration;

pub struct Outbox {}

impl Outbox {
    /// False when a delivery with this id is there already.
    pub async fn enqueue(&self, delivery: NewDelivery) -> Result<bool, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Takes due deliveries for `lease`; each comes again if it is not ended or put off by then.
    pub async fn due(&self, max: usize, lease: Duration) -> Result<Vec<Delivery>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn delivered(&self, id: &str, status: i64) -> Result<bool, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Puts it off to `next_at`, or gives it up when that is `None`.
    pub async fn failed(
        &self,
        id: &str,
        status: Option<i64>,
        error: &str,
        next_at: Option<Micros>,
    ) -> Result<bool, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Deliveries of a run, oldest first.
    pub async fn list(&self, run_id: &str) -> Result<Vec<Delivery>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// How many are pending, and how many were given up.
    pub async fn backlog(&self) -> Result<(i64, i64), StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }
}
