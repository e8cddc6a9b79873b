//! The OpenAI-shaped API: as much of its bodies as a gateway and a caller need, with unknown fields kept.
//!
//! [`RequestHead`], [`StreamFacts`] and [`vet`] read without building a tree of the body, [`edited`] changes fields and
//! leaves every other byte as it was. It refuses to know providers, prices and HTTP.

mod edit;
mod facts;
mod scan;

use std::borrow::Cow;

pub use edit::{Edit, edited};
pub(crate) use facts::may_hold_an_error;
pub use facts::{AnswerFacts, StreamFacts, vet};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::llm;

/// The end of a stream, in the `data` of its last event.
pub const DONE: &[u8] = b"[DONE]";

/// Whether `data` says nothing in a dialect that has no end mark: the mark itself, or nothing at all.
pub(crate) fn is_filler(data: &[u8]) -> bool {
    matches!(data.trim_ascii(), b"" | DONE)
}

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

impl Usage {
    /// The counts, whichever of the names in use they came under.
    pub fn counted(&self) -> llm::Usage {
        let count = |name: &str| self.extra.get(name).and_then(Value::as_u64);
        let detail =
            |of: &[&str], name: &str| of.iter().find_map(|of| self.extra.get(*of)?.get(name)?.as_u64());
        let or_else = |known: u64, name: &str| if known == 0 { count(name).unwrap_or(0) } else { known };
        let input_details = ["prompt_tokens_details", "input_tokens_details"];
        let output_details = ["completion_tokens_details", "output_tokens_details"];
        let reasoning = detail(&output_details, "reasoning_tokens");
        let input = or_else(self.prompt_tokens, "input_tokens");
        let mut output = or_else(self.completion_tokens, "output_tokens");
        // xAI counts thoughts beside the answer, everybody else within it: the total tells.
        let beside = input.saturating_add(output).saturating_add(reasoning.unwrap_or(0));
        if reasoning.is_some_and(|thoughts| thoughts > 0) && self.total_tokens == beside {
            output = beside.saturating_sub(input);
        }
        llm::Usage {
            input,
            output,
            cached_input: detail(&input_details, "cached_tokens")
                .or_else(|| count("prompt_cache_hit_tokens"))
                .or_else(|| count("cached_tokens")),
            cache_write: detail(&input_details, "cache_write_tokens"),
            reasoning,
            is_estimated: self.extra.get("mainstay_estimated") == Some(&Value::Bool(true)),
        }
    }
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
    fn tokens_are_counted_under_every_name_in_use() {
        let counted = |text: &str| serde_json::from_str::<Usage>(text).unwrap().counted();
        let openai = counted(
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}"#,
        );
        assert_eq!((openai.input, openai.output, openai.total()), (10, 5, 15));
        assert_eq!((openai.cached_input, openai.reasoning), (Some(4), Some(2)));
        let responses =
            counted(r#"{"input_tokens":3,"output_tokens":4,"input_tokens_details":{"cached_tokens":1}}"#);
        assert_eq!((responses.input, responses.output, responses.cached_input), (3, 4, Some(1)));
        let deepseek = counted(
            r#"{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10,"prompt_cache_hit_tokens":8}"#,
        );
        assert_eq!(deepseek.cached_input, Some(8));
        let xai = counted(
            r#"{"prompt_tokens":10120,"completion_tokens":1499,"total_tokens":14428,"completion_tokens_details":{"reasoning_tokens":2809}}"#,
        );
        assert_eq!((xai.output, xai.total(), xai.reasoning), (4308, 14_428, Some(2809)));
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
        fn any_model_name_reads_back(name in ".*", other in ".*") {
            let body = serde_json::to_vec(&serde_json::json!({"a": [1], "model": name, "z": "x"})).unwrap();
            let changed = edited(&body, &[Edit::Model(&other)]).unwrap_or(body);
            prop_assert_eq!(RequestHead::parse(&changed).unwrap().model.unwrap(), other);
        }
    }
}
