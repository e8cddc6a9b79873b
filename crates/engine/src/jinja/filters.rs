//! Filters that minijinja lacks, or whose answers differ from those of Python's Jinja2.

use minijinja::{Environment, Error, ErrorKind, State, Value as Jinja, value::Kwargs};
use serde_json::Value;

use crate::python;

/// Spaces that `tojson(indent=…)` and `center(…)` may ask for.
const MAX_SPACES: usize = 10_000;
const DEFAULT_WIDTH: usize = 80;
const DEFAULT_LENGTH: usize = 255;
const DEFAULT_LEEWAY: usize = 5;

pub(super) fn add(environment: &mut Environment<'_>) {
    environment.add_filter("tojson", tojson);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("truncate", truncate);
    environment.add_filter("center", center);
    environment.add_filter("wordcount", wordcount);
    environment.add_filter("striptags", minijinja_contrib::filters::striptags);
    environment.add_filter("filesizeformat", minijinja_contrib::filters::filesizeformat);
    for name in ["e", "escape", "forceescape"] {
        environment.add_filter(name, escape);
    }
}

/// Keys in order, ASCII only, and without the characters that mean something in HTML.
fn tojson(value: &Jinja, indent: Option<usize>, kwargs: Kwargs) -> Result<String, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => kwargs.get::<Option<usize>>("indent")?,
    };
    kwargs.assert_all_used()?;
    let written = minijinja::filters::tojson(value, None, Kwargs::from_iter::<[(&str, Jinja); 0]>([]))?;
    let mut value: Value = serde_json::from_str(written.as_str().unwrap_or_default()).map_err(|error| {
        Error::new(ErrorKind::InvalidOperation, format!("the value cannot be written as JSON: {error}"))
    })?;
    value.sort_all_objects();
    let text = match indent {
        None => python::json_dumps(&value, false),
        Some(indent) => indented(&value, checked_spaces(indent)?),
    };
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' | '>' | '&' | '\'' | '\u{7f}'.. => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    safe.push_str(&format!("\\u{unit:04x}"));
                }
            }
            character => safe.push(character),
        }
    }
    Ok(safe)
}

/// As `json_dumps` indents, by another width: a line break is never inside of a string.
fn indented(value: &Value, width: usize) -> String {
    const WIDTH: usize = 2;
    let text = python::json_dumps(value, true);
    let lines = text.lines().map(|line| {
        let content = line.trim_start_matches(' ');
        let depth = (line.len() - content.len()) / WIDTH;
        format!("{}{content}", " ".repeat(depth * width))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn checked_spaces(count: usize) -> Result<usize, Error> {
    match count <= MAX_SPACES {
        true => Ok(count),
        false => Err(Error::new(ErrorKind::InvalidOperation, format!("{count} is more than {MAX_SPACES}"))),
    }
}

/// What is no number becomes the default, which is 0.
fn int(
    state: &State<'_, '_>,
    value: &Jinja,
    default: Option<Jinja>,
    base: Option<u32>,
    kwargs: Kwargs,
) -> Result<Jinja, Error> {
    let default = given_default(default, &kwargs)?.unwrap_or_else(|| Jinja::from(0));
    let trimmed = trimmed(value);
    let read = minijinja::filters::int(state, &trimmed, Some(default.clone()), base, kwargs);
    or_default(read, default)
}

fn float(
    state: &State<'_, '_>,
    value: &Jinja,
    default: Option<Jinja>,
    kwargs: Kwargs,
) -> Result<Jinja, Error> {
    let default = given_default(default, &kwargs)?.unwrap_or_else(|| Jinja::from(0.0));
    let trimmed = trimmed(value);
    let read = minijinja::filters::float(state, &trimmed, Some(default.clone()), kwargs);
    or_default(read, default)
}

fn given_default(default: Option<Jinja>, kwargs: &Kwargs) -> Result<Option<Jinja>, Error> {
    match default {
        Some(default) => Ok(Some(default)),
        None => kwargs.get("default"),
    }
}

fn trimmed(value: &Jinja) -> Jinja {
    value.as_str().map_or_else(|| value.clone(), |text| Jinja::from(text.trim()))
}

fn or_default(read: Result<Jinja, Error>, default: Jinja) -> Result<Jinja, Error> {
    match read {
        Err(error) if error.kind() == ErrorKind::InvalidOperation => Ok(default),
        read => read,
    }
}

fn truncate(
    text: String,
    length: Option<usize>,
    killwords: Option<bool>,
    end: Option<String>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let length = match length {
        Some(length) => length,
        None => kwargs.get::<Option<usize>>("length")?.unwrap_or(DEFAULT_LENGTH),
    };
    let killwords = match killwords {
        Some(killwords) => killwords,
        None => kwargs.get::<Option<bool>>("killwords")?.unwrap_or(false),
    };
    let end = match end {
        Some(end) => end,
        None => kwargs.get::<Option<String>>("end")?.unwrap_or_else(|| "...".to_owned()),
    };
    let leeway = kwargs.get::<Option<usize>>("leeway")?.unwrap_or(DEFAULT_LEEWAY);
    kwargs.assert_all_used()?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let kept: String = text.chars().take(length.saturating_sub(end.chars().count())).collect();
    let kept =
        if killwords { kept.as_str() } else { kept.rsplit_once(' ').map_or(&*kept, |(words, _)| words) };
    Ok(format!("{kept}{end}"))
}

/// As `str.center`: the odd space goes where Python puts it.
fn center(text: String, width: Option<usize>) -> Result<String, Error> {
    let width = checked_spaces(width.unwrap_or(DEFAULT_WIDTH))?;
    let spaces = width.saturating_sub(text.chars().count());
    let left = spaces / 2 + (spaces & width & 1);
    Ok(format!("{}{text}{}", " ".repeat(left), " ".repeat(spaces - left)))
}

fn wordcount(text: String) -> usize {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    text.split(|character| !is_word(character)).filter(|word| !word.is_empty()).count()
}

fn escape(value: &Jinja) -> String {
    let text = value.to_string();
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&#39;"),
            '"' => escaped.push_str("&#34;"),
            character => escaped.push(character),
        }
    }
    escaped
}
