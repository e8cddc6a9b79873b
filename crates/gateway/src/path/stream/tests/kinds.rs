//! What a provider may send, and what its caller gets of it.

use bytes::Bytes;
use mainstay_base::{Class, snapshot::Dialect};

use super::{End, Seen, WANTED, body, on_a_runtime, seen};
use crate::path::stream::{Form, Wanted};

const OPENING: &str = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const HI: &str = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const STOP: &str =
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1,\"total_tokens\":4}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn got(wanted: &Wanted<'_>, text: &str) -> Seen {
    let text = Bytes::copy_from_slice(text.as_bytes());
    on_a_runtime(seen(&Dialect::OpenAi, wanted, body(vec![text], End::Polite)))
}

fn shown(text: &str) -> String {
    String::from_utf8(got(&WANTED, text).bytes).unwrap()
}

#[test]
fn a_stream_of_the_callers_dialect_passes_byte_for_byte() {
    let odd = "data:{ \"id\":\"c\" , \"x\":1.50,\"choices\":[{\"index\":0,\"delta\":{\"content\":\"h\\u0069\"}}]}\n\n";
    for stream in [[OPENING, HI, STOP, DONE].concat(), [odd, STOP, DONE].concat()] {
        assert_eq!(shown(&stream), stream);
    }
}

#[test]
fn what_difys_plugin_cannot_bear_is_mended_or_left_out() {
    let plain = [OPENING, HI, STOP, DONE].concat();
    for (given, expected) in [
        (plain.replace('\n', "\r\n"), plain.clone()),
        (plain.replace('\n', "\r"), plain.clone()),
        (format!(": comment\n\n{plain}"), plain.clone()),
        (plain.replace(HI, &format!(": comment\n{HI}")), plain.clone()),
        (plain.replace(HI, &format!("event: message\nid: 7\n{HI}")), plain.clone()),
        (plain.replace(HI, &format!("data: keep-alive\n\n{HI}")), plain.clone()),
        (
            plain.replace(
                HI,
                "data: {\"id\":\"c\",\ndata: \"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n",
            ),
            plain.replace(
                "\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi",
                "\"c\", \"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi",
            ),
        ),
        (plain.replace(DONE, "data: [DONE]\n\ndata: {\"more\":1}\n\nrubbish"), plain.clone()),
        (plain.replace(DONE, ""), plain.clone()),
        (plain.strip_suffix("\n\n").unwrap().to_owned(), plain.clone()),
    ] {
        assert_eq!(shown(&given), expected, "{given:?}");
    }
}

#[test]
fn usage_is_shown_to_those_who_asked_and_estimated_when_none_came() {
    let stream = [OPENING, HI, STOP, USAGE, DONE].concat();
    assert_eq!(shown(&stream), stream.replace(USAGE, ""));
    let asks = Wanted { include_usage: true, ..WANTED };
    assert_eq!(got(&asks, &stream).bytes, stream.as_bytes());
    let estimated = String::from_utf8(got(&asks, &stream.replace(USAGE, "")).bytes).unwrap();
    let last = estimated.strip_suffix(DONE).unwrap().trim_end().rsplit("data: ").next().unwrap();
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(
        (last["usage"]["prompt_tokens"].as_u64(), last["usage"]["completion_tokens"].as_u64()),
        (Some(7), Some(1))
    );
    assert_eq!((last["usage"]["mainstay_estimated"].as_bool(), last["id"].as_str()), (Some(true), Some("c")));
    // In one chunk with the last words it is part of them.
    let joined = stream
        .replace("\"stop\"}]}", "\"stop\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}")
        .replace(USAGE, "");
    assert_eq!(got(&asks, &joined).bytes, joined.as_bytes());
    assert_eq!(shown(&joined), joined);
}

#[test]
fn an_error_in_band_is_told_in_our_words_and_ends_the_stream() {
    let error =
        "data: {\"error\":{\"message\":\"key sk-secret is over its limit\",\"code\":\"server_error\"}}\n\n";
    let seen = got(&WANTED, &[OPENING, HI, error, DONE].concat());
    // All of it came in one read, so it was noticed before anything went out.
    assert!(seen.is_unproved || seen.bytes.starts_with([OPENING, HI].concat().as_bytes()));
    let chunks = [OPENING, HI, error, DONE].map(|text| Bytes::copy_from_slice(text.as_bytes())).to_vec();
    let seen = on_a_runtime(super::seen(&Dialect::OpenAi, &WANTED, body(chunks, End::Polite)));
    let text = String::from_utf8(seen.bytes).unwrap();
    let last = text.strip_prefix(&[OPENING, HI].concat()).unwrap();
    assert!(last.starts_with("data: {\"error\":") && last.ends_with("\n\n"), "{last}");
    assert!(!text.contains("sk-secret") && !text.contains("[DONE]"));
    assert!(seen.broken.unwrap().internal.contains("over its limit"));
}

#[test]
fn several_choices_are_whole_when_each_of_them_ended() {
    let other = |rest: &str| format!("data: {{\"choices\":[{{\"index\":1,{rest}}}]}}\n\n");
    let begun = [HI, &other("\"delta\":{\"content\":\"x\"}"), STOP].concat();
    assert_eq!(got(&WANTED, &begun).broken.map(|broken| broken.class), Some(Class::Cut));
    let whole = format!("{begun}{}", other("\"delta\":{},\"finish_reason\":\"stop\""));
    assert_eq!(shown(&whole), format!("{whole}{DONE}"));
}

#[test]
fn an_event_over_the_limit_passes_in_pieces_and_its_cut_cannot_be_told_in_band() {
    let large =
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\r\n\r\n", "x".repeat(9000));
    let stream = [large.as_str(), STOP, DONE].concat();
    let chunks = |text: &str| text.as_bytes().chunks(1000).map(Bytes::copy_from_slice).collect();
    let run = |text: &str| on_a_runtime(seen(&Dialect::OpenAi, &WANTED, body(chunks(text), End::Polite)));
    assert_eq!(run(&stream).bytes, stream.replace("\r\n", "\n").as_bytes());
    assert_eq!(run(&stream[..6000]).broken.unwrap().class, Class::Cut);
}

#[test]
fn a_line_end_cut_in_two_is_one_line_end_wherever_the_limit_is() {
    let event = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}");
    let stream = format!("{}\r\n\r\n{}\r\n\r\ndata: [DONE]\r\n\r\n", event("a"), event("b"));
    let expected = stream.replace("\r\n", "\n");
    for max_event_bytes in [16, 60, 4096] {
        let wanted = Wanted { max_event_bytes, ..WANTED };
        for size in 1..stream.len() {
            let chunks = stream.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
            let seen = on_a_runtime(seen(&Dialect::OpenAi, &wanted, body(chunks, End::Polite)));
            let text = String::from_utf8(seen.bytes).unwrap();
            assert_eq!(text, expected, "chunks of {size}, events of {max_event_bytes}");
        }
    }
}

#[test]
fn typed_events_keep_their_names_and_end_by_their_types() {
    let typed = Wanted { form: Form::Typed, ..WANTED };
    let stream = "event: response.created\ndata: {\"type\":\"response.created\"}\n\n\
        event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\n\
        event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n";
    assert_eq!(got(&typed, stream).bytes, stream.as_bytes());
    assert_eq!(got(&typed, &stream.replace('\n', "\r\n")).bytes, stream.as_bytes());
    let cut = &stream[..stream.find("event: response.completed").unwrap()];
    let seen = got(&typed, cut);
    assert_eq!(seen.broken.unwrap().class, Class::Cut);
    let text = String::from_utf8(seen.bytes).unwrap();
    let last = text.strip_prefix(cut).unwrap();
    assert!(last.starts_with("event: error\ndata: {\"type\":\"error\",\"code\":\"cut\""), "{last}");
    assert!(last.contains("\"sequence_number\":2"), "{last}");
}

#[test]
fn a_document_instead_of_a_stream_is_made_one_or_refused() {
    let completion = r#" {"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;
    let text = shown(completion);
    assert!(text.contains("\"content\":\"hello\"") && text.ends_with(DONE), "{text}");
    assert!(text.contains("\"finish_reason\":\"stop\"") && text.contains("\"model\":\"asked\""), "{text}");
    for (document, class) in [
        ("<!doctype html><title>502</title>", Class::NotAnAnswer),
        (&completion[..100], Class::TruncatedJson),
        ("{\"choices\":}", Class::NotAnAnswer),
        ("", Class::Empty),
    ] {
        let seen = got(&WANTED, document);
        assert_eq!(seen.broken.map(|broken| broken.class), Some(class), "{document}");
        assert!(seen.is_unproved && seen.bytes.is_empty(), "{document}");
    }
    let error = got(&WANTED, "{\"error\":{\"message\":\"busy\",\"type\":\"server_error\"}}");
    assert!(error.is_unproved && error.broken.unwrap().told.is_some());
}

#[test]
fn a_continuation_leaves_its_opening_out() {
    let stream = [OPENING, HI, STOP, DONE].concat();
    let goes_on = Wanted { continues: true, ..WANTED };
    assert_eq!(got(&goes_on, &stream).bytes, [HI, STOP, DONE].concat().as_bytes());
}

fn chunks(parts: &[&str]) -> Vec<Bytes> {
    parts.iter().map(|part| Bytes::copy_from_slice(part.as_bytes())).collect()
}

fn came(wanted: &Wanted<'_>, parts: &[&str], end: End) -> (String, Option<Class>) {
    let seen = on_a_runtime(seen(&Dialect::OpenAi, wanted, body(chunks(parts), end)));
    (String::from_utf8(seen.bytes).unwrap(), seen.broken.map(|broken| broken.class))
}

#[test]
fn what_is_broken_is_never_left_out_without_a_word() {
    let split = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lost";
    for broken in [
        // A line end inside a text: JSON for nobody.
        format!("{split}\n\nwords\"}}}}]}}\n\n"),
        format!("{split}\u{0}\"}}}}]}}\n\n"),
        // Lines without `data:`.
        "data: {\n  \"choices\": []\n}\n\n".to_owned(),
        "data: {keep alive}\n\n".to_owned(),
    ] {
        let (text, class) = came(&WANTED, &[OPENING, HI, &broken, STOP, DONE], End::Polite);
        assert_eq!(class, Some(Class::TruncatedJson), "{broken:?}");
        assert!(text.starts_with(&[OPENING, HI].concat()) && !text.contains("[DONE]"), "{text}");
        assert_eq!(text.matches("\"error\"").count(), 1, "{text}");
        // After the finish nothing of the answer can be lost.
        let (text, class) = came(&WANTED, &[OPENING, HI, STOP, &broken, DONE], End::Polite);
        assert_eq!((text, class), ([OPENING, HI, STOP, DONE].concat(), None), "{broken:?}");
        // Before anything went out it is another target's chance.
        let seen = got(&WANTED, &[OPENING, HI, &broken].concat());
        assert!(seen.is_unproved && seen.bytes.is_empty(), "{broken:?}");
    }
}

#[test]
fn what_is_not_utf8_is_read_as_readers_of_events_do() {
    let spoilt =
        [b"data: {\"choices\":[{\"delta\":{\"content\":\"a", [0xf0, 0x9f].as_slice(), b"\"}}]}\n\n"].concat();
    for size in [1, 7, 1000] {
        let parts = [OPENING.as_bytes(), &spoilt, STOP.as_bytes(), DONE.as_bytes()].concat();
        let parts = parts.chunks(size).map(Bytes::copy_from_slice).collect();
        let seen = on_a_runtime(seen(&Dialect::OpenAi, &WANTED, body(parts, End::Polite)));
        let text = String::from_utf8(seen.bytes).unwrap();
        assert!(text.contains("\"a\u{fffd}\"") && text.ends_with(DONE), "{text}");
    }
    let marked = format!("\u{feff}{}", [OPENING, HI, STOP, DONE].concat());
    assert_eq!(shown(&marked), [OPENING, HI, STOP, DONE].concat());
    let page = got(&WANTED, "\u{feff}<html></html>");
    assert_eq!(page.broken.map(|broken| broken.class), Some(Class::NotAnAnswer));
}

#[test]
fn a_choice_that_was_asked_for_and_never_came_is_missed() {
    let two = Wanted { choices: 2, ..WANTED };
    let stop_again = STOP.replace("\"stop\"", "\"content_filter\"");
    let other = STOP.replace("\"index\":0", "\"index\":1");
    for (parts, is_whole) in [
        (vec![HI, STOP], false),
        // Azure says twice why one choice ended.
        (vec![HI, STOP, stop_again.as_str()], false),
        (vec![HI, STOP, other.as_str()], true),
        (vec![HI, STOP, DONE], true),
    ] {
        for end in [End::Polite, End::Lost] {
            let (text, class) = came(&two, &parts, end);
            assert_eq!(
                (text.ends_with(DONE), class),
                (is_whole, (!is_whole).then_some(Class::Cut)),
                "{parts:?}"
            );
        }
    }
    let both = "data: {\"choices\":[{\"index\":0,\"text\":\"a\",\"finish_reason\":\"stop\"},{\"index\":1,\"text\":\"b\",\"finish_reason\":\"stop\"}]}\n\n";
    let legacy = Wanted { form: Form::Completion, choices: 2, ..WANTED };
    assert_eq!(came(&legacy, &[both], End::Polite), ([both, DONE].concat(), None));
    // In every chunk, and never with a word in it.
    let empty = HI.replace("\"hi\"}", "\"hi\"},\"finish_reason\":\"\"");
    assert_eq!(came(&WANTED, &[OPENING, &empty], End::Polite).1, Some(Class::Cut));
}

#[test]
fn usage_in_every_chunk_is_the_usage_so_far_and_an_early_one_is_none() {
    let asks = Wanted { include_usage: true, ..WANTED };
    let with = |usage: &str| HI.replace("}}]}", &format!("}}}}],\"usage\":{usage}}}"));
    let so_far = with("{\"prompt_tokens\":3,\"completion_tokens\":1,\"total_tokens\":4}");
    // vLLM's `continuous_usage_stats`.
    let (text, _) = came(&asks, &[&so_far, &so_far, STOP, DONE], End::Polite);
    assert_eq!(text, [&so_far, &so_far, STOP, DONE].concat());
    let (text, _) = came(&asks, &[&so_far, &so_far], End::Lost);
    assert_eq!((text.matches("\"usage\"").count(), text.matches("\"error\"").count()), (2, 1), "{text}");
    // One that counts the prompt, and then text without any.
    let early = with("{\"prompt_tokens\":3,\"completion_tokens\":0}");
    let (text, _) = came(&asks, &[&early, HI, HI, STOP, DONE], End::Polite);
    let last = text.strip_suffix(DONE).unwrap().trim_end().rsplit("data: ").next().unwrap();
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(
        (&last["usage"]["prompt_tokens"], &last["usage"]["completion_tokens"]),
        (&3.into(), &2.into())
    );
    assert_eq!(last["usage"]["mainstay_estimated"], true);
    // Under both of its names.
    let both = USAGE.replace("{\"prompt_tokens\":3", "{\"input_tokens\":3,\"prompt_tokens\":3");
    let (text, _) = came(&asks, &[HI, STOP, &both, DONE], End::Polite);
    assert_eq!(text, [HI, STOP, &both, DONE].concat());
    // Nothing but heartbeats and nulls.
    let filter = "data: {\"id\":\"\",\"object\":\"\",\"created\":0,\"model\":\"\",\"choices\":[],\"prompt_filter_results\":[{\"prompt_index\":0}],\"usage\":null}\n\n";
    let (text, _) = came(&asks, &[filter, OPENING, HI, STOP, USAGE, DONE], End::Polite);
    assert_eq!(text, [filter, OPENING, HI, STOP, USAGE, DONE].concat());
    // What is added calls itself as the answer does, not as Azure's nameless first chunk.
    let (text, _) = came(&asks, &[filter, OPENING, HI, STOP, DONE], End::Polite);
    assert!(text.rsplit("data: ").nth(1).unwrap().starts_with("{\"id\":\"c\""), "{text}");
}

#[test]
fn estimates_weigh_text_as_prompts_are_weighed() {
    let asks = Wanted { include_usage: true, ..WANTED };
    for text in ["你好世界", "\\u4f60\\u597d\\u4e16\\u754c", "sixteen letters!"] {
        let (text, _) = came(&asks, &[&HI.replace("hi", text), STOP, DONE], End::Polite);
        assert!(text.contains("\"completion_tokens\":4"), "{text}");
    }
}

#[test]
fn a_typed_stream_tells_its_failure_its_usage_and_its_large_end() {
    let typed = Wanted { form: Form::Typed, ..WANTED };
    let event = |kind: &str, rest: &str| format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n");
    let delta = event("response.output_text.delta", ",\"delta\":\"hi\"");
    let failed = event(
        "response.failed",
        ",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"key sk-x\"},\"usage\":{\"input_tokens\":3,\"output_tokens\":9}}",
    );
    // Found by the fuzzer: an event that is called an error is one, whatever its data says.
    for name in ["error", "response.failed"] {
        let named = delta.replacen("response.output_text.delta", name, 1);
        let (text, class) = came(&typed, &[&delta, &named], End::Polite);
        assert_eq!((text.matches("event: error").count(), class), (1, Some(Class::ErrorInside)));
        assert!(!text.contains("event: response.failed"), "{text}");
    }
    let (text, class) = came(&typed, &[&delta, &failed], End::Polite);
    let last = text.strip_prefix(&delta).unwrap();
    assert!(last.starts_with("event: error\ndata: {\"type\":\"error\"") && !last.contains("sk-x"), "{last}");
    assert!(class.is_some() && text.matches("event: error").count() == 1);
    let incomplete = event("response.incomplete", ",\"response\":{\"usage\":null}");
    assert_eq!(came(&typed, &[&delta, &incomplete], End::Lost), ([delta, incomplete].concat(), None));
    // An image comes in one event, far larger than what is held of others, and ends the stream all the same.
    let image = event(
        "image_generation.completed",
        &format!(
            ",\"b64_json\":\"{}\",\"usage\":{{\"input_tokens\":3,\"output_tokens\":1056}}",
            "A".repeat(400_000)
        ),
    );
    let parts: Vec<&str> =
        image.as_bytes().chunks(9000).map(|part| std::str::from_utf8(part).unwrap()).collect();
    assert_eq!(came(&typed, &parts, End::Polite), (image, None));
}
