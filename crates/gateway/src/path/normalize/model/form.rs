//! The forms with files (`multipart/form-data`, RFC 7578) in which sounds and images come: which model, what else
//! decides something, and where the model's name stands in the bytes. Files are not copied and not read.
//!
//! Stricter than most readers, so that no provider finds another model in the same bytes: no preamble, no bare line
//! feeds at boundaries, every known field once and as plain text.

use std::ops::Range;

use memchr::memmem;

use super::scan::{Scanned, Unreadable};

/// Forms of this API have ten fields and sixteen images at most.
const MAX_PARTS: usize = 64;
const MAX_PART_HEAD_BYTES: usize = 4 * 1024;
/// RFC 2046 §5.1.1.
const MAX_BOUNDARY_BYTES: usize = 70;

/// The boundary that a `Content-Type` of a form names.
pub(crate) fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let mut found = None;
    for parameter in Parameters(parameters) {
        let (name, value) = parameter?;
        if name.eq_ignore_ascii_case("boundary") && found.replace(value).is_some() {
            return None;
        }
    }
    found.filter(|boundary| is_boundary(boundary))
}

fn is_boundary(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    (1..=MAX_BOUNDARY_BYTES).contains(&text.len()) && text.bytes().all(known) && !text.ends_with(' ')
}

pub(crate) fn scan(body: &[u8], boundary: &str) -> Result<Scanned, Unreadable> {
    let mut form = Form::default();
    for part in parts(body, boundary)? {
        form.part(body, part)?;
    }
    Ok(form.found)
}

/// Head and content of one part, as places in the body.
struct Part {
    head: Range<usize>,
    content: Range<usize>,
}

fn parts(body: &[u8], boundary: &str) -> Result<Vec<Part>, Unreadable> {
    let line = format!("\n--{boundary}");
    let next_line = memmem::Finder::new(line.as_bytes());
    let after_first = body.strip_prefix(&line.as_bytes()[1..]).and_then(|rest| rest.strip_prefix(b"\r\n"));
    let mut begun = body.len() - after_first.ok_or_else(|| bad("it does not begin with its boundary"))?.len();
    let mut parts = Vec::new();
    while parts.len() < MAX_PARTS {
        let rest = &body[begun..];
        let head_window = &rest[..rest.len().min(MAX_PART_HEAD_BYTES)];
        let head_length = memmem::find(head_window, b"\r\n\r\n").ok_or_else(|| bad("a part has no head"))?;
        let head = begun..begun + head_length;
        // The line end before a boundary belongs to it, and may be the one that ends the head of an empty part.
        let content_start = head.end + 4;
        let line_at = next_line.find(&body[content_start - 1..]).map(|at| content_start - 1 + at);
        let line_at = line_at.ok_or_else(|| bad("a part has no end"))?;
        if line_at <= content_start || body[line_at - 1] != b'\r' {
            return Err(bad("a boundary does not stand on a line of its own"));
        }
        parts.push(Part { head, content: content_start..line_at - 1 });
        match &body[line_at + line.len()..] {
            [b'\r', b'\n', ..] => begun = line_at + line.len() + 2,
            b"--" | b"--\r\n" => return Ok(parts),
            _ => {
                return Err(bad("a boundary is followed by something else, or the form by more than itself"));
            }
        }
    }
    Err(bad("it has too many parts"))
}

fn bad(why: &'static str) -> Unreadable {
    Unreadable::Form(why)
}

/// What the head of a part says.
#[derive(Default)]
struct Head<'a> {
    name: &'a str,
    is_file: bool,
    /// Not text in UTF-8 as it stands.
    is_encoded: bool,
}

fn head_of(head: &[u8]) -> Result<Head<'_>, Unreadable> {
    let head = std::str::from_utf8(head).map_err(|_| bad("a part's head is not UTF-8"))?;
    let mut found = Head::default();
    let mut is_named = false;
    for line in head.split("\r\n") {
        if line.contains(char::is_control) || line.starts_with(' ') {
            return Err(bad("a part's head has control characters or folded lines in it"));
        }
        let (name, value) =
            line.split_once(':').ok_or_else(|| bad("a line of a part's head is no header"))?;
        match name.to_ascii_lowercase().as_str() {
            "content-disposition" if is_named => return Err(bad("a part is named twice")),
            "content-disposition" => {
                is_named = true;
                disposition(value, &mut found)?;
            }
            "content-transfer-encoding" => {
                let plain = ["7bit", "8bit", "binary"];
                found.is_encoded |= !plain.iter().any(|plain| value.trim().eq_ignore_ascii_case(plain));
            }
            "content-type" => found.is_encoded |= names_another_charset(value),
            _ => {}
        }
    }
    match is_named && !found.name.is_empty() {
        true => Ok(found),
        false => Err(bad("a part has no name")),
    }
}

fn names_another_charset(content_type: &str) -> bool {
    let lower = content_type.to_ascii_lowercase();
    match lower.split_once("charset=") {
        Some((_, charset)) => !["utf-8", "utf8", "us-ascii"].contains(&charset.trim_matches(['"', ' '])),
        None => false,
    }
}

fn disposition<'a>(value: &'a str, found: &mut Head<'a>) -> Result<(), Unreadable> {
    let (kind, parameters) = value.split_once(';').ok_or_else(|| bad("a part has no name"))?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(bad("a part is no form-data"));
    }
    for parameter in Parameters(parameters) {
        let (name, value) = parameter.ok_or_else(|| bad("a part's name cannot be read"))?;
        match name.to_ascii_lowercase().as_str() {
            // A backslash, or RFC 5987's name*, could be read as another name.
            "name" if found.name.is_empty() && !value.is_empty() && !value.contains('\\') => {
                found.name = value
            }
            "name" | "name*" => return Err(bad("a part's name is empty, there twice or encoded")),
            "filename" | "filename*" => found.is_file = true,
            _ => {}
        }
    }
    Ok(())
}

/// `; name=value; name="value"`: `None` where it cannot be read. A quoted value is given as it stands, without its
/// quotes.
struct Parameters<'a>(&'a str);

impl<'a> Iterator for Parameters<'a> {
    type Item = Option<(&'a str, &'a str)>;

    fn next(&mut self) -> Option<Option<(&'a str, &'a str)>> {
        self.0 = self.0.trim_start_matches([' ', '\t', ';']);
        if self.0.is_empty() {
            return None;
        }
        let parameter = self.read();
        if parameter.is_none() {
            self.0 = "";
        }
        Some(parameter)
    }
}

impl<'a> Parameters<'a> {
    fn read(&mut self) -> Option<(&'a str, &'a str)> {
        let (name, rest) = self.0.split_once('=')?;
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = closing_quote(quoted)?;
                (&quoted[..end], quoted[end + 1..].trim_start())
            }
            None => {
                let end = rest.find(';').unwrap_or(rest.len());
                (rest[..end].trim_end(), &rest[end..])
            }
        };
        self.0 = rest;
        let is_clean = !name.trim().is_empty() && !name.contains(['"', ';', ' ']);
        (is_clean && (rest.is_empty() || rest.starts_with(';'))).then_some((name, value))
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| match byte {
        _ if is_escaped => {
            is_escaped = false;
            false
        }
        b'\\' => {
            is_escaped = true;
            false
        }
        byte => byte == b'"',
    })
}

#[derive(Default)]
struct Form {
    found: Scanned,
    seen: Vec<&'static str>,
}

/// The fields that decide something.
const KNOWN: [&str; 7] = ["model", "stream", "temperature", "n", "prompt", "user", "response_format"];

impl Form {
    fn part(&mut self, body: &[u8], part: Part) -> Result<(), Unreadable> {
        let head = head_of(&body[part.head])?;
        let Some(name) = KNOWN.into_iter().find(|known| *known == head.name) else {
            if head.is_file {
                self.file(head.name);
            }
            return Ok(());
        };
        let wrong = |why| Unreadable::Field { name, why };
        if self.seen.contains(&name) {
            return Err(wrong("is there twice"));
        }
        self.seen.push(name);
        if head.is_file || head.is_encoded {
            return Err(wrong("must be a plain text in UTF-8, not a file"));
        }
        let text =
            std::str::from_utf8(&body[part.content.clone()]).map_err(|_| wrong("must be a text in UTF-8"))?;
        self.field(name, text, part.content).map_err(wrong)
    }

    fn file(&mut self, name: &str) {
        match name.starts_with("image") || name == "mask" {
            true => self.found.prompt.images += 1,
            false => self.found.prompt.sounds += 1,
        }
    }

    fn field(&mut self, name: &str, text: &str, at: Range<usize>) -> Result<(), &'static str> {
        let found = &mut self.found;
        match name {
            "model" if text.contains(char::is_control) => return Err("has control characters in it"),
            "model" => (found.model, found.spots.model) = (Some(text.to_owned()), Some(at)),
            "stream" => {
                found.streams = match text.to_ascii_lowercase().as_str() {
                    "true" | "1" => true,
                    "false" | "0" | "" => false,
                    _ => return Err("must be true or false"),
                }
            }
            "temperature" => found.temperature = Some(text.parse().map_err(|_| "must be a number")?),
            "n" => found.choices = Some(text.parse().map_err(|_| "must be a whole number")?),
            "prompt" => found.prompt.add_text(text),
            "user" => found.user = Some(text.to_owned()).filter(|user| !user.contains(char::is_control)),
            _ => {}
        }
        Ok(())
    }
}
