//! Uploaded files, kept in the database up to a limit.

use crate::{
    StoreError,
    db::{Db, values},
    model::{File, NewFile},
};

/// Dify's own default for documents.
pub const MAX_FILE_BYTES: usize = 15 * 1024 * 1024;

pub struct Files {
    pub(crate) db: Db,
}

impl Files {
    pub async fn insert(&self, file: NewFile) -> Result<File, StoreError> {
        const FILE: &str = "INSERT INTO files (id, app_id, end_user_id, name, extension, mime_type, size, created_at) \
             VALUES ($1,$2,$3,$4,$5,$6,$7,$8)";
        const CONTENT: &str = "INSERT INTO file_contents (id, content) VALUES ($1,$2)";
        let bytes = file.content.len();
        if bytes > MAX_FILE_BYTES {
            return Err(StoreError::TooLarge { what: "the file", bytes, limit: MAX_FILE_BYTES });
        }
        self.db
            .write(move |tx| {
                let NewFile { id, app_id, end_user_id, name, extension, mime_type, content } = &file;
                let size = i64::try_from(content.len()).unwrap_or(i64::MAX);
                let created_at = tx.now();
                let values = values![id, app_id, end_user_id, name, extension, mime_type, size, created_at];
                tx.execute(FILE, values)?;
                tx.execute(CONTENT, values![id, content.as_slice()])?;
                Ok(File {
                    id: id.clone(),
                    app_id: app_id.clone(),
                    end_user_id: end_user_id.clone(),
                    name: name.clone(),
                    extension: extension.clone(),
                    mime_type: mime_type.clone(),
                    size,
                    created_at,
                })
            })
            .await
    }

    pub async fn get(&self, id: &str) -> Result<Option<File>, StoreError> {
        const SQL: &str = "SELECT id, app_id, end_user_id, name, extension, mime_type, size, created_at \
             FROM files WHERE id = $1";
        let id = id.to_owned();
        self.db
            .read(move |tx| {
                let Some(mut row) = tx.one(SQL, values![&id])? else { return Ok(None) };
                Ok(Some(File {
                    id: row.text()?,
                    app_id: row.text()?,
                    end_user_id: row.text()?,
                    name: row.text()?,
                    extension: row.text()?,
                    mime_type: row.text()?,
                    size: row.int()?,
                    created_at: row.micros()?,
                }))
            })
            .await
    }

    pub async fn content(&self, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let id = id.to_owned();
        self.db
            .read(move |tx| {
                let row = tx.one("SELECT content FROM file_contents WHERE id = $1", values![&id])?;
                row.map(|mut row| row.bytes()).transpose()
            })
            .await
    }
}
