//! The model path: who is asked for a model, how often, at what cost, and what becomes the answer.
//!
//! [`plan`] orders the targets, [`course`] goes from attempt to attempt, [`attempt`] makes one, [`write`](mod@write) and
//! [`whole`] speak the provider's dialect. Promises: every attempt is in the record; nobody is asked after the first
//! byte has gone out, past the deadline or above the ceiling; a failure is classified once.

use std::{borrow::Cow, time::Duration};

use http::{
    HeaderMap, HeaderValue, Response,
    header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE},
    response::Parts,
};
use mainstay_base::{
    record::Path,
    snapshot::{ModelTarget, OnCut, Provider},
};
use mainstay_net::Body;
use mainstay_wire::llm::Usage;
use serde_json::json;

use super::Answer;
use crate::path::{
    bootstrap::{Caller, Context},
    failure::{Failure, Reason},
    headers::Account,
    normalize::{Ask, Asked, CallBody, CallHead, Endpoint, ModelCall},
    policy::{self, Permit},
    stream::{Committed, ContinueWith, Streaming, Terms},
    telemetry::Open,
};

mod attempt;
mod course;
mod order;
mod passing;
pub(crate) mod plan;
mod whole;
mod write;

pub(crate) use attempt::form;
use attempt::{Answered, Streamed};
use course::{Course, Won};
use order::Order;
use whole::Whole;

/// Who answers about the models there are, in records.
const GATEWAY: &str = "gateway";

pub(super) async fn dispatch(
    context: &Context,
    call: ModelCall,
    permit: &Permit,
    record: &mut Open,
) -> Result<Answer, Failure> {
    let ModelCall { head, body, ask } = call;
    match ask {
        Ask::Model(asked) => ask_in_order(context, head, body, asked, permit, record).await,
        Ask::List => Ok(Answer::new(context, Path::Model, GATEWAY, list(context))),
        Ask::Describe { name } if is_shown(context, &name) => {
            Ok(Answer::new(context, Path::Model, GATEWAY, answer(&description(&name))))
        }
        Ask::Describe { name } => Err(unknown(name)),
    }
}

async fn ask_in_order(
    context: &Context,
    head: CallHead,
    body: CallBody,
    asked: Box<Asked>,
    permit: &Permit,
    record: &mut Open,
) -> Result<Answer, Failure> {
    let Some(chain) = context.gateway.targets().chain(&context.snapshot, &asked.name) else {
        return Err(unknown(asked.name.clone()));
    };
    let waited = Duration::from_micros(record.elapsed_us());
    let order = Order::new(context, head, body, asked, chain, waited);
    if let Some(record) = record.known() {
        record.deadline_us = u64::try_from(order.bounds.granted.as_micros()).ok();
        record.max_cost = order.bounds.max_cost;
        record.needs = Some(plan::needs(&order));
    }
    match Course::new(&order, record, Some(permit)).run().await {
        Ok(won) => Ok(answered(context, order, won, record)),
        Err(failure) => {
            let account = account(&order, None, record);
            Err(failure.with_account(account))
        }
    }
}

/// What the caller gets of the attempt that won.
fn answered(context: &Context, order: Order, won: Won, record: &mut Open) -> Answer {
    let Won { index, attempted, answered } = won;
    let account = account(&order, Some((index, &answered)), record);
    let from = order.target(index).provider.name.clone();
    match answered {
        Answered::Whole(whole) => {
            let Whole { head, body, usage, quarters: _ } = *whole;
            if let (Some(usage), Some(record)) = (usage, record.known()) {
                note(record, &usage);
            }
            let response = response(&order.target(index).provider, head, body);
            let mut answer = Answer::new(context, Path::Model, from, response);
            answer.account = Some(Box::new(account));
            answer
        }
        Answered::Stream(streamed) => {
            let Streamed { head, reading, proved, flight } = *streamed;
            let target = order.target(index);
            let committed = Committed {
                reading,
                proved,
                flight,
                attempted,
                price: target.price,
                target: order.chain.places[index].shown.clone(),
            };
            let terms = Terms {
                form: attempt::form(order.asked.endpoint),
                include_usage: order.asked.include_usage,
                input_tokens: order.asked.input_tokens,
                stall: target.provider.timeouts.idle,
            };
            let (drain, drains) = (order.policy().drain, context.gateway.drains().clone());
            let mut answer = Answer::new(context, Path::Model, from, stream_head(&head));
            let may_continue = may_continue(&order, order.target(index));
            let continue_with = may_continue.then(|| continue_with(order, index));
            answer.streaming = Some(Box::new(Streaming { committed, terms, drain, drains, continue_with }));
            answer.account = Some(Box::new(account));
            answer
        }
    }
}

fn account(order: &Order, won: Option<(usize, &Answered)>, record: &mut Open) -> Account {
    let attempts = record.known().map_or(0, |record| record.attempts.len());
    let is_whole = won.is_none_or(|(_, answered)| matches!(answered, Answered::Whole(_)));
    Account {
        target: won.map(|(index, _)| order.chain.places[index].shown.clone()),
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        deadline: Some(order.bounds.granted),
        max_cost: order.bounds.max_cost,
        cost: record.cost().filter(|_| is_whole),
        is_shared: false,
    }
}

fn note(record: &mut mainstay_base::Record, usage: &Usage) {
    record.input_tokens = Some(usage.input);
    record.output_tokens = Some(usage.output);
    record.total_tokens = Some(usage.total());
    record.cached_tokens = usage.cached_input;
}

/// Whether a cut stream of this target may be continued by another one. An answer to `/v1/responses` may where its events
/// are ours: nobody else can go on with a provider's own.
fn may_continue(order: &Order, target: &ModelTarget) -> bool {
    let is_ours = || order.asked.endpoint == Endpoint::Responses && !order.passes(target, false);
    order.policy().on_cut == OnCut::Continue
        && (order.asked.endpoint == Endpoint::Chat || is_ours())
        && !order.asked.tools
        && !order.asked.structured_output
        && order.asked.choices == 1
        && order.chain.places.len() > 1
}

fn continue_with(mut order: Order, broken: usize) -> ContinueWith {
    // The first byte went out long ago: from here on the deadline alone counts.
    order.bounds.answer_by = order.bounds.deadline_at;
    Box::new(move |said, mut record| {
        Box::pin(async move {
            let gone_on = Course::new(&order, &mut record, None).go_on(broken, &said).await;
            let committed = gone_on.and_then(|won| committed(&order, won));
            (record, committed)
        })
    })
}

fn committed(order: &Order, won: Won) -> Result<Committed, Failure> {
    let Won { index, attempted, answered } = won;
    let Answered::Stream(streamed) = answered else {
        return Err(Failure::new(Reason::BrokenOff, "a stream was to be continued, and a document came"));
    };
    let Streamed { head: _, reading, proved, flight } = *streamed;
    let shown = order.chain.places[index].shown.clone();
    Ok(Committed { reading, proved, flight, attempted, price: order.target(index).price, target: shown })
}

/// What a provider says of itself in an answer's head (cookies, its account, its limits) is not the caller's.
fn response(provider: &Provider, head: Parts, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    let headers = response.headers_mut();
    *headers = HeaderMap::with_capacity(12);
    for name in [CONTENT_TYPE, CONTENT_DISPOSITION] {
        if let Some(value) = head.headers.get(&name).filter(|value| is_keyless(provider, value)) {
            headers.insert(name, value.clone());
        }
    }
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    response
}

fn is_keyless(provider: &Provider, value: &HeaderValue) -> bool {
    if value == "application/json" {
        return true;
    }
    value.to_str().is_ok_and(|text| !whole::holds_a_key(provider, text))
}

fn stream_head(head: &Parts) -> Response<Body> {
    let mut response = Response::new(mainstay_net::empty());
    *response.status_mut() = head.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn unknown(model: String) -> Failure {
    let internal = format!("no route has the model {model}");
    Failure::new(Reason::ModelUnknown { model }, Cow::Owned(internal))
}

/// A caller sees the models that its key may ask for.
fn is_shown(context: &Context, name: &str) -> bool {
    let may_ask = match &context.caller {
        Caller::Model(key) => policy::may_ask(key, name),
        Caller::App { .. } | Caller::Unknown(_) => false,
    };
    may_ask && context.snapshot.model.models.contains_key(name)
}

fn list(context: &Context) -> Response<Body> {
    let mut names: Vec<&String> =
        context.snapshot.model.models.keys().filter(|name| is_shown(context, name)).collect();
    names.sort_unstable();
    let models: Vec<_> = names.into_iter().map(|name| description(name)).collect();
    answer(&json!({ "object": "list", "data": models }))
}

fn description(name: &str) -> serde_json::Value {
    json!({ "id": name, "object": "model", "created": 0, "owned_by": "mainstay" })
}

fn answer(body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(mainstay_net::full(body.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
