//! Runs whose row still says `running`. There is no index on states, so that the newest runs are looked through.

use mainstay_base::Micros;

use super::{RunRow, Source, Timed, limit};
use crate::db::{Failure, Value};

impl Source<'_> {
    /// Of the newest runs before a time those that are running: so many are looked at, so many are given.
    pub async fn running_before(
        &self,
        before: Micros,
        looked_at: usize,
        given: usize,
    ) -> Result<Vec<RunRow>, Failure> {
        let sql = format!(
            "SELECT {} FROM workflow_runs WHERE id IN (SELECT id FROM (SELECT id, status FROM workflow_runs \
             WHERE created_at < $1 ORDER BY created_at DESC, id DESC LIMIT $2) AS newest \
             WHERE status = 'running' LIMIT $3)",
            RunRow::columns(self.schema)
        );
        let values = [Value::Time(before), Value::Int(limit(looked_at)), Value::Int(limit(given))];
        self.rows(&sql, &values, given).await?.iter().map(RunRow::read).collect()
    }
}
