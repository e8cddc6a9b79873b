//! From an error as Dify keeps it to what its innermost part says: names before colons, `[provider]`, a status, JSON in
//! strings in JSON, and Python's way of printing a dictionary.

use serde_json::{Map, Value};

/// How much of a text is read.
const MAX_BYTES: usize = 64 * 1024;
/// How many layers are taken off; the deepest seen in the wild has five.
const MAX_LAYERS: usize = 10;
/// At how many braces JSON is looked for within one layer.
const MAX_BRACES: usize = 4;
const MAX_NAME: usize = 100;

/// What was found within. Of `wrapper` and `provider` the outermost, of the others the innermost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unwrapped {
    /// In its own words; the whole text where nothing was around it.
    pub message: String,
    /// `PluginInvokeError`.
    pub wrapper: Option<String>,
    /// `InvokeRateLimitError`, `ReadTimeout`.
    pub error_type: Option<String>,
    /// The provider's own word: `insufficient_quota`.
    pub code: Option<String>,
    /// The HTTP status that the provider answered.
    pub status: Option<u16>,
    /// `openai_api_compatible`.
    pub provider: Option<String>,
}

/// Never fails: what cannot be read stays as it is.
pub fn unwrap(text: &str) -> Unwrapped {
    let mut found = Unwrapped::default();
    let mut rest = text[..text.floor_char_boundary(MAX_BYTES)].trim().to_owned();
    for _ in 0..MAX_LAYERS {
        let bare = found.prefixes(&rest).to_owned();
        match inner(&bare).and_then(|value| found.value(value, MAX_LAYERS)) {
            Some(next) if !next.trim().is_empty() => rest = next.trim().to_owned(),
            _ => {
                rest = bare;
                break;
            }
        }
    }
    found.message = rest;
    found
}

impl Unwrapped {
    /// All that was found in one line, for patterns to look at.
    pub fn flat(&self) -> String {
        let mut line = String::new();
        for part in [&self.wrapper, &self.error_type, &self.code].into_iter().flatten() {
            line.push_str(part);
            line.push(' ');
        }
        if let Some(status) = self.status {
            line.push_str(&format!("status code {status} "));
        }
        line.push_str(&self.message);
        line
    }

    /// Takes off what stands before the message, and remembers it.
    fn prefixes<'text>(&mut self, text: &'text str) -> &'text str {
        let mut rest = text;
        // Ends: each turn shortens `rest`, or is the last.
        loop {
            let before = rest.len();
            rest = rest.trim_start();
            if let Some((name, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once("] "))
                && !name.is_empty()
                && name.len() <= MAX_NAME
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-./: ".contains(c))
            {
                self.provider.get_or_insert_with(|| name.to_owned());
                rest = after;
            }
            for words in ["Run failed: ", "Error: "] {
                rest = rest.strip_prefix(words).unwrap_or(rest);
            }
            for words in ["API request failed with status code ", "Error code: ", "status code "] {
                if let Some((status, after)) = rest.strip_prefix(words).and_then(status) {
                    self.status = Some(status);
                    rest = after;
                }
            }
            if let Some((name, after)) = rest.split_once(": ")
                && is_error_name(name)
            {
                let name = name.rsplit('.').next().unwrap_or(name).to_owned();
                match self.wrapper {
                    None => self.wrapper = Some(name),
                    Some(_) => self.error_type = Some(name),
                }
                rest = after;
            }
            if rest.len() == before {
                return rest;
            }
        }
    }

    /// What the next layer says; `None` where this one says nothing more.
    fn value(&mut self, value: Value, layers: usize) -> Option<String> {
        match value {
            Value::String(text) => Some(text),
            Value::Array(mut items) if !items.is_empty() && layers > 0 => {
                self.value(items.swap_remove(0), layers - 1)
            }
            Value::Object(object) if layers > 0 => self.object(object, layers),
            _ => None,
        }
    }

    fn object(&mut self, mut object: Map<String, Value>, layers: usize) -> Option<String> {
        if let Some(Value::String(name)) = object.get("error_type") {
            self.error_type = Some(shorten(name));
        }
        for key in ["code", "type", "status"] {
            match object.get(key) {
                Some(Value::String(code)) if !code.is_empty() => {
                    self.code = Some(shorten(code));
                    break;
                }
                _ => {}
            }
        }
        // `status` is how Dify says its own; the provider's is in the others.
        let status =
            ["status_code", "http_status", "code"].into_iter().find_map(|key| object.get(key)?.as_u64());
        if let Some(status) = status.filter(|status| (400..600).contains(status)) {
            self.status = u16::try_from(status).ok();
        }
        let keys = ["message", "error", "msg", "error_message", "detail", "description", "errors", "args"];
        keys.into_iter().find_map(|key| {
            let said = object.get_mut(key).map(Value::take)?;
            self.value(said, layers - 1).filter(|text| !text.trim().is_empty())
        })
    }
}

/// The JSON, or Python's print of a dictionary, that `text` is or holds.
fn inner(text: &str) -> Option<Value> {
    if text.starts_with('"') {
        return first_value(text).filter(Value::is_string);
    }
    for (at, _) in text.match_indices('{').take(MAX_BRACES) {
        let text = &text[at..];
        let found = first_value(text)
            .or_else(|| first_value(&text.replace("\\\"", "\"")))
            .or_else(|| first_value(&json_of_python(text)));
        if let Some(Value::Object(object)) = found
            && !object.is_empty()
        {
            return Some(Value::Object(object));
        }
    }
    None
}

/// The value at the start of `text`, whatever stands behind it.
fn first_value(text: &str) -> Option<Value> {
    serde_json::Deserializer::from_str(text).into_iter::<Value>().next()?.ok()
}

/// `{'a': None}` as JSON. Only what `repr` prints of dictionaries, lists, strings, numbers and the three words.
fn json_of_python(text: &str) -> String {
    let mut json = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\'' | '"' => {
                json.push('"');
                python_string(&mut characters, character, &mut json);
                json.push('"');
            }
            letter if letter.is_ascii_alphabetic() => {
                let mut word = String::from(letter);
                while let Some(next) = characters.next_if(char::is_ascii_alphabetic) {
                    word.push(next);
                }
                json.push_str(match word.as_str() {
                    "None" => "null",
                    "True" => "true",
                    "False" => "false",
                    other => other,
                });
            }
            other => json.push(other),
        }
    }
    json
}

/// The rest of a string that began with `quote`, escaped as JSON wants it.
fn python_string(characters: &mut std::iter::Peekable<std::str::Chars<'_>>, quote: char, json: &mut String) {
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('\'') => json.push('\''),
                Some('x') => {
                    json.push_str("\\u00");
                    json.extend(characters.by_ref().take(2));
                }
                Some(escaped @ ('"' | '\\' | 'n' | 'r' | 't' | 'u')) => json.extend(['\\', escaped]),
                Some(other) => json.push(other),
                None => return,
            },
            end if end == quote => return,
            '"' => json.push_str("\\\""),
            '\n' => json.push_str("\\n"),
            control if control.is_control() => json.push(' '),
            other => json.push(other),
        }
    }
}

/// `429: …` or `429 - …`.
fn status(text: &str) -> Option<(u16, &str)> {
    let digits = text.get(..3)?;
    let status = digits.parse().ok().filter(|status| (100..600).contains(status))?;
    let rest = text[3..].trim_start_matches([':', ' ', '-', ',']);
    Some((status, rest))
}

fn is_error_name(name: &str) -> bool {
    let ends = ["Error", "Exception", "Timeout", "Unavailable"];
    name.len() <= MAX_NAME
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
        && ends.iter().any(|end| name.ends_with(end))
}

fn shorten(name: &str) -> String {
    name[..name.floor_char_boundary(MAX_NAME)].to_owned()
}
