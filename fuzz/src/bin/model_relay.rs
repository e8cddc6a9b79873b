//! Whatever a provider streams, in any dialect and any pieces: no panic, its caller gets whole frames of JSON alone,
//! and `[DONE]` or one error, never both and never neither.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mainstay_gateway::fuzzing;
use serde::de::IgnoredAny;

fuzz_target!(|data: &[u8]| {
    let Some((&[dialect, form, size], stream)) = data.split_first_chunk() else { return };
    let pieces = stream.chunks(usize::from(size) + 1).map(Bytes::copy_from_slice).collect();
    let Some(relayed) = fuzzing::relay(dialect, form, pieces) else { return };
    let text = String::from_utf8(relayed.bytes).expect("a caller gets text");
    let frames: Vec<&str> = text.split_terminator("\n\n").collect();
    assert!(text.is_empty() || text.ends_with("\n\n"), "a part of a frame: {text:?}");
    for frame in &frames {
        let data =
            frame.lines().find_map(|line| line.strip_prefix("data:")).expect("every frame has data").trim();
        // Python writes these, and its readers take them.
        let is_lax = data.contains("NaN") || data.contains("Infinity");
        let is_json = serde_json::from_str::<IgnoredAny>(data).is_ok();
        assert!(data == "[DONE]" || is_lax || is_json, "no JSON: {data:?}");
    }
    let marks = ["data: {\"error\":{", "event: error\n", "event: response.failed\n"];
    let is_error = |frame: &&&str| marks.iter().any(|mark| frame.starts_with(mark));
    let errors = frames.iter().filter(is_error).count();
    assert_eq!(errors, usize::from(!relayed.is_whole), "{text:?}");
    // Sound, images and responses end by events of their own.
    let is_typed = form % 4 >= 2;
    let is_done = text.ends_with("data: [DONE]\n\n");
    assert!(is_typed || is_done == relayed.is_whole, "{text:?}");
});
