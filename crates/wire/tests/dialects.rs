//! Every dialect in every direction, as files: `golden/<dialect>/<direction>/<name>.in` beside the `.snap` of what
//! came out.
//!
//! `request`: a caller's body as the provider gets it. `answer` and `stream`: a provider's words as the caller gets
//! them. A stream is read in one piece and in pieces of every small size: the caller must see no difference.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use bytes::Bytes;
use mainstay_wire::{
    llm::{
        Answer, Delta, Facts, Outgoing, Request, Unreadable, Unwritable, anthropic,
        openai::{self, Shape, StreamWriter},
    },
    sse::Decoder,
};

type Read = Box<dyn FnMut(Option<&str>, &[u8]) -> Vec<Delta>>;

struct Dialect {
    write: fn(&Request, &Facts<'_>) -> Result<Outgoing, Unwritable>,
    read: fn(&[u8]) -> Result<Answer, Unreadable>,
    stream: fn() -> Read,
}

fn dialect(name: &str) -> Dialect {
    match name {
        "openai" => Dialect {
            write: openai::write_request,
            read: openai::read_answer,
            stream: || {
                let mut reader = openai::StreamReader::default();
                Box::new(move |event, data| reader.read(event, data))
            },
        },
        "anthropic" => Dialect {
            write: anthropic::write_request,
            read: anthropic::read_answer,
            stream: || {
                let mut reader = anthropic::StreamReader::default();
                Box::new(move |event, data| reader.read(event, data))
            },
        },
        other => panic!("no dialect is called {other}"),
    }
}

#[test]
fn every_dialect_says_what_its_files_say() {
    for name in ["openai", "anthropic"] {
        common::each(name, "request", |input| request(name, input));
        common::each(name, "answer", |input| answer(name, input));
        common::each(name, "stream", |input| stream(name, input));
    }
}

fn request(name: &str, input: &str) -> String {
    let mut request = match openai::read_request(input.as_bytes()) {
        Ok(request) => request,
        Err(error) => return format!("unreadable: {error}"),
    };
    // A policy's wish, which no caller can express.
    request.cache_system = input.contains("\"cache me\"");
    let written = (dialect(name).write)(&request, &Facts::default());
    match written {
        Ok(Outgoing { path, query, headers, body }) => {
            assert_eq!(query, None);
            let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
            format!("POST {path}\n{headers}\n{}", pretty(&body))
        }
        Err(error) => format!("unwritable: {error}"),
    }
}

fn answer(name: &str, input: &str) -> String {
    match (dialect(name).read)(input.as_bytes()) {
        Ok(answer) => pretty(&openai::write_answer(&answer, Shape::Chat)),
        Err(error) => format!("unreadable: {error}"),
    }
}

fn stream(name: &str, input: &str) -> String {
    let whole = frames(name, input.as_bytes(), input.len());
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(frames(name, input.as_bytes(), size), whole, "pieces of {size} bytes");
    }
    String::from_utf8(whole).unwrap()
}

fn frames(name: &str, input: &[u8], size: usize) -> Vec<u8> {
    let mut decoder = Decoder::new(1 << 20);
    let mut read = (dialect(name).stream)();
    let mut writer = StreamWriter::new(Shape::Chat, true, "shown", 1_700_000_000);
    let mut out = Vec::new();
    for piece in input.chunks(size.max(1)) {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(frame) = decoder.next_frame() {
            let Some(data) = frame.data() else { continue };
            for delta in read(None, &data) {
                writer.write(&delta, &mut out);
            }
        }
    }
    out
}

fn pretty(json: &[u8]) -> String {
    let tree: serde_json::Value = serde_json::from_slice(json).unwrap();
    serde_json::to_string_pretty(&tree).unwrap()
}
