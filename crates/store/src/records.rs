//! Request records: one row for each request through the gateway.

use mainstay_base::{
    Record,
    record::{Outcome, Path},
};

use crate::{
    StoreError,
    db::{Db, Filter, Tx, values},
    model::RecordFilter,
    runs::list_limit,
};

pub struct Records {
    pub(crate) db: Db,
}

impl Records {
    /// A record that is there already stays as it is.
    pub async fn insert_batch(&self, records: Vec<Record>) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO records (request_id, opened_at, path, app_id, outcome, run_id, body) \
             VALUES ($1,$2,$3,$4,$5,$6,$7) ON CONFLICT (request_id) DO NOTHING";
        if records.is_empty() {
            return Ok(());
        }
        let bodies: Result<Vec<String>, serde_json::Error> =
            records.iter().map(serde_json::to_string).collect();
        let bodies = bodies.map_err(|error| StoreError::Bug(format!("a record is not JSON: {error}")))?;
        self.db
            .write(move |tx| {
                for (record, body) in records.iter().zip(&bodies) {
                    let values = values![
                        &record.request_id,
                        record.opened_at,
                        path(record.path),
                        record.app_id.as_deref(),
                        record.outcome.as_str(),
                        record.run_id.as_deref(),
                        body
                    ];
                    tx.execute(SQL, values)?;
                }
                Ok(())
            })
            .await
    }

    pub async fn get(&self, request_id: &str) -> Result<Option<Record>, StoreError> {
        let request_id = request_id.to_owned();
        self.db
            .read(move |tx| {
                let row = tx.one("SELECT body FROM records WHERE request_id = $1", values![&request_id])?;
                row.map(|mut row| row.json()).transpose()
            })
            .await
    }

    /// Newest first.
    pub async fn list(&self, filter: RecordFilter) -> Result<Vec<Record>, StoreError> {
        self.db.read(move |tx| list(tx, &filter)).await
    }
}

fn list(tx: &mut Tx<'_>, filter: &RecordFilter) -> Result<Vec<Record>, StoreError> {
    let RecordFilter { app_id, path: on_path, outcome, run_id, before, limit } = filter;
    let mut conditions = Filter::new();
    conditions.and("app_id = ?", app_id.as_deref());
    conditions.and("path = ?", on_path.map(path));
    conditions.and("outcome = ?", outcome.map(Outcome::as_str));
    conditions.and("run_id = ?", run_id.as_deref());
    conditions.and("opened_at < ?", *before);
    let limit = conditions.bind(list_limit(*limit).into());
    let sql = format!(
        "SELECT body FROM records WHERE {} ORDER BY opened_at DESC, request_id DESC LIMIT {limit}",
        conditions.sql()
    );
    tx.query(&sql, conditions.values())?.iter_mut().map(|row| row.json()).collect()
}

fn path(path: Path) -> &'static str {
    match path {
        Path::App => "app",
        Path::Model => "model",
    }
}
