//! The OpenAI-shaped API: as much of its bodies as a gateway and a caller need, with unknown fields kept.
//!
//! [`RequestHead`] and [`StreamFacts`] read without building a tree of the body, [`with_model`] changes one value and
//! leaves every other byte as it was. It refuses to know providers, prices and HTTP.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

/// The end of a stream, in the `data` of its last event.
pub const DONE: &[u8] = b"[DONE]";

/// What a gateway must know of a request body. Every other field is skipped, not rejected.
#[derive(Debug, Deserialize)]
pub struct RequestHead<'a> {
    #[serde(borrow, default)]
    pub model: Option<Cow<'a, str>>,
    #[serde(default)]
    pub stream: Option<bool>,
}

impl RequestHead<'_> {
    pub fn parse(body: &[u8]) -> Result<RequestHead<'_>, serde_json::Error> {
        serde_json::from_slice(body)
    }

    pub fn streams(&self) -> bool {
        self.stream == Some(true)
    }
}

/// The body with another `model`, every other byte unchanged. `None` when there is no such field to change.
pub fn with_model(body: &[u8], model: &str) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Span<'a> {
        #[serde(borrow)]
        model: &'a RawValue,
    }
    let span: Span<'_> = serde_json::from_slice(body).ok()?;
    let old = span.model.get();
    // The raw value borrows from `body`, so the distance of the two addresses is where it stands.
    let start = (old.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    let (head, tail) = (body.get(..start)?, body.get(start + old.len()..)?);
    let quoted = serde_json::to_string(model).ok()?;
    Some([head, quoted.as_bytes(), tail].concat())
}

/// Token counts as providers report them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    #[serde(default, deserialize_with = "null_as_default")]
    pub prompt_tokens: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub completion_tokens: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub total_tokens: u64,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One event of a streamed completion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    #[serde(default, deserialize_with = "null_as_default")]
    pub id: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub model: String,
    /// Empty in the last chunk when usage was asked for.
    #[serde(default, deserialize_with = "null_as_default")]
    pub choices: Vec<ChunkChoice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Some providers report a failure inside the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChunkChoice {
    #[serde(default, deserialize_with = "null_as_default")]
    pub index: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub delta: Message,
    #[serde(default)]
    pub finish_reason: Option<String>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A whole completion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    #[serde(default, deserialize_with = "null_as_default")]
    pub id: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub model: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub choices: Vec<Choice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    #[serde(default, deserialize_with = "null_as_default")]
    pub index: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub message: Message,
    #[serde(default)]
    pub finish_reason: Option<String>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A message, or the delta of one. Its content is text in most answers and a list of parts in some requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Value>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Message {
    /// The content when it is plain text.
    pub fn text(&self) -> Option<&str> {
        self.content.as_ref()?.as_str()
    }
}

/// Some providers send null where others leave a field out.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A failure, as the body of an answer or in band as an event's data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorDetail {
    #[serde(default)]
    pub message: String,
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    #[serde(default)]
    pub param: Option<Value>,
    /// A word in most providers, a number in some.
    #[serde(default)]
    pub code: Option<Value>,
}

impl ErrorBody {
    pub fn new(kind: &str, code: Option<&str>, message: &str) -> ErrorBody {
        ErrorBody {
            error: ErrorDetail {
                message: message.to_owned(),
                kind: Some(kind.to_owned()),
                param: None,
                code: code.map(|code| Value::String(code.to_owned())),
            },
        }
    }
}

/// The usage in a whole (not streamed) answer of any endpoint.
pub fn usage_of_answer(body: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Answer {
        usage: Option<Usage>,
    }
    serde_json::from_slice::<Answer>(body).ok()?.usage
}

/// What one event of a stream tells a relay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamFacts {
    pub usage: Option<Usage>,
    /// The event carries text of the answer.
    pub has_text: bool,
    /// The event says that the generation failed.
    pub is_error: bool,
    pub is_done: bool,
}

impl StreamFacts {
    /// Looks at an event's data. Only an event that may hold usage or an error is parsed; text is found by its shape,
    /// so an answer that quotes such JSON could at worst make the first text look earlier by its own chunk.
    pub fn of(data: &[u8]) -> StreamFacts {
        let is_done = data.trim_ascii() == DONE;
        let worth_parsing = contains(data, b"\"usage\"") || contains(data, b"\"error\"");
        let (usage, is_error) = if worth_parsing { usage_and_error(data) } else { (None, false) };
        StreamFacts { usage, has_text: has_text(data), is_error, is_done }
    }
}

fn usage_and_error(data: &[u8]) -> (Option<Usage>, bool) {
    #[derive(Deserialize)]
    struct Event {
        #[serde(default)]
        usage: Option<Usage>,
        #[serde(default)]
        error: Option<serde::de::IgnoredAny>,
    }
    match serde_json::from_slice::<Event>(data) {
        Ok(Event { usage, error }) => (usage, error.is_some()),
        Err(_) => (None, false),
    }
}

fn has_text(data: &[u8]) -> bool {
    [&b"\"content\":"[..], b"\"text\":"].into_iter().any(|name| {
        let after = find(data, name).map(|at| data[at + name.len()..].trim_ascii_start());
        after.is_some_and(|value| value.starts_with(b"\"") && !value.starts_with(b"\"\""))
    })
}

/// Whether `needle` occurs in `haystack`.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    find(haystack, needle).is_some()
}

/// By the first byte, then the rest: a comparison at every byte would cost a relay several times as much.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let Some((first, rest)) = needle.split_first() else { return Some(0) };
    let mut from = 0;
    while let Some(offset) = haystack[from..].iter().position(|byte| byte == first) {
        let after = from + offset + 1;
        if haystack[after..].starts_with(rest) {
            return Some(after - 1);
        }
        from = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_null_is_as_good_as_a_missing_field() {
        let text =
            r#"{"id":null,"model":null,"choices":null,"usage":{"prompt_tokens":null,"total_tokens":3}}"#;
        let chunk: Chunk = serde_json::from_str(text).unwrap();
        assert_eq!((chunk.choices.len(), chunk.usage.unwrap().total_tokens), (0, 3));
        let text = r#"{"choices":[{"index":null,"delta":null,"finish_reason":null}],"usage":null}"#;
        let chunk: Chunk = serde_json::from_str(text).unwrap();
        assert_eq!((chunk.choices[0].delta.text(), chunk.usage), (None, None));
    }

    #[test]
    fn another_model_leaves_every_other_byte() {
        for (body, expected) in [
            (r#"{"model":"a","x":1}"#, r#"{"model":"b\"c","x":1}"#),
            ("{ \"x\" : 1.50,\n \"model\" : \"a\\u0041\" }", "{ \"x\" : 1.50,\n \"model\" : \"b\\\"c\" }"),
            (r#"{"x":{"model":"inner"},"model":"outer"}"#, r#"{"x":{"model":"inner"},"model":"b\"c"}"#),
        ] {
            assert_eq!(with_model(body.as_bytes(), "b\"c").unwrap(), expected.as_bytes(), "{body}");
        }
        for without in [&b"{}"[..], b"[]", b"nonsense", b"{\"model\":\"a\""] {
            assert_eq!(with_model(without, "b"), None);
        }
    }

    #[test]
    fn the_head_is_read_and_the_rest_is_skipped() {
        let head =
            RequestHead::parse(br#"{"messages":[{"role":"user"}],"model":"m","stream":true,"new":{}}"#);
        let head = head.unwrap();
        assert_eq!((head.model.as_deref(), head.streams()), (Some("m"), true));
        assert!(!RequestHead::parse(b"{\"stream\":null}").unwrap().streams());
        assert!(RequestHead::parse(b"{\"model\":7}").is_err());
        assert!(RequestHead::parse(b"[1]x").is_err());
    }

    #[test]
    fn facts_of_a_stream_are_found_by_shape() {
        let facts = |data: &str| StreamFacts::of(data.as_bytes());
        assert!(facts(r#"{"choices":[{"delta":{"content":"hi"}}],"usage":null}"#).has_text);
        assert!(facts(r#"{"choices":[{"text": "hi"}]}"#).has_text);
        assert!(!facts(r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#).has_text);
        assert!(facts("[DONE]").is_done);
        assert!(facts(r#"{"error":{"message":"overloaded"}}"#).is_error);
        assert!(!facts(r#"{"error":null,"choices":[]}"#).is_error);
        let usage =
            facts(r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#);
        assert_eq!(usage.usage.unwrap().total_tokens, 7);
    }

    #[test]
    fn unknown_fields_are_kept() {
        let text = r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"x","refusal":null},"finish_reason":null,"logprobs":null}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":1}},"object":"chat.completion.chunk"}"#;
        let chunk: Chunk = serde_json::from_str(text).unwrap();
        assert_eq!(chunk.choices[0].delta.text(), Some("x"));
        assert_eq!(serde_json::to_value(&chunk).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    proptest! {
        #[test]
        fn a_part_is_found_where_it_first_is(text in "[ab]{0,12}", part in "[ab]{0,3}") {
            prop_assert_eq!(find(text.as_bytes(), part.as_bytes()), text.find(&part));
        }

        #[test]
        fn any_bytes_are_looked_at_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = StreamFacts::of(&bytes);
            let _ = usage_of_answer(&bytes);
            let _ = with_model(&bytes, "m");
        }

        #[test]
        fn any_model_name_reads_back(name in ".*", other in ".*") {
            let body = serde_json::to_vec(&serde_json::json!({"a": [1], "model": name, "z": "x"})).unwrap();
            let changed = with_model(&body, &other).unwrap();
            prop_assert_eq!(RequestHead::parse(&changed).unwrap().model.unwrap(), other);
        }
    }
}
