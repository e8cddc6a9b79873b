//! Whole answers: read within a bound and vetted before a byte goes out. What is larger, or no JSON, is passed on once
//! its head and its first bytes are sane.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{Response, header::CONTENT_TYPE, response::Parts};
use http_body::Body as _;
use http_body_util::BodyExt;
use mainstay_base::{
    Class,
    snapshot::{ModelTarget, Provider, ProviderSecret},
};
use mainstay_net::{Body, BodyError};
use mainstay_wire::llm::Usage;
use tokio::time::{Instant, timeout_at};

use super::{
    attempt::{Answered, Missed, Missing},
    order::Order,
    passing::Passing,
};
use crate::{
    path::{normalize::Endpoint, stream::Broken},
    targets::{Flight, Used, Watched},
};

mod vet;

use vet::{is_json, vetted};

/// What is held of an answer to be vetted; a larger one is passed on.
const MAX_VETTED_BYTES: usize = 8 * 1024 * 1024;

/// A whole answer, vetted or sane so far.
pub(super) struct Whole {
    pub(super) head: Parts,
    pub(super) body: Body,
    /// `None`: the provider did not tell, or it is not known yet.
    pub(super) usage: Option<Usage>,
    /// For estimates: what the answer's text weighs, see [`crate::path::normalize::model::tokens`].
    pub(super) quarters: u64,
}

pub(super) async fn read(
    order: &Order,
    target: &ModelTarget,
    response: Response<Body>,
    flight: Flight,
) -> Result<Answered, Missing> {
    let (head, mut body) = response.into_parts();
    // Sound is not held: its first piece tells whether it is sound.
    let is_sound = order.asked.endpoint == Endpoint::Speech && !is_json(&head);
    let most = if is_sound { 1 } else { MAX_VETTED_BYTES };
    let (bytes, is_all) = match start(&mut body, most, flight.watched()).await {
        Ok(start) => start,
        Err(error) => return Err(Box::new((flight, broke(&error)))),
    };
    if !is_all {
        if order.passes(target, false) {
            return passed(head, bytes, body, flight);
        }
        let (dialect, most) = (target.provider.dialect.as_str(), MAX_VETTED_BYTES);
        let why = format!("an answer of more than {most} bytes is too large to be read as {dialect}");
        return Err(Box::new((flight, Missed::new(Class::NotAnAnswer, why))));
    }
    match vetted(order, target, &head, bytes) {
        Ok((body, usage, quarters)) => {
            flight.end(Ok(Used { tokens: usage.as_ref().map(Usage::total) }));
            let body = mainstay_net::full(body);
            Ok(Answered::Whole(Box::new(Whole { head, body, usage, quarters })))
        }
        Err(missed) => Err(Box::new((flight, missed))),
    }
}

/// The body, or as much of it as is held, and whether that is all.
async fn start(
    body: &mut Body,
    most: usize,
    watched: Option<&Arc<Watched>>,
) -> Result<(Bytes, bool), BodyError> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        if let Some(watched) = watched {
            watched.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        if first.is_empty() {
            first = piece;
        } else {
            if all.is_empty() {
                all.reserve(first.len() + piece.len());
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&piece);
        }
        if first.len().max(all.len()) >= most && !body.is_end_stream() {
            return Ok((if all.is_empty() { first } else { all.freeze() }, false));
        }
    }
    Ok((if all.is_empty() { first } else { all.freeze() }, true))
}

/// At most `most` bytes of a body, and what comes of them within `wait`; what breaks it is no matter.
pub(super) async fn start_of(mut body: Body, most: usize, wait: Duration) -> Bytes {
    let mut start = BytesMut::new();
    let until = Instant::now() + wait;
    while let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await {
        if let Ok(piece) = frame.into_data() {
            start.extend_from_slice(&piece[..piece.len().min(most - start.len())]);
        }
        if start.len() >= most {
            break;
        }
    }
    start.freeze()
}

/// A whole answer that breaks off was never an answer.
fn broke(error: &BodyError) -> Missed {
    let Broken { class, told: _, internal } = Broken::by(error);
    Missed::new(class, internal)
}

/// A part of a key so long gives it away; no word of a sentence is.
const KEY_PART_BYTES: usize = 12;

/// Whether one of this provider's keys, or a long part of one, stands in the text.
pub(super) fn holds_a_key(provider: &Provider, text: &str) -> bool {
    provider.keys.iter().any(|key| match &key.secret {
        ProviderSecret::Token(token) => holds_part(text, token.expose()),
        ProviderSecret::Aws { access_key_id: _, secret_access_key, session_token } => {
            holds_part(text, secret_access_key.expose())
                || session_token.as_ref().is_some_and(|token| holds_part(text, token.expose()))
        }
    })
}

fn holds_part(text: &str, key: &str) -> bool {
    match key.len() {
        0 => false,
        1..=KEY_PART_BYTES => text.contains(key),
        _ => {
            let mut parts = text.as_bytes().windows(KEY_PART_BYTES);
            parts.any(|part| mainstay_wire::openai::contains(key.as_bytes(), part))
        }
    }
}

/// An answer too large to be held, or of sound: its first bytes are no page and no error.
fn passed(head: Parts, start: Bytes, rest: Body, flight: Flight) -> Result<Answered, Missing> {
    if is_page(&head, &start) {
        let missed = Missed::new(Class::NotAnAnswer, "a page for humans instead of an answer");
        return Err(Box::new((flight, missed)));
    }
    let body = mainstay_net::boxed(Passing { start: Some(start), rest, flight: Some(flight) });
    Ok(Answered::Whole(Box::new(Whole { head, body, usage: None, quarters: 0 })))
}

fn is_page(head: &Parts, start: &[u8]) -> bool {
    let kind = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.trim_start().starts_with("text/html")
        || start.trim_ascii_start().starts_with(b"<!")
        || start.trim_ascii_start().starts_with(b"<html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_part_of_a_key_is_found() {
        let key = "sk-proj-0123456789abcdefghijklmnop";
        for (text, expected) in [
            ("bad key sk-proj-0123456789abcdefghijklmnop.", true),
            ("bad key ending in 'efghijklmnop'", true),
            ("bad key sk-proj-0123", true),
            ("bad key sk-proj-012", false),
            ("bad key sk-proj-****mnop", false),
            ("", false),
        ] {
            assert_eq!(holds_part(text, key), expected, "{text}");
        }
        assert!(holds_part("your key is sk-one", "sk-one") && !holds_part("your key is sk-on", "sk-one"));
        assert!(!holds_part("anything", ""), "a provider without a key");
    }
}
