//! What the gateway itself adds to a stream: the usage where the provider told none, the end, and the truth about a cut.

use bytes::Bytes;
use mainstay_base::Class;
use mainstay_wire::{
    llm::{Delta, Usage, failure::Told, responses::StreamWriter},
    openai::{DONE, ErrorBody},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Form,
    same::{is_typed_content, is_typed_end},
    skim::skim,
};

/// Of our own making.
const ERROR_TYPE: &str = "upstream_error";
pub(super) const DONE_FRAME: &[u8] = b"data: [DONE]\n\n";

/// How a stream calls itself in each of its chunks; what is added calls itself the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Name {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    created: Value,
    #[serde(default)]
    model: Value,
}

impl Name {
    pub(super) fn of(data: &[u8]) -> Option<Name> {
        serde_json::from_slice(data).ok()
    }

    /// Of one `data: …` frame.
    pub(super) fn of_frame(frame: &[u8]) -> Option<Name> {
        let line = frame.strip_prefix(b"data:")?.split(|byte| *byte == b'\n').next()?;
        Name::of(line)
    }

    /// For a stream that said nothing yet.
    pub(super) fn unknown(form: Form) -> Name {
        let object = if form == Form::Completion { "text_completion" } else { "chat.completion.chunk" };
        Name { id: json!(""), object: json!(object), created: json!(0), model: json!("") }
    }
}

#[derive(Serialize)]
struct Chunk<'a> {
    #[serde(flatten)]
    name: &'a Name,
    choices: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mainstay: Option<Value>,
}

/// The last chunk before the end, as OpenAI sends it to those who ask for usage.
pub(super) fn usage_chunk(name: &Name, usage: &Usage) -> Bytes {
    frame(&Chunk { name, choices: json!([]), usage: Some(usage_value(usage)), mainstay: None })
}

/// Marks where another target goes on with an answer that broke off.
pub(super) fn join_chunk(name: &Name, form: Form, continued_on: &str) -> Bytes {
    let choices = match form {
        Form::Completion => json!([{"index": 0, "text": "", "finish_reason": null}]),
        Form::Chat | Form::Typed => json!([{"index": 0, "delta": {}, "finish_reason": null}]),
    };
    let mainstay = Some(json!({ "continued_on": continued_on }));
    frame(&Chunk { name, choices, usage: None, mainstay })
}

fn usage_value(usage: &Usage) -> Value {
    let Usage { input, output, cached_input, cache_write: _, reasoning, is_estimated } = *usage;
    let mut value =
        json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": usage.total() });
    if let Some(cached) = cached_input {
        value["prompt_tokens_details"] = json!({ "cached_tokens": cached });
    }
    if let Some(reasoning) = reasoning {
        value["completion_tokens_details"] = json!({ "reasoning_tokens": reasoning });
    }
    if is_estimated {
        value["mainstay_estimated"] = json!(true);
    }
    value
}

/// An error in band, and no `[DONE]` after it: a reader must not take a part for the whole. `sequence` counts the
/// typed events before it.
pub(super) fn cut_event(form: Form, class: Class, sequence: u64) -> Bytes {
    error_event(form, class.as_str(), words(class), Some(sequence))
}

fn error_event(form: Form, code: &str, message: &str, sequence: Option<u64>) -> Bytes {
    match form {
        Form::Chat | Form::Completion => frame(&ErrorBody::new(ERROR_TYPE, Some(code), message)),
        Form::Typed => {
            let mut data = json!({"type": "error", "code": code, "message": message, "param": null});
            if let Some(sequence) = sequence {
                data["sequence_number"] = json!(sequence);
            }
            Bytes::from(format!("event: error\ndata: {data}\n\n"))
        }
    }
}

/// The last event of an answer to `/v1/responses` that came to its proper end. It holds all of the answer.
pub(super) fn typed_end(writer: &mut StreamWriter, used: &Usage) -> Bytes {
    typed(writer, &[Delta::Usage(*used), Delta::End])
}

/// The last event of one that broke off: `response.failed`, with what was said and used so far.
pub(super) fn typed_cut(writer: &mut StreamWriter, class: Class, used: &Usage) -> Bytes {
    typed(writer, &[Delta::Usage(*used), Delta::Error(Told::plain(class, words(class)))])
}

fn typed(writer: &mut StreamWriter, last: &[Delta]) -> Bytes {
    let mut text = Vec::new();
    for delta in last {
        writer.write(delta, &mut text);
    }
    Bytes::from(text)
}

/// The last event of a caller who shares another one's stream and does not keep up with it.
pub(crate) fn fell_behind(form: Form) -> Bytes {
    let message = "The answer was read too slowly and is not kept any more. What came before is incomplete.";
    error_event(form, "read_too_slowly", message, None)
}

/// Whether a piece that we gave ends with the truth about a cut. Providers' own errors are never passed on as they are.
pub(crate) fn tells_of_a_cut(piece: &[u8]) -> bool {
    let last = last_event(piece);
    // Not `null`, which a chunk may say.
    let marks: [&[u8]; 3] = [b"data: {\"error\":{", b"event: error\n", b"event: response.failed\n"];
    marks.iter().any(|mark| last.starts_with(mark))
}

/// Whether nothing follows this piece.
pub(crate) fn tells_of_the_end(piece: &[u8], form: Form) -> bool {
    let is_typed_end = || {
        let data =
            last_event(piece).split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data:"));
        data.and_then(|data| skim(data, form)).is_some_and(|seen| is_typed_end(seen.kind))
    };
    piece.ends_with(DONE_FRAME) || form == Form::Typed && is_typed_end()
}

/// What a piece that we gave says, as far as somebody who only passes it on wants to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Glance {
    pub(crate) events: u64,
    pub(crate) has_content: bool,
}

/// Whole events are counted; for content they are looked at only when that is asked for, and until it is found.
pub(crate) fn glance(piece: &[u8], form: Form, for_content: bool) -> Glance {
    let mut glance = Glance::default();
    for event in piece.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:")) {
        let event = event.trim_ascii();
        glance.events += u64::from(event != DONE);
        if for_content && !glance.has_content {
            glance.has_content =
                skim(event, form).is_some_and(|seen| seen.has_content || is_typed_content(seen.kind));
        }
    }
    glance
}

fn last_event(piece: &[u8]) -> &[u8] {
    let Some(inner) = piece.strip_suffix(b"\n\n") else { return &[] };
    let start = inner.windows(2).rposition(|pair| pair == b"\n\n").map_or(0, |at| at + 2);
    &inner[start..]
}

/// What the caller is told. Never the provider's own words: they may hold what is not the caller's to see.
fn words(class: Class) -> &'static str {
    match class {
        Class::Stall | Class::FirstTokenTimeout | Class::FirstByteTimeout => {
            "The answer stopped coming and was given up. What came before is incomplete."
        }
        Class::TotalTimeout => "The time for the whole answer was over. What came before is incomplete.",
        Class::ContentFilter => {
            "The provider's content filter ended the answer. What came before is incomplete."
        }
        Class::ContextOverflow => {
            "The answer reached the end of the model's context. What came before is incomplete."
        }
        Class::RateLimited | Class::QuotaExhausted | Class::Overloaded => {
            "The provider has no room to go on with the answer. What came before is incomplete."
        }
        Class::Cut | Class::Closed | Class::Connect | Class::ConnectTimeout | Class::Dns | Class::Tls => {
            "The connection to the provider was lost before the answer was complete. What came before is incomplete."
        }
        _ => "The provider failed before the answer was complete. What came before is incomplete.",
    }
}

fn frame(value: &impl Serialize) -> Bytes {
    let mut text = b"data: ".to_vec();
    if serde_json::to_writer(&mut text, value).is_err() {
        // Not for any value that is made here; still an error to every reader.
        text.extend_from_slice(b"{\"error\":{}}");
    }
    text.extend_from_slice(b"\n\n");
    Bytes::from(text)
}
