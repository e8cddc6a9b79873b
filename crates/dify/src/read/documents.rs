//! Knowledge bases: which documents are on their way into the index, and what state segments are in. There is no index
//! on states, so that each question is about one knowledge base or one document.

use mainstay_base::Micros;

use super::{Source, id, limit, time};
use crate::db::{Failure, Id, Row, Value};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatasetRow {
    pub id: Id,
    pub tenant_id: Id,
    pub name: String,
    /// `high_quality` (vectors) or `economy` (keywords).
    pub technique: String,
}

/// A document that is neither done nor failed nor paused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentRow {
    pub id: Id,
    pub tenant_id: Id,
    pub dataset_id: Id,
    pub name: String,
    /// `waiting`, `parsing`, `cleaning`, `splitting`, `indexing`.
    pub status: String,
    pub created_at: Micros,
    pub started_at: Option<Micros>,
    pub updated_at: Micros,
}

impl DocumentRow {
    /// Since when it is on its way: the last retry, where there was one.
    pub fn begun_at(&self) -> Micros {
        self.started_at.unwrap_or(self.created_at)
    }
}

/// How many documents of a knowledge base, or segments of a document, are in a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentState {
    pub status: String,
    pub count: i64,
}

impl Source<'_> {
    pub async fn datasets(&self, after: Option<Id>, rows: usize) -> Result<Vec<DatasetRow>, Failure> {
        const SQL: &str = "SELECT id, tenant_id, left(name, 200), indexing_technique FROM datasets WHERE id > $1 \
             ORDER BY id LIMIT $2";
        let read = |row: &Row| {
            Ok(DatasetRow {
                id: id(row, 0)?,
                tenant_id: id(row, 1)?,
                name: row.word(2)?,
                technique: row.word(3)?,
            })
        };
        let values = [Value::Id(after.unwrap_or_default()), Value::Int(limit(rows))];
        self.rows(SQL, &values, rows).await?.iter().map(read).collect()
    }

    /// Documents of one knowledge base that are on their way.
    pub async fn documents_under_way(&self, dataset: Id, rows: usize) -> Result<Vec<DocumentRow>, Failure> {
        const SQL: &str = "SELECT id, tenant_id, dataset_id, left(name, 200), indexing_status, created_at, \
             processing_started_at, updated_at FROM documents WHERE dataset_id = $1 \
             AND indexing_status NOT IN ('completed', 'error') AND is_paused IS NOT TRUE LIMIT $2";
        let read = |row: &Row| {
            Ok(DocumentRow {
                id: id(row, 0)?,
                tenant_id: id(row, 1)?,
                dataset_id: id(row, 2)?,
                name: row.word(3)?,
                status: row.word(4)?,
                created_at: time(row, 5)?,
                started_at: row.time(6)?,
                updated_at: time(row, 7)?,
            })
        };
        let values = [Value::Id(dataset), Value::Int(limit(rows))];
        self.rows(SQL, &values, rows).await?.iter().map(read).collect()
    }

    pub async fn documents_by_state(&self, dataset: Id) -> Result<Vec<DocumentState>, Failure> {
        const SQL: &str =
            "SELECT indexing_status, count(*) FROM documents WHERE dataset_id = $1 GROUP BY 1 LIMIT 20";
        self.states(SQL, dataset).await
    }

    async fn states(&self, sql: &str, of: Id) -> Result<Vec<DocumentState>, Failure> {
        let read = |row: &Row| Ok(DocumentState { status: row.word(0)?, count: row.int(1)?.unwrap_or(0) });
        self.rows(sql, &[Value::Id(of)], 20).await?.iter().map(read).collect()
    }
}
