//! The pre-commit window: the first events of a stream are held until they prove it. Until then nothing has reached
//! the caller, so another target can still be asked.

use bytes::{Bytes, BytesMut};
use mainstay_base::{Class, snapshot::PreCommit};
use mainstay_wire::llm::Finish;
use tokio::time::{Instant, timeout_at};

use super::{Broken, Piece, Reading, Tally};

/// Until when a stream may prove itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    /// The first content must have come.
    pub(crate) first_token_at: Instant,
    /// The call, or the wait for its first byte, is over.
    pub(crate) deadline_at: Instant,
}

/// A stream that is worth committing to.
#[derive(Debug)]
pub(crate) struct Proved {
    /// What was held, to go out first.
    pub(super) held: Bytes,
    pub(crate) tally: Tally,
    /// When the first content came.
    pub(crate) first_token_at: Option<Instant>,
    pub(super) is_over: bool,
}

/// A stream of which nothing reached the caller, and nothing will.
#[derive(Debug)]
pub(crate) struct Unproved {
    pub(crate) broken: Broken,
    /// What it used all the same.
    pub(crate) tally: Tally,
}

/// `stops`: the request named texts at which the answer ends, so an end without content may be what it asked for.
pub(crate) async fn prove(
    reading: &mut Reading,
    window: &PreCommit,
    waits: &Waits,
    stops: bool,
) -> Result<Proved, Unproved> {
    let mut held = Held::default();
    loop {
        let commits_at = held.first_event_at.map(|at| at + window.max_wait);
        let fails_at = waits.first_token_at.min(waits.deadline_at);
        let until = commits_at.map_or(fails_at, |at| at.min(fails_at));
        match timeout_at(until, reading.next()).await {
            Ok(Ok(Some(piece))) => {
                held.take(piece);
                // An error that came along is told before anything goes out.
                if held.is_enough(window) && !reading.has_broken() {
                    return Ok(held.proved(false));
                }
            }
            Ok(Ok(None)) => {
                return match held.verdict(stops) {
                    None => Ok(held.proved(true)),
                    Some(broken) => Err(Unproved { broken, tally: held.tally }),
                };
            }
            Ok(Err(mut broken)) => {
                // What never spoke did not stop speaking.
                if broken.class == Class::Stall {
                    broken.class = Class::FirstTokenTimeout;
                }
                return Err(Unproved { broken, tally: held.tally });
            }
            Err(_) if until < fails_at => return Ok(held.proved(false)),
            Err(_) => return Err(Unproved { broken: late(waits), tally: held.tally }),
        }
    }
}

fn late(waits: &Waits) -> Broken {
    match waits.deadline_at <= waits.first_token_at {
        true => Broken::new(Class::TotalTimeout, "the call's time was over before the stream had content"),
        false => Broken::new(Class::FirstTokenTimeout, "the stream had no content within first_token"),
    }
}

#[derive(Default)]
struct Held {
    first: Bytes,
    rest: BytesMut,
    tally: Tally,
    first_event_at: Option<Instant>,
}

impl Held {
    fn take(&mut self, piece: Piece) {
        if piece.facts.events > 0 && self.first_event_at.is_none() {
            self.first_event_at = Some(Instant::now());
        }
        self.tally.add(piece.facts);
        if self.first.is_empty() {
            self.first = piece.bytes;
        } else {
            self.rest.extend_from_slice(&piece.bytes);
        }
    }

    fn bytes(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    fn is_enough(&self, window: &PreCommit) -> bool {
        let PreCommit { max_events, max_bytes, max_wait: _, min_chars } = *window;
        let Tally { events, chars, has_content, has_more_than_text, .. } = self.tally;
        // Content without characters is a list of parts.
        let is_proved = has_more_than_text || has_content && (chars == 0 || chars >= min_chars as u64);
        events > 0 && (is_proved || min_chars == 0)
            || events >= max_events as u64
            || self.bytes() >= max_bytes
    }

    /// What is wrong with an end that came here, if anything. Tokens spent on thoughts alone (`length`) are an answer:
    /// the next target would spend them as well.
    fn verdict(&self, stops: bool) -> Option<Broken> {
        match &self.tally.finish {
            _ if self.tally.has_content => None,
            Some(Finish::Length) => None,
            Some(Finish::Stop) if stops => None,
            Some(Finish::ContentFilter) => Some(Broken::new(
                Class::ContentFilter,
                "the provider's content filter left nothing of the answer",
            )),
            _ => Some(Broken::new(Class::Empty, "the stream ended without content")),
        }
    }

    fn proved(self, is_over: bool) -> Proved {
        let Held { first, rest, tally, first_event_at: _ } = self;
        let held = match rest.is_empty() {
            true => first,
            false => Bytes::from([first.as_ref(), rest.as_ref()].concat()),
        };
        let first_token_at = tally.has_content.then(Instant::now);
        Proved { held, tally, first_token_at, is_over }
    }
}
