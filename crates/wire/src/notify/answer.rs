//! What a receiver's answer means. Some answer 200 and say in the body that they did nothing.

use std::time::Duration;

use serde_json::Value;

use super::Kind;

/// So much of what a receiver says goes into an error.
const MAX_SAID_CHARS: usize = 200;
/// DingTalk and WeCom take 20 messages a minute, Feishu 100, and do not say when more are welcome. DingTalk refuses for ten
/// minutes then; a page is tried each minute all the same.
const PAUSE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Delivered,
    /// It wants no more of this.
    Refused(String),
    Failed {
        error: String,
        /// Until then the receiver takes nothing at all.
        rest: Option<Duration>,
    },
}

/// `rest` is what the answer's `Retry-After` says. The text may repeat what was sent: see `Channel::redact`.
pub fn judge(kind: Kind, status: u16, rest: Option<Duration>, body: &[u8]) -> Answer {
    let said = said(body);
    match status {
        200..=299 => {}
        410 => return Answer::Refused(format!("answered 410 Gone and is not called again for this{said}")),
        300..=399 => {
            return Answer::Failed { error: format!("answered {status}; redirects are not followed"), rest };
        }
        429 => {
            let rest = rest.or_else(|| telegram_rest(body)).or(Some(PAUSE));
            return Answer::Failed { error: format!("answered 429, too many{said}"), rest };
        }
        _ => return Answer::Failed { error: format!("answered {status}{said}"), rest },
    }
    let json = serde_json::from_slice::<Value>(body).unwrap_or(Value::Null);
    let code = |name: &str| json[name].as_i64();
    match kind {
        // Older addresses of bots have only the second.
        Kind::Feishu => by_code(code("code").or_else(|| code("StatusCode")), &[11232], &said),
        Kind::Dingtalk => by_code(code("errcode"), &[130_101], &said),
        Kind::Wecom => by_code(code("errcode"), &[45_009, 45_033], &said),
        Kind::Telegram if json["ok"] != Value::Bool(true) => {
            Answer::Failed { error: format!("answered {status} and not ok{said}"), rest: telegram_rest(body) }
        }
        // A connector answers 200 for what it could not pass on.
        Kind::Teams if said.contains("delivery failed") || said.contains("returned HTTP error") => {
            Answer::Failed { error: format!("answered {status} and failed{said}"), rest }
        }
        _ => Answer::Delivered,
    }
}

fn by_code(code: Option<i64>, too_many: &[i64], said: &str) -> Answer {
    match code {
        Some(0) => Answer::Delivered,
        Some(code) => Answer::Failed {
            error: format!("answered with code {code}{said}"),
            rest: too_many.contains(&code).then_some(PAUSE),
        },
        None => Answer::Failed { error: format!("answered without a code{said}"), rest: None },
    }
}

fn telegram_rest(body: &[u8]) -> Option<Duration> {
    let json = serde_json::from_slice::<Value>(body).ok()?;
    json["parameters"]["retry_after"].as_u64().map(Duration::from_secs)
}

/// `: ` and what it said, on one line; empty when it said nothing.
fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() { line } else { format!(": {}", super::words::cut(&line, MAX_SAID_CHARS)) }
}
