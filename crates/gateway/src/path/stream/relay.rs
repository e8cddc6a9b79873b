//! A committed stream on its way to the caller. Pulls only when asked, holds at most one read, adds the end that the
//! provider's own end allows, and says when there is none.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use mainstay_base::Class;
use mainstay_wire::llm::{Finish, Usage};
use tokio::time::{Instant, Sleep, sleep};

use super::{
    Broken, Facts, Form, Proved, Reading, Said,
    ending::{self, DONE_FRAME, Name},
};
use crate::path::normalize::model::tokens;

/// What a provider may take to end its side after its last event. The caller has had everything by then.
const LINGER: Duration = Duration::from_millis(250);
/// How many times the idle timeout a provider may send signs of life and nothing else: a model that writes a long tool
/// call sends nothing but pings meanwhile.
const KEPT_ALIVE_FOR: u32 = 4;
/// What is kept of an answer so that another target could go on from it.
const MAX_SAID_BYTES: usize = 1024 * 1024;

/// What a stream told so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) events: u64,
    pub(crate) chars: u64,
    pub(crate) quarters: u64,
    pub(crate) has_content: bool,
    pub(crate) has_more_than_text: bool,
    pub(crate) said: String,
    pub(crate) usage: Option<Usage>,
    pub(crate) shows_usage: bool,
    /// More was said since the usage was told.
    pub(crate) is_usage_stale: bool,
    pub(crate) finish: Option<Finish>,
    pub(crate) is_done: bool,
}

impl Tally {
    pub(crate) fn add(&mut self, facts: Facts) {
        let Facts {
            events,
            chars,
            quarters,
            has_content,
            has_more_than_text,
            said,
            usage,
            shows_usage,
            outdates_usage,
            finish,
            is_done,
        } = facts;
        self.events += u64::from(events);
        self.chars += chars;
        self.quarters += quarters;
        self.has_content |= has_content;
        self.has_more_than_text |= has_more_than_text;
        self.said.push_str(&said);
        if self.said.len() > MAX_SAID_BYTES {
            // Too long to be gone on with.
            self.said = String::new();
            self.has_more_than_text = true;
        }
        if usage.is_some() || outdates_usage {
            self.shows_usage = shows_usage;
            self.is_usage_stale = outdates_usage;
        }
        self.usage = usage.or(self.usage);
        self.finish = finish.or(self.finish.take());
        self.is_done |= is_done;
    }

    /// What was used: as the provider told it, or else by what was said. What it told before the end counts too little.
    pub(crate) fn used(&self, input_tokens: u64, is_whole: bool) -> Usage {
        let estimated = tokens::of_quarters(self.quarters);
        let is_last_word = is_whole && !self.is_usage_stale;
        match self.usage {
            Some(usage) if is_last_word || usage.output >= estimated => usage,
            Some(usage) => Usage { output: estimated, is_estimated: true, ..usage },
            None => Usage { input: input_tokens, output: estimated, is_estimated: true, ..Usage::default() },
        }
    }
}

/// What the caller gets next.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    Bytes(Bytes),
    /// The stream broke; nothing of it comes any more.
    Broken(Broken),
    /// Everything was given.
    Over,
}

/// What a relay must know beside the stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) form: Form,
    pub(crate) include_usage: bool,
    /// Estimated, for a provider that tells none.
    pub(crate) input_tokens: u64,
    /// The provider's idle timeout.
    pub(crate) stall: Duration,
}

pub(crate) struct Relay {
    reading: Reading,
    terms: Terms,
    held: Bytes,
    pub(crate) tally: Tally,
    /// What streams before this one used and told, when this one goes on where they broke off.
    earlier: Option<Earlier>,
    /// Since when the provider has been waited for, and sent no event. A slow caller's time is not the provider's.
    waits_since: Option<Instant>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
struct Earlier {
    usage: Usage,
    events: u64,
}

enum State {
    Open,
    /// The provider's proper end came; the caller's is still to be written.
    Ending,
    /// The caller has everything; the provider closes its side.
    Lingering(Option<Pin<Box<Sleep>>>),
    Over,
    Broken,
}

impl Relay {
    pub(crate) fn new(reading: Reading, proved: Proved, terms: Terms) -> Relay {
        let Proved { held, tally, first_token_at: _, is_over } = proved;
        let state = if is_over { State::Ending } else { State::Open };
        Relay { reading, terms, held, tally, earlier: None, waits_since: None, state }
    }

    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        if !self.held.is_empty() {
            return Poll::Ready(Step::Bytes(std::mem::take(&mut self.held)));
        }
        loop {
            match &mut self.state {
                State::Open => match self.reading.poll_next(context) {
                    Poll::Pending => {
                        self.waits_since.get_or_insert_with(Instant::now);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(Some(piece))) => {
                        let is_alive = piece.facts.events > 0;
                        self.tally.add(piece.facts);
                        if let Some(broken) = self.fell_silent(is_alive) {
                            return Poll::Ready(self.broke(broken));
                        }
                        if !piece.bytes.is_empty() {
                            return Poll::Ready(Step::Bytes(piece.bytes));
                        }
                    }
                    Poll::Ready(Ok(None)) => self.state = State::Ending,
                    Poll::Ready(Err(broken)) => return Poll::Ready(self.broke(broken)),
                },
                State::Ending => {
                    self.state = State::Lingering(None);
                    let end = self.end();
                    if !end.is_empty() {
                        return Poll::Ready(Step::Bytes(end));
                    }
                }
                State::Lingering(timer) => {
                    if self.reading.poll_rest(context).is_pending() {
                        let timer = timer.get_or_insert_with(|| Box::pin(sleep(LINGER)));
                        ready!(timer.as_mut().poll(context));
                    }
                    self.state = State::Over;
                }
                State::Over | State::Broken => return Poll::Ready(Step::Over),
            }
        }
    }

    /// Whether nothing is lost to a caller that leaves now.
    pub(crate) fn has_all(&self) -> bool {
        self.held.is_empty() && matches!(self.state, State::Lingering(_) | State::Over)
    }

    /// Whether the caller was given a part of an event: then no event of ours can follow it.
    pub(crate) fn is_inside_event(&self) -> bool {
        self.reading.is_inside_event()
    }

    /// What the stream that is relayed now used.
    pub(crate) fn used(&self) -> Usage {
        let is_whole = matches!(self.state, State::Ending | State::Lingering(_) | State::Over);
        self.tally.used(self.terms.input_tokens, is_whole)
    }

    /// What it and those before it used.
    pub(crate) fn used_in_all(&self) -> Usage {
        let now = self.used();
        let Some(Earlier { usage, .. }) = self.earlier else { return now };
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
        };
        Usage {
            input: usage.input.saturating_add(now.input),
            output: usage.output.saturating_add(now.output),
            cached_input: sum(usage.cached_input, now.cached_input),
            cache_write: sum(usage.cache_write, now.cache_write),
            reasoning: sum(usage.reasoning, now.reasoning),
            is_estimated: usage.is_estimated || now.is_estimated,
        }
    }

    pub(crate) fn events_in_all(&self) -> u64 {
        self.tally.events + self.earlier.map_or(0, |earlier| earlier.events)
    }

    /// The last bytes of a stream that broke: what was used so far, if the caller asked, and that it broke.
    pub(crate) fn told(&mut self, class: Class) -> Bytes {
        let used = self.used_in_all();
        if let Some(writer) = self.reading.typed() {
            return ending::typed_cut(writer, class, &used);
        }
        let mut text = BytesMut::new();
        if self.owes_usage() {
            text.extend_from_slice(&ending::usage_chunk(&self.name(), &used));
        }
        text.extend_from_slice(&ending::cut_event(self.terms.form, class, self.events_in_all()));
        text.freeze()
    }

    /// From where another target may go on.
    pub(crate) fn said(&mut self) -> Said {
        let typed = self.reading.typed().map(|writer| Box::new(writer.clone()));
        Said { text: std::mem::take(&mut self.tally.said), typed }
    }

    /// Another target goes on: its chunks follow what was said, after a mark.
    pub(crate) fn continue_on(&mut self, target: &str, mut reading: Reading, proved: Proved) {
        // Typed events are marked by who writes them.
        let mark = match reading.typed() {
            Some(_) => Bytes::new(),
            None => ending::join_chunk(&self.name(), self.terms.form, target),
        };
        self.earlier = Some(Earlier { usage: self.used_in_all(), events: self.events_in_all() });
        let Proved { held, tally, first_token_at: _, is_over } = proved;
        self.held = Bytes::from([mark.as_ref(), held.as_ref()].concat());
        self.reading = reading;
        self.tally = tally;
        self.waits_since = None;
        self.state = if is_over { State::Ending } else { State::Open };
    }

    fn broke(&mut self, broken: Broken) -> Step {
        self.state = State::Broken;
        Step::Broken(broken)
    }

    /// Signs of life keep a stream for a while, and not for ever.
    fn fell_silent(&mut self, is_alive: bool) -> Option<Broken> {
        if is_alive {
            self.waits_since = None;
        }
        let waited = self.waits_since?.elapsed();
        (waited > self.terms.stall * KEPT_ALIVE_FOR).then(|| {
            let what = format!("only signs of life came for {} ms", waited.as_millis());
            Broken::new(Class::Stall, what)
        })
    }

    fn end(&mut self) -> Bytes {
        let used = self.used_in_all();
        if let Some(writer) = self.reading.typed() {
            return ending::typed_end(writer, &used);
        }
        if self.terms.form == Form::Typed {
            return Bytes::new();
        }
        if !self.owes_usage() {
            return Bytes::from_static(DONE_FRAME);
        }
        let usage = ending::usage_chunk(&self.name(), &used);
        Bytes::from([usage.as_ref(), DONE_FRAME].concat())
    }

    /// A provider that goes on where another broke off knows its own part only.
    fn owes_usage(&self) -> bool {
        let Terms { form, include_usage, .. } = self.terms;
        include_usage && form != Form::Typed && (!self.tally.shows_usage || self.earlier.is_some())
    }

    fn name(&self) -> Name {
        self.reading.name().cloned().unwrap_or_else(|| Name::unknown(self.terms.form))
    }
}
