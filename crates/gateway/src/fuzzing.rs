//! The readers of callers' and providers' bytes, opened for fuzzers only: nothing else may build on them.

use std::{future::poll_fn, ops::Range, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use mainstay_base::snapshot::{Dialect, PreCommit};
use mainstay_net::BodyError;
use mainstay_wire::llm::responses::{Echo, StreamWriter};
use tokio::time::Instant;

use crate::path::{
    normalize::model::{form, scan},
    stream::{Form, Reading, Relay, Step, Terms, Waits, Wanted, prove},
};

/// What a reader found of the model in a body that it takes.
#[derive(Debug)]
pub struct Found {
    pub model: Option<String>,
    pub model_at: Option<Range<usize>>,
}

/// A JSON body; `None` when it is refused.
pub fn body(bytes: &[u8]) -> Option<Found> {
    scan::scan(bytes).ok().map(found)
}

/// A form with files; `None` when it or its content type is refused.
pub fn form(content_type: &str, bytes: &[u8]) -> Option<Found> {
    form::scan(bytes, form::boundary(content_type)?).ok().map(found)
}

fn found(scanned: scan::Scanned) -> Found {
    Found { model: scanned.model, model_at: scanned.spots.model }
}

/// What a caller gets of a stream, and whether it came to its proper end.
#[derive(Debug)]
pub struct Relayed {
    pub bytes: Vec<u8>,
    pub is_whole: bool,
}

/// A provider's bytes in these pieces, proved and relayed as a call's stream is, to a polite end. `dialect` and `form`
/// choose among those there are; `None`: nothing was worth committing to.
pub fn relay(dialect: u8, form: u8, pieces: Vec<Bytes>) -> Option<Relayed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().ok()?;
    runtime.block_on(relayed(dialect, form, pieces))
}

async fn relayed(dialect: u8, form: u8, pieces: Vec<Bytes>) -> Option<Relayed> {
    let dialect = match dialect % 4 {
        0 => Dialect::OpenAi,
        1 => Dialect::Anthropic,
        2 => Dialect::Gemini,
        _ => Dialect::Bedrock { region: "eu-central-1".to_owned() },
    };
    let echo = Echo::of(br#"{"model":"m","input":""}"#).unwrap_or_default();
    let typed = StreamWriter::new(echo, "fuzz", 1);
    let (form, typed) = match form % 4 {
        0 => (Form::Chat, None),
        1 => (Form::Completion, None),
        2 => (Form::Typed, None),
        _ => (Form::Typed, Some(&typed)),
    };
    let wanted = Wanted {
        form,
        choices: 1,
        model: "m",
        id: "chatcmpl-fuzz",
        include_usage: true,
        keeps_said: true,
        continues: false,
        created: 1,
        max_event_bytes: 1024 * 1024,
        typed,
    };
    let body = mainstay_net::stream(stream::iter(pieces.into_iter().map(Ok::<_, BodyError>)));
    let mut reading = Reading::new(&dialect, &wanted, body);
    let later = Instant::now() + Duration::from_secs(60);
    let waits = Waits { first_token_at: later, deadline_at: later };
    let proved = prove(&mut reading, &PreCommit::default(), &waits, false).await.ok()?;
    let terms = Terms { form, include_usage: true, input_tokens: 7, stall: Duration::from_secs(60) };
    let mut relay = Relay::new(reading, proved, terms);
    let mut bytes = Vec::new();
    loop {
        match poll_fn(|context| relay.poll(context)).await {
            Step::Bytes(piece) => bytes.extend_from_slice(&piece),
            Step::Over => return Some(Relayed { bytes, is_whole: true }),
            Step::Broken(broken) => {
                bytes.extend_from_slice(&relay.told(broken.class));
                return Some(Relayed { bytes, is_whole: false });
            }
        }
    }
}
