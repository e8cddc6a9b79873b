//! Any bytes as a form with files: no panic; a form that is taken has its model where it was found, on lines of its own
//! between two boundaries.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_gateway::fuzzing;

fuzz_target!(|data: &[u8]| {
    // The first line is a content type, so that its reader is met too.
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (head, body) = data.split_at(at);
    let content_type = std::str::from_utf8(head).unwrap_or("multipart/form-data; boundary=b");
    let body = body.get(1..).unwrap_or_default();
    for content_type in [content_type, "multipart/form-data; boundary=b"] {
        let Some(found) = fuzzing::form(content_type, body) else { continue };
        if let (Some(model), Some(at)) = (&found.model, found.model_at) {
            assert_eq!(body.get(at.clone()), Some(model.as_bytes()));
            assert!(body[..at.start].ends_with(b"\r\n\r\n") && body[at.end..].starts_with(b"\r\n--"));
        }
    }
});
