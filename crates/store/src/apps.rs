//! Apps of the embedded engine, their versions and keys.

use crate::StoreError;
use crate::model::{App, Imported, NewApp, NewKey, Version, VersionInfo};
use mainstay_base::{AppMode, id::KeyHash};

pub struct Apps {}

impl Apps {
    /// All apps or none: one transaction, one new generation.
    pub async fn import(&self, apps: Vec<(NewApp, Option<NewKey>)>) -> Result<Vec<Imported>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn list(&self) -> Result<Vec<App>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn get(&self, id: &str) -> Result<Option<App>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn get_by_name(&self, name: &str, mode: Option<AppMode>) -> Result<Option<App>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn version(&self, id: &str) -> Result<Option<Version>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Newest first.
    pub async fn versions(&self, app_id: &str) -> Result<Vec<VersionInfo>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn keys(&self) -> Result<Vec<(KeyHash, String)>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// False when there is no such app. A key that another app had moves to this one.
    pub async fn add_key(&self, app_id: &str, key: NewKey) -> Result<bool, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn remove_key(&self, hash: KeyHash) -> Result<bool, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    /// Changes whenever apps or keys change; cheap to poll.
    pub async fn generation(&self) -> Result<i64, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }
}
