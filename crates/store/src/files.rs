//! Uploaded files, kept in the database up to a limit.

use crate::model::{File, NewFile};

/// Dify's own default for documents.
pub const MAX_FILE_BYTES: usize = 15 * 1024 * 1024;
use crate::StoreError;

pub struct Files {}

impl Files {
    pub async fn insert(&self, file: NewFile) -> Result<File, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn get(&self, id: &str) -> Result<Option<File>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub async fn content(&self, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }
}
