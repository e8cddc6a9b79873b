//! What is found in bodies, and what is refused.

use proptest::prelude::*;

use super::*;

fn read(body: &str) -> Scanned {
    scan(body.as_bytes()).unwrap()
}

#[test]
fn what_decides_something_is_found() {
    let body = r#"{ "messages": [{"role":"system","content":"Be brief."},
        {"role":"user","content":[{"type":"text","text":"What is this?"},
        {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}],
        "model" : "small", "stream":true,"stream_options":{"include_usage":true,"x":1},
        "temperature": 0, "n":2,"max_completion_tokens":50,"max_tokens":512.0,
        "tools":[{"type":"function","function":{"name":"f"}}],
        "response_format":{"type":"json_schema","json_schema":{"name":"a"}},
        "user":"u-1","unknown":{"deep":[1,2.5e10,null,"\u0000"]}}"#;
    let found = read(body);
    assert_eq!(found.model.as_deref(), Some("small"));
    let at = |spot: &Option<Range<usize>>| body.get(spot.clone().unwrap()).unwrap();
    assert_eq!(at(&found.spots.model), "\"small\"");
    assert_eq!(at(&found.spots.stream_options), r#"{"include_usage":true,"x":1}"#);
    assert!(found.streams && found.include_usage && found.tools && found.structured_output);
    assert_eq!((found.temperature, found.choices, found.max_output_tokens), (Some(0.0), Some(2), Some(512)));
    assert_eq!(found.user.as_deref(), Some("u-1"));
    assert_eq!((found.prompt.messages, found.prompt.images), (2, 1));
    assert!(found.prompt.tokens() > 1200 && found.prompt.tokens() < 1300, "{}", found.prompt.tokens());
}

#[test]
fn every_endpoints_prompt_is_weighed() {
    for (body, tokens) in [
        (r#"{"messages":[{"role":"user","content":"12345678"}]}"#, 6),
        (r#"{"prompt":["12345678","12345678"]}"#, 4),
        (r#"{"prompt":[1,2,3]}"#, 3),
        (r#"{"input":[[1,2],[3]]}"#, 3),
        (r#"{"input":"你好世界"}"#, 4),
        (r#"{"query":"1234","documents":["12345678",{"text":"1234"}]}"#, 4),
        (r#"{"instructions":"1234","input":[{"type":"message","role":"user","content":"1234"}]}"#, 8),
        (r#"{"messages":null,"tools":null,"user":null,"stream":null,"max_tokens":null}"#, 0),
    ] {
        assert_eq!(read(body).prompt.tokens(), tokens, "{body}");
    }
    let file = format!(r#"{{"input":"data:application/pdf;base64,{}"}}"#, "A".repeat(100_000));
    assert!(read(&file).prompt.tokens() < 5_000, "a file in disguise is not text");
}

#[test]
fn structured_output_is_found_in_both_spellings() {
    for (body, expected) in [
        (r#"{"response_format":{"type":"json_object"}}"#, true),
        (r#"{"text":{"format":{"type":"json_schema","schema":{}}}}"#, true),
        (r#"{"response_format":{"type":"text"},"text":{"format":{"type":"text"}}}"#, false),
        (r#"{"response_format":"b64_json","text":"free"}"#, false),
        (r#"{"tools":[],"functions":[]}"#, false),
    ] {
        let found = read(body);
        assert_eq!((found.structured_output, found.tools), (expected, false), "{body}");
    }
}

#[test]
fn texts_at_which_an_answer_ends_are_seen() {
    for (stop, expected) in
        [("\"END\"", true), ("[\"a\"]", true), ("null", false), ("[]", false), ("\"\"", false)]
    {
        assert_eq!(read(&format!(r#"{{"stop":{stop}}}"#)).stops, expected, "{stop}");
    }
    assert!(!read("{}").stops);
}

#[test]
fn a_known_field_of_the_wrong_type_or_twice_is_named() {
    for (body, field) in [
        (r#"{"model":7}"#, "model"),
        (r#"{"model":["a"]}"#, "model"),
        (r#"{"model":"a\u0000b"}"#, "model"),
        (r#"{"model":"a","model":"b"}"#, "model"),
        (r#"{"model":"a","mod\u0065l":"b"}"#, "model"),
        // Go's encoding/json takes these for `model`, `stream` and `max_tokens`.
        (r#"{"model":"a","MODEL":"b"}"#, "the case of a field's name"),
        (r#"{"model":"a","\u004dodel":"b"}"#, "the case of a field's name"),
        ("{\"model\":\"a\",\"\u{17f}tream\":true}", "the case of a field's name"),
        ("{\"model\":\"a\",\"max_to\u{212a}ens\":9}", "the case of a field's name"),
        (r#"{"model":"a","N":9}"#, "the case of a field's name"),
        (r#"{"stream":"true"}"#, "stream"),
        (r#"{"stream":1}"#, "stream"),
        (r#"{"stream_options":[true]}"#, "stream_options"),
        (r#"{"stream_options":{"include_usage":"yes"}}"#, "stream_options"),
        (r#"{"temperature":"0"}"#, "temperature"),
        (r#"{"n":-1}"#, "n"),
        (r#"{"max_tokens":1.5}"#, "max_tokens"),
        (r#"{"max_tokens":1e300}"#, "max_tokens"),
        (r#"{"max_tokens":1e999}"#, "max_tokens"),
        (r#"{"max_output_tokens":"9"}"#, "max_output_tokens"),
        (r#"{"max_tokens":1,"max_tokens":2}"#, "max_tokens"),
        (r#"{"messages":"hi"}"#, "messages"),
        (r#"{"messages":{}}"#, "messages"),
        (r#"{"input":5}"#, "input"),
        (r#"{"prompt":true}"#, "prompt"),
        (r#"{"tools":{}}"#, "tools"),
        (r#"{"response_format":[]}"#, "response_format"),
        (r#"{"user":5}"#, "user"),
        (r#"{"user":"a","user":"b"}"#, "user"),
    ] {
        match scan(body.as_bytes()) {
            Err(Unreadable::Field { name, .. }) => assert_eq!(name, field, "{body}"),
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn what_is_not_json_is_refused_however_it_is_dressed() {
    let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let deep_prompt = format!(r#"{{"messages":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let endless = format!(r#"{{"x":{}"#, "[".repeat(1_000_000));
    for body in [
        "",
        "null",
        "[]",
        "\"a\"",
        "7",
        "{",
        "{\"model\":",
        "{\"model\":\"a\"} x",
        "{\"model\":\"a\"}{}",
        "\u{feff}{}",
        "{\"a\":1,}",
        "{'a':1}",
        "{\"a\":\"\u{0}\"}",
        "{\"a\":1e999}",
        "{\"a\":01}",
        "{\"a\":NaN}",
        "{\"a\":\"\\ud800\"}",
        &deep,
        &deep_prompt,
        &endless,
    ] {
        let short: String = body.chars().take(40).collect();
        assert!(matches!(scan(body.as_bytes()), Err(Unreadable::Json(_))), "{short}");
    }
    assert!(scan(b"{\"model\":\"\xff\"}").is_err());
    assert!(scan(b"{\"x\":\"\xff\"}").is_err());
}

#[test]
fn nesting_ends_where_the_operators_page_says() {
    let most = crate::path::normalize::model::MAX_NESTING;
    for field in ["x", "messages"] {
        let nested = |depth: usize| format!(r#"{{"{field}":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(scan(nested(most - 1).as_bytes()).is_ok(), "with the body itself that is {most}");
        assert!(matches!(scan(nested(most).as_bytes()), Err(Unreadable::Json(_))));
    }
}

#[test]
fn what_is_not_known_is_never_a_reason_to_refuse() {
    let body =
        r#"{"model":"a","x":1,"x":2,"seed":"odd","User":5,"models":5,"metadata":{"a":[[[{}]]]},"":null}"#;
    assert_eq!(read(body).model.as_deref(), Some("a"));
    assert_eq!(read(r#"{"user":"a\u0007b"}"#).user, None, "an odd user is not kept, and not refused");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = scan(&body);
    }

    #[test]
    fn a_body_that_is_taken_has_the_same_model_for_a_strict_reader(
        body in "\\{(\"(model|stream|n|user|x|input)\":|\"a\"|\"\\\\u006dodel\":|[\\[\\]{},]|true|null|1e2|-1| ){0,12}\\}"
    ) {
        if let Ok(found) = scan(body.as_bytes()) {
            let strict: serde_json::Value = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(found.model.as_deref(), strict["model"].as_str());
        }
    }

    #[test]
    fn a_name_is_found_where_it_stands(name in "[a-z\"\\\\é/ ]{0,20}", padding in "[ \\n\\t]{0,9}") {
        let quoted = serde_json::to_string(&name).unwrap();
        let body = format!("{{{padding}\"x\":{{\"model\":\"no\"}},\"model\":{padding}{quoted}{padding}}}");
        let found = scan(body.as_bytes()).unwrap();
        prop_assert_eq!(found.model.as_deref(), Some(name.as_str()));
        prop_assert_eq!(&body[found.spots.model.unwrap()], quoted);
    }
}
