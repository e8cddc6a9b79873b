//! From an engine's outcome to rows and answers.

use std::time::Duration;

use mainstay_engine::{NodeExecution, RunOutcome, RunStatus};
use mainstay_store::model::{self, ChatResult, Message, MessageStatus, RunResult};
use mainstay_wire::dify::{
    Usage,
    answer::{Metadata, RunData},
};
use serde_json::{Value, json};

use crate::prepare::{Prepared, PreparedChat};

/// Everything a run leaves behind, its chat included.
pub(crate) fn of(prepared: &Prepared, outcome: &RunOutcome) -> RunResult {
    RunResult {
        status: status(outcome.status),
        outputs: Some(outcome.outputs.to_value()),
        error: outcome.error.as_deref().map(without_nul),
        error_kind: outcome.error_kind,
        total_tokens: count(outcome.total_tokens),
        total_steps: count(outcome.total_steps),
        exceptions_count: count(outcome.exceptions_count),
        started_at: outcome.started_at,
        finished_at: outcome.finished_at,
        elapsed_us: micros(outcome.elapsed()),
        nodes: outcome.nodes.iter().map(|node| self::node(node)).collect(),
        upstream_run_id: None,
        usage: Some(outcome.usage.to_value()),
        chat: prepared.chat.as_ref().map(|chat| Box::new(chat_result(prepared, chat, outcome))),
    }
}

pub(crate) fn run_data(prepared: &Prepared, outcome: &RunOutcome) -> RunData {
    RunData {
        id: prepared.run_id.clone(),
        workflow_id: prepared.version.id.clone(),
        status: outcome.status.as_str().to_owned(),
        outputs: outcome.outputs.to_map(),
        error: outcome.error.clone(),
        elapsed_time: outcome.elapsed().as_secs_f64(),
        total_tokens: outcome.total_tokens,
        total_steps: outcome.total_steps,
        created_at: outcome.started_at.unix_seconds(),
        finished_at: Some(outcome.finished_at.unix_seconds()),
    }
}

pub(crate) fn metadata(outcome: &RunOutcome) -> Metadata {
    let usage: Usage = serde_json::from_value(outcome.usage.to_value()).unwrap_or_default();
    Metadata { annotation_reply: None, retriever_resources: Vec::new(), usage }
}

fn chat_result(prepared: &Prepared, chat: &PreparedChat, outcome: &RunOutcome) -> ChatResult {
    let mut conversation = chat.conversation.clone();
    conversation.variables = Value::Object(outcome.conversation_variables.clone());
    conversation.updated_at = outcome.finished_at;
    let is_failed = outcome.status == RunStatus::Failed;
    let message = Message {
        id: chat.message_id.clone(),
        conversation_id: conversation.id.clone(),
        app_id: prepared.app.id.clone(),
        end_user_id: prepared.end_user_id.clone(),
        parent_message_id: None,
        run_id: Some(prepared.run_id.clone()),
        inputs: Value::Object(prepared.inputs.clone()),
        query: chat.query.clone(),
        answer: outcome.answer.as_deref().map(without_nul).unwrap_or_default(),
        status: if is_failed { MessageStatus::Error } else { MessageStatus::Normal },
        error: outcome.error.as_deref().map(without_nul).filter(|_| is_failed),
        metadata: json!(metadata(outcome)),
        files: Value::Array(prepared.files.clone()),
        feedback: None,
        created_at: prepared.created_at,
    };
    ChatResult { conversation, message }
}

fn node(node: &NodeExecution) -> model::NodeExecution {
    model::NodeExecution {
        id: node.id.to_string(),
        node_id: node.node_id.to_string(),
        node_type: node.node_type.to_owned(),
        title: node.title.to_string(),
        index: count(node.index),
        predecessor_node_id: node.predecessor_node_id.as_ref().map(ToString::to_string),
        iteration_id: node.iteration.as_ref().map(|place| place.iteration_id.to_string()),
        status: node.status.as_str().to_owned(),
        inputs: Some(node.inputs.to_value()),
        process_data: Some(node.process_data.to_value()).filter(|_| !node.process_data.is_empty()),
        outputs: Some(node.outputs.to_value()),
        error: node.error.as_deref().map(without_nul),
        metadata: Some(node.metadata.to_value()).filter(|_| !node.metadata.is_empty()),
        started_at: node.started_at,
        finished_at: node.finished_at,
        elapsed_us: micros(node.elapsed()),
    }
}

fn status(status: RunStatus) -> model::RunStatus {
    match status {
        RunStatus::Succeeded => model::RunStatus::Succeeded,
        RunStatus::PartialSucceeded => model::RunStatus::PartialSucceeded,
        RunStatus::Failed => model::RunStatus::Failed,
        RunStatus::Stopped => model::RunStatus::Stopped,
    }
}

/// A model or a peer may say NUL, which PostgreSQL refuses in a text (inside of JSON it is escaped).
fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
