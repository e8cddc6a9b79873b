//! What of Dify passes by, looked at as cheaply as its record allows: which run it is, how it ended, what it used.
//!
//! Never changes a byte. Whatever it cannot read it leaves alone. Models' streams are [`super::stream`]'s.

use mainstay_base::{Kind, record::Path};
use mainstay_net::BodyError;

mod dify;

pub(crate) use dify::{Watch, answer};

/// Why a stream ended before its end.
pub(crate) struct Cut {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: &'static str,
    pub(crate) internal: String,
}

impl Cut {
    pub(crate) fn by(error: &BodyError) -> Cut {
        match error {
            BodyError::Idle(_) | BodyError::Total(_) => Cut {
                status: 504,
                code: "gateway_timeout",
                message: "The answer stopped coming and was given up.",
                internal: error.to_string(),
            },
            BodyError::Closed(_) | BodyError::Other(_) => Cut::short(error.to_string()),
        }
    }

    /// The stream ended in order, and yet something is missing.
    pub(crate) fn early() -> Cut {
        Cut::short("the stream ended before its last event was whole".to_owned())
    }

    fn short(internal: String) -> Cut {
        Cut {
            status: 502,
            code: "bad_gateway",
            message: "The connection to the answering service was lost before the answer was complete.",
            internal,
        }
    }
}

/// Whose doing an HTTP status is. `None` for an answer that is no failure.
pub(crate) fn kind_of_status(path: Path, status: u16) -> Option<Kind> {
    match status {
        ..=399 => None,
        // A provider refuses the key that the operator gave us, not the caller's.
        401 | 403 if path == Path::Model => Some(Kind::Upstream),
        401 | 403 => Some(Kind::Denied),
        429 => Some(Kind::OverBudget),
        503 | 504 => Some(Kind::Unavailable),
        500.. => Some(Kind::Upstream),
        _ => Some(Kind::Caller),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mainstay_base::Record;
    use mainstay_wire::sse::Decoder;
    use proptest::prelude::*;

    use super::*;

    fn watch(bytes: &[u8]) -> (Vec<u8>, Record) {
        let mut record = Record::blank(Path::App);
        let (mut watch, mut decoder) = (Watch::default(), Decoder::new(1000));
        let mut out = Vec::new();
        decoder.push(Bytes::copy_from_slice(bytes));
        while let Some(frame) = decoder.next_frame() {
            watch.event(&frame, 1, &mut record);
            out.extend_from_slice(frame.raw());
        }
        let rest = decoder.finish();
        let _ = (watch.may_end(&rest), watch.cut(&Cut::early()));
        out.extend_from_slice(&rest);
        (out, record)
    }

    #[test]
    fn facts_are_found_in_any_spelling() {
        for text in [
            r#"data: {"event":"workflow_finished","task_id":"t","data":{"status":"stopped","total_tokens":3}}"#,
            r#"data: {"event": "workflow_finished", "task_id": "t", "data": {"status": "stopped", "total_tokens": 3}}"#,
            r#"data:{"task_id":"t","data":{"status":"stopped","total_tokens":3},"event":"workflow_finished"}"#,
        ] {
            let (_, record) = watch(format!("{text}\n\n").as_bytes());
            assert_eq!(record.run_status.as_deref(), Some("stopped"), "{text}");
            assert_eq!((record.task_id.as_deref(), record.total_tokens), (Some("t"), Some(3)), "{text}");
        }
    }

    #[test]
    fn a_failure_before_the_run_is_the_callers_and_after_it_is_not() {
        let error =
            "data: {\"event\":\"error\",\"code\":\"invalid_param\",\"status\":400,\"message\":\"m\"}\n\n";
        let (_, record) = watch(error.as_bytes());
        assert_eq!(record.kind, Some(Kind::Caller));
        let begun = "data: {\"event\":\"workflow_started\",\"workflow_run_id\":\"r\"}\n\n";
        let (_, record) = watch(format!("{begun}{error}").as_bytes());
        assert_eq!((record.kind, record.error.as_deref()), (Some(Kind::Upstream), Some("m")));
    }

    #[test]
    fn an_empty_piece_of_text_is_not_the_first_token() {
        let event = |answer: &str| format!("data: {{\"event\":\"message\",\"answer\":\"{answer}\"}}\n\n");
        assert_eq!(watch(event("").as_bytes()).1.first_token_us, None);
        assert_eq!(watch(event("a").as_bytes()).1.first_token_us, Some(1));
    }

    proptest! {
        #[test]
        fn any_bytes_are_watched_without_panic_and_difys_pass_unchanged(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            name in "[a-z_]{0,20}",
            rest in ".{0,60}",
        ) {
            let event = format!("data: {{\"event\":\"{name}\",{rest}}}\n\n");
            for input in [bytes.as_slice(), event.as_bytes()] {
                prop_assert_eq!(&watch(input).0, input);
                answer(input, &mut Record::blank(Path::App));
            }
        }
    }
}
