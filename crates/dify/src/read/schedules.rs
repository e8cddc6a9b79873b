//! When schedules are due.

use mainstay_base::Micros;

use super::{Source, id, limit};
use crate::db::{Failure, Id, Row, Value};

/// The plan of one schedule: Dify's poller moves it on before the run is queued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanRow {
    pub id: Id,
    pub app_id: Id,
    pub next_run_at: Option<Micros>,
    /// `None`: we may not read it.
    pub is_enabled: Option<bool>,
}

impl Source<'_> {
    /// Those that are due before a time, the longest due first.
    pub async fn plans_before(&self, before: Micros, rows: usize) -> Result<Vec<PlanRow>, Failure> {
        let sql = format!(
            "SELECT {} FROM workflow_schedule_plans AS plan WHERE next_run_at < $1 ORDER BY next_run_at LIMIT $2",
            self.columns()
        );
        let values = [Value::Time(before), Value::Int(limit(rows))];
        self.rows(&sql, &values, rows).await?.iter().map(plan).collect()
    }

    /// Those of these that are there.
    pub async fn plans(&self, ids: &[Id]) -> Result<Vec<PlanRow>, Failure> {
        let sql = format!(
            "SELECT {} FROM workflow_schedule_plans AS plan WHERE id = ANY($1) LIMIT $2",
            self.columns()
        );
        let values = [Value::Ids(ids), Value::Int(limit(ids.len()))];
        self.rows(&sql, &values, ids.len()).await?.iter().map(plan).collect()
    }

    fn columns(&self) -> String {
        let can = ["tenant_id", "app_id", "node_id", "status"]
            .iter()
            .all(|column| self.schema.has("app_triggers", column));
        let enabled = match can {
            true => {
                "(SELECT bool_or(status = 'enabled') FROM app_triggers AS of_app \
                 WHERE of_app.tenant_id = plan.tenant_id AND of_app.app_id = plan.app_id \
                 AND of_app.node_id = plan.node_id)"
            }
            false => "NULL::boolean",
        };
        format!("id, app_id, next_run_at, {enabled}")
    }
}

fn plan(row: &Row) -> Result<PlanRow, Failure> {
    Ok(PlanRow { id: id(row, 0)?, app_id: id(row, 1)?, next_run_at: row.time(2)?, is_enabled: row.bool(3)? })
}
