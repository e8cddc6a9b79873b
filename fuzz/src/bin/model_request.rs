//! Any body of a model call is read or refused with words; what is read can be written again, and reads back the same.
//! Edits of a body leave JSON JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_wire::{
    llm::{Facts, anthropic, bedrock, gemini, openai},
    openai::{Edit, edited},
};
use serde::de::IgnoredAny;

fuzz_target!(|data: &[u8]| {
    let facts = Facts::default();
    match openai::read_request(data) {
        Ok(request) => {
            let _ = anthropic::write_request(&request, &facts);
            let _ = gemini::write_request(&request, &facts);
            let _ = bedrock::write_request(&request, &facts);
            if let Ok(written) = openai::write_request(&request, &facts) {
                let again = openai::read_request(&written.body).expect("what was written is read");
                let twice = openai::write_request(&again, &facts).expect("what was read is written");
                assert_eq!(written.body, twice.body, "a second way through changes the request");
            }
        }
        Err(error) => assert!(!error.what.is_empty(), "refused without a reason"),
    }
    let _ = openai::read_completion_request(data);
    let edits = [
        Edit::Model("m"),
        Edit::IncludeUsage,
        Edit::Without("user"),
        Edit::Renamed { from: "max_tokens", to: "max_completion_tokens" },
    ];
    if let Some(body) = edited(data, &edits) {
        let was_json = serde_json::from_slice::<IgnoredAny>(data).is_ok();
        let is_json = serde_json::from_slice::<IgnoredAny>(&body).is_ok();
        assert_eq!(is_json, was_json, "an edit changed what is JSON");
    }
});
