//! A stream in another dialect than the caller's: read into the inner form, written again in OpenAI's, as chunks or as
//! the typed events of `/v1/responses`.

use bytes::Bytes;
use mainstay_base::{Class, snapshot::Dialect};
use mainstay_wire::{
    llm::{
        Delta, anthropic, bedrock, gemini,
        openai::{self, Shape},
        responses,
    },
    openai::DONE,
    sse,
};

use super::{Broken, Facts, Form, Piece, Wanted, ending::Name, reading::Progress, skim::bit};
use crate::path::normalize::model::tokens;

/// What is held of one event that cannot be passed on in parts. Images come in one.
const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;

pub(super) struct Converter {
    reader: Reader,
    writing: Writing,
}

pub(super) enum Reader {
    OpenAi(sse::Decoder, openai::StreamReader),
    Anthropic(sse::Decoder, anthropic::StreamReader),
    Gemini(sse::Decoder, gemini::StreamReader),
    Bedrock(bedrock::frames::Decoder, bedrock::StreamReader),
}

/// From the inner form to the caller's frames.
pub(super) struct Writing {
    writer: Writer,
    keeps_said: bool,
    /// The first frame says whose words follow, which the caller knows already.
    leaves_out_opening: bool,
    /// What is read now may be a part of an event.
    is_at_end: bool,
}

enum Writer {
    Chunks(Box<openai::StreamWriter>),
    Typed(Box<responses::StreamWriter>),
}

impl Reader {
    /// `None`: the dialect is the caller's own. `is_typed`: the caller reads events of another API.
    pub(super) fn of(dialect: &Dialect, is_typed: bool) -> Option<Reader> {
        let events = || sse::Decoder::new(MAX_EVENT_BYTES);
        Some(match dialect {
            Dialect::OpenAi | Dialect::Azure { .. } if is_typed => {
                Reader::OpenAi(events(), openai::StreamReader::default())
            }
            Dialect::OpenAi | Dialect::Azure { .. } | Dialect::Cohere => return None,
            Dialect::Anthropic => Reader::Anthropic(events(), anthropic::StreamReader::default()),
            Dialect::Gemini => Reader::Gemini(events(), gemini::StreamReader::default()),
            Dialect::Bedrock { .. } => Reader::Bedrock(
                bedrock::frames::Decoder::new(MAX_EVENT_BYTES),
                bedrock::StreamReader::default(),
            ),
        })
    }
}

impl Converter {
    pub(super) fn new(reader: Reader, writing: Writing) -> Converter {
        Converter { reader, writing }
    }

    pub(super) fn typed(&mut self) -> Option<&mut responses::StreamWriter> {
        self.writing.typed()
    }

    pub(super) fn read(&mut self, chunk: Bytes, progress: &mut Progress) -> (Piece, Option<Broken>) {
        let mut page = Page::default();
        let result = match &mut self.reader {
            Reader::OpenAi(decoder, reader) => {
                // Some send signs of life as data.
                let read = |event: Option<&str>, data: &[u8]| match data.trim_ascii() {
                    data if data.starts_with(b"{") || data == DONE => reader.read(event, data),
                    _ => Vec::new(),
                };
                self.writing.events(decoder, chunk, read, &mut page, progress)
            }
            Reader::Anthropic(decoder, reader) => {
                let read = |event: Option<&str>, data: &[u8]| reader.read(event, data);
                self.writing.events(decoder, chunk, read, &mut page, progress)
            }
            Reader::Gemini(decoder, reader) => {
                let read = |event: Option<&str>, data: &[u8]| reader.read(event, data);
                self.writing.events(decoder, chunk, read, &mut page, progress)
            }
            Reader::Bedrock(decoder, reader) => {
                decoder.push(&chunk);
                self.writing.frames(decoder, reader, &mut page, progress)
            }
        };
        (page.into_piece(), result.err())
    }

    /// The last event may lack its blank line.
    pub(super) fn finish(&mut self, progress: &mut Progress) -> (Piece, Option<Broken>) {
        let held = match &self.reader {
            Reader::OpenAi(decoder, _) | Reader::Anthropic(decoder, _) | Reader::Gemini(decoder, _) => {
                decoder.held_bytes()
            }
            Reader::Bedrock(..) => 0,
        };
        self.writing.is_at_end = true;
        match held {
            0 => (Piece::default(), None),
            _ => self.read(Bytes::from_static(b"\n\n"), progress),
        }
    }
}

/// What one read becomes.
#[derive(Default)]
pub(super) struct Page {
    out: Vec<u8>,
    facts: Facts,
}

impl Page {
    pub(super) fn into_piece(self) -> Piece {
        Piece { bytes: Bytes::from(self.out), facts: self.facts }
    }
}

impl Writing {
    pub(super) fn new(wanted: &Wanted<'_>) -> Writing {
        let Wanted { form, model, id, created, keeps_said, continues, typed, .. } = *wanted;
        let shape = if form == Form::Completion { Shape::Completion } else { Shape::Chat };
        // The relay writes the usage, because it may have to estimate it.
        let chunks = || openai::StreamWriter::new(shape, false, model, created).or_named(id);
        let writer = match typed {
            Some(writer) => Writer::Typed(Box::new(writer.clone())),
            None => Writer::Chunks(Box::new(chunks())),
        };
        Writing { writer, keeps_said, leaves_out_opening: continues && form == Form::Chat, is_at_end: false }
    }

    pub(super) fn typed(&mut self) -> Option<&mut responses::StreamWriter> {
        match &mut self.writer {
            Writer::Typed(writer) => Some(writer),
            Writer::Chunks(_) => None,
        }
    }

    fn events(
        &mut self,
        decoder: &mut sse::Decoder,
        chunk: Bytes,
        mut read: impl FnMut(Option<&str>, &[u8]) -> Vec<Delta>,
        page: &mut Page,
        progress: &mut Progress,
    ) -> Result<(), Broken> {
        decoder.push(chunk);
        while let Some(frame) = decoder.next_frame() {
            if !frame.is_whole() {
                let what =
                    format!("one event of the provider's stream is larger than {MAX_EVENT_BYTES} bytes");
                return Err(Broken::new(Class::NotAnAnswer, what));
            }
            let data = frame.data();
            if let Some(data) = data.filter(|data| !self.is_at_end || is_json(data)) {
                self.steps(&read(frame.event(), &data), page, progress)?;
            }
        }
        Ok(())
    }

    fn frames(
        &mut self,
        decoder: &mut bedrock::frames::Decoder,
        reader: &mut bedrock::StreamReader,
        page: &mut Page,
        progress: &mut Progress,
    ) -> Result<(), Broken> {
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    self.steps(&reader.read(Some(frame.event()), frame.payload()), page, progress)?;
                }
                Ok(None) => return Ok(()),
                Err(corrupt) => return Err(Broken::new(Class::NotAnAnswer, corrupt.to_string())),
            }
        }
    }

    pub(super) fn steps(
        &mut self,
        deltas: &[Delta],
        page: &mut Page,
        progress: &mut Progress,
    ) -> Result<(), Broken> {
        if !deltas.is_empty() {
            progress.event();
            page.facts.events += 1;
        }
        for delta in deltas {
            let begun_at = page.out.len();
            self.note(delta, &mut page.facts, progress)?;
            match delta {
                Delta::Usage(_) | Delta::End | Delta::Error(_) => {}
                delta => self.write(delta, &mut page.out)?,
            }
            if progress.name.is_none() && page.out.len() > begun_at {
                progress.name = Name::of_frame(&page.out[begun_at..]).map(Box::new);
                if self.leaves_out_opening {
                    leave_out_first_frame(&mut page.out, begun_at);
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) -> Result<(), Broken> {
        match &mut self.writer {
            Writer::Chunks(writer) => writer.write(delta, out),
            Writer::Typed(writer) => {
                writer.write(delta, out);
                if writer.is_over() {
                    let what = "the answer is too large to be repeated in its last event";
                    return Err(Broken::new(Class::NotAnAnswer, what));
                }
            }
        }
        Ok(())
    }

    fn note(&self, delta: &Delta, facts: &mut Facts, progress: &mut Progress) -> Result<(), Broken> {
        match delta {
            Delta::Start { .. } | Delta::ReasoningSignature { .. } | Delta::Logprobs { .. } => {}
            Delta::Text { choice, text } => {
                facts.spoken(text);
                progress.choices(bit(index(*choice)), 0);
                facts.has_more_than_text |= *choice > 0;
                if self.keeps_said && *choice == 0 {
                    facts.said.push_str(text);
                }
            }
            Delta::Reasoning { text, .. }
            | Delta::Refusal { text, .. }
            | Delta::ToolCallArguments { text, .. } => {
                facts.spoken(text);
                facts.has_more_than_text = true;
            }
            Delta::ToolCallStart { .. } => {
                facts.has_content = true;
                facts.has_more_than_text = true;
            }
            Delta::Finish { choice, finish } => {
                facts.finish = Some(finish.clone());
                progress.choices(bit(index(*choice)), bit(index(*choice)));
            }
            Delta::Usage(usage) => facts.tell(*usage, false),
            Delta::Error(told) => return Err(Broken::inside(told.clone())),
            Delta::End => {
                facts.is_done = true;
                progress.done();
            }
        }
        Ok(())
    }
}

impl Facts {
    fn spoken(&mut self, text: &str) {
        self.chars += text.chars().count() as u64;
        self.quarters += tokens::quarters(text);
        self.has_content |= !text.is_empty();
        if !text.is_empty() {
            self.outdate();
        }
    }
}

fn leave_out_first_frame(out: &mut Vec<u8>, from: usize) {
    if let Some(end) = out[from..].windows(2).position(|pair| pair == b"\n\n") {
        out.drain(from..from + end + 2);
    }
}

fn is_json(data: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok()
}

fn index(choice: u64) -> u32 {
    u32::try_from(choice).unwrap_or(u32::MAX)
}
