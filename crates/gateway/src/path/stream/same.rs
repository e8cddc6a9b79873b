//! A stream whose dialect is the caller's own: its events pass as they came. What Dify's plugin cannot bear is mended
//! or left out: line ends other than LF, fields other than `data` in front of it, comments, data that is not JSON.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use mainstay_base::{Class, snapshot::Dialect};
use mainstay_wire::{
    llm::{
        Finish,
        failure::{self, Told},
    },
    openai::DONE,
    sse::{Decoder, Frame},
};

use super::{
    Broken, Facts, Form, Piece, Wanted,
    ending::Name,
    reading::Progress,
    skim::{Skim, skim},
};

mod run;
mod usage;

use run::Run;
use usage::{usage, usage_of_response};

/// What is held back of a typed event at least: a whole image comes in one, and what it cost stands behind it.
const MAX_TYPED_EVENT_BYTES: usize = 16 * 1024 * 1024;

pub(super) struct Same {
    decoder: Decoder,
    passing: Passing,
    /// The last byte of a part of an event was a CR: a LF that follows belongs to the same line end.
    after_return: bool,
}

struct Passing {
    dialect: Dialect,
    form: Form,
    include_usage: bool,
    keeps_said: bool,
    /// What comes before the first content is not passed on: the caller had an opening already.
    leaves_out_opening: bool,
    /// What is read now may be a part of an event.
    is_at_end: bool,
}

/// What becomes of an event.
enum Fate {
    AsItCame,
    As(Bytes),
    LeftOut,
    Breaks(Box<Broken>),
}

impl Same {
    pub(super) fn new(dialect: &Dialect, wanted: &Wanted<'_>) -> Same {
        let Wanted { form, include_usage, keeps_said, continues, max_event_bytes, .. } = *wanted;
        let passing = Passing {
            dialect: dialect.clone(),
            form,
            // A stream that goes on knows its own part only; the relay shows the sum.
            include_usage: include_usage && !continues,
            keeps_said,
            leaves_out_opening: continues,
            is_at_end: false,
        };
        let held = if form == Form::Typed { MAX_TYPED_EVENT_BYTES } else { 0 };
        Same { decoder: Decoder::new(max_event_bytes.max(held)), passing, after_return: false }
    }

    pub(super) fn is_inside_event(&self) -> bool {
        self.decoder.is_inside_pieces()
    }

    pub(super) fn read(&mut self, chunk: Bytes, progress: &mut Progress) -> (Piece, Option<Broken>) {
        self.decoder.push(chunk.clone());
        let mut facts = Facts::default();
        let mut run = Run::of(chunk);
        while let Some(frame) = self.decoder.next_frame() {
            match self.fate(&frame, &mut facts, progress) {
                Fate::AsItCame => run.keep(frame.raw()),
                Fate::As(bytes) => run.put(&bytes),
                Fate::LeftOut => {}
                Fate::Breaks(broken) => return (Piece { bytes: run.into_bytes(), facts }, Some(*broken)),
            }
            if facts.is_done {
                break;
            }
        }
        (Piece { bytes: run.into_bytes(), facts }, None)
    }

    /// The last event may lack its blank line.
    pub(super) fn finish(&mut self, progress: &mut Progress) -> (Piece, Option<Broken>) {
        if self.decoder.held_bytes() == 0 || self.decoder.is_inside_pieces() {
            return (Piece::default(), None);
        }
        self.passing.is_at_end = true;
        self.read(Bytes::from_static(b"\n\n"), progress)
    }

    fn fate(&mut self, frame: &Frame, facts: &mut Facts, progress: &mut Progress) -> Fate {
        if !frame.is_whole() {
            progress.event();
            facts.events += 1;
            facts.has_content = true;
            facts.has_more_than_text = true;
            return Fate::As(self.line_ends(frame.raw()));
        }
        self.after_return = frame.raw().ends_with(b"\r");
        match plain_data(frame.raw()) {
            Some(data) if std::str::from_utf8(data).is_ok() => self.passing.event(data, facts, progress),
            _ => self.passing.other(frame, facts, progress),
        }
    }

    fn line_ends(&mut self, raw: &[u8]) -> Bytes {
        let mut text = BytesMut::with_capacity(raw.len());
        for byte in raw {
            match byte {
                b'\r' => text.extend_from_slice(b"\n"),
                b'\n' if self.after_return => {}
                _ => text.extend_from_slice(&[*byte]),
            }
            self.after_return = *byte == b'\r';
        }
        text.freeze()
    }
}

/// The data of an event that is one `data` line and a blank line, with LF ends: nearly all are.
fn plain_data(raw: &[u8]) -> Option<&[u8]> {
    let line = raw.strip_prefix(b"data:")?.strip_suffix(b"\n\n")?;
    // Not `any`: without an early way out it is done many bytes at a time.
    let has_line_end = line.iter().fold(false, |found, byte| found | matches!(byte, b'\n' | b'\r'));
    (!has_line_end).then(|| line.trim_ascii())
}

impl Passing {
    /// An event in another spelling, written again.
    fn other(&mut self, frame: &Frame, facts: &mut Facts, progress: &mut Progress) -> Fate {
        let Some(data) = frame.data() else { return Fate::LeftOut };
        // As a reader of events must read it: what is not UTF-8 is replaced.
        let data = as_text(one_line(data));
        // A reader of typed events goes by the name, whatever the data says.
        if self.form == Form::Typed && is_failure(frame.event().map(str::as_bytes)) {
            return Fate::Breaks(Box::new(Broken::inside(self.told(data.trim_ascii()))));
        }
        match self.event(data.trim_ascii(), facts, progress) {
            Fate::AsItCame => Fate::As(self.written(frame.event(), data.trim_ascii())),
            fate => fate,
        }
    }

    fn written(&self, event: Option<&str>, data: &[u8]) -> Bytes {
        let mut text = BytesMut::with_capacity(data.len() + 64);
        if let Some(event) = event.filter(|_| self.form == Form::Typed) {
            for part in [b"event: ", event.as_bytes(), b"\n"] {
                text.extend_from_slice(part);
            }
        }
        for part in [b"data: ", data, b"\n\n"] {
            text.extend_from_slice(part);
        }
        text.freeze()
    }

    fn event(&mut self, data: &[u8], facts: &mut Facts, progress: &mut Progress) -> Fate {
        if data == DONE {
            facts.is_done = true;
            progress.done();
            // The relay writes it, after what it has to add.
            return if self.form == Form::Typed { Fate::AsItCame } else { Fate::LeftOut };
        }
        let Some(seen) = skim(data, self.form) else { return self.unreadable(data, progress) };
        if seen.has_error || is_failure(seen.kind) {
            facts.usage = usage_of_response(data).or(facts.usage);
            return Fate::Breaks(Box::new(Broken::inside(self.told(data))));
        }
        progress.event();
        facts.events += 1;
        // Azure's first chunk has no choice, and no name.
        if progress.name.is_none() && seen.has_choices && self.form != Form::Typed {
            progress.name = Name::of(data).map(Box::new);
        }
        let is_for_us =
            seen.has_usage && !seen.has_choices && !self.include_usage && self.form != Form::Typed;
        if seen.has_usage
            && let Some(usage) = usage(data)
        {
            facts.tell(usage, !is_for_us);
        } else if seen.quarters > 0 {
            facts.outdate();
        }
        self.note(&seen, data, facts, progress);
        self.leaves_out_opening &= !seen.has_content && seen.finish.is_none();
        if is_for_us || self.leaves_out_opening { Fate::LeftOut } else { Fate::AsItCame }
    }

    fn note(&self, seen: &Skim<'_>, data: &[u8], facts: &mut Facts, progress: &mut Progress) {
        facts.chars += seen.chars;
        facts.quarters += seen.quarters;
        facts.has_content |= seen.has_content || is_typed_content(seen.kind);
        facts.has_more_than_text |= seen.has_more_than_text || seen.choices & !1 != 0;
        if let Some(finish) = seen.finish {
            facts.finish = Some(finish_of(finish));
        }
        progress.choices(seen.choices, seen.finished);
        if is_typed_end(seen.kind) {
            progress.done();
            facts.is_done = true;
            if let Some(usage) = usage_of_response(data) {
                facts.tell(usage, true);
            }
        }
        if self.keeps_said
            && let Some(text) = seen.text
        {
            match unescaped(text) {
                Some(text) => facts.said.push_str(&text),
                // Half a character: nobody else can go on from it.
                None => facts.has_more_than_text = true,
            }
        }
    }

    /// A sign of life is left out. What was to be an object is a part of the answer that nobody can read; to leave it
    /// out would be to lose it without a word.
    fn unreadable(&self, data: &[u8], progress: &Progress) -> Fate {
        if !data.starts_with(b"{") || self.is_at_end || progress.is_complete() {
            return Fate::LeftOut;
        }
        let what = format!("an event of the provider's stream is no JSON: {}", short(data));
        Fate::Breaks(Box::new(Broken::new(Class::TruncatedJson, what)))
    }

    fn told(&self, data: &[u8]) -> Told {
        failure::inside(&self.dialect, data).unwrap_or_else(|| Told {
            class: Class::ErrorInside,
            message: short(data).into_owned(),
            code: None,
            blamed: None,
            retry_after: None,
        })
    }
}

/// Typed events that end an answer.
pub(super) fn is_typed_end(kind: Option<&[u8]>) -> bool {
    matches!(
        kind,
        Some(
            b"response.completed"
                | b"response.incomplete"
                | b"speech.audio.done"
                | b"transcript.text.done"
                | b"image_generation.completed"
                | b"image_edit.completed"
        )
    )
}

fn is_failure(kind: Option<&[u8]>) -> bool {
    matches!(kind, Some(b"error" | b"response.failed"))
}

pub(super) fn is_typed_content(kind: Option<&[u8]>) -> bool {
    kind.is_some_and(|kind| kind.ends_with(b".delta") || kind.ends_with(b".partial_image"))
        || is_typed_end(kind)
}

fn finish_of(word: &[u8]) -> Finish {
    match word {
        b"stop" => Finish::Stop,
        b"length" => Finish::Length,
        b"tool_calls" | b"function_call" => Finish::ToolCalls,
        b"content_filter" => Finish::ContentFilter,
        other => Finish::Other(String::from_utf8_lossy(other).into_owned()),
    }
}

/// Line ends inside JSON stand between its tokens, where a space does as well.
fn one_line(data: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match data {
        Cow::Owned(mut data) => {
            data.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
            Cow::Owned(data)
        }
        borrowed => borrowed,
    }
}

fn as_text(data: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match std::str::from_utf8(&data) {
        Ok(_) => data,
        Err(_) => Cow::Owned(String::from_utf8_lossy(&data).into_owned().into_bytes()),
    }
}

/// A JSON string without its quotes, as text; `None` when it is half a character.
fn unescaped(text: &[u8]) -> Option<String> {
    let quoted = [b"\"", text, b"\""].concat();
    serde_json::from_slice(&quoted).ok()
}

fn short(data: &[u8]) -> Cow<'_, str> {
    const SHOWN: usize = 300;
    String::from_utf8_lossy(&data[..data.len().min(SHOWN)])
}
