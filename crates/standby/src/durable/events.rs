//! What the events of a Dify's stream say about one run.

use mainstay_base::{Kind, Micros};
use mainstay_store::model::{NodeExecution, RunResult, RunStatus};
use serde_json::{Map, Value};

/// Nodes of one run that are kept; Dify itself stops a run after 500 steps.
const MAX_NODES: usize = 2_000;

/// Gathers a run from its events.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) upstream_run_id: Option<String>,
    pub(super) task_id: Option<String>,
    workflow_finished: Option<Value>,
    answer: String,
    message_end: Option<Value>,
    error: Option<Value>,
    nodes: Vec<NodeExecution>,
}

/// What an event means for the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Started,
    Other,
}

impl Gathered {
    pub(super) fn add(&mut self, event: &Value) -> Meaning {
        let text = |name: &str| event.get(name).and_then(Value::as_str).map(str::to_owned);
        if self.task_id.is_none() {
            self.task_id = text("task_id");
        }
        let is_new = self.upstream_run_id.is_none();
        if is_new {
            self.upstream_run_id = text("workflow_run_id").or_else(|| text("message_id"));
        }
        let data = event.get("data");
        match event.get("event").and_then(Value::as_str) {
            Some("node_finished") if self.nodes.len() < MAX_NODES => self.nodes.extend(data.and_then(node)),
            Some("workflow_finished") => self.workflow_finished = data.cloned(),
            Some("message" | "agent_message") => self.answer.push_str(&text("answer").unwrap_or_default()),
            Some("message_replace") => self.answer = text("answer").unwrap_or_default(),
            Some("message_end") => self.message_end = Some(event.clone()),
            Some("error") => self.error = Some(event.clone()),
            _ => {}
        }
        if is_new && self.upstream_run_id.is_some() { Meaning::Started } else { Meaning::Other }
    }

    /// Whether the stream has said how the run ended.
    pub(super) fn is_complete(&self) -> bool {
        self.workflow_finished.is_some() || self.message_end.is_some() || self.error.is_some()
    }

    pub(super) fn result(self, started_at: Micros, now: Micros) -> RunResult {
        let finished = self.workflow_finished.unwrap_or_default();
        let error = finished.get("error").and_then(Value::as_str).map(str::to_owned);
        let error = error.or_else(|| {
            self.error
                .as_ref()
                .and_then(|event| event.get("message"))
                .and_then(Value::as_str)
                .map(str::to_owned)
        });
        let status = finished.get("status").and_then(Value::as_str).and_then(RunStatus::parse);
        let status = status.unwrap_or(if error.is_some() { RunStatus::Failed } else { RunStatus::Succeeded });
        let usage = self.message_end.as_ref().and_then(|event| event.pointer("/metadata/usage")).cloned();
        let mut outputs = finished.get("outputs").and_then(Value::as_object).cloned().unwrap_or_default();
        if !self.answer.is_empty() && !outputs.contains_key("answer") {
            outputs.insert("answer".to_owned(), Value::from(self.answer));
        }
        let number = |name: &str| finished.get(name).and_then(Value::as_i64).unwrap_or(0);
        let tokens = usage.as_ref().and_then(|usage| usage.get("total_tokens")).and_then(Value::as_i64);
        RunResult {
            status,
            outputs: Some(Value::Object(outputs)),
            error_kind: (status == RunStatus::Failed).then_some(Kind::Upstream),
            error,
            total_tokens: finished.get("total_tokens").and_then(Value::as_i64).or(tokens).unwrap_or(0),
            total_steps: number("total_steps"),
            exceptions_count: number("exceptions_count"),
            started_at,
            finished_at: now,
            elapsed_us: elapsed_us(&finished).unwrap_or_else(|| crate::result::micros(now.since(started_at))),
            nodes: self.nodes,
            upstream_run_id: self.upstream_run_id,
            usage,
            chat: None,
        }
    }
}

/// From `GET /v1/workflows/run/{id}` of a Dify. `None` while the run goes on.
pub(super) fn from_detail(
    detail: &Value,
    upstream_run_id: &str,
    started_at: Micros,
    now: Micros,
) -> Option<RunResult> {
    let status = detail.get("status").and_then(Value::as_str).and_then(RunStatus::parse)?;
    if !status.is_final() {
        return None;
    }
    // Older Difys put JSON into a string here.
    let outputs = match detail.get("outputs") {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or(Value::Object(Map::new())),
        Some(Value::Null) | None => Value::Object(Map::new()),
        Some(other) => other.clone(),
    };
    let number = |name: &str| detail.get(name).and_then(Value::as_i64).unwrap_or(0);
    Some(RunResult {
        status,
        outputs: Some(outputs),
        error: detail.get("error").and_then(Value::as_str).map(str::to_owned),
        error_kind: (status == RunStatus::Failed).then_some(Kind::Upstream),
        total_tokens: number("total_tokens"),
        total_steps: number("total_steps"),
        exceptions_count: number("exceptions_count"),
        started_at,
        finished_at: now,
        elapsed_us: elapsed_us(detail).unwrap_or_else(|| crate::result::micros(now.since(started_at))),
        nodes: Vec::new(),
        upstream_run_id: Some(upstream_run_id.to_owned()),
        usage: None,
        chat: None,
    })
}

fn node(data: &Value) -> Option<NodeExecution> {
    let text = |name: &str| data.get(name).and_then(Value::as_str).map(str::to_owned);
    let some = |name: &str| data.get(name).filter(|value| !value.is_null()).cloned();
    let seconds = |name: &str| data.get(name).and_then(Value::as_i64).unwrap_or(0);
    Some(NodeExecution {
        id: text("id")?,
        node_id: text("node_id")?,
        node_type: text("node_type").unwrap_or_default(),
        title: text("title").unwrap_or_default(),
        index: seconds("index"),
        predecessor_node_id: text("predecessor_node_id"),
        iteration_id: text("iteration_id"),
        status: text("status").unwrap_or_default(),
        inputs: some("inputs"),
        process_data: some("process_data"),
        outputs: some("outputs"),
        error: text("error"),
        metadata: some("execution_metadata"),
        started_at: Micros(seconds("created_at").saturating_mul(1_000_000)),
        finished_at: Micros(seconds("finished_at").saturating_mul(1_000_000)),
        elapsed_us: elapsed_us(data).unwrap_or(0),
    })
}

fn elapsed_us(value: &Value) -> Option<i64> {
    let seconds = value.get("elapsed_time").and_then(Value::as_f64).filter(|seconds| *seconds >= 0.0)?;
    let duration = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    Some(crate::result::micros(duration))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_recorded_stream_becomes_a_result() {
        let mut gathered = Gathered::default();
        let started =
            json!({"event": "workflow_started", "workflow_run_id": "r", "task_id": "t", "data": {}});
        assert_eq!(gathered.add(&started), Meaning::Started);
        assert_eq!(gathered.add(&started), Meaning::Other);
        assert!(!gathered.is_complete());
        gathered.add(&json!({"event": "node_finished", "data": {"id": "n", "node_id": "llm", "status": "failed", "elapsed_time": 0.5}}));
        gathered.add(&json!({"event": "workflow_finished", "data": {"status": "failed", "outputs": {}, "error": "503", "elapsed_time": 0.8, "total_steps": 2}}));
        assert!(gathered.is_complete());
        let result = gathered.result(Micros(0), Micros(1_000_000));
        assert_eq!((result.status, result.error.as_deref()), (RunStatus::Failed, Some("503")));
        assert_eq!((result.elapsed_us, result.total_steps, result.nodes.len()), (800_000, 2, 1));
    }

    #[test]
    fn a_detail_is_a_result_once_the_run_has_ended() {
        let running = json!({"status": "running", "outputs": null});
        assert_eq!(from_detail(&running, "r", Micros(0), Micros(1)), None);
        let done = json!({"status": "succeeded", "outputs": "{\"text\": \"x\"}", "elapsed_time": 2.0, "total_tokens": 7});
        let result = from_detail(&done, "r", Micros(0), Micros(1)).unwrap();
        assert_eq!(result.outputs, Some(json!({"text": "x"})));
        assert_eq!(result.total_tokens, 7);
    }
}
