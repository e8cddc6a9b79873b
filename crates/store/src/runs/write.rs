//! Writing runs. Documents are made into text before the database's thread is asked for, which is the busiest one.

use mainstay_base::{Kind, Micros};

use crate::{
    StoreError, chats,
    db::{Tx, values},
    model::{NewRun, RunEvent, RunResult, RunStatus},
};

pub(crate) fn insert(
    tx: &mut Tx<'_>,
    run: &NewRun,
    inputs: &str,
    payload: Option<&str>,
    status: RunStatus,
) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO runs (id, app_id, app_name, mode, kind, upstream, version_id, version, status, \
         end_user_id, session_id, task_id, conversation_id, request_id, trace_id, created_at, started_at, inputs, \
         payload, answered_later, total_tokens, total_steps, exceptions_count) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,0,0,0)";
    let started_at = (status == RunStatus::Running).then_some(run.created_at);
    let values = values![
        &run.id,
        &run.app_id,
        &run.app_name,
        run.mode.as_str(),
        run.kind.as_str(),
        run.upstream.as_deref(),
        &run.version_id,
        &run.version,
        status.as_str(),
        run.end_user_id.as_deref(),
        &run.session_id,
        run.task_id.as_deref(),
        run.conversation_id.as_deref(),
        run.request_id.as_deref(),
        run.trace_id.as_deref(),
        run.created_at,
        started_at,
        inputs,
        payload,
        status == RunStatus::Queued
    ];
    tx.execute(SQL, values).map(drop)
}

/// A result with its documents as they will be stored.
pub(crate) struct Ending {
    result: RunResult,
    outputs: Option<String>,
    usage: Option<String>,
    nodes: Option<String>,
}

impl Ending {
    pub(crate) fn of(result: RunResult) -> Result<Ending, StoreError> {
        let nodes = match result.nodes.as_slice() {
            [] => None,
            nodes => Some(
                serde_json::to_string(nodes)
                    .map_err(|error| StoreError::Bug(format!("nodes are not JSON: {error}")))?,
            ),
        };
        let outputs = result.outputs.as_ref().map(ToString::to_string);
        let usage = result.usage.as_ref().map(ToString::to_string);
        Ok(Ending { result, outputs, usage, nodes })
    }

    /// The end of a run about which there is nothing more to say than why.
    pub(crate) fn without_result(status: RunStatus, error: &str, kind: Option<Kind>, now: Micros) -> Ending {
        let result = RunResult {
            status,
            outputs: None,
            error: Some(error.to_owned()),
            error_kind: kind,
            total_tokens: 0,
            total_steps: 0,
            exceptions_count: 0,
            started_at: now,
            finished_at: now,
            elapsed_us: 0,
            nodes: Vec::new(),
            upstream_run_id: None,
            usage: None,
            chat: None,
        };
        Ending { result, outputs: None, usage: None, nodes: None }
    }
}

/// What becomes of the job's payload when its run ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// For a replay.
    Keep,
    Drop,
}

/// Stores a result, unless the run has one. Says whether it did.
pub(crate) fn end(
    tx: &mut Tx<'_>,
    run_id: &str,
    ending: &Ending,
    payload: Payload,
) -> Result<bool, StoreError> {
    const SQL: &str = "UPDATE runs SET status = $2, error = $3, error_kind = $4, total_tokens = $5, \
         total_steps = $6, exceptions_count = $7, started_at = $8, finished_at = $9, elapsed_us = $10, \
         upstream_run_id = COALESCE($11, upstream_run_id), usage = $12, outputs = $13, nodes = $14, \
         payload = CASE WHEN $15 = 1 THEN payload ELSE NULL END WHERE id = $1 AND finished_at IS NULL";
    let Ending { result, outputs, usage, nodes } = ending;
    let values = values![
        run_id,
        result.status.as_str(),
        result.error.as_deref(),
        result.error_kind.map(Kind::as_str),
        result.total_tokens,
        result.total_steps,
        result.exceptions_count,
        result.started_at,
        result.finished_at,
        result.elapsed_us,
        result.upstream_run_id.as_deref(),
        usage.as_deref(),
        outputs.as_deref(),
        nodes.as_deref(),
        payload == Payload::Keep
    ];
    if tx.execute(SQL, values)? == 0 {
        return Ok(false);
    }
    if let Some(chat) = &result.chat {
        chats::put_conversation(tx, &chat.conversation)?;
        chats::put_message(tx, &chat.message)?;
    }
    Ok(true)
}

pub(super) fn append_events(
    tx: &mut Tx<'_>,
    run_id: &str,
    epoch: i64,
    events: &[RunEvent],
) -> Result<bool, StoreError> {
    const HELD: &str = "SELECT 1 FROM jobs WHERE id = $1 AND epoch = $2 AND state = 'leased' FOR UPDATE";
    const SQL: &str = "INSERT INTO run_events (run_id, epoch, seq, at, body) VALUES ($1,$2,$3,$4,$5) \
         ON CONFLICT (run_id, epoch, seq) DO NOTHING";
    if tx.one(HELD, values![run_id, epoch])?.is_none() {
        return Ok(false);
    }
    for RunEvent { seq, at, body } in events {
        tx.execute(SQL, values![run_id, epoch, *seq, *at, body])?;
    }
    Ok(true)
}
