//! How values look in HTML: states, times, ids, JSON. Everything that leaves here is escaped; everything long is
//! clipped and says so, because the whole value is in the page's JSON twin.

use std::fmt::{self, Display, Write};

use askama::filters::HtmlSafe;
use mainstay_base::Micros;
use serde_json::Value;

use crate::tone::{self, Tone};

/// The most characters of one JSON value that a page shows.
pub(crate) const VALUE_SHOWN_MAX: usize = 8_192;
/// The most characters of one line of text (an error, a reason) that a page shows.
pub(crate) const TEXT_SHOWN_MAX: usize = 400;

/// Markup that is safe to write as it is: only this module and [`crate::svg`] make it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Html(String);

impl Html {
    pub(crate) fn trusted(markup: String) -> Html {
        Html(markup)
    }
}

impl Display for Html {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl HtmlSafe for Html {}

/// A state as shape and word: `succeeded`, `degraded`, `leased`.
pub(crate) fn state(word: &str) -> Html {
    Html(badge(tone::of(word), &words(word)))
}

fn badge(tone: Tone, word: &str) -> String {
    let (class, mark) = (tone.class(), mark_svg(tone));
    format!("<span class=\"state {class}\">{mark}{}</span>", escape(&clipped(word, TEXT_SHOWN_MAX)))
}

/// A word in the look of another: `current` as something good.
pub(crate) fn state_as(like: &str, word: &str) -> Html {
    Html(badge(tone::of(like), word))
}

/// A tone's shape alone, for places that say the word beside it.
pub(crate) fn mark(tone: &Tone) -> Html {
    Html(mark_svg(*tone))
}

/// The shape of a word of state.
pub(crate) fn mark_of(word: &str) -> Html {
    Html(mark_svg(tone::of(word)))
}

pub(crate) fn class_of(word: &str) -> &'static str {
    tone::of(word).class()
}

fn mark_svg(tone: Tone) -> String {
    let shape = match tone {
        Tone::Ok => r#"<circle cx="8" cy="8" r="6.5"/><path d="m5.2 8.2 2 2 3.6-4.2"/>"#,
        Tone::Warn => r#"<path d="M8 2 14.5 13.5h-13z"/><path d="M8 6.5v3M8 11.6v.1"/>"#,
        Tone::Bad => r#"<rect x="2" y="2" width="12" height="12" rx="1.5"/><path d="m5.5 5.5 5 5m0-5-5 5"/>"#,
        Tone::Busy => r#"<circle cx="8" cy="8" r="6.5"/><path d="M8 4.2V8l2.6 1.6"/>"#,
        Tone::Idle => r#"<circle cx="8" cy="8" r="6.5"/><path d="M5.2 8h5.6"/>"#,
    };
    format!(
        "<svg viewBox=\"0 0 16 16\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.6\" \
         stroke-linecap=\"round\" stroke-linejoin=\"round\" aria-hidden=\"true\">{shape}</svg>"
    )
}

/// `caller_gone` as people say it.
pub(crate) fn words(text: &str) -> String {
    text.replace(['_', '-'], " ")
}

/// How long ago, with the exact time behind it. The page's module keeps it counting.
pub(crate) fn age(now: &Micros, at: &Micros) -> Html {
    Html(format!(
        "<time datetime=\"{}\" title=\"{}\" data-age>{}</time>",
        iso(*at),
        utc(at),
        age_words(now.since(*at).as_secs())
    ))
}

/// The same for a time that may be absent.
pub(crate) fn age_or_dash(now: &Micros, at: &Option<Micros>) -> Html {
    at.as_ref().map_or_else(|| Html("–".to_owned()), |at| age(now, at))
}

fn age_words(seconds: u64) -> String {
    match seconds {
        0..5 => "now".to_owned(),
        5..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// `2026-11-23 02:17:27 UTC`.
pub(crate) fn utc(at: &Micros) -> String {
    timestamp(*at).map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// `02:17:27.125`, inside a `time` element that holds the date.
pub(crate) fn clock(at: &Micros) -> Html {
    let shown = timestamp(*at).map_or_else(String::new, |time| time.strftime("%H:%M:%S.%3f").to_string());
    Html(format!("<time datetime=\"{}\" title=\"{}\">{shown}</time>", iso(*at), utc(at)))
}

fn iso(at: Micros) -> String {
    timestamp(at).map_or_else(String::new, |time| time.to_string())
}

fn timestamp(at: Micros) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_microsecond(at.0).ok()
}

/// A length of time in three significant figures.
pub(crate) fn took(micros: &u64) -> String {
    let micros = *micros;
    let rounded = |whole: u64, unit: &str| {
        let tenths = micros * 10 / whole;
        if tenths < 100 {
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        } else {
            format!("{} {unit}", tenths / 10)
        }
    };
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => rounded(1_000, "ms"),
        1_000_000..120_000_000 => rounded(1_000_000, "s"),
        120_000_000..7_200_000_000 => format!("{} min {} s", micros / 60_000_000, micros / 1_000_000 % 60),
        7_200_000_000..172_800_000_000 => {
            format!("{} h {} min", micros / 3_600_000_000, micros / 60_000_000 % 60)
        }
        _ => format!("{} days", micros / 86_400_000_000),
    }
}

/// The same for what the store keeps, which has a sign for the databases' sake.
pub(crate) fn took_signed(micros: &i64) -> String {
    took(&micros.max(&0).unsigned_abs())
}

pub(crate) fn took_or_dash(micros: &Option<i64>) -> String {
    micros.as_ref().map_or_else(|| "–".to_owned(), took_signed)
}

/// From one time to another; a dash when either is unknown.
pub(crate) fn between(start: &Option<Micros>, end: &Option<Micros>) -> String {
    match (start, end) {
        (Some(start), Some(end)) => took(&u64::try_from(end.since(*start).as_micros()).unwrap_or(u64::MAX)),
        _ => "–".to_owned(),
    }
}

/// The end of an id, which is the part that differs: ids made together share their beginning.
pub(crate) fn short(id: &str) -> Html {
    let shown: String = match id.char_indices().rev().nth(7) {
        Some((at, _)) if at > 0 && id.len() > 12 => format!("…{}", &id[at..]),
        _ => id.to_owned(),
    };
    Html(format!("<code title=\"{}\">{}</code>", escape(id), escape(&shown)))
}

/// A subject of the timeline: `worker:0` as it is, an id in it by its end.
pub(crate) fn subject(text: &str) -> Html {
    match text.split_once(':') {
        Some((kind, id)) if id.len() > 12 => {
            let Html(id) = short(id);
            Html(format!("{} {id}", escape(kind)))
        }
        _ if mainstay_base::id::is_uuid(text) => short(text),
        _ => Html(escape(&clipped(text, TEXT_SHOWN_MAX))),
    }
}

/// A whole number with its thousands parted.
pub(crate) fn count(number: &impl Display) -> String {
    let number = number.to_string();
    let (sign, digits) = number.strip_prefix('-').map_or(("", number.as_str()), |digits| ("-", digits));
    let mut shown = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A line of text from outside, clipped.
pub(crate) fn text(text: &str) -> Html {
    let whole = text.chars().count();
    if whole <= TEXT_SHOWN_MAX {
        return Html(escape(text));
    }
    let mut shown = escape(&clipped(text, TEXT_SHOWN_MAX));
    let _ =
        write!(shown, " <span class=\"clipped\">({} characters; whole in the JSON)</span>", count(&whole));
    Html(shown)
}

/// The same for places that hold nothing but text: a title, an option.
pub(crate) fn line(text: &str) -> Html {
    Html(escape(&clipped(text, TEXT_SHOWN_MAX)))
}

/// Text that is edited and sent back: whole, and what turns its direction as a reference, which a box of text contains.
pub(crate) fn edited(text: &str) -> Html {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' | '<' | '>' | '"' | '\'' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(safe, "&#{};", u32::from(letter));
            }
            other => safe.push(other),
        }
    }
    Html(safe)
}

pub(crate) fn text_or_dash(line: &Option<String>) -> Html {
    line.as_deref().map_or_else(|| Html("–".to_owned()), text)
}

/// A JSON value, indented and clipped.
pub(crate) fn value(value: &Value) -> Html {
    let pretty = match value {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    preformatted(&pretty)
}

/// Text that keeps its lines, clipped.
pub(crate) fn preformatted(text: &str) -> Html {
    let whole = text.chars().count();
    let mut shown =
        format!("<pre class=\"value\" tabindex=\"0\">{}</pre>", escape(&clipped(text, VALUE_SHOWN_MAX)));
    if whole > VALUE_SHOWN_MAX {
        let _ = write!(
            shown,
            "<p class=\"clipped\">The first {} of {} characters. The whole value is in this page's JSON.</p>",
            count(&VALUE_SHOWN_MAX),
            count(&whole)
        );
    }
    Html(shown)
}

/// Whether a value is worth a heading of its own.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn clipped(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// As text of a page. What would turn the direction of the text around it, or drive a terminal into which it is copied, is
/// shown as a character that says that there is one.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&#38;"),
            '<' => safe.push_str("&#60;"),
            '>' => safe.push_str("&#62;"),
            '"' => safe.push_str("&#34;"),
            '\'' => safe.push_str("&#39;"),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => safe.push(char::REPLACEMENT_CHARACTER),
            other if other.is_control() && !other.is_whitespace() => safe.push(char::REPLACEMENT_CHARACTER),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_read_naturally() {
        for (micros, words) in [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_000, "1.0 ms"),
            (83_400, "83 ms"),
            (1_240_000, "1.2 s"),
            (61_000_000, "61 s"),
            (192_000_000, "3 min 12 s"),
            (7_260_000_000, "2 h 1 min"),
            (345_600_000_000, "4 days"),
        ] {
            assert_eq!(took(&micros), words);
        }
    }

    #[test]
    fn ages_read_naturally() {
        for (seconds, words) in
            [(0, "now"), (59, "59 s ago"), (60, "1 min ago"), (7_199, "1 h ago"), (172_800, "2 days ago")]
        {
            assert_eq!(age_words(seconds), words);
        }
    }

    #[test]
    fn whatever_comes_from_outside_is_escaped() {
        let hostile = "<script>alert('x')</script>\"&";
        for markup in [
            text(hostile),
            state(hostile),
            short(hostile),
            preformatted(hostile),
            value(&Value::String(hostile.to_owned())),
        ] {
            let markup = markup.to_string();
            assert!(!markup.contains("<script"), "{markup}");
            assert!(!markup.contains("'x'"), "{markup}");
        }
    }

    #[test]
    fn long_values_are_clipped_between_characters_and_say_so() {
        let long = "é".repeat(VALUE_SHOWN_MAX + 1);
        let shown = preformatted(&long).to_string();
        assert!(shown.contains("The first 8,192 of 8,193 characters"));
        assert!(text(&"ü".repeat(401)).to_string().contains("401 characters"));
    }

    #[test]
    fn an_id_is_shown_by_its_end_and_never_cut_inside_a_character() {
        assert!(short("0192f0c1-0000-7000-8000-00000000ab12").to_string().contains(">…0000ab12<"));
        assert!(short("short").to_string().contains(">short<"));
        let _ = short("ééééééééééééééééééé");
    }

    #[test]
    fn thousands_are_parted() {
        assert_eq!(count(&1_234_567_i64), "1,234,567");
        assert_eq!(count(&-12_i64), "-12");
        assert_eq!(count(&999_u64), "999");
    }
}
