//! Finds the words of an error in a body: nested, flat, a string, a list, or a page for humans.

use serde_json::{Map, Value};

/// Larger bodies are not looked into: an error is short.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// Errors inside errors, as relays wrap them.
const MAX_DEPTH: u32 = 8;
const MAX_ITEMS: usize = 8;
const MAX_CODES: usize = 16;

/// What stands in a body.
#[derive(Debug, Default)]
pub(super) struct Spoken {
    pub(super) message: String,
    /// Every code, type, status and reason, from the outside in.
    pub(super) codes: Vec<String>,
    /// The outermost `param`, and the `code` that is a word, of an error in OpenAI's shape.
    pub(super) param: Option<String>,
    pub(super) param_code: Option<String>,
    /// An HTTP status inside the body, as relays report the provider's.
    pub(super) status: Option<u16>,
    /// A wait named by a field: `retryDelay` of Gemini, `retry_after` of others.
    pub(super) wait: Option<String>,
    pub(super) is_error: bool,
    pub(super) is_page: bool,
}

impl Spoken {
    pub(super) fn of(body: &[u8]) -> Spoken {
        let mut spoken = Spoken::default();
        let body = &body[..body.len().min(MAX_BODY_BYTES)];
        match serde_json::from_slice(body) {
            Ok(value) => spoken.value(&value, 0),
            Err(_) => spoken.text(&String::from_utf8_lossy(body)),
        }
        spoken
    }

    /// The code to show: a word rather than a number.
    pub(super) fn code(&self) -> Option<&str> {
        let word = self.codes.iter().find(|code| code.parse::<u64>().is_err());
        word.or(self.codes.first()).map(String::as_str)
    }

    fn text(&mut self, text: &str) {
        let text = text.trim();
        self.is_page = text.starts_with('<');
        self.message = match self.is_page {
            true => format!("a page for humans: {}", title(text)),
            false => text.to_owned(),
        };
    }

    fn value(&mut self, value: &Value, depth: u32) {
        match value {
            _ if depth == MAX_DEPTH => {}
            Value::Object(map) => self.object(map, depth),
            Value::Array(items) => {
                // Gemini's streams without SSE are lists.
                self.is_error |=
                    depth == 0 && items.iter().any(|item| item.as_object().is_some_and(says_error));
                items.iter().take(MAX_ITEMS).for_each(|item| self.value(item, depth + 1));
            }
            Value::String(text) => self.word(text, depth),
            _ => {}
        }
    }

    fn object(&mut self, map: &Map<String, Value>, depth: u32) {
        self.is_error |= depth == 0 && says_error(map);
        for name in ["__type", "code", "error_code", "status_code", "status", "type", "reason", "quotaId"] {
            self.note_code(map.get(name));
        }
        if self.param.is_none() && self.param_code.is_none() {
            self.param = word_of(map, "param");
            // A number is the status once more.
            self.param_code = word_of(map, "code").filter(|code| code.parse::<u64>().is_err());
        }
        for name in ["message", "Message", "msg", "error_msg", "status_msg", "error_description", "raw"] {
            match map.get(name) {
                Some(Value::String(text)) => self.word(text, depth),
                Some(inner @ (Value::Object(_) | Value::Array(_))) => self.value(inner, depth + 1),
                _ => {}
            }
        }
        for name in ["retryDelay", "retry_after", "retry_after_seconds"] {
            match map.get(name) {
                Some(Value::String(text)) => self.wait.get_or_insert_with(|| text.clone()),
                Some(Value::Number(seconds)) => self.wait.get_or_insert_with(|| format!("{seconds}s")),
                _ => continue,
            };
        }
        let nested = [
            "error",
            "errors",
            "innererror",
            "inner_error",
            "details",
            "violations",
            "detail",
            "metadata",
            "base_resp",
            "response",
        ];
        for name in nested {
            if let Some(inner) = map.get(name) {
                self.value(inner, depth + 1);
            }
        }
    }

    fn note_code(&mut self, value: Option<&Value>) {
        let code = match value {
            Some(Value::String(code)) if !code.is_empty() => code.clone(),
            Some(Value::Number(code)) => code.to_string(),
            _ => return,
        };
        // `"type":"error"` says nothing.
        if matches!(code.as_str(), "error" | "0") || self.codes.len() == MAX_CODES {
            return;
        }
        let status = code.parse().ok().filter(|status| (400..600).contains(status));
        self.status = self.status.or(status);
        self.codes.push(code);
    }

    /// Words inside words are kept when they say more. A relay puts the provider's body into a string.
    fn word(&mut self, text: &str, depth: u32) {
        if let Ok(inner @ Value::Object(_)) = serde_json::from_str(text) {
            return self.value(&inner, depth + 1);
        }
        match self.message.is_empty() {
            true => self.message.push_str(text),
            false if !self.message.contains(text) => {
                self.message.push_str(": ");
                self.message.push_str(text);
            }
            false => {}
        }
    }
}

fn word_of(map: &Map<String, Value>, name: &str) -> Option<String> {
    map.get(name).and_then(Value::as_str).filter(|word| !word.is_empty()).map(str::to_owned)
}

/// Whether an object, as the body of a success, is an error all the same.
fn says_error(map: &Map<String, Value>) -> bool {
    let text = |name: &str| map.get(name).and_then(Value::as_str);
    let is_said = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        // Some say `"code": 0` or `200` when all is well.
        Value::Number(number) => !matches!(number.as_i64(), Some(0 | 200)),
        Value::Bool(true) => true,
    };
    let said = |name: &str| map.get(name).is_some_and(is_said);
    let has_answer = ["choices", "candidates", "content", "output", "data", "results", "text"]
        .iter()
        .any(|name| map.get(*name).is_some_and(|value| !value.is_null()));
    let is_minimax_failure = map
        .get("base_resp")
        .and_then(|told| told.get("status_code")?.as_i64())
        .is_some_and(|status| status != 0);
    said("error")
        || text("type") == Some("error")
        || text("object") == Some("error")
        || is_minimax_failure
        || map.get("response").and_then(|inner| inner.get("error")).is_some_and(is_said)
        || !has_answer
            && (said("errors")
                || said("__type")
                || map.get("success") == Some(&Value::Bool(false))
                || said("code") && (said("message") || said("msg"))
                || said("error_code")
                || said("detail"))
}

/// What a page says in its title, or else its first words.
fn title(page: &str) -> String {
    let lower = page.to_ascii_lowercase();
    let inside = |open: &str, close: &str| {
        let start = lower.find(open)? + open.len();
        let end = start + lower[start..].find(close)?;
        page.get(start..end)
    };
    match inside("<title>", "</title>").or_else(|| inside("<h1>", "</h1>")) {
        Some(title) => title.trim().to_owned(),
        None => page.chars().take(80).collect(),
    }
}
