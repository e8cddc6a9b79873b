//! The way from a provider's bytes to the caller's, without sockets.

mod cuts;
mod fixtures;
mod kinds;
mod proof;

use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use mainstay_base::snapshot::{Dialect, PreCommit};
use mainstay_net::{Body, BodyError};
use tokio::time::Instant;

use super::{Broken, Form, Proved, Reading, Relay, Step, Terms, Unproved, Waits, Wanted, prove};

pub(super) const WANTED: Wanted<'static> = Wanted {
    form: Form::Chat,
    choices: 1,
    model: "asked",
    include_usage: false,
    continues: false,
    keeps_said: false,
    id: "chatcmpl-test",
    created: 1_700_000_000,
    max_event_bytes: 4096,
    typed: None,
};
pub(super) const TERMS: Terms =
    Terms { form: Form::Chat, include_usage: false, input_tokens: 7, stall: Duration::from_secs(60) };

/// How a provider's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In order.
    Polite,
    /// The connection is lost.
    Lost,
}

pub(super) fn body(chunks: Vec<Bytes>, end: End) -> Body {
    let lost = match end {
        End::Polite => None,
        End::Lost => Some(Err(BodyError::other("lost"))),
    };
    mainstay_net::stream(stream::iter(chunks.into_iter().map(Ok).chain(lost)))
}

/// What a caller sees of a stream.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) bytes: Vec<u8>,
    /// Why it broke, if it did.
    pub(super) broken: Option<Broken>,
    /// Nothing reached the caller, and another target could be asked.
    pub(super) is_unproved: bool,
}

/// All of the pipeline: reading, proof, relay, and the end that the delivery would write.
pub(super) async fn seen(dialect: &Dialect, wanted: &Wanted<'_>, body: Body) -> Seen {
    let mut reading = Reading::new(dialect, wanted, body);
    match prove(&mut reading, &PreCommit::default(), &patient(), false).await {
        Ok(proved) => relayed(reading, proved, wanted).await,
        Err(Unproved { broken, .. }) => Seen { bytes: Vec::new(), broken: Some(broken), is_unproved: true },
    }
}

async fn relayed(reading: Reading, proved: Proved, wanted: &Wanted<'_>) -> Seen {
    let terms = Terms { include_usage: wanted.include_usage, form: wanted.form, ..TERMS };
    let mut relay = Relay::new(reading, proved, terms);
    let mut bytes = Vec::new();
    loop {
        match poll_fn(|context| relay.poll(context)).await {
            Step::Bytes(piece) => bytes.extend_from_slice(&piece),
            Step::Over => return Seen { bytes, broken: None, is_unproved: false },
            Step::Broken(broken) => {
                bytes.extend_from_slice(&relay.told(broken.class));
                return Seen { bytes, broken: Some(broken), is_unproved: false };
            }
        }
    }
}

pub(super) fn patient() -> Waits {
    let later = Instant::now() + Duration::from_secs(60);
    Waits { first_token_at: later, deadline_at: later }
}

pub(super) fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(work)
}

/// The same in virtual time, which passes when nobody has anything else to do.
pub(super) fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(work)
}
