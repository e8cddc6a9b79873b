//! Any text is an app, or is refused with named problems; whatever is an app compiles or is refused likewise.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_wire::dsl;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match dsl::parse(text) {
        Ok(app) => match mainstay_engine::check(&app) {
            Ok(_) => {}
            Err(problems) => assert!(!problems.is_empty(), "refused without a reason"),
        },
        Err(problems) => assert!(!problems.is_empty(), "refused without a reason"),
    }
});
