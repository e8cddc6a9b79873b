//! One attempt: one request to one target with one key, read until it is proved an answer, or classified once.

use std::time::Duration;

use http::{HeaderMap, Response, header::CONTENT_ENCODING, response::Parts};
use mainstay_base::{
    Class,
    snapshot::{ModelTarget, Provider, Timeouts},
};
use mainstay_net::{AddressRule, Body, Class as SendClass, SendError};
use mainstay_signal::limits::{Learned, Told as Grant};
use mainstay_wire::llm::{
    Usage,
    failure::{self, Told},
    limits::{self, Quota},
};
use tokio::time::Instant;

use super::{
    order::Order,
    whole::{self, Whole},
    write,
};
use crate::{
    path::{
        normalize::{Asked, Endpoint},
        stream::{Form, Proved, Reading, Said},
    },
    targets::{Failed, Flight, Taken},
};

mod streamed;

use streamed::{is_document_all_the_same, streamed};

/// What is read of an answer that is no success, and how long its words are waited for: its status says enough for
/// somebody else to be asked.
const MAX_ERROR_BYTES: usize = 64 * 1024;
const MAX_ERROR_WAIT: Duration = Duration::from_secs(1);

/// How an attempt went.
pub(super) struct Outcome {
    /// The HTTP status that came back; `None` when none did.
    pub(super) status: Option<u16>,
    /// Since its start.
    pub(super) first_byte: Option<Duration>,
    pub(super) result: Result<Answered, Missed>,
}

/// An answer that may go to the caller.
pub(super) enum Answered {
    Whole(Box<Whole>),
    Stream(Box<Streamed>),
}

/// A stream that proved itself.
pub(super) struct Streamed {
    pub(super) head: Parts,
    pub(super) reading: Reading,
    pub(super) proved: Proved,
    pub(super) flight: Flight,
}

/// Why an attempt was not the answer.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) class: Class,
    /// The provider's own words, if it had any.
    pub(super) told: Option<Box<Told>>,
    /// For the record.
    pub(super) internal: String,
    /// What it used all the same, as far as the provider told.
    pub(super) usage: Option<Box<Usage>>,
    /// See [`mainstay_base::record::Attempt`].
    pub(super) is_callers_haste: bool,
}

/// An attempt that missed, whose target has not been told yet.
pub(super) type Missing = Box<(Flight, Missed)>;

impl Missed {
    pub(super) fn new(class: Class, internal: impl Into<String>) -> Missed {
        Missed { class, told: None, internal: internal.into(), usage: None, is_callers_haste: false }
    }

    pub(super) fn told(told: Told) -> Missed {
        let mut missed = Missed::new(told.class, told.message.clone());
        missed.told = Some(Box::new(told));
        missed
    }

    /// Some providers repeat the key that they refuse, or a part of it: words that hold one are kept nowhere.
    pub(super) fn hide_keys(&mut self, provider: &Provider) {
        let hide = |text: &mut String| {
            if whole::holds_a_key(provider, text) {
                *text = "the provider's words hold a key and are not kept".to_owned();
            }
        };
        hide(&mut self.internal);
        if let Some(told) = self.told.as_deref_mut() {
            hide(&mut told.message);
            told.code.iter_mut().for_each(hide);
            if let Some(blamed) = told.blamed.as_deref_mut() {
                [&mut blamed.param, &mut blamed.code].into_iter().flatten().for_each(hide);
            }
        }
    }

    /// Whether the provider may have done work for it that it bills.
    pub(super) fn may_be_billed(&self, status: Option<u16>) -> bool {
        match self.class {
            Class::Dns | Class::Connect | Class::ConnectTimeout | Class::Tls | Class::NotConvertible => false,
            _ => status.is_none_or(|status| status < 400),
        }
    }
}

/// How long one attempt may take: the target's own waits, within what is left of the call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    timeouts: Timeouts,
    first_token: Duration,
    began: Instant,
}

impl Patience {
    /// `others_left`: a stream that does not begin leaves half of the time to somebody else.
    pub(super) fn new(order: &Order, target: &ModelTarget, others_left: bool) -> Patience {
        let own = &target.provider.timeouts;
        let left = order.bounds.answer_left();
        let share = if others_left && order.asked.streams { left / 2 } else { left };
        let streams = order.asked.streams;
        let total = if streams { order.bounds.left() } else { left };
        let first_token = target.provider.first_token.min(share);
        let timeouts = Timeouts {
            connect: own.connect.min(share),
            first_byte: if streams { own.first_byte.min(first_token) } else { own.first_byte.min(share) },
            idle: own.idle,
            total: own.total.min(total),
        };
        Patience { timeouts, first_token, began: Instant::now() }
    }

    /// Whether the target had the time that it was meant to have; if not, the call's own haste says nothing of it.
    fn is_targets_doing(&self, class: Class, target: &ModelTarget, slow_call: Duration) -> bool {
        let own = &target.provider.timeouts;
        let wait = match class {
            Class::ConnectTimeout => own.connect,
            Class::FirstByteTimeout if self.timeouts.first_byte < own.first_byte => {
                target.provider.first_token
            }
            Class::FirstByteTimeout => own.first_byte,
            Class::FirstTokenTimeout => target.provider.first_token,
            Class::TotalTimeout => own.total,
            _ => return true,
        };
        self.began.elapsed() + Duration::from_millis(2) >= wait.min(slow_call)
    }
}

/// Sends the call to the target at `index` and reads until it is proved or missed. Dropping it closes the exchange.
pub(super) async fn run(
    order: &Order,
    index: usize,
    taken: Taken,
    patience: Patience,
    said: Option<&Said>,
) -> Outcome {
    let Taken { mut flight, key } = taken;
    let target = order.target(index);
    flight.is_meant_to_have(target.provider.timeouts.total, order.bounds.caller_hurries);
    let request = match write::request(order, index, key, said) {
        Ok(request) => request,
        Err(unwritten) => {
            let class = unwritten.class;
            flight.failed(&Failed { class, retry_after: None, is_targets_doing: false, tokens: Some(0) });
            let missed = Missed::told(Told::plain(class, unwritten.why));
            return Outcome { status: None, first_byte: None, result: Err(missed) };
        }
    };
    let client = &order.gateway.ports().client;
    let sent = client.send(request, &patience.timeouts, AddressRule::Any).await;
    let first_byte = Some(patience.began.elapsed());
    let response = match sent {
        Ok(response) => response,
        Err(error) => {
            let missed = Missed::new(class_of(&error), error.to_string());
            let result = Err(failed(order, target, flight, missed, None, &patience));
            return Outcome { status: None, first_byte: None, result };
        }
    };
    let status = Some(response.status().as_u16());
    learn(order, target, &flight, response.headers());
    let result = match response.status().is_success() {
        false => Err(refused(order, target, response).await).map_err(|missed| Box::new((flight, missed))),
        true if is_compressed(response.headers()) => {
            let missed = Missed::new(Class::NotAnAnswer, "a compressed answer, which nobody asked for");
            Err(Box::new((flight, missed)))
        }
        true if order.asked.streams && !is_document_all_the_same(order, response.headers()) => {
            streamed(order, index, response, flight, &patience, said).await
        }
        true => whole::read(order, target, response, flight).await,
    };
    let result = result.map_err(|missing| {
        let (flight, missed) = *missing;
        failed(order, target, flight, missed, status, &patience)
    });
    Outcome { status, first_byte, result }
}

/// Tells target and key of a failure.
fn failed(
    order: &Order,
    target: &ModelTarget,
    flight: Flight,
    mut missed: Missed,
    status: Option<u16>,
    patience: &Patience,
) -> Missed {
    let slow_call = order.snapshot.model.breaker.slow_call;
    let is_targets_doing = patience.is_targets_doing(missed.class, target, slow_call);
    missed.is_callers_haste = order.bounds.caller_hurries && !is_targets_doing;
    let retry_after = missed.told.as_ref().and_then(|told| told.retry_after);
    let told = missed.usage.as_ref().map(|usage| usage.total());
    let tokens = if missed.may_be_billed(status) { told } else { Some(told.unwrap_or(0)) };
    flight.failed(&Failed { class: missed.class, retry_after, is_targets_doing, tokens });
    missed
}

async fn refused(order: &Order, target: &ModelTarget, response: Response<Body>) -> Missed {
    let (head, body) = response.into_parts();
    let body = whole::start_of(body, MAX_ERROR_BYTES, MAX_ERROR_WAIT).await;
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let now = order.gateway.ports().clock.now().unix_seconds();
    let status = head.status.as_u16();
    let mut missed = Missed::told(failure::told(&target.provider.dialect, status, header, &body, now));
    missed.internal = format!("{status}: {}", missed.internal);
    missed
}

pub(crate) fn form(endpoint: Endpoint) -> Form {
    match endpoint {
        Endpoint::Chat => Form::Chat,
        Endpoint::Completions => Form::Completion,
        _ => Form::Typed,
    }
}

/// What is estimated of an answer whose provider told no usage.
pub(super) fn estimated(asked: &Asked) -> Usage {
    Usage { input: asked.input_tokens, is_estimated: true, ..Usage::default() }
}

/// `Accept-Encoding` is not sent, so what is compressed all the same can neither be vetted nor told to the caller.
fn is_compressed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    codings.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

fn class_of(error: &SendError) -> Class {
    match error.class() {
        SendClass::Dns => Class::Dns,
        SendClass::InvalidRequest | SendClass::AddressRefused | SendClass::Connect => Class::Connect,
        SendClass::ConnectTimeout => Class::ConnectTimeout,
        SendClass::Tls => Class::Tls,
        SendClass::FirstByteTimeout => Class::FirstByteTimeout,
        SendClass::TotalTimeout => Class::TotalTimeout,
        SendClass::Closed | SendClass::RequestBody => Class::Closed,
    }
}

fn learn(order: &Order, target: &ModelTarget, flight: &Flight, headers: &HeaderMap) {
    // All dialects that tell limits say so in the name.
    let told: Vec<(&str, &str)> = headers
        .iter()
        .filter(|(name, _)| name.as_str().contains("ratelimit"))
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    if told.is_empty() {
        return;
    }
    let header = |name: &str| told.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let now = order.gateway.ports().clock.now().unix_seconds();
    let limits::Learned { requests, tokens, input_tokens, output_tokens: _ } =
        limits::learned(&target.provider.dialect, header, now);
    let grant = |Quota { limit, left, reset }: Quota| Grant { limit, left, reset };
    // Where the two are counted apart, the input is what runs out first.
    let tokens = if tokens == Quota::default() { input_tokens } else { tokens };
    flight.learn(&Learned { requests: grant(requests), tokens: grant(tokens) });
}
