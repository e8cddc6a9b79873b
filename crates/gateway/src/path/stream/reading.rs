//! A provider's body as pieces in the caller's shape. Looks at each event once, holds at most one incomplete event, and
//! hands over all whole events of one read together.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Body as HttpBody;
use mainstay_base::{Class, snapshot::Dialect};
use mainstay_net::Body;
use mainstay_wire::llm::responses::StreamWriter;

use super::{
    Broken, Form, Piece,
    convert::{Converter, Reader, Writing},
    ending::Name,
    same::Same,
    skim::bit,
    whole::Whole,
};

/// What a stream is read for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) form: Form,
    /// How many choices the caller asked for; the stream is whole when each of them ended.
    pub(crate) choices: u64,
    /// The name that the caller asked for: a converted stream shows it.
    pub(crate) model: &'a str,
    /// Of a converted stream whose provider gives it no id.
    pub(crate) id: &'a str,
    /// The caller asked for usage in the stream.
    pub(crate) include_usage: bool,
    /// The text of choice 0 is kept in [`Facts::said`], so that another target can go on from it.
    pub(crate) keeps_said: bool,
    /// The stream goes on with an answer that was begun: its opening is left out.
    pub(crate) continues: bool,
    /// Unix seconds, for converted streams.
    pub(crate) created: i64,
    pub(crate) max_event_bytes: usize,
    /// The stream becomes typed events of `/v1/responses`, which this writes, whatever its dialect.
    pub(crate) typed: Option<&'a StreamWriter>,
}

pub(crate) struct Reading {
    body: Body,
    source: Source,
    progress: Progress,
    /// What broke the stream, told after the events that came before it.
    broken: Option<Box<Broken>>,
    is_over: bool,
    rest_reads: u8,
}

/// A proper end has nothing after it but the end of its transfer.
const MAX_REST_READS: u8 = 16;

/// What the body turned out to be.
enum Source {
    /// Nothing came yet.
    Unread(Box<Unread>),
    Same(Same),
    Converted(Box<Converter>),
    /// One document instead of a stream.
    Whole(Box<Whole>),
}

struct Unread {
    dialect: Dialect,
    form: Form,
    choices: u64,
    model: String,
    id: String,
    include_usage: bool,
    keeps_said: bool,
    continues: bool,
    created: i64,
    max_event_bytes: usize,
    typed: Option<Box<StreamWriter>>,
}

/// How far the stream is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    events: u32,
    /// The choices that were asked for or named, and those that came to their end, a [`bit`] each.
    choices: u128,
    finished: u128,
    is_done: bool,
    pub(super) name: Option<Box<Name>>,
}

impl Progress {
    pub(super) fn event(&mut self) {
        self.events = self.events.saturating_add(1);
    }

    /// Some that are named, and those of them that end here.
    pub(super) fn choices(&mut self, named: u128, finished: u128) {
        self.choices |= named;
        self.finished |= finished;
    }

    pub(super) fn done(&mut self) {
        self.is_done = true;
    }

    /// Whether nothing of the answer is missing if no more comes: each choice up to the last came to its end.
    pub(super) fn is_complete(&self) -> bool {
        let up_to_the_last = u128::MAX.checked_shr(self.choices.leading_zeros()).unwrap_or(1);
        self.is_done || self.finished & up_to_the_last == up_to_the_last
    }
}

impl Reading {
    pub(crate) fn new(dialect: &Dialect, wanted: &Wanted<'_>, body: Body) -> Reading {
        let Wanted {
            form,
            choices,
            model,
            id,
            include_usage,
            keeps_said,
            continues,
            created,
            max_event_bytes,
            typed,
        } = *wanted;
        let unread = Unread {
            dialect: dialect.clone(),
            form,
            choices,
            model: model.to_owned(),
            id: id.to_owned(),
            include_usage,
            keeps_said,
            continues,
            created,
            max_event_bytes,
            typed: typed.map(|writer| Box::new(writer.clone())),
        };
        let source = Source::Unread(Box::new(unread));
        let last = u32::try_from(choices.saturating_sub(1)).unwrap_or(u32::MAX);
        let progress = Progress { choices: bit(last), ..Progress::default() };
        Reading { body, source, progress, broken: None, is_over: false, rest_reads: 0 }
    }

    /// What the next read brings: all events that became whole with it. `None` is the provider's proper end; an event
    /// that has not come whole, a body that breaks and an error in band are [`Broken`], after what came before.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Piece>, Broken>> {
        loop {
            if let Some(broken) = self.broken.take() {
                self.is_over = true;
                return Poll::Ready(Err(*broken));
            }
            if self.is_over {
                return Poll::Ready(Ok(None));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    let Ok(chunk) = frame.into_data() else { continue };
                    let piece = self.read(chunk);
                    self.is_over = self.progress.is_done && self.broken.is_none();
                    // Also when it is empty: whoever waits learns that the peer lives.
                    if self.broken.is_none() || piece.facts.events > 0 {
                        return Poll::Ready(Ok(Some(piece)));
                    }
                }
                // After the last event it makes no difference how a peer ends its side.
                Some(Err(_)) if self.progress.is_complete() => self.is_over = true,
                Some(Err(error)) => self.broken = Some(Box::new(Broken::by(&error))),
                None => return Poll::Ready(self.ended()),
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Piece>, Broken> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Takes what comes after the last event, so that the connection can be used again. Of one that goes on and on it
    /// takes no more than [`MAX_REST_READS`].
    pub(crate) fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.rest_reads < MAX_REST_READS {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(_)) => self.rest_reads += 1,
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
        Poll::Ready(())
    }

    /// Whether the next thing that it says is that it broke.
    pub(super) fn has_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Whether a part of an event was given away that is larger than `max_event_bytes`.
    pub(crate) fn is_inside_event(&self) -> bool {
        match &self.source {
            Source::Same(same) => same.is_inside_event(),
            Source::Unread(_) | Source::Converted(_) | Source::Whole(_) => false,
        }
    }

    /// Who writes the events of `/v1/responses`, where they are not the provider's own.
    pub(crate) fn typed(&mut self) -> Option<&mut StreamWriter> {
        match &mut self.source {
            Source::Converted(converter) => converter.typed(),
            Source::Whole(whole) => whole.typed(),
            Source::Unread(unread) => unread.typed.as_deref_mut(),
            Source::Same(_) => None,
        }
    }

    /// How the stream calls itself, once its first event was read.
    pub(super) fn name(&self) -> Option<&Name> {
        self.progress.name.as_deref()
    }

    fn read(&mut self, chunk: Bytes) -> Piece {
        if let Source::Unread(unread) = &self.source {
            match unread.tell(&chunk) {
                Some(source) => self.source = source,
                None => return Piece::default(),
            }
        }
        let result = match &mut self.source {
            Source::Same(same) => same.read(chunk, &mut self.progress),
            Source::Converted(converter) => converter.read(chunk, &mut self.progress),
            Source::Whole(whole) => (Piece::default(), whole.read(&chunk)),
            Source::Unread(_) => (Piece::default(), None),
        };
        let (piece, broken) = result;
        self.broken = broken.map(Box::new);
        piece
    }

    /// The body came to its end. An event may lack its blank line, and a document is read now.
    fn ended(&mut self) -> Result<Option<Piece>, Broken> {
        self.is_over = true;
        let inside_event = self.is_inside_event();
        let (piece, broken) = match &mut self.source {
            Source::Unread(_) => (Piece::default(), None),
            Source::Same(same) => same.finish(&mut self.progress),
            Source::Converted(converter) => converter.finish(&mut self.progress),
            Source::Whole(whole) => whole.finish(&mut self.progress),
        };
        let broken = broken.or_else(|| {
            let is_whole = self.progress.is_complete() && !inside_event;
            (!is_whole).then(|| self.early())
        });
        match broken {
            Some(broken) if piece.facts.events == 0 => Err(broken),
            broken => {
                self.is_over = broken.is_none();
                self.broken = broken.map(Box::new);
                Ok((piece.facts.events > 0).then_some(piece))
            }
        }
    }

    fn early(&self) -> Broken {
        match self.progress.events {
            0 => Broken::new(Class::Empty, "the provider's stream ended without one event"),
            events => {
                Broken::new(Class::Cut, format!("the provider's stream ended early, after {events} events"))
            }
        }
    }
}

/// What some put in front of a text.
pub(super) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

impl Unread {
    /// By the first byte: an event stream begins with a field or a comment, a document with a bracket.
    fn tell(&self, chunk: &[u8]) -> Option<Source> {
        let first = without_mark(chunk).trim_ascii_start().first()?;
        let writing = || Writing::new(&self.wanted());
        if matches!(first, b'{' | b'[' | b'<') {
            return Some(Source::Whole(Box::new(Whole::new(&self.dialect, self.form, writing()))));
        }
        Some(match Reader::of(&self.dialect, self.typed.is_some()) {
            Some(reader) => Source::Converted(Box::new(Converter::new(reader, writing()))),
            None => Source::Same(Same::new(&self.dialect, &self.wanted())),
        })
    }

    fn wanted(&self) -> Wanted<'_> {
        let Unread {
            dialect: _,
            form,
            choices,
            model,
            id,
            include_usage,
            keeps_said,
            continues,
            created,
            max_event_bytes,
            typed,
        } = self;
        Wanted {
            form: *form,
            choices: *choices,
            model,
            id,
            include_usage: *include_usage,
            keeps_said: *keeps_said,
            continues: *continues,
            created: *created,
            max_event_bytes: *max_event_bytes,
            typed: typed.as_deref(),
        }
    }
}
