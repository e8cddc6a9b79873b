//! Any events of a Gemini stream are read without a panic: one start at most, nothing of a choice after its finish, and
//! one end at most.
#![no_main]

use std::collections::HashSet;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mainstay_wire::{
    llm::{Delta, gemini},
    sse,
};

fuzz_target!(|data: &[u8]| {
    let _ = gemini::read_answer(data);
    let mut decoder = sse::Decoder::new(64 * 1024);
    decoder.push(Bytes::copy_from_slice(data));
    let mut reader = gemini::StreamReader::default();
    let (mut starts, mut ends, mut finished) = (0, 0, HashSet::new());
    while let Some(frame) = decoder.next_frame() {
        let Some(text) = frame.data_text() else { continue };
        for delta in reader.read(frame.event(), text.as_bytes()) {
            match delta {
                Delta::Start { .. } => starts += 1,
                Delta::End => ends += 1,
                Delta::Finish { choice, .. } => assert!(finished.insert(choice), "{choice} finished twice"),
                Delta::Text { choice, .. } | Delta::Reasoning { choice, .. } => {
                    assert!(!finished.contains(&choice), "{choice} went on after its finish");
                }
                _ => {}
            }
        }
    }
    assert!(starts <= 1 && ends <= 1);
});
