//! W3C Trace Context, version 00: <https://www.w3.org/TR/trace-context/#traceparent-header>.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A `traceparent`: which trace a request belongs to and which span is its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceParent {
    pub trace_id: u128,
    pub parent_id: u64,
    pub flags: u8,
}

impl TraceParent {
    /// Starts a new trace, sampled.
    pub fn new_root() -> TraceParent {
        TraceParent { trace_id: Uuid::new_v4().as_u128(), parent_id: new_span_id(), flags: 1 }
    }

    /// The same trace with a new span as parent: what is sent on.
    pub fn child(self) -> TraceParent {
        TraceParent { parent_id: new_span_id(), ..self }
    }

    /// Whether whoever began the trace wants it kept.
    pub fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }

    /// 32 lower-case hexadecimal digits.
    pub fn trace_id_text(self) -> String {
        Uuid::from_u128(self.trace_id).simple().encode_lower(&mut Uuid::encode_buffer()).to_owned()
    }

    /// Reads a header. `None` when it is malformed, which the specification says to treat as absent.
    /// Versions above 00 are read by their first four fields, as the specification asks.
    pub fn parse(header: &str) -> Option<TraceParent> {
        let mut fields = header.trim().split('-');
        let version = hex(fields.next()?, 2)?;
        let trace_id = hex(fields.next()?, 32)?;
        let parent_id = u64::try_from(hex(fields.next()?, 16)?).ok()?;
        let flags = u8::try_from(hex(fields.next()?, 2)?).ok()?;
        let extra = fields.next().is_some();
        let well_formed = version != 0xff && !(version == 0 && extra) && trace_id != 0 && parent_id != 0;
        well_formed.then_some(TraceParent { trace_id, parent_id, flags })
    }
}

impl std::fmt::Display for TraceParent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Each call sends one: all of it at once is one allocation of its very length.
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(self.trace_id, &mut text[3..35]);
        write_hex(self.parent_id.into(), &mut text[36..52]);
        write_hex(self.flags.into(), &mut text[53..]);
        formatter.write_str(std::str::from_utf8(&text).map_err(|_| std::fmt::Error)?)
    }
}

/// In as many digits as there is room for.
fn write_hex(mut number: u128, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

fn hex(text: &str, length: usize) -> Option<u128> {
    let lower_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() != length || !lower_hex {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

fn new_span_id() -> u64 {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    // A span id of zero is invalid; a version 4 UUID always has bits set, but the mix might cancel out.
    (high ^ low).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_specification_reads_back() {
        assert_eq!(TraceParent::parse(EXAMPLE).unwrap().to_string(), EXAMPLE);
    }

    #[test]
    fn malformed_headers_are_absent() {
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".{0,80}") {
            let _ = TraceParent::parse(&text);
        }

        #[test]
        fn a_child_keeps_the_trace_and_changes_the_span(trace_id in 1u128.., parent_id in 1u64.., flags: u8) {
            let parent = TraceParent { trace_id, parent_id, flags };
            prop_assert_eq!(TraceParent::parse(&parent.to_string()), Some(parent));
            prop_assert_eq!(parent.child().trace_id, trace_id);
            prop_assert_ne!(parent.child().parent_id, 0);
        }
    }
}
