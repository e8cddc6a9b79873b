//! Dify's events and answers. Most events are told by their first bytes and not parsed.

use bytes::Bytes;
use mainstay_base::{Kind, Record};
use mainstay_wire::{openai::contains, sse::Frame};
use serde::{Deserialize, Serialize};

use super::Cut;

/// How Dify begins an event; the second is for servers that put spaces in their JSON.
const BEGINNINGS: [&[u8]; 2] = [b"data: {\"event\":\"", b"data: {\"event\": \""];

/// What Dify says with status 400 although its caller did nothing wrong: a model's provider failed, or is not set up.
const NOT_THE_CALLERS: [&str; 5] = [
    "completion_request_error",
    "provider_not_initialize",
    "provider_quota_exceeded",
    "model_currently_not_support",
    "app_unavailable",
];

#[derive(Default)]
pub(crate) struct Watch {
    /// What every event repeats, and what the caller needs to ask for the run later.
    ids: Option<Box<Ids>>,
    has_all: bool,
}

#[derive(Clone, Default, Deserialize, Serialize)]
struct Ids {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    conversation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workflow_run_id: Option<String>,
}

/// The fields of any event or whole answer that a record keeps.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Facts {
    event: String,
    #[serde(flatten)]
    ids: Ids,
    code: Option<String>,
    message: Option<String>,
    status: Option<serde_json::Value>,
    data: Option<RunFacts>,
    metadata: Option<MetadataFacts>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RunFacts {
    status: Option<String>,
    error: Option<String>,
    total_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetadataFacts {
    usage: Option<UsageFacts>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UsageFacts {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

impl Watch {
    /// Notes what an event says.
    pub(crate) fn event(&mut self, frame: &Frame, at_us: u64, record: &mut Record) {
        record.events += 1;
        if !frame.is_whole() {
            return;
        }
        let name = name_by_beginning(frame.raw());
        let carries_text = match name {
            Some(b"text_chunk") => !contains(frame.raw(), b"\"text\":\"\""),
            Some(b"message" | b"agent_message") => !contains(frame.raw(), b"\"answer\":\"\""),
            _ => false,
        };
        if carries_text && record.first_token_us.is_none() {
            record.first_token_us = Some(at_us);
        }
        let is_telling =
            matches!(name, Some(b"workflow_started" | b"workflow_finished" | b"message_end" | b"error"));
        // An event in an unknown spelling is parsed; so is the first, for its ids.
        if is_telling || name.is_none() || self.ids.is_none() {
            self.parse(frame, record);
        }
    }

    fn parse(&mut self, frame: &Frame, record: &mut Record) {
        let Some(data) = frame.data() else { return };
        let Ok(facts) = serde_json::from_slice::<Facts>(&data) else { return };
        if self.ids.is_none() && (facts.ids.task_id.is_some() || facts.ids.workflow_run_id.is_some()) {
            self.ids = Some(Box::new(facts.ids.clone()));
        }
        note_ids(&facts.ids, record);
        // A chatflow's last event is `message_end`, after its `workflow_finished` in some versions and before in others.
        self.has_all |= match facts.event.as_str() {
            "workflow_finished" => facts.ids.conversation_id.is_none(),
            "message_end" | "error" => true,
            _ => false,
        };
        match facts.event.as_str() {
            "workflow_finished" => note_run(facts.data.unwrap_or_default(), record),
            "message_end" => note_usage(facts.metadata, record),
            "error" => note_error(facts, record),
            _ => {}
        }
    }

    /// Whether the last event has passed, so that nothing is lost to a caller that leaves now.
    pub(crate) fn has_all(&self) -> bool {
        self.has_all
    }

    /// Whether a stream that ended here, with `rest` after its last event, is all there. Which of Dify's events is the
    /// last depends on its version, so an end between two events is an end.
    pub(crate) fn may_end(&self, rest: &[u8]) -> bool {
        let rest = rest.trim_ascii();
        let Some(data) = rest.strip_prefix(b"data:") else { return rest.is_empty() };
        serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok()
    }

    /// The event that tells the caller, in band, that the stream was cut.
    pub(crate) fn cut(&self, cut: &Cut) -> Bytes {
        #[derive(Serialize)]
        struct Event<'a> {
            event: &'static str,
            #[serde(flatten)]
            ids: Option<&'a Ids>,
            code: &'a str,
            status: u16,
            message: &'a str,
        }
        let event = Event {
            event: "error",
            ids: self.ids.as_deref(),
            code: cut.code,
            status: cut.status,
            message: cut.message,
        };
        let json = serde_json::to_string(&event).unwrap_or_else(|_| "{\"event\":\"error\"}".to_owned());
        Bytes::from(format!("data: {json}\n\n"))
    }
}

/// The event's name when it stands where Dify puts it.
fn name_by_beginning(raw: &[u8]) -> Option<&[u8]> {
    let rest = BEGINNINGS.into_iter().find_map(|beginning| raw.strip_prefix(beginning))?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    Some(&rest[..end])
}

/// Notes what a blocking answer says. A failed run is HTTP 200 with its status in the body.
/// Notes what a whole (not streamed) answer says.
pub(crate) fn answer(body: &[u8], record: &mut Record) {
    let Ok(facts) = serde_json::from_slice::<Facts>(body) else { return };
    note_ids(&facts.ids, record);
    if record.status >= 400 {
        if facts.code.as_deref().is_some_and(is_not_the_callers) {
            record.kind = Some(Kind::Upstream);
        }
        record.error = record.error.take().or(facts.message);
        return;
    }
    if let Some(run) = facts.data {
        note_run(run, record);
    }
    note_usage(facts.metadata, record);
}

fn note_ids(ids: &Ids, record: &mut Record) {
    if record.run_id.is_none() {
        record.run_id.clone_from(&ids.workflow_run_id);
    }
    if record.task_id.is_none() {
        record.task_id.clone_from(&ids.task_id);
    }
}

fn note_run(run: RunFacts, record: &mut Record) {
    let RunFacts { status, error, total_tokens } = run;
    record.run_status = status.or(record.run_status.take());
    record.error = error.or(record.error.take());
    record.total_tokens = total_tokens.or(record.total_tokens);
}

fn note_usage(metadata: Option<MetadataFacts>, record: &mut Record) {
    let Some(usage) = metadata.and_then(|metadata| metadata.usage) else { return };
    let UsageFacts { prompt_tokens, completion_tokens, total_tokens } = usage;
    record.input_tokens = prompt_tokens.or(record.input_tokens);
    record.output_tokens = completion_tokens.or(record.output_tokens);
    record.total_tokens = total_tokens.or(record.total_tokens);
}

fn note_error(facts: Facts, record: &mut Record) {
    let status = facts.status.and_then(|status| status.as_u64()).unwrap_or(500);
    let code = facts.code.unwrap_or_default();
    // Dify says 400 for a model's failure and `invalid_param` for a failed chatflow. What fails once the run has begun
    // is not the caller's doing.
    let is_ours = status >= 500 || record.run_id.is_some() || is_not_the_callers(&code);
    let kind = if is_ours { Kind::Upstream } else { Kind::Caller };
    record.kind = Some(kind);
    record.error = facts.message.or(Some(code));
    record.run_status.get_or_insert_with(|| "failed".to_owned());
}

fn is_not_the_callers(code: &str) -> bool {
    NOT_THE_CALLERS.contains(&code)
}
