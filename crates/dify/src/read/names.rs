//! Who the apps are.

use super::{Source, id, limit};
use crate::db::{Failure, Id, Row, Value};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppRow {
    pub id: Id,
    pub tenant_id: Id,
    pub name: String,
    /// `workflow`, `advanced-chat`, `chat`, `agent-chat`, `completion`, `rag-pipeline`.
    pub mode: String,
    /// `normal`, or it cannot be used.
    pub status: String,
}

impl Source<'_> {
    /// Apps after an id, in the order of their ids.
    pub async fn apps(&self, after: Option<Id>, rows: usize) -> Result<Vec<AppRow>, Failure> {
        const SQL: &str = "SELECT id, tenant_id, left(name, 200), mode, status FROM apps WHERE id > $1 \
             ORDER BY id LIMIT $2";
        let read = |row: &Row| {
            Ok(AppRow {
                id: id(row, 0)?,
                tenant_id: id(row, 1)?,
                name: row.word(2)?,
                mode: row.word(3)?,
                status: row.word(4)?,
            })
        };
        let values = [Value::Id(after.unwrap_or_default()), Value::Int(limit(rows))];
        self.rows(SQL, &values, rows).await?.iter().map(read).collect()
    }
}
