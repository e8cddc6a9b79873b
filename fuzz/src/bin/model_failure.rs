//! Whatever a provider says of a failure: a class, a short message without keys, and no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_base::snapshot::Dialect;
use mainstay_wire::llm::failure;

fuzz_target!(|data: &[u8]| {
    let [high, low, body @ ..] = data else { return };
    let status = u16::from_be_bytes([*high, *low]) % 1000;
    let text = String::from_utf8_lossy(body);
    for dialect in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini, Dialect::Cohere] {
        let told = failure::told(&dialect, status, |_| Some(&text), body, 1_700_000_000);
        assert!(!told.message.is_empty() && told.message.chars().count() <= 401, "{}", told.message);
        assert!(told.retry_after.is_none_or(|wait| wait.as_secs() <= 24 * 60 * 60));
        let _ = failure::inside(&dialect, body);
    }
});
