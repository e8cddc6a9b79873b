use proptest::prelude::*;

use super::*;
use crate::path::normalize::model::tokens;

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
    let both = of(r#"{"choices":[{"finish_reason":"stop","index":1},{"finish_reason":"stop","index":0}]}"#);
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
        skim(deep(126).as_bytes(), Form::Chat).is_some() && skim(deep(127).as_bytes(), Form::Chat).is_none()
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
