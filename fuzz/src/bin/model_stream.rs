//! Whatever a provider streams: no panic, a writer's frames are JSON with LF LF, and nothing follows an end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_wire::{
    llm::{
        Delta, anthropic, gemini,
        openai::{self, Shape, StreamWriter},
    },
    openai::{StreamFacts, vet},
};
use serde::de::IgnoredAny;

fuzz_target!(|data: &[u8]| {
    let (mut first, mut second) = (openai::StreamReader::default(), anthropic::StreamReader::default());
    let mut third = gemini::StreamReader::default();
    for event in data.split(|byte| *byte == b'\n') {
        let facts = StreamFacts::of(event);
        let is_json = facts.is_readable && !event.trim_ascii().starts_with(b"[DONE]");
        assert!(!is_json || serde_json::from_slice::<IgnoredAny>(event).is_ok(), "taken for JSON");
        let _ = vet(event, event.len() % 2 == 0);
        written(&first.read(None, event));
        written(&second.read(None, event));
        written(&third.read(None, event));
    }
});

fn written(deltas: &[Delta]) {
    let mut writer = StreamWriter::new(Shape::Chat, true, "m", 0);
    let mut out = Vec::new();
    deltas.iter().for_each(|delta| writer.write(delta, &mut out));
    let text = String::from_utf8(out).expect("frames are text");
    for frame in text.split_terminator("\n\n") {
        let data = frame.strip_prefix("data: ").expect("every frame is data");
        assert!(data == "[DONE]" || serde_json::from_str::<IgnoredAny>(data).is_ok(), "no JSON: {data}");
    }
}
