//! What one event of a same-dialect stream says, found in one pass over its JSON and without building anything: a
//! relay looks at every event of every stream. Strings are skipped as strings, so an answer that quotes JSON is text.
//! What a strict reader would not take for JSON is nothing; of its laxities only Python's `NaN` and `Infinity` are borne.

use super::Form;
use crate::path::normalize::model::tokens;

/// How deep fields stand: in the root, in a choice, in a choice's `delta`.
const ROOT: u32 = 1;
const CHOICE: u32 = 3;
const DELTA: u32 = 4;
/// A bit each in [`Walk::objects`].
const MAX_DEPTH: u32 = 127;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Skim<'a> {
    pub(super) chars: u64,
    /// What its text weighs, see [`tokens`].
    pub(super) quarters: u64,
    pub(super) has_content: bool,
    pub(super) has_more_than_text: bool,
    /// The text of choice 0 as it stands in the JSON, quotes left out.
    pub(super) text: Option<&'a [u8]>,
    pub(super) finish: Option<&'a [u8]>,
    /// The choices that are named, and those that end here, a [`bit`] each.
    pub(super) choices: u128,
    pub(super) finished: u128,
    pub(super) has_choices: bool,
    pub(super) has_usage: bool,
    pub(super) has_error: bool,
    /// The `type` of a typed event.
    pub(super) kind: Option<&'a [u8]>,
}

/// The bit of a choice. Those past the last share it.
pub(super) fn bit(choice: u32) -> u128 {
    1 << choice.min(u128::BITS - 1)
}

/// `None`: not a JSON object, or not a whole one.
pub(super) fn skim(data: &[u8], form: Form) -> Option<Skim<'_>> {
    let mut walk =
        Walk { form, depth: 0, objects: 0, in_choices: false, in_delta: false, choice: Choice::default() };
    let mut skim = Skim::default();
    let mut at = skip_space(data, 0);
    if data.get(at) != Some(&b'{') {
        return None;
    }
    let mut next = Next::Value;
    loop {
        at = skip_space(data, at);
        match (*data.get(at)?, next) {
            (b'"', Next::Name | Next::NameOrEnd) => {
                let end = string_end(data, at + 1)?;
                let colon = skip_space(data, end + 1);
                let value = skip_space(data, colon + 1);
                if data.get(colon) != Some(&b':') {
                    return None;
                }
                walk.field(&mut skim, &data[at + 1..end], data.get(value..)?);
                (at, next) = (value, Next::Value);
            }
            (open @ (b'{' | b'['), Next::Value | Next::ValueOrEnd) => {
                next = walk.opened(open)?;
                at += 1;
            }
            (byte, Next::Value | Next::ValueOrEnd) if byte != b']' => {
                at = scalar_end(data, at)?;
                next = Next::CommaOrEnd;
            }
            (b',', Next::CommaOrEnd) => {
                next = if walk.is_in_object() { Next::Name } else { Next::Value };
                at += 1;
            }
            (b'}', Next::NameOrEnd | Next::CommaOrEnd) if walk.is_in_object() => {
                walk.closed(&mut skim);
                at += 1;
                next = Next::CommaOrEnd;
            }
            (b']', Next::ValueOrEnd | Next::CommaOrEnd) if !walk.is_in_object() => {
                walk.closed(&mut skim);
                at += 1;
                next = Next::CommaOrEnd;
            }
            _ => return None,
        }
        if walk.depth == 0 {
            return data[at..].trim_ascii().is_empty().then_some(skim);
        }
    }
}

/// What may stand next.
#[derive(Clone, Copy)]
enum Next {
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    CommaOrEnd,
}

/// Where in the document the pass is.
struct Walk<'a> {
    form: Form,
    depth: u32,
    /// Which of the open brackets are objects, the innermost in the lowest bit.
    objects: u128,
    in_choices: bool,
    in_delta: bool,
    choice: Choice<'a>,
}

/// The choice whose fields are read.
#[derive(Default)]
struct Choice<'a> {
    index: u32,
    finish: Option<&'a [u8]>,
    text: Option<&'a [u8]>,
}

impl<'a> Walk<'a> {
    fn is_in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    fn opened(&mut self, open: u8) -> Option<Next> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        let is_object = open == b'{';
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(is_object);
        Some(if is_object { Next::NameOrEnd } else { Next::ValueOrEnd })
    }

    fn closed(&mut self, skim: &mut Skim<'a>) {
        if self.depth == CHOICE && self.in_choices && self.is_in_object() {
            let Choice { index, finish, text } = std::mem::take(&mut self.choice);
            skim.choices |= bit(index);
            skim.finished |= if finish.is_some() { bit(index) } else { 0 };
            skim.finish = finish.or(skim.finish);
            if index == 0 {
                skim.text = text.or(skim.text);
            }
        }
        self.depth -= 1;
        self.objects >>= 1;
    }

    /// `value` begins with the field's value and goes on to the end of the event.
    fn field(&mut self, skim: &mut Skim<'a>, name: &[u8], value: &'a [u8]) {
        match self.depth {
            ROOT => self.of_root(skim, name, value),
            CHOICE if self.in_choices => self.of_choice(skim, name, value),
            DELTA.. if self.in_choices && self.in_delta => self.of_delta(skim, name, value),
            _ => {}
        }
    }

    fn of_root(&mut self, skim: &mut Skim<'a>, name: &[u8], value: &'a [u8]) {
        self.in_choices = name == b"choices";
        self.in_delta = false;
        match name {
            b"choices" => skim.has_choices = is_filled(value),
            b"usage" => skim.has_usage = value.starts_with(b"{"),
            b"error" => skim.has_error |= is_error(value),
            b"object" => skim.has_error |= value.starts_with(b"\"error\""),
            b"type" => skim.kind = string(value),
            // Sound is no text, though it comes as such.
            b"delta" if self.form == Form::Typed => match skim.kind {
                Some(kind) if kind.ends_with(b"audio.delta") => skim.has_content = true,
                _ => skim.spoken(value),
            },
            _ => {}
        }
    }

    fn of_choice(&mut self, skim: &mut Skim<'a>, name: &[u8], value: &'a [u8]) {
        // Some send the whole answer so far as `message` beside it.
        self.in_delta = name == b"delta";
        match name {
            b"index" => self.choice.index = number(value),
            // Some say it in every chunk, with nothing in it.
            b"finish_reason" => {
                let word = string(value).filter(|word| !word.is_empty() && *word != b"null");
                self.choice.finish = word.or(self.choice.finish);
            }
            b"text" => self.said(skim, value),
            _ => {}
        }
    }

    fn of_delta(&mut self, skim: &mut Skim<'a>, name: &[u8], value: &'a [u8]) {
        match (self.depth, name) {
            (DELTA, b"content") => self.said(skim, value),
            (
                DELTA,
                b"reasoning_content" | b"reasoning" | b"reasoning_details" | b"refusal" | b"tool_calls"
                | b"function_call",
            ) => {
                let before = skim.chars;
                skim.spoken(value);
                skim.has_more_than_text |= skim.chars > before || is_filled(value);
            }
            // Of a function call, of a tool call; of a part of a content that is a list, of a thought in one.
            (5 | 7, b"arguments") | (6 | 8, b"text") => skim.spoken(value),
            (DELTA, b"images" | b"audio") if is_filled(value) => {
                skim.has_content = true;
                skim.has_more_than_text = true;
            }
            _ => {}
        }
    }

    fn said(&mut self, skim: &mut Skim<'a>, value: &'a [u8]) {
        skim.spoken(value);
        skim.has_more_than_text |= is_filled(value);
        if let Some(text) = string(value).filter(|text| !text.is_empty()) {
            self.choice.text = Some(text);
        }
    }
}

impl Skim<'_> {
    fn spoken(&mut self, value: &[u8]) {
        if let Some(text) = string(value) {
            let (chars, quarters) = weight(text);
            self.chars += chars;
            self.quarters += quarters;
            self.has_content |= !text.is_empty();
        } else {
            self.has_content |= is_filled(value);
        }
    }
}

/// Some say with every chunk that there is none.
fn is_error(value: &[u8]) -> bool {
    !(value.starts_with(b"null") || value.starts_with(b"false") || value.starts_with(b"\"\""))
}

/// The index of the quote that ends the string whose first byte is at `from`.
fn string_end(data: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += data.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
        match (data[at], data.get(at + 1)) {
            (b'"', _) => return Some(at),
            (b'\\', Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')) => at += 2,
            (b'\\', Some(b'u')) if data.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => at += 6,
            _ => return None,
        }
    }
}

/// Where a string, a number or a word ends that stands at `from`.
fn scalar_end(data: &[u8], from: usize) -> Option<usize> {
    if data[from] == b'"' {
        return Some(string_end(data, from + 1)? + 1);
    }
    let rest = &data[from..];
    let length =
        rest.iter().take_while(|byte| !matches!(byte, b',' | b'}' | b']') && !is_space(**byte)).count();
    let is_word =
        matches!(&rest[..length], b"null" | b"true" | b"false" | b"NaN" | b"Infinity" | b"-Infinity");
    (is_word || is_number(&rest[..length])).then_some(from + length)
}

fn is_number(text: &[u8]) -> bool {
    fn digits(text: &[u8]) -> (usize, &[u8]) {
        let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count, &text[count..])
    }
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (count, mut rest) = digits(text);
    if count == 0 || count > 1 && text[0] == b'0' {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let (count, after) = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = after;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let (count, after) =
            digits(exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent));
        return count > 0 && after.is_empty();
    }
    rest.is_empty()
}

/// As JSON has it.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn skip_space(data: &[u8], from: usize) -> usize {
    let rest = data.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| is_space(**byte)).count()
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

/// Characters of a JSON string, and what they weigh. An escape counts as one, a surrogate pair as two.
fn weight(text: &[u8]) -> (u64, u64) {
    if text.is_ascii() && !text.contains(&b'\\') {
        return (text.len() as u64, text.len() as u64);
    }
    let (mut chars, mut quarters) = (0, 0);
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let (length, weighs) = match (byte, text.get(at + 1)) {
            (b'\\', Some(b'u')) => (6, tokens::quarters_of_unit(code_unit(&text[at + 2..]))),
            (b'\\', _) => (2, 1),
            (byte, _) => (1, tokens::quarters_of_byte(*byte)),
        };
        at += length;
        chars += u64::from(byte & 0xC0 != 0x80);
        quarters += weighs;
    }
    (chars, quarters)
}

/// The number in an escape.
fn code_unit(digits: &[u8]) -> u16 {
    let digits = digits.iter().take(4).filter_map(|digit| char::from(*digit).to_digit(16));
    digits.fold(0, |unit, digit| unit << 4 | digit as u16)
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
        assert_eq!((spaced.finish, spaced.choices, spaced.finished), (Some(&b"stop"[..]), 2, 2));
        assert!(!spaced.has_content);
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
        assert_eq!((of(arguments).chars, of(arguments).choices), (7, 1));
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

    #[test]
    fn only_choices_are_choices_and_only_a_delta_is_said() {
        // Reproduces a stream that could not come to its end, because a citation had a higher index than any choice.
        let cited = of(
            r#"{"citations":[{"index":5,"text":"cited","finish_reason":"stop"}],"choices":[{"index":0,"delta":{"content":"hi"}}],"more":[{"index":7}]}"#,
        );
        assert_eq!((cited.choices, cited.finished, cited.chars, cited.finish), (1, 0, 2, None));
        // Some say the whole answer so far beside each delta.
        for event in [
            r#"{"choices":[{"message":{"content":"all so far"},"delta":{"content":"far"}}]}"#,
            r#"{"choices":[{"delta":{"content":"far"},"message":{"content":"all so far"}}]}"#,
            r#"{"choices":[{"logprobs":{"content":[{"token":"far"}]},"delta":{"content":"far"}}]}"#,
        ] {
            assert_eq!((of(event).chars, of(event).text), (3, Some(&b"far"[..])), "{event}");
            assert!(!of(event).has_more_than_text, "{event}");
        }
    }

    #[test]
    fn each_choice_of_an_event_ends_by_itself() {
        let event = of(
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"},{"index":1,"delta":{"content":"x"},"finish_reason":null}]}"#,
        );
        assert_eq!((event.choices, event.finished), (0b11, 0b01));
        let both =
            of(r#"{"choices":[{"finish_reason":"stop","index":1},{"finish_reason":"stop","index":0}]}"#);
        assert_eq!((both.choices, both.finished), (0b11, 0b11));
        for none in ["null", "\"\"", "\"null\""] {
            let event = format!(r#"{{"choices":[{{"delta":{{"content":"x"}},"finish_reason":{none}}}]}}"#);
            assert_eq!((of(&event).finished, of(&event).finish), (0, None), "{event}");
        }
        for none in ["null", "false", "\"\""] {
            assert!(!of(&format!(r#"{{"error":{none},"choices":[]}}"#)).has_error);
        }
    }

    #[test]
    fn what_a_strict_reader_refuses_is_nothing() {
        for text in [
            r#"{keep alive}"#,
            r#"{"a":}"#,
            r#"{"a" 1}"#,
            r#"{"a":1,}"#,
            r#"{"a":[1,]}"#,
            r#"{"a":[1}"#,
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":tru}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":"\u12g4"}"#,
            "{\"a\":\"\u{0}\"}",
            "{\"a\":\"\t\"}",
            r#"{,}"#,
            r#"{"a":1 "b":2}"#,
        ] {
            assert_eq!(skim(text.as_bytes(), Form::Chat), None, "{text}");
        }
        for text in [r#"{"logprob":-Infinity}"#, r#"{"a":NaN}"#, r#"{"a":-0.5e+10,"b":[[],{}]}"#] {
            assert!(skim(text.as_bytes(), Form::Chat).is_some(), "{text}");
        }
        let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(
            skim(deep(126).as_bytes(), Form::Chat).is_some()
                && skim(deep(127).as_bytes(), Form::Chat).is_none()
        );
    }

    #[test]
    fn text_weighs_the_same_escaped_or_not() {
        for text in ["plain", "Grüße", "你好世界", "🦀", "a\nb\"c"] {
            let mut prompt = tokens::Weight::default();
            prompt.add_text(text);
            let plain = serde_json::to_string(text).unwrap();
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            for inner in [&plain[1..plain.len() - 1], escaped.as_str()] {
                assert_eq!(tokens::of_quarters(weight(inner.as_bytes()).1), prompt.tokens(), "{inner}");
            }
        }
    }

    #[test]
    fn sound_is_no_text() {
        let event = br#"{"type":"response.audio.delta","delta":"UklGRgAAAAAA"}"#;
        let sound = skim(event, Form::Typed).unwrap();
        assert_eq!((sound.chars, sound.has_content), (0, true));
    }

    proptest! {
        #[test]
        fn any_bytes_are_skimmed_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = skim(&bytes, Form::Chat);
            let _ = skim(&[b"{\"choices\":[{\"delta\":{\"content\":", bytes.as_slice()].concat(), Form::Chat);
        }

        #[test]
        fn what_a_strict_reader_takes_is_taken_and_nothing_else(
            parts in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"a\"", "\"choices\"", "1", "-1.5e3", "null", " ", "\"\\u00e9\"", "tru", "\\",
            ]), 0..12),
        ) {
            let text = format!("{{{}", parts.concat());
            let strict: Result<serde_json::Value, _> = serde_json::from_str(&text);
            prop_assert_eq!(skim(text.as_bytes(), Form::Chat).is_some(), strict.is_ok(), "{}", text);
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
