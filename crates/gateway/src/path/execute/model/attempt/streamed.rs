//! An answer that is to come as a stream: whether it does, who writes its events, and its proof.

use http::{HeaderMap, Response, header::CONTENT_TYPE};
use mainstay_net::Body;
use mainstay_wire::llm::responses;

use super::{Answered, Missed, Missing, Patience, Streamed, form};
use crate::{
    path::{
        execute::model::{may_continue, order::Order},
        normalize::Endpoint,
        stream::{self, Broken, Reading, Said, Unproved, Waits, Wanted},
    },
    targets::Flight,
};

pub(super) async fn streamed(
    order: &Order,
    index: usize,
    response: Response<Body>,
    mut flight: Flight,
    patience: &Patience,
    said: Option<&Said>,
) -> Result<Answered, Missing> {
    let (head, body) = response.into_parts();
    let (policy, target, continues) = (order.policy(), order.target(index), said.is_some());
    let typed = typed(order, index, said);
    let wanted = Wanted {
        form: form(order.asked.endpoint),
        choices: order.asked.choices,
        model: &order.asked.name,
        id: &order.request_id,
        include_usage: order.asked.include_usage,
        keeps_said: may_continue(order, target) && !continues,
        continues,
        created: order.gateway.ports().clock.now().unix_seconds(),
        max_event_bytes: order.gateway.ports().limits.max_event_bytes,
        typed: typed.as_ref(),
    };
    let mut reading = Reading::new(&target.provider.dialect, &wanted, body);
    let first_token_at = patience.began + patience.first_token;
    let deadline_at = if continues { order.bounds.deadline_at } else { order.bounds.answer_by };
    let waits = Waits { first_token_at, deadline_at };
    match stream::prove(&mut reading, &policy.pre_commit, &waits, order.asked.stops).await {
        Ok(proved) => {
            if proved.first_token_at.is_some() {
                flight.first_token();
            }
            Ok(Answered::Stream(Box::new(Streamed { head, reading, proved, flight })))
        }
        Err(Unproved { broken, tally }) => {
            let Broken { class, told, internal } = broken;
            let (told, usage) = (told.map(Box::new), tally.usage.map(Box::new));
            Err(Box::new((flight, Missed { told, usage, ..Missed::new(class, internal) })))
        }
    }
}

/// Who writes the events of `/v1/responses` for a target that has none of its own.
fn typed(order: &Order, index: usize, said: Option<&Said>) -> Option<responses::StreamWriter> {
    let target = order.target(index);
    if order.asked.endpoint != Endpoint::Responses || order.passes(target, said.is_some()) {
        return None;
    }
    if let Some(writer) = said.and_then(|said| said.typed.as_deref()) {
        let mut writer = writer.clone();
        writer.continue_on(&order.chain.places[index].shown);
        return Some(writer);
    }
    // It was read before it was sent.
    let echo = responses::Echo::of(&order.bytes).unwrap_or_default();
    let created = order.gateway.ports().clock.now().unix_seconds();
    Some(responses::StreamWriter::new(echo, &order.request_id, created))
}

/// Some know no streams of what is heard or drawn, and say all of it at once to who asks for one. What has its own
/// document for a stream's is judged by [`stream`].
pub(super) fn is_document_all_the_same(order: &Order, headers: &HeaderMap) -> bool {
    let may_be = matches!(
        order.asked.endpoint,
        Endpoint::Transcriptions | Endpoint::ImageGenerations | Endpoint::ImageEdits
    );
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    may_be
        && kind.is_some_and(|kind| !kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}
