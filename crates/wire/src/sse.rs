//! Server-sent events, as far as a relay and a reader need them:
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>.
//!
//! [`Decoder`] cuts a byte stream into events without changing a byte: the `raw` parts of its frames, put together
//! with what [`Decoder::finish`] gives, are the input. It accepts LF, CRLF and CR line ends in any chunking, holds at
//! most one incomplete event, and passes on in pieces what is larger than its limit. It refuses to know what the
//! events mean.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Cuts chunks of bytes into events.
#[derive(Debug)]
pub struct Decoder {
    max_event_bytes: usize,
    /// The start of an event whose end has not come yet.
    held: BytesMut,
    /// What was pushed and not yet looked at.
    input: Bytes,
    line: Line,
    /// Part of the current event was given away already, because it is over the limit.
    in_pieces: bool,
}

/// Where in a line the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// At its start: a line end here ends the event.
    Start,
    /// At its start, and the last byte was a CR: a LF here still belongs to that line end.
    StartAfterCr,
    Inside,
}

/// One event, or a piece of one that is over the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    raw: Bytes,
    extent: Extent,
}

/// How much of an event a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Whole,
    /// A part of an event that is larger than the limit; more of it follows.
    Piece,
    /// The last part of such an event.
    LastPiece,
}

impl Decoder {
    /// `max_event_bytes` bounds what the decoder holds back, give or take one chunk.
    pub fn new(max_event_bytes: usize) -> Decoder {
        Decoder {
            max_event_bytes,
            held: BytesMut::new(),
            input: Bytes::new(),
            line: Line::Start,
            in_pieces: false,
        }
    }

    /// Adds what came. Take the frames out with [`Decoder::next_frame`] before pushing more; what is left
    /// undrained is copied.
    pub fn push(&mut self, chunk: Bytes) {
        if self.input.is_empty() {
            self.input = chunk;
        } else {
            let mut joined = BytesMut::with_capacity(self.input.len() + chunk.len());
            joined.extend_from_slice(&self.input);
            joined.extend_from_slice(&chunk);
            self.input = joined.freeze();
        }
    }

    /// The next frame, or `None` when more bytes are needed.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let Some(end) = event_end(&self.input, &mut self.line) else { return self.hold_back() };
        let extent = if self.in_pieces { Extent::LastPiece } else { Extent::Whole };
        self.in_pieces = false;
        let tail = self.input.split_to(end);
        Some(Frame { raw: self.join_held(tail), extent })
    }

    /// The bytes of an event that never ended. Empty when the stream ended between two events.
    pub fn finish(&mut self) -> Bytes {
        let tail = std::mem::take(&mut self.input);
        self.line = Line::Start;
        self.in_pieces = false;
        self.join_held(tail)
    }

    /// Whether the stream stands inside an event of which a part was given away already.
    pub fn is_inside_pieces(&self) -> bool {
        self.in_pieces
    }

    /// How many bytes wait for the end of their event.
    pub fn held_bytes(&self) -> usize {
        self.held.len() + self.input.len()
    }

    fn hold_back(&mut self) -> Option<Frame> {
        let tail = std::mem::take(&mut self.input);
        if self.held.len() + tail.len() > self.max_event_bytes {
            self.in_pieces = true;
            return Some(Frame { raw: self.join_held(tail), extent: Extent::Piece });
        }
        // A copy, so that a few held bytes do not keep a whole read buffer alive.
        self.held.extend_from_slice(&tail);
        None
    }

    fn join_held(&mut self, tail: Bytes) -> Bytes {
        if self.held.is_empty() {
            return tail;
        }
        self.held.extend_from_slice(&tail);
        std::mem::take(&mut self.held).freeze()
    }
}

/// Where the event at the front of `input` ends, its blank line included. Moves `line` past what it has seen.
fn event_end(input: &[u8], line: &mut Line) -> Option<usize> {
    for (index, byte) in input.iter().enumerate() {
        match (byte, *line) {
            (b'\n', Line::StartAfterCr) => *line = Line::Start,
            (b'\n', Line::Start) => return Some(index + 1),
            (b'\r', Line::Start | Line::StartAfterCr) => {
                // A LF that has not come yet goes to the front of the next frame: waiting for it could delay this
                // event until the next one.
                let ends_with_crlf = input.get(index + 1) == Some(&b'\n');
                *line = if ends_with_crlf { Line::Start } else { Line::StartAfterCr };
                return Some(index + 1 + usize::from(ends_with_crlf));
            }
            (b'\n', Line::Inside) => *line = Line::Start,
            (b'\r', Line::Inside) => *line = Line::StartAfterCr,
            _ => *line = Line::Inside,
        }
    }
    None
}

impl Frame {
    /// The bytes as they came, with the blank line that ends the event.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    pub fn into_raw(self) -> Bytes {
        self.raw
    }

    pub fn extent(&self) -> Extent {
        self.extent
    }

    pub fn is_whole(&self) -> bool {
        self.extent == Extent::Whole
    }

    /// The last `event` field, when there is one and it is UTF-8.
    pub fn event(&self) -> Option<&str> {
        let value = self.fields().filter(|(name, _)| *name == b"event").last()?.1;
        std::str::from_utf8(value).ok()
    }

    /// The `data` fields joined by line feeds; `None` when there is none. Borrowed when it is one line.
    pub fn data(&self) -> Option<Cow<'_, [u8]>> {
        let mut lines = self.fields().filter(|(name, _)| *name == b"data").map(|(_, value)| value);
        let first = lines.next()?;
        let Some(second) = lines.next() else { return Some(Cow::Borrowed(first)) };
        let mut joined = first.to_vec();
        for line in std::iter::once(second).chain(lines) {
            joined.push(b'\n');
            joined.extend_from_slice(line);
        }
        Some(Cow::Owned(joined))
    }

    /// [`Frame::data`] as text; what is not UTF-8 is replaced, as the specification asks.
    pub fn data_text(&self) -> Option<Cow<'_, str>> {
        match self.data()? {
            Cow::Borrowed(bytes) => Some(String::from_utf8_lossy(bytes)),
            Cow::Owned(bytes) => Some(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())),
        }
    }

    /// Every field in order, comments left out. One leading space of a value is not part of it.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let raw = self.raw.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.raw);
        raw.split(|byte| matches!(byte, b'\n' | b'\r')).filter_map(field)
    }
}

fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    if line.is_empty() || line[0] == b':' {
        return None;
    }
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return Some((line, b"")) };
    let value = &line[colon + 1..];
    Some((&line[..colon], value.strip_prefix(b" ").unwrap_or(value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a reader sees of a frame: its extent, its event and its data.
    type Seen = (Extent, Option<String>, Option<String>);

    fn decode(chunks: &[&[u8]], limit: usize) -> (Vec<Seen>, Vec<u8>, Bytes) {
        let mut decoder = Decoder::new(limit);
        let (mut seen, mut raw) = (Vec::new(), Vec::new());
        for chunk in chunks {
            decoder.push(Bytes::copy_from_slice(chunk));
            while let Some(frame) = decoder.next_frame() {
                raw.extend_from_slice(frame.raw());
                let event = frame.event().map(str::to_owned);
                seen.push((frame.extent(), event, frame.data_text().map(Cow::into_owned)));
            }
        }
        (seen, raw, decoder.finish())
    }

    fn whole(event: Option<&str>, data: Option<&str>) -> Seen {
        (Extent::Whole, event.map(str::to_owned), data.map(str::to_owned))
    }

    #[test]
    fn every_line_end_ends_an_event() {
        for text in ["data: a\n\ndata: b\n\n", "data: a\r\n\r\ndata: b\r\n\r\n", "data: a\r\rdata: b\r\r"] {
            let (seen, raw, rest) = decode(&[text.as_bytes()], 100);
            assert_eq!(seen, [whole(None, Some("a")), whole(None, Some("b"))], "{text:?}");
            assert_eq!((raw.as_slice(), rest.len()), (text.as_bytes(), 0), "{text:?}");
        }
    }

    #[test]
    fn fields_read_as_the_specification_says() {
        for (text, event, data) in [
            ("event: ping\n\n", Some("ping"), None),
            ("data:no space\n\n", None, Some("no space")),
            ("data:  two spaces\n\n", None, Some(" two spaces")),
            ("data: a\ndata: b\n\n", None, Some("a\nb")),
            ("data\n\n", None, Some("")),
            (": a comment\n\n", None, None),
            ("\u{feff}data: after a mark\n\n", None, Some("after a mark")),
            ("event: a\nid: 7\nevent: b\ndata: {\"x\":1}\n\n", Some("b"), Some("{\"x\":1}")),
        ] {
            let (seen, _, rest) = decode(&[text.as_bytes()], 100);
            assert_eq!(seen, [whole(event, data)], "{text:?}");
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn an_event_without_its_end_is_the_rest() {
        let (seen, _, rest) = decode(&[b"data: a\n\nda", b"ta: b\n"], 100);
        assert_eq!(seen, [whole(None, Some("a"))]);
        assert_eq!(rest, "data: b\n");
    }

    #[test]
    fn an_event_over_the_limit_passes_in_pieces() {
        let (seen, raw, rest) = decode(&[b"data: 012345", b"6789", b"\n\ndata: b\n\n"], 8);
        let extents: Vec<Extent> = seen.iter().map(|(extent, ..)| *extent).collect();
        assert_eq!(extents, [Extent::Piece, Extent::LastPiece, Extent::Whole]);
        assert_eq!(raw, b"data: 0123456789\n\ndata: b\n\n");
        assert!(rest.is_empty());
    }

    #[test]
    fn a_line_end_split_between_chunks_is_one_line_end() {
        let (seen, raw, _) = decode(&[b"data: a\r", b"\n\r", b"\ndata: b\r\n\r\n"], 100);
        assert_eq!(seen, [whole(None, Some("a")), whole(None, Some("b"))]);
        assert_eq!(raw, b"data: a\r\n\r\ndata: b\r\n\r\n");
    }

    #[test]
    fn whole_events_are_slices_of_what_came() {
        let chunk = Bytes::from_static(b"data: a\n\ndata: b\n\n");
        let mut decoder = Decoder::new(100);
        decoder.push(chunk.clone());
        assert_eq!(decoder.next_frame().unwrap().raw().as_ptr(), chunk.as_ptr(), "nothing was copied");
    }

    fn stream_text() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            Just("data: ".to_owned()),
            Just("event: ".to_owned()),
            Just("\n".to_owned()),
            Just("\r\n".to_owned()),
            Just("\r".to_owned()),
            Just(":".to_owned()),
            Just("{\"event\":\"é\"}".to_owned()),
            "[a-z]{0,3}",
        ];
        prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat().into_bytes())
    }

    fn chunked<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.sort_unstable();
        let mut chunks = Vec::new();
        let mut start = 0;
        for end in at.into_iter().chain([bytes.len()]) {
            chunks.push(&bytes[start..end]);
            start = end;
        }
        chunks
    }

    proptest! {
        #[test]
        fn any_chunking_reads_as_the_whole(
            bytes in stream_text(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let (seen_whole, ..) = decode(&[&bytes], usize::MAX);
            let (seen, raw, rest) = decode(&chunked(&bytes, &cuts), usize::MAX);
            prop_assert_eq!(seen, seen_whole);
            prop_assert_eq!([raw, rest.to_vec()].concat(), bytes);
        }

        #[test]
        fn any_bytes_pass_unchanged_and_without_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            limit in 0usize..64,
        ) {
            let (_, raw, rest) = decode(&chunked(&bytes, &cuts), limit);
            prop_assert_eq!([raw, rest.to_vec()].concat(), bytes);
        }
    }
}
