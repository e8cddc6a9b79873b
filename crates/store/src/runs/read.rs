//! Reading runs. A queued run that a worker holds shows as running: the claim does not rewrite the run's row.

use mainstay_base::{AppMode, Micros};

use super::list_limit;
use crate::{
    StoreError,
    db::{Filter, Row, Tx, values},
    model::{
        JobKind, JobState, LogFilter, LogPage, NodeExecution, Run, RunEvent, RunFilter, RunJob, RunStatus,
        RunSummary, Tally,
    },
};

/// The columns of a [`RunSummary`] in the order [`summary`] reads them. They come last: it stops where there is no job.
const SUMMARY: &str = "r.id, r.app_id, r.app_name, r.mode, r.kind, r.upstream, r.version_id, r.version, r.status, \
     r.error, r.error_kind, r.end_user_id, r.session_id, r.task_id, r.conversation_id, r.request_id, r.trace_id, \
     r.upstream_run_id, r.total_tokens, r.total_steps, r.exceptions_count, r.created_at, r.started_at, \
     r.finished_at, r.elapsed_us, j.state, j.attempt, j.epoch, j.owner, j.due_at, j.cancel_requested, \
     j.last_class, j.last_error, j.leased_at";
const FROM: &str = "FROM runs r LEFT JOIN jobs j ON j.id = r.id";

pub(crate) fn find(tx: &mut Tx<'_>, id: &str) -> Result<Option<Run>, StoreError> {
    let sql = format!("SELECT r.inputs, r.outputs, r.usage, {SUMMARY} {FROM} WHERE r.id = $1");
    let Some(mut row) = tx.one(&sql, values![id])? else { return Ok(None) };
    let (inputs, outputs, usage) = (row.json()?, row.opt_json()?, row.opt_json()?);
    Ok(Some(Run { summary: summary(&mut row)?, inputs, outputs, usage }))
}

pub(super) fn nodes(tx: &mut Tx<'_>, run_id: &str) -> Result<Vec<NodeExecution>, StoreError> {
    let row = tx.one("SELECT nodes FROM runs WHERE id = $1", values![run_id])?;
    let nodes = row.map(|mut row| row.opt_json()).transpose()?.flatten();
    Ok(nodes.unwrap_or_default())
}

pub(super) fn list(tx: &mut Tx<'_>, filter: &RunFilter) -> Result<Vec<RunSummary>, StoreError> {
    let RunFilter { app_id, status, kind, session_id, conversation_id, before, limit } = filter;
    let mut conditions = Filter::new();
    conditions.and("r.app_id = ?", app_id.as_deref());
    conditions.and("r.kind = ?", kind.map(JobKind::as_str));
    conditions.and("r.session_id = ?", session_id.as_deref());
    conditions.and("r.conversation_id = ?", conversation_id.as_deref());
    conditions.and("r.id < ?", before.as_deref());
    has_status(&mut conditions, *status);
    let limit = conditions.bind(list_limit(*limit).into());
    let sql = format!("SELECT {SUMMARY} {FROM} WHERE {} ORDER BY r.id DESC LIMIT {limit}", conditions.sql());
    tx.query(&sql, conditions.values())?.iter_mut().map(summary).collect()
}

pub(super) fn logs(tx: &mut Tx<'_>, app_id: &str, filter: &LogFilter) -> Result<LogPage, StoreError> {
    let LogFilter { keyword, status, created_before, created_after, session_id, page, limit } = filter;
    let pattern = keyword.as_deref().map(like_pattern);
    let mut conditions = Filter::new();
    conditions.and("r.app_id = ?", Some(app_id));
    conditions.and("r.created_at <= ?", *created_before);
    conditions.and("r.created_at >= ?", *created_after);
    conditions.and("r.session_id = ?", session_id.as_deref());
    conditions.and(
        "(lower(r.inputs) LIKE ? ESCAPE '\\' OR lower(r.outputs) LIKE ? ESCAPE '\\' \
         OR lower(r.session_id) LIKE ? ESCAPE '\\' OR r.id LIKE ? ESCAPE '\\')",
        pattern.as_deref(),
    );
    has_status(&mut conditions, *status);
    let sql = format!("SELECT COUNT(*) {FROM} WHERE {}", conditions.sql());
    let total = tx.one(&sql, conditions.values())?.map_or(Ok(0), |mut row| row.int())?;
    let limit = list_limit(*limit);
    let offset = conditions.bind((i64::from(page.saturating_sub(1)) * limit).into());
    let limit = conditions.bind(limit.into());
    let sql = format!(
        "SELECT {SUMMARY} {FROM} WHERE {} ORDER BY r.id DESC LIMIT {limit} OFFSET {offset}",
        conditions.sql()
    );
    let runs: Result<Vec<RunSummary>, StoreError> =
        tx.query(&sql, conditions.values())?.iter_mut().map(summary).collect();
    Ok(LogPage { runs: runs?, total })
}

pub(super) fn events(
    tx: &mut Tx<'_>,
    run_id: &str,
    after_seq: i64,
    limit: u32,
) -> Result<Vec<RunEvent>, StoreError> {
    const SQL: &str = "SELECT seq, at, body FROM run_events WHERE run_id = $1 AND seq > $2 \
         AND epoch = (SELECT MAX(epoch) FROM run_events WHERE run_id = $1) ORDER BY seq LIMIT $3";
    let rows = tx.query(SQL, values![run_id, after_seq, limit])?;
    rows.into_iter()
        .map(|mut row| Ok(RunEvent { seq: row.int()?, at: row.micros()?, body: row.text()? }))
        .collect()
}

pub(super) fn tally(tx: &mut Tx<'_>, since: Micros) -> Result<Vec<Tally>, StoreError> {
    const SQL: &str = "SELECT app_id, status, COUNT(*), CAST(SUM(total_tokens) AS BIGINT) FROM runs \
         WHERE finished_at >= $1 GROUP BY app_id, status ORDER BY app_id, status";
    let rows = tx.query(SQL, values![since])?;
    rows.into_iter()
        .map(|mut row| {
            Ok(Tally {
                app_id: row.text()?,
                status: row.word("status", RunStatus::parse)?,
                runs: row.int()?,
                total_tokens: row.int()?,
            })
        })
        .collect()
}

fn has_status(conditions: &mut Filter<'_>, status: Option<RunStatus>) {
    match status {
        None => {}
        Some(RunStatus::Queued) => conditions.is(
            "r.finished_at IS NULL AND r.status = 'queued' AND (j.state IS NULL OR j.state <> 'leased')",
        ),
        Some(RunStatus::Running) => conditions.is(
            "r.finished_at IS NULL AND (r.status = 'running' OR (r.status = 'queued' AND j.state = 'leased'))",
        ),
        Some(ended) => conditions.and("r.status = ?", Some(ended.as_str())),
    }
}

fn like_pattern(keyword: &str) -> String {
    let escaped = keyword.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

fn summary(row: &mut Row) -> Result<RunSummary, StoreError> {
    let mut run = RunSummary {
        id: row.text()?,
        app_id: row.text()?,
        app_name: row.text()?,
        mode: row.word("mode", AppMode::parse)?,
        kind: row.word("kind", JobKind::parse)?,
        upstream: row.opt_text()?,
        version_id: row.text()?,
        version: row.text()?,
        status: row.word("status", RunStatus::parse)?,
        error: row.opt_text()?,
        error_kind: row.opt_kind()?,
        end_user_id: row.opt_text()?,
        session_id: row.text()?,
        task_id: row.opt_text()?,
        conversation_id: row.opt_text()?,
        request_id: row.opt_text()?,
        trace_id: row.opt_text()?,
        upstream_run_id: row.opt_text()?,
        total_tokens: row.int()?,
        total_steps: row.int()?,
        exceptions_count: row.int()?,
        created_at: row.micros()?,
        started_at: row.opt_micros()?,
        finished_at: row.opt_micros()?,
        elapsed_us: row.opt_int()?,
        job: None,
    };
    let Some(state) = row.opt_text()? else { return Ok(run) };
    let state = JobState::parse(&state).ok_or_else(|| StoreError::unreadable("job state", state))?;
    run.job = Some(RunJob {
        state,
        attempt: row.int()?,
        epoch: row.int()?,
        worker_id: row.opt_text()?,
        due_at: row.opt_micros()?,
        cancel_requested: row.flag()?,
        last_class: row.opt_text()?,
        last_error: row.opt_text()?,
    });
    let leased_at = row.opt_micros()?;
    if state == JobState::Leased && run.status == RunStatus::Queued {
        run.status = RunStatus::Running;
        run.started_at = leased_at;
    }
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::like_pattern;

    #[test]
    fn a_keyword_is_taken_literally() {
        assert_eq!(like_pattern("50%_\\A"), "%50\\%\\_\\\\a%");
    }
}
