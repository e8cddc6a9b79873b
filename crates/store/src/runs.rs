//! Runs: inserting, finishing and reading them.

use crate::model::{
    LogFilter, LogPage, NewRun, NodeExecution, Run, RunEvent, RunFilter, RunResult, RunSummary, Tally,
};
use mainstay_base::Micros;

/// The longest list.
pub const MAX_LIST: u32 = 200;
use crate::StoreError;

pub struct Runs {}

impl Runs {
    /// A run that is executed at once, by the process that inserts it. Durable runs go through `Jobs::submit`.
    pub async fn insert(&self, run: NewRun) -> Result<(), StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// False when the run is not there or has ended before: the first result stays.
    pub async fn finish(&self, run_id: &str, result: RunResult) -> Result<bool, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn get(&self, id: &str) -> Result<Option<Run>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn nodes(&self, run_id: &str) -> Result<Vec<NodeExecution>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn list(&self, filter: RunFilter) -> Result<Vec<RunSummary>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn logs(&self, app_id: &str, filter: LogFilter) -> Result<LogPage, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Appends events of the attempt with this epoch. False when the attempt is fenced off: nothing was stored.
    pub async fn append_events(
        &self,
        run_id: &str,
        epoch: i64,
        events: Vec<RunEvent>,
    ) -> Result<bool, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Events of the last attempt that has any, after `after_seq`.
    pub async fn events(
        &self,
        run_id: &str,
        after_seq: i64,
        limit: u32,
    ) -> Result<Vec<RunEvent>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Runs by app and final status that ended since then.
    pub async fn tally(&self, since: Micros) -> Result<Vec<Tally>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Fails runs without a job that began before `before` and never ended: their process has died.
    pub async fn fail_abandoned(&self, before: Micros, error: &str) -> Result<u64, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }
}
