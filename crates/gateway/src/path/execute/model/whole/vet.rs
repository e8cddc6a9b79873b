//! Whether a whole answer is one, and its words in the caller's dialect.

use bytes::Bytes;
use http::{header::CONTENT_TYPE, response::Parts};
use mainstay_base::{
    Class,
    snapshot::{Dialect, ModelTarget},
};
use mainstay_wire::{
    llm::{
        self, Finish, Part, Usage, anthropic, bedrock, embeddings, failure, gemini, openai, rerank, responses,
    },
    openai::vet,
};

use super::is_page;
use crate::path::{
    execute::model::{attempt::Missed, order::Order},
    normalize::{Endpoint, model::tokens},
};

type Vetted = (Bytes, Option<Usage>, u64);

/// The answer in the caller's dialect, if it is one.
pub(super) fn vetted(
    order: &Order,
    target: &ModelTarget,
    head: &Parts,
    body: Bytes,
) -> Result<Vetted, Missed> {
    if is_page(head, &body) {
        return Err(Missed::new(Class::NotAnAnswer, "a page for humans instead of an answer"));
    }
    match (&target.provider.dialect, order.asked.endpoint) {
        (_, Endpoint::Speech | Endpoint::Transcriptions | Endpoint::Translations) if !is_json(head) => {
            plain(body)
        }
        _ if order.passes(target, false) => same(order, body),
        (dialect, Endpoint::Chat | Endpoint::Completions | Endpoint::Responses) => {
            converted(order, dialect, &body)
        }
        (dialect, Endpoint::Embeddings) => vectors(order, dialect, &body),
        (dialect, Endpoint::Rerank) => ranks(order, dialect, &body),
        (dialect, endpoint) => {
            let why = format!("{} answers nothing on {}", dialect.as_str(), endpoint.path());
            Err(Missed::new(Class::NotConvertible, why))
        }
    }
}

pub(super) fn is_json(head: &Parts) -> bool {
    let kind = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.trim_start().starts_with("application/json")
}

fn plain(body: Bytes) -> Result<Vetted, Missed> {
    match body.is_empty() {
        true => Err(Missed::new(Class::Empty, "the answer has no body")),
        false => Ok((body, None, 0)),
    }
}

/// The caller's own dialect passes byte for byte.
fn same(order: &Order, body: Bytes) -> Result<Vetted, Missed> {
    let endpoint = order.asked.endpoint;
    let facts = vet(&body, order.asked.stops).map_err(Missed::told)?;
    if endpoint.writes_text() && facts.chars == 0 && facts.finish_reason.as_deref() == Some("content_filter")
    {
        return Err(Missed::new(
            Class::ContentFilter,
            "the provider's content filter left nothing of the answer",
        ));
    }
    let usage = facts.usage.map(|usage| usage.counted());
    // Read again only for a provider that tells no usage.
    let is_told = usage.is_some() || !endpoint.writes_text();
    let answer = if is_told { None } else { openai::read_answer(&body).ok() };
    let quarters = answer.map_or(facts.chars as u64, |answer| weight(&answer));
    Ok((body, usage, quarters))
}

fn converted(order: &Order, dialect: &Dialect, body: &[u8]) -> Result<Vetted, Missed> {
    readable(dialect, body)?;
    let read = match dialect {
        Dialect::Anthropic => anthropic::read_answer(body),
        Dialect::Gemini => gemini::read_answer(body),
        Dialect::Bedrock { .. } => bedrock::read_answer(body),
        Dialect::OpenAi | Dialect::Azure { .. } | Dialect::Cohere => openai::read_answer(body),
    };
    let mut answer = read.map_err(|unreadable| Missed::new(Class::NotAnAnswer, unreadable.to_string()))?;
    let quarters = said(&answer, order.asked.stops)?;
    answer.model.clone_from(&order.asked.name);
    if answer.id.is_empty() {
        answer.id = order.request_id.as_ref().to_owned();
    }
    let now = order.gateway.ports().clock.now().unix_seconds();
    answer.created.get_or_insert(now);
    let written = match order.asked.endpoint {
        Endpoint::Responses => {
            // It was read before it was sent.
            let echo = responses::Echo::of(&order.bytes).unwrap_or_default();
            responses::write_answer(&answer, &echo, &order.request_id, now)
        }
        Endpoint::Completions => openai::write_answer(&answer, openai::Shape::Completion),
        _ => openai::write_answer(&answer, openai::Shape::Chat),
    };
    Ok((written.into(), answer.usage, quarters))
}

/// How much was said; nothing at all is an answer only when there is a reason for it: a limit, or a text at which the
/// caller wanted it to end (`stops`).
fn said(answer: &llm::Answer, stops: bool) -> Result<u64, Missed> {
    let quarters = weight(answer);
    let ended = |finish: &Finish| answer.choices.iter().any(|choice| choice.finish == *finish);
    match quarters {
        0 if ended(&Finish::ContentFilter) => {
            Err(Missed::new(Class::ContentFilter, "the provider's content filter left nothing of the answer"))
        }
        0 if !(ended(&Finish::Length) || stops && ended(&Finish::Stop)) => {
            Err(Missed::new(Class::Empty, "the answer has no content"))
        }
        quarters => Ok(quarters),
    }
}

/// In quarters of a token.
fn weight(answer: &llm::Answer) -> u64 {
    let parts = answer.choices.iter().flat_map(|choice| &choice.parts);
    let weights = parts.map(|part| match part {
        Part::Text(text) | Part::Refusal(text) | Part::Reasoning { text, .. } => tokens::quarters(text),
        Part::ToolCall(call) => tokens::quarters(&call.name) + tokens::quarters(&call.arguments),
        _ => 1,
    });
    weights.sum()
}

fn vectors(order: &Order, dialect: &Dialect, body: &[u8]) -> Result<Vetted, Missed> {
    readable(dialect, body)?;
    let unreadable = |error: llm::Unreadable| Missed::new(Class::NotAnAnswer, error.to_string());
    let request = embeddings::read_request(&order.bytes).map_err(unreadable)?;
    let mut answer = embeddings::read_answer(dialect, &request, body).map_err(unreadable)?;
    if answer.vectors.is_empty() {
        return Err(Missed::new(Class::Empty, "the answer has no embedding"));
    }
    answer.model.clone_from(&order.asked.name);
    let usage = answer.usage;
    Ok((embeddings::write_answer(&answer, request.encoding).into(), usage, 0))
}

fn ranks(order: &Order, dialect: &Dialect, body: &[u8]) -> Result<Vetted, Missed> {
    readable(dialect, body)?;
    let unreadable = |error: llm::Unreadable| Missed::new(Class::NotAnAnswer, error.to_string());
    let request = rerank::read_request(&order.bytes).map_err(unreadable)?;
    let mut answer = rerank::read_answer(dialect, &request, body).map_err(unreadable)?;
    answer.model.clone_from(&order.asked.name);
    let usage = answer.used.tokens.map(|input| Usage { input, ..Usage::default() });
    Ok((rerank::write_answer(&answer).into(), usage, 0))
}

/// Whole JSON, and no error in it.
fn readable(dialect: &Dialect, body: &[u8]) -> Result<(), Missed> {
    if let Some(told) = failure::inside(dialect, body) {
        return Err(Missed::told(told));
    }
    if body.trim_ascii().is_empty() {
        return Err(Missed::new(Class::Empty, "the answer has no body"));
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        Ok(_) => Ok(()),
        Err(error) if error.is_eof() => {
            Err(Missed::new(Class::TruncatedJson, "the answer's JSON ends too early"))
        }
        Err(_) => Err(Missed::new(Class::NotAnAnswer, "the answer is not JSON")),
    }
}
