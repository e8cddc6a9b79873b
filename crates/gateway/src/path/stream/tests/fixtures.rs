//! Streams as providers send them, event by event.

use mainstay_base::snapshot::Dialect;

/// One stream: its events, and which of them is the first content and which ends the answer.
pub(super) struct Fixture {
    pub(super) dialect: Dialect,
    pub(super) events: Vec<Event>,
}

pub(super) struct Event {
    /// Everything before the blank line, with LF ends.
    pub(super) text: String,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Not for the caller: a comment, a ping, `[DONE]`.
    Silent,
    Opening,
    Content,
    /// After it nothing of the answer is missing.
    Finish,
    /// Shown to those who asked for it.
    Usage,
    Done,
}

fn chunk(rest: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",{rest}}}"
    )
}

fn event(kind: Kind, text: impl Into<String>) -> Event {
    Event { text: text.into(), kind }
}

pub(super) fn openai(words: &[&str]) -> Fixture {
    let mut events = vec![
        event(Kind::Silent, ": PROCESSING"),
        event(
            Kind::Opening,
            chunk(
                r#""choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]"#,
            ),
        ),
    ];
    for word in words {
        let content = serde_json::to_string(word).unwrap();
        let rest =
            format!(r#""choices":[{{"index":0,"delta":{{"content":{content}}},"finish_reason":null}}]"#);
        events.push(event(Kind::Content, chunk(&rest)));
    }
    events.push(event(Kind::Finish, chunk(r#""choices":[{"index":0,"delta":{},"finish_reason":"stop"}]"#)));
    events.push(event(
        Kind::Usage,
        chunk(r#""choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#),
    ));
    events.push(event(Kind::Done, "data: [DONE]"));
    Fixture { dialect: Dialect::OpenAi, events }
}

pub(super) fn anthropic(words: &[&str]) -> Fixture {
    let typed = |kind, name: &str, rest: &str| {
        event(kind, format!("event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}"))
    };
    let mut events = vec![
        typed(
            Kind::Opening,
            "message_start",
            r#","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"usage":{"input_tokens":3,"output_tokens":1}}"#,
        ),
        typed(
            Kind::Opening,
            "content_block_start",
            r#","index":0,"content_block":{"type":"text","text":""}"#,
        ),
        typed(Kind::Silent, "ping", ""),
    ];
    for word in words {
        let text = serde_json::to_string(word).unwrap();
        let rest = format!(r#","index":0,"delta":{{"type":"text_delta","text":{text}}}"#);
        events.push(typed(Kind::Content, "content_block_delta", &rest));
    }
    events.push(typed(Kind::Silent, "content_block_stop", r#","index":0"#));
    events.push(typed(
        Kind::Finish,
        "message_delta",
        r#","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":4}"#,
    ));
    events.push(typed(Kind::Done, "message_stop", ""));
    Fixture { dialect: Dialect::Anthropic, events }
}

pub(super) fn gemini(words: &[&str]) -> Fixture {
    let chunk = |kind, text: &str, rest: &str| {
        let text = serde_json::to_string(text).unwrap();
        event(
            kind,
            format!(
                r#"data: {{"candidates":[{{"content":{{"parts":[{{"text":{text}}}],"role":"model"}}{rest},"index":0}}],"usageMetadata":{{"promptTokenCount":3,"candidatesTokenCount":4,"totalTokenCount":7}},"modelVersion":"gemini","responseId":"r1"}}"#
            ),
        )
    };
    let (last, before) = words.split_last().unwrap();
    let mut events: Vec<Event> = before.iter().map(|word| chunk(Kind::Content, word, "")).collect();
    events.push(chunk(Kind::Finish, last, r#","finishReason":"STOP""#));
    Fixture { dialect: Dialect::Gemini, events }
}

/// Frames of AWS instead of lines: the event's name, then its payload.
pub(super) fn bedrock(words: &[&str]) -> Fixture {
    let frame = |kind, name: &str, payload: &str| event(kind, format!("{name}\n{payload}"));
    let mut events = vec![frame(Kind::Opening, "messageStart", r#"{"role":"assistant"}"#)];
    for word in words {
        let text = serde_json::to_string(word).unwrap();
        let payload = format!(r#"{{"contentBlockIndex":0,"delta":{{"text":{text}}}}}"#);
        events.push(frame(Kind::Content, "contentBlockDelta", &payload));
    }
    events.push(frame(Kind::Silent, "contentBlockStop", r#"{"contentBlockIndex":0}"#));
    events.push(frame(Kind::Finish, "messageStop", r#"{"stopReason":"end_turn"}"#));
    events.push(frame(
        Kind::Done,
        "metadata",
        r#"{"metrics":{"latencyMs":5},"usage":{"inputTokens":3,"outputTokens":4,"totalTokens":7}}"#,
    ));
    Fixture { dialect: Dialect::Bedrock { region: "eu-central-1".to_owned() }, events }
}

/// As AWS lays them out: lengths, headers and payload, each guarded by a checksum.
fn frame_of_aws(event: &str) -> Vec<u8> {
    let (name, payload) = event.split_once('\n').unwrap();
    let mut headers = Vec::new();
    for (header, value) in [(":message-type", "event"), (":event-type", name)] {
        headers.push(header.len() as u8);
        headers.extend_from_slice(header.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&(value.len() as u16).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let mut frame = Vec::new();
    frame.extend_from_slice(&((16 + headers.len() + payload.len()) as u32).to_be_bytes());
    frame.extend_from_slice(&(headers.len() as u32).to_be_bytes());
    let guard = checksum(&frame);
    frame.extend_from_slice(&guard.to_be_bytes());
    frame.extend_from_slice(&headers);
    frame.extend_from_slice(payload.as_bytes());
    let guard = checksum(&frame);
    frame.extend_from_slice(&guard.to_be_bytes());
    frame
}

/// CRC-32, bit by bit.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg()))
    })
}

/// As bytes, with where each event is whole: at its blank line, or for a polite end at the end of its data.
pub(super) struct Laid {
    pub(super) bytes: Vec<u8>,
    pub(super) whole_at: Vec<usize>,
    pub(super) said_at: Vec<usize>,
}

impl Fixture {
    pub(super) fn laid(&self, line_end: &str) -> Laid {
        let mut laid = Laid { bytes: Vec::new(), whole_at: Vec::new(), said_at: Vec::new() };
        for event in &self.events {
            if matches!(self.dialect, Dialect::Bedrock { .. }) {
                laid.bytes.extend_from_slice(&frame_of_aws(&event.text));
                laid.said_at.push(laid.bytes.len());
                laid.whole_at.push(laid.bytes.len());
                continue;
            }
            laid.bytes.extend_from_slice(event.text.replace('\n', line_end).as_bytes());
            laid.said_at.push(laid.bytes.len());
            laid.bytes.extend_from_slice(line_end.repeat(2).as_bytes());
            // The LF of the last CRLF belongs to the blank line, and nothing waits for it.
            laid.whole_at.push(laid.bytes.len() - usize::from(line_end == "\r\n"));
        }
        laid
    }
}
