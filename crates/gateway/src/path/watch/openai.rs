//! Streams and answers of the model path.

use std::borrow::Cow;

use bytes::Bytes;
use mainstay_base::{Kind, Record};
use mainstay_wire::{
    openai::{ErrorBody, StreamFacts, Usage, contains, usage_of_answer},
    sse::Frame,
};

use super::Cut;

#[derive(Default)]
pub(crate) struct Watch {
    has_ended: bool,
    is_done: bool,
    /// The last byte that passed was a CR: a LF that follows belongs to the same line end.
    after_return: bool,
}

impl Watch {
    pub(super) fn event(&mut self, frame: &Frame, at_us: u64, record: &mut Record) {
        if !frame.is_whole() {
            return;
        }
        let Some(data) = frame.data() else { return };
        let facts = StreamFacts::of(&data);
        if facts.chars > 0 && record.first_token_us.is_none() {
            record.first_token_us = Some(at_us);
        }
        if let Some(usage) = facts.usage {
            note_usage(&usage, record);
        }
        if facts.told.is_some() {
            record.kind = Some(Kind::Upstream);
            record.error = Some(format!("the provider failed in band: {}", short(&data)));
        }
        self.is_done |= facts.is_done;
        self.has_ended |= facts.is_done
            || facts.told.is_some()
            || contains(&data, b"\"finish_reason\":\"")
            || contains(&data, b"\"finish_reason\": \"");
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// What Dify's own plugin demands: LF and nothing else, with one blank line after each event.
    pub(super) fn line_ends(&mut self, raw: Bytes) -> Bytes {
        if !self.after_return && !raw.contains(&b'\r') {
            return raw;
        }
        let mut text = Vec::with_capacity(raw.len());
        for byte in &raw {
            match byte {
                b'\r' => text.push(b'\n'),
                b'\n' if self.after_return => {}
                _ => text.push(*byte),
            }
            self.after_return = *byte == b'\r';
        }
        Bytes::from(text)
    }
}

/// An error in band, and no `[DONE]` after it: a reader must not take a part for the whole.
pub(super) fn cut(cut: &Cut) -> Bytes {
    let body = ErrorBody::new("upstream_error", Some(cut.code), cut.message);
    let json = serde_json::to_string(&body).unwrap_or_else(|_| "{\"error\":{}}".to_owned());
    Bytes::from(format!("data: {json}\n\n"))
}

pub(super) fn answer(body: &[u8], record: &mut Record) {
    if record.status >= 400 {
        if let Ok(error) = serde_json::from_slice::<ErrorBody>(body) {
            record.error.get_or_insert(error.error.message);
        }
        return;
    }
    if let Some(usage) = usage_of_answer(body) {
        note_usage(&usage, record);
    }
}

fn note_usage(usage: &Usage, record: &mut Record) {
    let Usage { prompt_tokens, completion_tokens, total_tokens, extra: _ } = usage;
    record.input_tokens = Some(*prompt_tokens);
    record.output_tokens = Some(*completion_tokens);
    record.total_tokens = Some(*total_tokens);
}

fn short(data: &[u8]) -> Cow<'_, str> {
    const SHOWN: usize = 300;
    String::from_utf8_lossy(&data[..data.len().min(SHOWN)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_end_becomes_a_line_feed() {
        for (given, expected) in [
            ("data: a\n\n", "data: a\n\n"),
            ("data: a\r\n\r\n", "data: a\n\n"),
            ("data: a\r\r", "data: a\n\n"),
            ("data: a\r\ndata: b\n\n", "data: a\ndata: b\n\n"),
        ] {
            assert_eq!(Watch::default().line_ends(Bytes::from_static(given.as_bytes())), expected);
        }
    }
}
