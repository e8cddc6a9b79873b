//! Stage 2: bytes become a [`Call`]. Reads whole what must be read whole, within limits, and keeps the original bytes:
//! what is sent on is what came. It rejects nothing that it need not understand.

use std::{borrow::Cow, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, header::CONTENT_LENGTH, request::Parts};
use http_body::Body as _;
use http_body_util::BodyExt;
use mainstay_base::Record;
use mainstay_net::Body;

use super::{
    bootstrap::{Caller, Context},
    failure::{Failure, Reason},
    policy::Held,
    telemetry::Told,
};

mod app;
pub(crate) mod model;
mod passing;

pub(crate) use app::{AppCall, Task};
pub(crate) use model::{Ask, Asked, Endpoint, ModelCall};
pub(crate) use passing::Passing;

/// Room for a body of which nothing came yet. Most runs fit in it.
const FIRST_ROOM_BYTES: usize = 2 * 1024;

/// One request, understood as far as needed.
pub(crate) enum Call {
    App(Box<AppCall>),
    Model(Box<ModelCall>),
}

/// The head as it goes on: method, path and query, headers.
pub(crate) struct CallHead {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
}

/// A body that is sent on.
pub(crate) enum CallBody {
    /// Held, so that it can be sent again before the first byte of an answer.
    Whole { bytes: Bytes, _held: Held },
    /// Passing through.
    Passing(Passing),
}

impl Call {
    pub(crate) fn method(&self) -> &Method {
        &self.head().method
    }

    pub(crate) fn path(&self) -> &str {
        &self.head().path
    }

    fn head(&self) -> &CallHead {
        match self {
            Call::App(call) => &call.head,
            Call::Model(call) => &call.head,
        }
    }
}

impl CallHead {
    fn of(head: Parts) -> CallHead {
        CallHead {
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            method: head.method,
            headers: head.headers,
        }
    }
}

pub(crate) async fn call(context: &Context, head: Parts, body: Body) -> Result<Call, Failure> {
    let head = CallHead::of(head);
    match &context.caller {
        Caller::Model(_) => Ok(Call::Model(Box::new(model::call(context, head, body).await?))),
        Caller::App { .. } | Caller::Unknown(_) => {
            Ok(Call::App(Box::new(app::call(context, head, body).await?)))
        }
    }
}

/// Reads a body to its end, within a size, a time and the memory that all held bodies share.
pub(crate) async fn read(
    context: &Context,
    head: &CallHead,
    body: Body,
    limit_bytes: usize,
) -> Result<CallBody, Failure> {
    let limit_bytes = context.snapshot.max_body_bytes.map_or(limit_bytes, |most| most.min(limit_bytes));
    refuse_announced(head, limit_bytes as u64)?;
    let limits = &context.gateway.ports().limits;
    match tokio::time::timeout(limits.body_read, read_within(context, body, limit_bytes)).await {
        Ok(read) => read,
        Err(_) => Err(too_slow(limits.body_read)),
    }
}

async fn read_within(context: &Context, mut body: Body, limit_bytes: usize) -> Result<CallBody, Failure> {
    let ledger = context.gateway.ledger();
    // Room is taken as bytes come: an announcement alone keeps no memory from others.
    let announced = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
    let most = announced.unwrap_or(limit_bytes).min(limit_bytes);
    let mut room = FIRST_ROOM_BYTES.min(most);
    let mut held = ledger.hold(room)?;
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::new(Reason::BodyBroken, format!("the caller's body broke off: {error}"))
        })?;
        let Ok(piece) = frame.into_data() else { continue };
        let length = bytes.len() + piece.len();
        if length > limit_bytes {
            return Err(too_large(limit_bytes as u64));
        }
        if length > room {
            // Growing by doubling, so that a body of many pieces asks the ledger a few times.
            room = (length * 2).min(most).max(length);
            drop(held);
            held = ledger.hold(room)?;
        }
        if bytes.is_empty() && body.is_end_stream() {
            return Ok(CallBody::Whole { bytes: piece, _held: held });
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(CallBody::Whole { bytes: bytes.freeze(), _held: held })
}

/// Refuses a body by its announced length, before a byte of it is read.
fn refuse_announced(head: &CallHead, limit_bytes: u64) -> Result<(), Failure> {
    let announced =
        head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match announced {
        Some(announced) if announced > limit_bytes => Err(too_large(limit_bytes)),
        _ => Ok(()),
    }
}

fn too_slow(wait: Duration) -> Failure {
    let text = format!("the body did not come within {} ms (body_read)", wait.as_millis());
    Failure::new(Reason::BodyTooSlow, text)
}

fn too_large(limit_bytes: u64) -> Failure {
    let reason = Reason::BodyTooLarge { limit_bytes };
    Failure::new(reason, format!("the body is larger than the limit of {limit_bytes} bytes"))
}

impl Told for Call {
    fn told(&self, record: &mut Record) -> Cow<'static, str> {
        match self {
            Call::App(call) => call.told(record),
            Call::Model(call) => call.told(record),
        }
    }
}

impl CallBody {
    /// The bytes that are held; none of a body that is passing.
    pub(crate) fn bytes(&self) -> Bytes {
        match self {
            CallBody::Whole { bytes, .. } => bytes.clone(),
            CallBody::Passing(_) => Bytes::new(),
        }
    }

    /// Whether all of it can still be sent.
    pub(crate) fn is_there(&self) -> bool {
        match self {
            CallBody::Whole { .. } => true,
            CallBody::Passing(passing) => passing.is_untouched(),
        }
    }

    /// The size when the body is held.
    fn known_bytes(&self) -> u64 {
        match self {
            CallBody::Whole { bytes, .. } => bytes.len() as u64,
            CallBody::Passing(_) => 0,
        }
    }
}
