//! What commands print: lines, JSON and aligned tables on standard output; narration on standard error.

use std::{borrow::Cow, io::Write};

use serde_json::Value;

/// Widest column of a table. A cell that is wider stands whole and moves only the rest of its own row: a name is there to
/// be typed, and a reason is mostly in its end.
const WIDEST_COLUMN_CHARS: usize = 72;
/// Longest text of others in a line; what is longer is cut with `…` (`--json` has it whole).
const MAX_TEXT_CHARS: usize = 2_000;

/// Prints lines on standard output, without what drives a terminal. A reader that went away (`| head`) is no error of
/// ours.
pub(crate) fn line(text: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", printable(text.as_ref()));
    let _ = out.flush();
}

/// Prints the same on standard error.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", printable(text.as_ref()));
}

pub(crate) fn json(value: &Value) {
    line(pretty(value));
}

/// JSON that is the same for a program, and in which nothing drives a terminal: the format leaves C1 controls and marks of
/// direction as they are.
fn pretty(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    if !text.chars().any(|letter| letter != '\n' && drives_terminal(letter)) {
        return text;
    }
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        // Such a letter stands inside of a string only.
        if letter != '\n' && drives_terminal(letter) {
            safe.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            safe.push(letter);
        }
    }
    safe
}

/// Text of others without what drives a terminal. Lines and tabs stay.
fn printable(text: &str) -> Cow<'_, str> {
    let is_bad = |letter: char| !matches!(letter, '\n' | '\t') && drives_terminal(letter);
    if text.chars().any(is_bad) {
        text.chars().map(|letter| if is_bad(letter) { ' ' } else { letter }).collect()
    } else {
        text.into()
    }
}

/// Controls (C0, C1, DEL), and what turns the direction of the text around it, splits lines or cannot be seen.
pub(crate) fn drives_terminal(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A table with a head line; columns as wide as their widest cell, up to [`WIDEST_COLUMN_CHARS`].
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Table {
        Table { rows: vec![head.iter().map(|cell| cell.to_uppercase()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| clean(&cell)).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    pub(crate) fn print(&self, when_empty: &str) {
        if self.is_empty() {
            line(when_empty);
        } else {
            line(self.render());
        }
    }

    fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
                .min(WIDEST_COLUMN_CHARS)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut rendered = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                rendered.push_str(&format!("{cell:<width$}  "));
            }
            text.push_str(rendered.trim_end());
            text.push('\n');
        }
        text.pop();
        text
    }
}

/// The whole of a text of others in one line: it can neither drive the terminal nor look like a line of ours.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|letter| if drives_terminal(letter) { ' ' } else { letter }).collect()
}

/// The same, cut when it is longer than anything that is meant to be read.
pub(crate) fn clean(text: &str) -> String {
    let mut cleaned = one_line(text);
    if let Some((cut, _)) = cleaned.char_indices().nth(MAX_TEXT_CHARS) {
        let last = cleaned[..cut].char_indices().next_back().map_or(0, |(at, _)| at);
        cleaned.truncate(last);
        cleaned.push('…');
    }
    cleaned
}

/// A field of a JSON object in one line; `-` for what is not there.
pub(crate) fn cell(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => one_line(text),
        Some(other) => one_line(&other.to_string()),
    }
}

/// A microsecond timestamp of the API as UTC to the second.
pub(crate) fn time_cell(value: &Value, pointer: &str) -> String {
    let micros = value.pointer(pointer).and_then(Value::as_i64);
    match micros.and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok()) {
        Some(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => cell(value, pointer),
    }
}

/// Microseconds as a human reads them.
pub(crate) fn took(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_a_wide_cell_is_whole_and_moves_only_its_own_row() {
        let (wide, reason) = ("n".repeat(100), "r".repeat(300));
        let mut table = Table::new(&["id", "status", "why"]);
        table.row(["1", "succeeded", "-"].map(str::to_owned));
        table.row(["long-id", "failed", &reason].map(str::to_owned));
        table.row([&wide, "é", "-"].map(str::to_owned));
        let text = table.render();
        let lines: Vec<&str> = text.lines().collect();
        let status_at = WIDEST_COLUMN_CHARS + 2;
        assert_eq!(lines[0].find("STATUS"), Some(status_at));
        assert_eq!(lines[1].find("succeeded"), Some(status_at));
        assert_eq!(&lines[2][status_at..], format!("failed     {reason}"));
        assert_eq!(lines[3], format!("{wide}  é          -"));
    }

    #[test]
    fn only_what_nobody_reads_is_cut() {
        for (chars, shown) in
            [(MAX_TEXT_CHARS, MAX_TEXT_CHARS), (MAX_TEXT_CHARS + 1, MAX_TEXT_CHARS), (9_000, MAX_TEXT_CHARS)]
        {
            let cleaned = clean(&"ü".repeat(chars));
            assert_eq!((cleaned.chars().count(), cleaned.ends_with('…')), (shown, chars > MAX_TEXT_CHARS));
        }
    }

    #[test]
    fn a_stored_text_cannot_drive_the_terminal() {
        for (text, cell, whole) in [
            ("a\u{1b}[31mb\nc", "a [31mb c", "a [31mb\nc"),
            ("a\u{9b}31mb\u{7f}\r", "a 31mb  ", "a 31mb  "),
            ("\u{202e}drows\u{2066}\u{200f}\u{2028}", " drows   ", " drows   "),
            ("Grüße 你好 😀 مرحبا\t|", "Grüße 你好 😀 مرحبا |", "Grüße 你好 😀 مرحبا\t|"),
        ] {
            assert_eq!((clean(text).as_str(), printable(text).as_ref()), (cell, whole));
            assert_eq!(one_line(text), cell);
            let value = Value::String(text.to_owned());
            let json = pretty(&value);
            assert!(!json.chars().any(drives_terminal), "{json}");
            assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value, "the same for a program");
        }
    }

    #[test]
    fn times_are_read_by_humans() {
        assert_eq!(took(12), "12 µs");
        assert_eq!(took(1_500), "1.5 ms");
        assert_eq!(took(2_000_000), "2.00 s");
    }
}
