//! The caller's bytes as one target takes them: in its own dialect only what must change is changed, in one copy.

use bytes::Bytes;
use mainstay_base::{
    Class,
    snapshot::{Dialect, ModelTarget},
};
use mainstay_wire::openai::{Edit, edited};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::Unwritten;
use crate::path::{execute::model::order::Order, normalize::Endpoint};

/// The caller's own bytes, with what this target needs otherwise.
pub(super) fn same(order: &Order, target: &ModelTarget, said: Option<&str>) -> Result<Bytes, Unwritten> {
    let asked = &order.asked;
    let wants_usage = asked.streams && matches!(asked.endpoint, Endpoint::Chat | Endpoint::Completions);
    if let Some(said) = said {
        let goes_on = goes_on(&order.bytes, said)?;
        let edits =
            [Edit::Set { field: "messages", json: &goes_on }, Edit::Model(&target.model), Edit::IncludeUsage];
        let body = edited(&order.bytes, &edits).map_or_else(|| order.bytes.clone(), Bytes::from);
        return Ok(adapted(order, target, body));
    }
    let body = asked.body_for(&order.bytes, &target.model, wants_usage);
    Ok(adapted(order, target, body))
}

/// Without the fields that the provider refuses, and with its own name and bound for the length of the answer.
fn adapted(order: &Order, target: &ModelTarget, body: Bytes) -> Bytes {
    let adapt = &target.adapt;
    if !order.asked.endpoint.is_json() {
        return body;
    }
    let mut edits: Vec<Edit<'_>> = adapt.drop_fields.iter().map(|field| Edit::Without(field)).collect();
    let wanted = adapt.max_tokens_field.as_deref().filter(|_| order.asked.endpoint == Endpoint::Chat);
    if let Some(to) = wanted {
        let from = if to == "max_tokens" { "max_completion_tokens" } else { "max_tokens" };
        edits.push(Edit::Renamed { from, to });
    }
    let bound = too_long(order, target).map(|most| most.to_string());
    if let Some(most) = &bound {
        let field = wanted.unwrap_or_else(|| length_field(order.asked.endpoint, &body));
        edits.push(Edit::Set { field, json: most });
    }
    if edits.is_empty() {
        return body;
    }
    edited(&body, &edits).map_or(body, Bytes::from)
}

/// The target's bound, if the caller asked for more.
pub(super) fn too_long(order: &Order, target: &ModelTarget) -> Option<u64> {
    let most = target.offer.max_output_tokens?;
    order.asked.max_output_tokens.filter(|asked| *asked > most).map(|_| most)
}

/// What the caller called the length of the answer.
fn length_field(endpoint: Endpoint, body: &[u8]) -> &'static str {
    #[derive(Deserialize)]
    struct Lengths<'a> {
        #[serde(borrow)]
        max_completion_tokens: Option<&'a RawValue>,
    }
    match endpoint {
        Endpoint::Responses => "max_output_tokens",
        Endpoint::Chat
            if serde_json::from_slice::<Lengths<'_>>(body)
                .is_ok_and(|lengths| lengths.max_completion_tokens.is_some()) =>
        {
            "max_completion_tokens"
        }
        _ => "max_tokens",
    }
}

/// The messages, and after them what was answered so far.
fn goes_on(body: &[u8], said: &str) -> Result<String, Unwritten> {
    #[derive(Deserialize)]
    struct Messages<'a> {
        #[serde(borrow)]
        messages: &'a RawValue,
    }
    let Messages { messages } =
        serde_json::from_slice(body).map_err(|error| Unwritten::new(Class::NotConvertible, error))?;
    let rest = messages.get().trim_end().strip_suffix(']').unwrap_or_default();
    let comma = if rest.trim_end().ends_with('[') { "" } else { "," };
    Ok(format!("{rest}{comma}{}]", json!({ "role": "assistant", "content": said })))
}

/// The caller's body without the fields that this provider refuses.
pub(super) fn shortened(order: &Order, target: &ModelTarget, said: Option<&str>) -> Result<Bytes, Unwritten> {
    let mut edits: Vec<Edit<'_>> =
        target.adapt.drop_fields.iter().map(|field| Edit::Without(field)).collect();
    let goes_on = said.map(|said| goes_on(&order.bytes, said)).transpose()?;
    edits.extend(goes_on.as_deref().map(|json| Edit::Set { field: "messages", json }));
    if edits.is_empty() {
        return Ok(order.bytes.clone());
    }
    Ok(edited(&order.bytes, &edits).map_or_else(|| order.bytes.clone(), Bytes::from))
}

/// A body of our own without the fields that a provider of OpenAI's dialect refuses: the caller's own were other words.
pub(super) fn without_refused(target: &ModelTarget, body: Vec<u8>) -> Bytes {
    let speaks_openai = matches!(target.provider.dialect, Dialect::OpenAi | Dialect::Azure { .. });
    let drops = target.adapt.drop_fields.iter().filter(|_| speaks_openai);
    let edits: Vec<Edit<'_>> = drops.map(|field| Edit::Without(field)).collect();
    match edits.is_empty() {
        true => body.into(),
        false => edited(&body, &edits).unwrap_or(body).into(),
    }
}
