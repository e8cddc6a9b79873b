//! The nodes of runs, with what their models used, and where runs came from.

use mainstay_base::Micros;

use super::{MAX_ERROR, Model, Source, Usage, id, limit, seconds, time, usage};
use crate::{
    db::{Failure, Id, Row, Value},
    schema::Capability,
};

/// The most nodes one answer holds. Of a run with more, as many are read.
pub const MAX_NODES: usize = 20_000;
/// A text that takes more than this on disk is not unpacked by the server; what it would say is unknown then.
const MAX_METADATA: usize = 64 * 1024;
const MAX_PROCESS_DATA: usize = 256 * 1024;
/// What a model used stands at the end of a node's process data, after its prompts.
const TAIL: usize = 1200;
/// What a retrieval that found nothing wrote is a few letters; more than this on disk is not unpacked.
const MAX_NOTHING: usize = 4 * 1024;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeRow {
    pub run_id: Id,
    pub node_id: String,
    pub kind: String,
    pub status: String,
    pub error: Option<String>,
    pub elapsed_us: i64,
    pub created_at: Micros,
    pub finished_at: Option<Micros>,
    pub usage: Usage,
    pub model: Option<Model>,
    /// Of a retrieval of knowledge that went well: whether it found anything. `None`: it is none, or its outputs do not say.
    pub found: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nodes {
    pub rows: Vec<NodeRow>,
    /// Nodes whose metadata were there and could not be read.
    pub unreadable: u64,
    /// There were more than [`MAX_NODES`].
    pub is_cut: bool,
}

impl Source<'_> {
    /// The nodes of these runs, in no order. Ask again with fewer runs when it is cut.
    pub async fn nodes(&self, runs: &[Id]) -> Result<Nodes, Failure> {
        const TABLE: &str = "workflow_node_executions";
        let optional = |column: &'static str, whole: String| match self.schema.has(TABLE, column) {
            true => whole,
            false => "NULL::text".to_owned(),
        };
        let metadata = optional(
            "execution_metadata",
            format!(
                "CASE WHEN pg_column_size(execution_metadata) <= {MAX_METADATA} THEN execution_metadata END"
            ),
        );
        let process = optional(
            "process_data",
            format!(
                "CASE WHEN node_type IN ('llm','question-classifier','parameter-extractor') \
                 AND pg_column_size(process_data) <= {MAX_PROCESS_DATA} THEN right(process_data, {TAIL}) END"
            ),
        );
        // Nothing of what was found leaves the database.
        let found = match self.schema.has(TABLE, "outputs") {
            true => format!(
                "CASE WHEN node_type = 'knowledge-retrieval' AND status = 'succeeded' THEN CASE \
                 WHEN pg_column_size(outputs) > {MAX_NOTHING} THEN true \
                 WHEN outputs ~ '\"result\"\\s*:\\s*\\[\\s*\\]' THEN false \
                 WHEN outputs ~ '\"result\"\\s*:\\s*\\[' THEN true END END"
            ),
            false => "NULL::boolean".to_owned(),
        };
        let sql = format!(
            "SELECT workflow_run_id, node_id, node_type, status, left(error, {MAX_ERROR}), elapsed_time, created_at, \
             finished_at, {metadata}, {process}, {found} FROM {TABLE} WHERE workflow_run_id = ANY($1) LIMIT $2"
        );
        let values = [Value::Ids(runs), Value::Int(limit(MAX_NODES + 1))];
        let mut rows = self.rows(&sql, &values, MAX_NODES + 1).await?;
        let is_cut = rows.len() > MAX_NODES;
        rows.truncate(MAX_NODES);
        let mut nodes = Nodes { rows: Vec::with_capacity(rows.len()), unreadable: 0, is_cut };
        for row in &rows {
            let (row, is_readable) = node(row)?;
            nodes.rows.push(row);
            nodes.unreadable += u64::from(!is_readable);
        }
        Ok(nodes)
    }

    /// By run: `service-api`, `web-app` or `installed-app`. Runs from the console's debugger have none.
    pub async fn origins(&self, runs: &[Id]) -> Result<Vec<(Id, String)>, Failure> {
        const SQL: &str = "SELECT workflow_run_id, created_from FROM workflow_app_logs \
             WHERE workflow_run_id = ANY($1) LIMIT $2";
        if !self.schema.can(Capability::Origins) {
            return Ok(Vec::new());
        }
        let rows = runs.len() * 2;
        let values = [Value::Ids(runs), Value::Int(limit(rows))];
        let read = |row: &Row| Ok((id(row, 0)?, row.word(1)?));
        self.rows(SQL, &values, rows).await?.iter().map(read).collect()
    }

    /// When something last happened in a run: the newest time of its nodes. `None`: it has none.
    pub async fn last_progress(&self, run: Id) -> Result<Option<Micros>, Failure> {
        const SQL: &str = "SELECT max(greatest(created_at, finished_at)) FROM (SELECT created_at, finished_at \
             FROM workflow_node_executions WHERE workflow_run_id = $1 LIMIT 20000) AS nodes";
        let row = self.reader.one(SQL, &[Value::Id(run)], super::WITHIN).await?;
        row.map_or(Ok(None), |row| row.time(0))
    }
}

fn node(row: &Row) -> Result<(NodeRow, bool), Failure> {
    let metadata = row.text(8)?.filter(|text| !text.is_empty());
    let from_metadata = metadata.map(usage::of_metadata);
    let is_readable = !matches!(from_metadata, Some(None));
    let tail = row.text(9)?;
    let used = from_metadata.flatten().unwrap_or_default();
    let node = NodeRow {
        run_id: id(row, 0)?,
        node_id: row.word(1)?,
        kind: row.word(2)?,
        status: row.word(3)?,
        error: row.text(4)?.filter(|text| !text.is_empty()).map(str::to_owned),
        elapsed_us: seconds(row, 5)?,
        created_at: time(row, 6)?,
        finished_at: row.time(7)?,
        usage: tail.map_or(used.clone(), |tail| usage::with_tail(used, tail)),
        model: tail.and_then(usage::model),
        found: row.bool(10)?,
    };
    Ok((node, is_readable))
}
