//! The same failure under one line: what differs from one occurrence to the next is taken out.

use super::unwrap;

/// How long a line may get.
const MAX_LINE: usize = 200;
/// A word of letters and digits from this length on is an id or a key.
const LONG_WORD: usize = 20;
/// How much of a text is read.
const MAX_BYTES: usize = 4 * 1024;

/// What failures of one kind have in common: the innermost message without what is particular to one of them.
pub fn group(text: &str) -> String {
    let inner = unwrap(text);
    let name = inner.error_type.or(inner.wrapper);
    let status = inner.status.map(|status| format!("status code {status}"));
    let message = normalize(last_line_of_traceback(&inner.message));
    let mut parts: Vec<String> = name.into_iter().chain(status).collect();
    parts.push(message);
    cut(parts.join(": "))
}

/// `text` with ids, numbers, addresses and keys replaced by what they are: `<id>`, `<n>`, `<url>`, `<email>`.
pub fn normalize(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(MAX_BYTES)];
    let mut line = String::with_capacity(text.len().min(MAX_LINE));
    let mut before = "";
    let mut rest = text.trim();
    while let Some(first) = rest.chars().next() {
        if line.len() > MAX_LINE {
            break;
        }
        let word = word(rest);
        if word.is_empty() {
            match first.is_whitespace() {
                true if line.ends_with(' ') => {}
                true => line.push(' '),
                false => line.push(first),
            }
            rest = &rest[first.len_utf8()..];
            continue;
        }
        line.push_str(replaced(word, before));
        before = word;
        rest = &rest[word.len()..];
    }
    cut(line)
}

fn cut(mut line: String) -> String {
    line.truncate(line.floor_char_boundary(MAX_LINE));
    line
}

/// The word at the start of `text`; an address with everything that belongs to it.
fn word(text: &str) -> &str {
    let plain = |c: char| c.is_alphanumeric() || "_-.@".contains(c);
    let end = text.find(|c| !plain(c)).unwrap_or(text.len());
    if text[end..].starts_with("://") {
        let end = text.find(|c: char| c.is_whitespace() || "\"'<>),;".contains(c)).unwrap_or(text.len());
        return &text[..end];
    }
    // A full stop ends a sentence.
    text[..end].trim_end_matches('.')
}

fn replaced<'word>(word: &'word str, before: &str) -> &'word str {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    if word.contains("://") {
        return "<url>";
    }
    if word.contains('@') && word.contains('.') {
        return "<email>";
    }
    let is_status = digits == 3
        && word.len() == 3
        && ["code", "status", "http"].iter().any(|name| before.eq_ignore_ascii_case(name));
    if is_status || digits == 0 && word.len() < 2 * LONG_WORD {
        return word;
    }
    if letters == 0 {
        return "<n>";
    }
    let hexadecimal = word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if word.len() >= LONG_WORD || hexadecimal && word.len() >= 8 || word.starts_with("sk-") {
        return "<id>";
    }
    // `12.5s`, `4096MB`, `0x1f`: a measure; `gpt-4o` and `v1` are names.
    if word.starts_with(|c: char| c.is_ascii_digit()) { "<n>" } else { word }
}

/// The line that names the error, where `text` is a traceback.
fn last_line_of_traceback(text: &str) -> &str {
    if !text.starts_with("Traceback (most recent call last)") {
        return text;
    }
    text.trim_end().lines().last().unwrap_or(text)
}
