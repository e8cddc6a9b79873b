//! What one event of a same-dialect stream says, found in one pass over its JSON and without building anything: a
//! relay looks at every event of every stream. Strings are skipped as strings, so an answer that quotes JSON is text.

use super::Form;

/// How deep fields stand: in the root, in a choice, in a choice's `delta`.
const ROOT: u32 = 1;
const CHOICE: u32 = 3;
const DELTA: u32 = 4;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Skim<'a> {
    pub(super) chars: u64,
    pub(super) text_bytes: u64,
    pub(super) has_content: bool,
    pub(super) has_more_than_text: bool,
    /// The text of choice 0 as it stands in the JSON, quotes left out.
    pub(super) text: Option<&'a [u8]>,
    pub(super) finish: Option<&'a [u8]>,
    /// The highest choice that is named.
    pub(super) choice: u32,
    pub(super) has_choices: bool,
    pub(super) has_usage: bool,
    pub(super) has_error: bool,
    /// The `type` of a typed event.
    pub(super) kind: Option<&'a [u8]>,
}

/// `None`: not a JSON object, or not a whole one.
pub(super) fn skim(data: &[u8], form: Form) -> Option<Skim<'_>> {
    let mut skim = Skim::default();
    let mut depth = 0_u32;
    let mut at = 0;
    while let Some(byte) = data.get(at) {
        match byte {
            b'"' if depth == 0 => return None,
            b'"' => {
                let end = string_end(data, at + 1)?;
                let next = skip_space(data, end + 1);
                if data.get(next) == Some(&b':') {
                    let value = skip_space(data, next + 1);
                    skim.field(form, depth, &data[at + 1..end], data.get(value..)?);
                    at = value;
                } else {
                    at = end + 1;
                }
                continue;
            }
            b'{' => depth += 1,
            b'[' if depth > 0 => depth += 1,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return data[at + 1..].trim_ascii().is_empty().then_some(skim);
                }
            }
            _ if depth == 0 && !byte.is_ascii_whitespace() => return None,
            _ => {}
        }
        at += 1;
    }
    None
}

impl<'a> Skim<'a> {
    /// `value` begins with the field's value and goes on to the end of the event.
    fn field(&mut self, form: Form, depth: u32, name: &[u8], value: &'a [u8]) {
        match (depth, name) {
            (ROOT, b"usage") => self.has_usage = value.starts_with(b"{"),
            (ROOT, b"error") => self.has_error = !value.starts_with(b"null"),
            (ROOT, b"object") => self.has_error |= value.starts_with(b"\"error\""),
            (ROOT, b"choices") => self.has_choices = is_filled(value),
            (ROOT, b"type") => self.kind = string(value),
            (ROOT, b"delta") if form == Form::Typed => self.spoken(value),
            (CHOICE, b"index") => self.choice = self.choice.max(number(value)),
            (CHOICE, b"finish_reason") => self.finish = string(value).or(self.finish),
            (CHOICE, b"text") => self.said(value),
            (DELTA, b"content") => self.said(value),
            (DELTA, b"reasoning_content" | b"reasoning" | b"refusal" | b"tool_calls" | b"function_call") => {
                let before = self.chars;
                self.spoken(value);
                self.has_more_than_text |= self.chars > before || is_filled(value);
            }
            // Of a tool call, of a function call.
            (7, b"arguments") | (5, b"arguments") => self.spoken(value),
            (DELTA, b"images" | b"audio") if is_filled(value) => {
                self.has_content = true;
                self.has_more_than_text = true;
            }
            _ => {}
        }
    }

    fn said(&mut self, value: &'a [u8]) {
        self.spoken(value);
        if let Some(text) = string(value).filter(|text| !text.is_empty() && self.choice == 0) {
            self.text = Some(text);
        }
    }

    fn spoken(&mut self, value: &[u8]) {
        if let Some(text) = string(value) {
            self.chars += chars(text);
            self.text_bytes += text.len() as u64;
            self.has_content |= !text.is_empty();
        } else {
            self.has_content |= is_filled(value);
        }
    }
}

/// The index of the quote that ends the string whose first byte is at `from`.
fn string_end(data: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += data.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if data[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

fn skip_space(data: &[u8], from: usize) -> usize {
    let rest = data.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

fn string(value: &[u8]) -> Option<&[u8]> {
    let end = string_end(value, 1).filter(|_| value.starts_with(b"\""))?;
    Some(&value[1..end])
}

/// Whether a list or an object has anything in it.
fn is_filled(value: &[u8]) -> bool {
    let Some(first @ (b'{' | b'[')) = value.first() else { return false };
    let close = if *first == b'{' { b'}' } else { b']' };
    value.get(skip_space(value, 1)).is_some_and(|byte| *byte != close)
}

fn number(value: &[u8]) -> u32 {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).take(4);
    digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}

/// Characters of a JSON string. An escape counts as one, a surrogate pair as two.
fn chars(text: &[u8]) -> u64 {
    let mut count = 0;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += match (byte, text.get(at + 1)) {
            (b'\\', Some(b'u')) => 6,
            (b'\\', _) => 2,
            _ => 1,
        };
        count += u64::from(byte & 0xC0 != 0x80);
    }
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Skim<'_> {
        skim(text.as_bytes(), Form::Chat).unwrap_or_else(|| panic!("not JSON: {text}"))
    }

    #[test]
    fn what_a_chunk_says_is_found_where_it_stands() {
        let chunk = of(
            r#"{"id":"x","choices":[{"index":0,"delta":{"content":"Grüße\n"},"finish_reason":null}],"usage":null}"#,
        );
        assert_eq!((chunk.chars, chunk.has_content, chunk.has_choices), (6, true, true));
        assert_eq!((chunk.has_usage, chunk.has_error, chunk.finish), (false, false, None));
        let spaced = of(r#"{ "choices": [ {"delta": {}, "finish_reason": "stop", "index": 1} ] }"#);
        assert_eq!((spaced.finish, spaced.choice, spaced.has_content), (Some(&b"stop"[..]), 1, false));
        let usage = of(r#"{"choices":[],"usage":{"prompt_tokens":1}}"#);
        assert_eq!((usage.has_usage, usage.has_choices), (true, false));
        assert!(of(r#"{"choices":[{"index":0,"text":"hi"}]}"#).has_content);
        assert!(of(r#"{"error":{"message":"m"}}"#).has_error);
        assert!(of(r#"{"object":"error","message":"m"}"#).has_error);
        assert!(!of(r#"{"error":null,"choices":[]}"#).has_error);
        let typed = skim(br#"{"type":"response.output_text.delta","delta":"hi"}"#, Form::Typed).unwrap();
        assert_eq!((typed.kind, typed.chars), (Some(&b"response.output_text.delta"[..]), 2));
    }

    #[test]
    fn a_tool_call_a_refusal_and_a_thought_are_content_and_more_than_text() {
        for delta in [
            r#"{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]}"#,
            r#"{"refusal":"no"}"#,
            r#"{"reasoning_content":"hm"}"#,
            r#"{"function_call":{"name":"f","arguments":""}}"#,
        ] {
            let text = format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
            assert!(of(&text).has_content && of(&text).has_more_than_text, "{text}");
        }
        let arguments =
            r#"{"choices":[{"delta":{"tool_calls":[{"index":3,"function":{"arguments":"{\"a\":1}"}}]}}]}"#;
        assert_eq!((of(arguments).chars, of(arguments).choice), (7, 0));
    }

    #[test]
    fn the_opening_chunk_and_nulls_are_not_content() {
        for delta in [
            r#"{"role":"assistant","content":""}"#,
            r#"{"content":null,"tool_calls":null,"refusal":null}"#,
            r#"{"tool_calls":[]}"#,
        ] {
            assert!(!of(&format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#)).has_content, "{delta}");
        }
    }

    #[test]
    fn quoted_json_is_text() {
        let text = r#"{"choices":[{"delta":{"content":"{\"error\":{},\"usage\":{\"a\":1},\"finish_reason\":\"stop\"}"}}]}"#;
        let skim = of(text);
        assert_eq!((skim.has_error, skim.has_usage, skim.finish), (false, false, None));
    }

    #[test]
    fn what_is_not_a_whole_object_is_nothing() {
        for text in ["", "[DONE]", "hello", "\"a\"", "[{}]", "{\"a\":1", "{\"a\":\"", "{}x", "{\"a\\", "}"] {
            assert_eq!(skim(text.as_bytes(), Form::Chat), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_skimmed_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = skim(&bytes, Form::Chat);
            let _ = skim(&[b"{\"choices\":[{\"delta\":{\"content\":", bytes.as_slice()].concat(), Form::Chat);
        }

        #[test]
        fn any_text_is_counted_and_no_prefix_of_it_is_whole(content in ".{0,40}") {
            let event = serde_json::json!({"choices": [{"delta": {"content": content}}]}).to_string();
            let read = skim(event.as_bytes(), Form::Chat).unwrap();
            prop_assert_eq!(read.chars, content.chars().count() as u64);
            for end in 0..event.len() {
                prop_assert!(skim(&event.as_bytes()[..end], Form::Chat).is_none());
            }
        }
    }
}
