//! What a relay must know of an event or a whole answer that passes: found in one look, without a tree.

use mainstay_base::{Class, snapshot::Dialect};

use super::{
    DONE, Usage, contains,
    scan::{Broken, Cursor, characters},
};
use crate::llm::failure::{self, Told};

/// What one event of a stream tells a relay. Fields are found by their place, so text that quotes JSON is only text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamFacts {
    /// JSON, or the end mark: anything else must not reach a caller.
    pub is_readable: bool,
    /// Characters of content: text, reasoning, refusals, the names and arguments of tool calls.
    pub chars: usize,
    /// Of the first choice that has one.
    pub finish_reason: Option<String>,
    pub usage: Option<Usage>,
    /// No choices, only usage: the chunk that a caller gets only when it asked for it.
    pub is_usage_only: bool,
    /// The event says that the generation failed.
    pub told: Option<Told>,
    /// The last event: `[DONE]`, or the event that ends a stream of the other endpoints.
    pub is_done: bool,
}

impl StreamFacts {
    pub fn of(data: &[u8]) -> StreamFacts {
        if data.trim_ascii() == DONE {
            return StreamFacts { is_readable: true, is_done: true, ..StreamFacts::default() };
        }
        match Seen::look(data) {
            Ok(seen) => seen.facts(data),
            Err(_) => StreamFacts::default(),
        }
    }
}

/// What a whole answer of status 200 tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerFacts {
    pub chars: usize,
    pub finish_reason: Option<String>,
    pub usage: Option<Usage>,
}

/// Whether the body is an answer of the dialect: an error inside, an end too early, a page for humans and an answer
/// without anything in it are none. `stops`: the request named texts at which the answer ends, so nothing at all may be
/// what it asked for.
pub fn vet(body: &[u8], stops: bool) -> Result<AnswerFacts, Told> {
    let seen = Seen::look(body).map_err(|broken| match broken {
        Broken::Short if !body.trim_ascii().is_empty() => {
            Told::plain(Class::TruncatedJson, "the answer's JSON ends too early")
        }
        Broken::Short => Told::plain(Class::Empty, "the answer has no body"),
        Broken::Wrong => Told::plain(Class::NotAnAnswer, "the answer is not JSON"),
    })?;
    let facts = seen.facts(body);
    match facts.told {
        Some(told) => return Err(told),
        None if !seen.has_answer => {
            return Err(Told::plain(
                Class::NotAnAnswer,
                "the answer is JSON, but none of the dialect's answers",
            ));
        }
        None if seen.has_choices
            && facts.chars == 0
            && !is_deliberate(facts.finish_reason.as_deref(), stops) =>
        {
            return Err(Told::plain(Class::Empty, "the answer has no content"));
        }
        None => {}
    }
    Ok(AnswerFacts { chars: facts.chars, finish_reason: facts.finish_reason, usage: facts.usage })
}

/// Whether a body of status 200 is worth a parser's look for an error, in any dialect: one pass over its top level.
pub(crate) fn may_hold_an_error(body: &[u8]) -> bool {
    if body.trim_ascii_start().first() == Some(&b'[') {
        return true;
    }
    let (mut says_error, mut has_answer) = (false, false);
    let walked = Cursor::new(body).object(|name, value| {
        let is_null = value.peek()? == b'n';
        let inside = value.skip()?;
        match name {
            b"error" => says_error |= !is_null,
            b"type" | b"object" => says_error |= inside == b"\"error\"",
            b"base_resp" => says_error = true,
            b"response" => says_error |= contains(inside, b"\"error\""),
            b"choices" | b"candidates" | b"content" | b"output" | b"data" | b"results" => {
                has_answer |= !is_null
            }
            _ => {}
        }
        Ok(())
    });
    walked.is_ok() && (says_error || !has_answer)
}

/// Nothing was said for a reason: a limit that thinking used up, a filter, or the caller's own stop.
fn is_deliberate(finish_reason: Option<&str>, stops: bool) -> bool {
    match finish_reason {
        Some("length" | "content_filter") => true,
        Some("stop") => stops,
        _ => false,
    }
}

/// What a look found, borrowed.
#[derive(Debug, Default)]
struct Seen<'a> {
    chars: usize,
    finish_reason: Option<&'a [u8]>,
    usage: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    has_choices: bool,
    has_choice: bool,
    /// One of the fields in which an answer of some endpoint stands.
    has_answer: bool,
    may_be_error: bool,
}

impl<'a> Seen<'a> {
    fn look(data: &'a [u8]) -> Result<Seen<'a>, Broken> {
        if std::str::from_utf8(data).is_err_and(|error| error.error_len().is_some()) {
            return Err(Broken::Wrong);
        }
        let mut seen = Seen::default();
        let mut cursor = Cursor::new(data);
        cursor.object(|name, value| seen.top(name, value))?;
        if cursor.at_end() { Ok(seen) } else { Err(Broken::Wrong) }
    }

    fn top(&mut self, name: &[u8], value: &mut Cursor<'a>) -> Result<(), Broken> {
        match (name, value.peek()?) {
            (b"choices", b'[') => {
                (self.has_choices, self.has_answer) = (true, true);
                value.array(|choice| self.choice(choice))
            }
            (b"usage", b'{') => keep(&mut self.usage, value.skip()),
            (b"type", b'"') => keep(&mut self.kind, value.string()),
            // The streams of `/responses` and of audio.
            (b"delta", b'"') => self.count(value),
            (b"response", b'{') => value.object(|name, value| match (name, value.peek()?) {
                (b"usage", b'{') => keep(&mut self.usage, value.skip()),
                (b"error", b'{') => self.error(value),
                _ => value.skip().map(drop),
            }),
            (b"error", b'n') => value.skip().map(drop),
            (b"error" | b"base_resp", _) => self.error(value),
            (b"data" | b"results" | b"output" | b"text" | b"embeddings", _) => {
                self.has_answer = true;
                value.skip().map(drop)
            }
            _ => value.skip().map(drop),
        }
    }

    fn error(&mut self, value: &mut Cursor<'a>) -> Result<(), Broken> {
        self.may_be_error = true;
        value.skip().map(drop)
    }

    fn choice(&mut self, choice: &mut Cursor<'a>) -> Result<(), Broken> {
        if choice.peek()? != b'{' {
            return choice.skip().map(drop);
        }
        self.has_choice = true;
        choice.object(|name, value| match (name, value.peek()?) {
            (b"delta" | b"message", b'{') => value.object(|name, value| self.message(name, value)),
            (b"text", b'"') => self.count(value),
            (b"finish_reason", b'"') => keep(&mut self.finish_reason, value.string()),
            _ => value.skip().map(drop),
        })
    }

    fn message(&mut self, name: &[u8], value: &mut Cursor<'a>) -> Result<(), Broken> {
        match (name, value.peek()?) {
            (b"content" | b"reasoning_content" | b"reasoning" | b"refusal", b'"') => self.count(value),
            (b"content", b'[') => value.array(|part| self.inner(part)),
            (b"tool_calls", b'[') => value.array(|call| self.inner(call)),
            (b"function_call" | b"audio", b'{') => self.inner(value),
            _ => value.skip().map(drop),
        }
    }

    /// A part, a tool call or its function.
    fn inner(&mut self, value: &mut Cursor<'a>) -> Result<(), Broken> {
        if value.peek()? != b'{' {
            return value.skip().map(drop);
        }
        value.object(|name, value| match (name, value.peek()?) {
            (b"function" | b"custom", b'{') => self.inner(value),
            (b"name" | b"arguments" | b"input" | b"text" | b"transcript" | b"refusal", b'"') => {
                self.count(value)
            }
            _ => value.skip().map(drop),
        })
    }

    fn count(&mut self, value: &mut Cursor<'a>) -> Result<(), Broken> {
        self.chars += characters(value.string()?);
        Ok(())
    }

    fn facts(&self, data: &[u8]) -> StreamFacts {
        let usage = self.usage.and_then(|json| serde_json::from_slice(json).ok());
        let has_error = self.may_be_error || !(self.has_choices || self.has_answer || self.kind.is_some());
        let told = match has_error || self.kind == Some(b"error") {
            true => failure::inside(&Dialect::OpenAi, data),
            false => None,
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        StreamFacts {
            is_readable: true,
            chars: self.chars,
            finish_reason: self.finish_reason.map(text),
            is_usage_only: usage.is_some() && self.has_choices && !self.has_choice,
            usage,
            told,
            is_done: self.kind.is_some_and(ends_a_stream),
        }
    }
}

/// The first one found is kept.
fn keep<'a>(place: &mut Option<&'a [u8]>, found: Result<&'a [u8], Broken>) -> Result<(), Broken> {
    let found = found?;
    place.get_or_insert(found);
    Ok(())
}

fn ends_a_stream(kind: &[u8]) -> bool {
    matches!(
        kind,
        b"response.completed"
            | b"response.incomplete"
            | b"response.failed"
            | b"transcript.text.done"
            | b"speech.audio.done"
            | b"image_generation.completed"
            | b"image_edit.completed"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts(data: &str) -> StreamFacts {
        StreamFacts::of(data.as_bytes())
    }

    #[test]
    fn content_is_counted_wherever_it_stands() {
        for (delta, chars) in [
            (r#"{"content":"hi"}"#, 2),
            (r#"{"content":"h\u00e9\n😀"}"#, 4),
            (r#"{"role":"assistant","content":""}"#, 0),
            (r#"{"content":null,"reasoning_content":"hm"}"#, 2),
            (r#"{"reasoning":"hmm"}"#, 3),
            (r#"{"refusal":"no"}"#, 2),
            (r#"{"tool_calls":[{"index":0,"id":"c1","function":{"name":"f","arguments":"{}"}}]}"#, 3),
            (r#"{"content":[{"type":"text","text":"abc"}]}"#, 3),
            (r#"{"unknown":{"content":"abc"}}"#, 0),
        ] {
            let event =
                format!(r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}],"usage":null}}"#);
            assert_eq!(facts(&event).chars, chars, "{delta}");
        }
        assert_eq!(facts(r#"{"choices":[{"text": "hi"}]}"#).chars, 2);
    }

    #[test]
    fn text_that_quotes_json_is_only_text() {
        let quoted = r#"\"finish_reason\":\"stop\",\"usage\":{\"total_tokens\":1},\"error\":{\"message\":\"x\"},[DONE]"#;
        let event = format!(r#"{{"choices":[{{"delta":{{"content":"{quoted}"}}}}]}}"#);
        let seen = facts(&event);
        assert_eq!((seen.finish_reason, seen.usage, seen.told, seen.is_done), (None, None, None, false));
        assert!(seen.chars > 50);
    }

    #[test]
    fn ends_and_usage_are_found() {
        assert!(facts("[DONE]").is_done && facts(" [DONE]\n").is_readable);
        let finish = facts(r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"total_tokens":7}}"#);
        assert_eq!((finish.finish_reason.as_deref(), finish.is_usage_only), (Some("stop"), false));
        assert_eq!(finish.usage.unwrap().total_tokens, 7);
        let usage =
            facts(r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#);
        assert!(usage.is_usage_only);
        assert!(!facts(r#"{"choices":[],"prompt_filter_results":[]}"#).is_usage_only);
        assert!(facts(r#"{"error":null,"choices":[]}"#).told.is_none());
        assert!(!facts("not json").is_readable && !facts("{\"a\":").is_readable);
    }

    #[test]
    fn streams_of_other_endpoints_are_understood() {
        let delta = facts(r#"{"type":"response.output_text.delta","delta":"abc","item_id":"m"}"#);
        assert_eq!((delta.chars, delta.told, delta.is_done), (3, None, false));
        let end = facts(
            r#"{"type":"response.completed","response":{"error":null,"usage":{"input_tokens":5,"output_tokens":2}}}"#,
        );
        assert_eq!((end.is_done, end.told), (true, None));
        assert_eq!(end.usage.unwrap().counted().total(), 7);
    }

    #[test]
    fn errors_in_band_are_told() {
        for data in [
            r#"{"error":{"message":"overloaded","code":503}}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"error"}],"error":{"message":"upstream died"}}"#,
            r#"{"type":"error","message":"went wrong","code":"server_error"}"#,
            r#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"x"}}}"#,
            r#"{"object":"error","message":"x","code":500}"#,
            r#"{"error":"busy"}"#,
        ] {
            assert!(facts(data).told.is_some(), "{data}");
        }
    }

    #[test]
    fn an_answer_is_vetted_by_its_content() {
        let class = |body: &str| vet(body.as_bytes(), false).err().map(|told| told.class);
        for (body, expected) in [
            (r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#, None),
            (
                r#"{"choices":[{"message":{"content":null,"tool_calls":[{"function":{"name":"f","arguments":""}}]}}]}"#,
                None,
            ),
            (r#"{"choices":[{"message":{"content":""},"finish_reason":"length"}]}"#, None),
            (r#"{"object":"list","data":[]}"#, None),
            (r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}"#, Some(Class::Empty)),
            (r#"{"choices":[]}"#, Some(Class::Empty)),
            ("", Some(Class::Empty)),
            (r#"{"choices":[{"mess"#, Some(Class::TruncatedJson)),
            ("<html><body>ok</body></html>", Some(Class::NotAnAnswer)),
            ("[1]", Some(Class::NotAnAnswer)),
            (r#"{"status":"ok"}"#, Some(Class::NotAnAnswer)),
            (r#"{"error":{"message":"something broke"}}"#, Some(Class::ErrorInside)),
        ] {
            assert_eq!(class(body), expected, "{body}");
        }
        let stopped = |finish: &str| {
            format!(r#"{{"choices":[{{"message":{{"content":""}},"finish_reason":{finish}}}]}}"#)
        };
        for (finish, expected) in
            [("\"stop\"", None), ("null", Some(Class::Empty)), ("\"tool_calls\"", Some(Class::Empty))]
        {
            let class = vet(stopped(finish).as_bytes(), true).err().map(|told| told.class);
            assert_eq!(class, expected, "{finish}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (StreamFacts::of(&bytes), vet(&bytes, true));
        }

        #[test]
        fn any_text_is_counted_exactly(text in "\\PC{0,40}") {
            let event = serde_json::json!({"choices": [{"index": 0, "delta": {"content": text}}]}).to_string();
            let seen = facts(&event);
            prop_assert_eq!((seen.chars, seen.told, seen.usage), (text.chars().count(), None, None));
        }
    }
}
