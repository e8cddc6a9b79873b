//! From a record to spans: one for the request, and one under it for each attempt at an upstream or provider.

use mainstay_base::{
    Micros, Record,
    record::{Attempt, AttemptRole, Outcome, Path, StageOutcome},
};
use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, Status, span::Event, span::SpanKind, status::StatusCode},
};

use super::{
    genai::{self, Providers},
    send::{attribute, number, text},
};

/// Of an error's words, so much is told.
const MAX_ERROR_CHARS: usize = 300;
const NANOS_A_MICRO: u64 = 1000;

/// The request's span first. Empty when the record belongs to no trace that anybody could find.
pub(super) fn of(record: &Record, providers: &Providers) -> Vec<Span> {
    let Some(trace_id) = trace_id(&record.trace_id).filter(|_| record.span.id != 0) else {
        return Vec::new();
    };
    let request = request(record, &trace_id);
    let attempts = record.attempts.iter().enumerate();
    let attempts =
        attempts.map(|(index, attempt)| self::attempt(record, index, attempt, &trace_id, providers));
    std::iter::once(request).chain(attempts).collect()
}

fn request(record: &Record, trace_id: &[u8]) -> Span {
    let route = route(&record.target);
    let mut attributes = vec![
        text("http.request.method", &record.method),
        text("http.route", &route),
        text("mainstay.request_id", &record.request_id),
        text("mainstay.outcome", record.outcome.as_str()),
    ];
    if record.status > 0 {
        attributes.push(number("http.response.status_code", record.status.into()));
    }
    let words = [
        ("mainstay.app.id", &record.app_id),
        ("mainstay.app.name", &record.app),
        ("mainstay.upstream", &record.upstream),
        ("mainstay.run.id", &record.run_id),
        ("mainstay.run.status", &record.run_status),
        ("mainstay.key", &record.key),
        ("mainstay.tenant", &record.tenant),
        ("gen_ai.request.model", &record.model),
    ];
    attributes.extend(words.iter().filter_map(|(name, value)| Some(text(name, value.as_deref()?))));
    attributes.extend(usage(record.input_tokens, record.output_tokens));
    if let Some(cost) = record.cost {
        attributes.push(attribute("mainstay.cost_usd", Value::DoubleValue(cost.dollars())));
    }
    let is_ours = record.kind.is_some_and(|kind| kind.is_our_fault()) || record.outcome == Outcome::Cut;
    if let Some(kind) = record.kind {
        attributes.push(text("error.type", kind.as_str()));
    }
    Span {
        trace_id: trace_id.to_vec(),
        span_id: span_id(record.span.id),
        parent_span_id: record.span.parent.map(span_id).unwrap_or_default(),
        name: format!("{} {route}", record.method),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: nanos(record.opened_at, 0),
        end_time_unix_nano: nanos(record.opened_at, record.took_us),
        attributes,
        events: events(record),
        status: is_ours.then(|| failed(record.error.as_deref())),
        ..Span::default()
    }
}

/// The stages that did not pass: where a request ended, and by which condition.
fn events(record: &Record) -> Vec<Event> {
    let ended = record.stages.iter().filter(|stage| stage.outcome != StageOutcome::Passed);
    ended
        .map(|stage| Event {
            time_unix_nano: nanos(record.opened_at, stage.started_us.saturating_add(stage.took_us)),
            name: format!("mainstay.stage.{}", stage.name.as_str()),
            attributes: vec![text("mainstay.condition", &shortened(&stage.condition))],
            ..Event::default()
        })
        .collect()
}

fn attempt(record: &Record, index: usize, attempt: &Attempt, trace_id: &[u8], providers: &Providers) -> Span {
    let mut attributes =
        vec![text("mainstay.upstream", &attempt.upstream), text("mainstay.role", role(attempt.role))];
    let name = match record.path {
        Path::App => format!("{} {}", record.method, attempt.upstream),
        Path::Model => {
            let operation = genai::operation(&record.target);
            let model = attempt.model.as_deref().or(record.model.as_deref()).unwrap_or_default();
            attributes.extend(model_attributes(operation, model, attempt, providers));
            format!("{operation} {model}")
        }
    };
    if let Some(status) = attempt.status {
        attributes.push(number("http.response.status_code", status.into()));
    }
    if let Some(class) = attempt.class {
        attributes.push(text("error.type", class.as_str()));
    }
    let start = attempt.started_us;
    Span {
        trace_id: trace_id.to_vec(),
        span_id: span_id(attempt_id(record.span.id, index)),
        parent_span_id: span_id(record.span.id),
        name,
        kind: SpanKind::Client.into(),
        start_time_unix_nano: nanos(record.opened_at, start),
        end_time_unix_nano: nanos(record.opened_at, start.saturating_add(attempt.took_us)),
        attributes,
        status: attempt.error.as_deref().map(|error| failed(Some(error))),
        ..Span::default()
    }
}

fn model_attributes(operation: &str, model: &str, attempt: &Attempt, providers: &Providers) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("gen_ai.operation.name", operation),
        text("gen_ai.provider.name", providers.name(&attempt.upstream)),
        text("gen_ai.request.model", model),
    ];
    attributes.extend(usage(attempt.input_tokens, attempt.output_tokens));
    let first_token = attempt.first_token_us.map(|us| us as f64 / 1e6);
    attributes
        .extend(first_token.map(|s| attribute("mainstay.time_to_first_token_s", Value::DoubleValue(s))));
    if let Some(key) = &attempt.key {
        attributes.push(text("mainstay.provider_key", key));
    }
    attributes
}

fn usage(input: Option<u64>, output: Option<u64>) -> impl Iterator<Item = KeyValue> {
    let named = [("gen_ai.usage.input_tokens", input), ("gen_ai.usage.output_tokens", output)];
    named.into_iter().filter_map(|(name, tokens)| Some(number(name, tokens?)))
}

fn role(role: AttemptRole) -> &'static str {
    match role {
        AttemptRole::First => "first",
        AttemptRole::Retry => "retry",
        AttemptRole::Fallback => "fallback",
        AttemptRole::Hedge => "hedge",
        AttemptRole::Continuation => "continuation",
    }
}

fn failed(error: Option<&str>) -> Status {
    Status { code: StatusCode::Error.into(), message: error.map(shortened).unwrap_or_default() }
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_ERROR_CHARS).collect()
}

/// The path with `{id}` for what looks like one, so that names of spans do not grow without end.
pub(super) fn route(target: &str) -> String {
    let segments = target.split('/').map(|segment| if is_id(segment) { "{id}" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

/// Dify's ids are UUIDs; those of providers are long and hold digits.
fn is_id(segment: &str) -> bool {
    segment.len() >= 16 && segment.bytes().any(|byte| byte.is_ascii_digit())
}

/// Attempts follow their request's id: each is another, and the same each time it is asked for.
fn attempt_id(request: u64, index: usize) -> u64 {
    match request.wrapping_add(index as u64 + 1) {
        0 => u64::MAX,
        id => id,
    }
}

fn span_id(id: u64) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

fn trace_id(text: &str) -> Option<Vec<u8>> {
    let id = u128::from_str_radix(text, 16).ok().filter(|id| *id != 0)?;
    Some(id.to_be_bytes().to_vec())
}

fn nanos(at: Micros, and_us: u64) -> u64 {
    u64::try_from(at.0).unwrap_or(0).saturating_add(and_us).saturating_mul(NANOS_A_MICRO)
}
