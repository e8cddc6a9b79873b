//! The forms with files (`multipart/form-data`, RFC 7578) in which sounds and images come: which model, what else
//! decides something, and where the model's name stands in the bytes. Files are not copied and not read.
//!
//! Stricter than most readers, so that no provider finds another model in the same bytes: no preamble, no bare line
//! feeds at boundaries, every known field once and as plain text.

use std::ops::Range;

use memchr::memmem;

use super::scan::{Scanned, Unreadable};

/// Forms of this API have ten fields and sixteen images at most.
pub(crate) const MAX_PARTS: usize = 64;
pub(crate) const MAX_PART_HEAD_BYTES: usize = 4 * 1024;
/// RFC 2046 §5.1.1.
pub(crate) const MAX_BOUNDARY_BYTES: usize = 70;

/// The boundary that a `Content-Type` of a form names.
pub(crate) fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let mut found = None;
    for parameter in Parameters(parameters) {
        let (name, value) = parameter?;
        match name.to_ascii_lowercase().as_str() {
            "boundary" if found.replace(value).is_some() => return None,
            // RFC 2231: `boundary*0=b; boundary*1=c` is another boundary to readers that know it.
            name if name.starts_with("boundary*") => return None,
            _ => {}
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
            // A backslash could be read as another name.
            "name" if found.name.is_empty() && !value.is_empty() && !value.contains('\\') => {
                found.name = value
            }
            "name" => return Err(bad("a part's name is empty, there twice or encoded")),
            "filename" => found.is_file = true,
            // RFC 2231 and 5987: `name*=utf-8''model`, `name*0="mod"; name*1="el"`.
            name if name.starts_with("name*") => return Err(bad("a part's name is encoded")),
            name if name.starts_with("filename*") => found.is_file = true,
            _ => {}
        }
    }
    Ok(())
}

/// `; name=value; name="value"`: `None` where two readers could read it differently. A quoted value is given as it
/// stands, without its quotes.
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
        let (value, rest, is_clean) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = closing_quote(quoted)?;
                // Some readers take the quote after a backslash for the end.
                let value = &quoted[..end];
                (value, quoted[end + 1..].trim_start(), !value.contains('"'))
            }
            None => {
                let end = rest.find(';').unwrap_or(rest.len());
                let value = rest[..end].trim_end();
                // `name= "model"` has a name for a reader that skips the blank.
                (value, &rest[end..], !value.contains([' ', '\t', '"', '\\']))
            }
        };
        self.0 = rest;
        let is_clean = is_clean && !name.is_empty() && !name.contains(['"', ';', ' ', '\t']);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str =
        "Content-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg";

    fn named(name: &str) -> String {
        format!("Content-Disposition: form-data; name=\"{name}\"")
    }

    fn form(parts: &[(&str, &str)]) -> String {
        let parts = parts.iter().map(|(head, content)| format!("--b\r\n{head}\r\n\r\n{content}\r\n"));
        parts.collect::<String>() + "--b--\r\n"
    }

    #[test]
    fn the_fields_beside_the_files_are_found() {
        let body = form(&[
            (FILE, "\r\n--c\r\nID3\0\n\r--bb"),
            (&named("model"), "whisper"),
            (&named("stream"), "true"),
            (&named("temperature"), "0"),
            (&named("prompt"), "12345678"),
            (&named("user"), ""),
            (&named("language"), "de"),
        ]);
        let found = scan(body.as_bytes(), "b").unwrap();
        assert_eq!(found.model.as_deref(), Some("whisper"));
        assert_eq!(&body[found.spots.model.unwrap()], "whisper");
        assert!(found.streams && found.temperature == Some(0.0));
        assert_eq!((found.prompt.sounds, found.prompt.images), (1, 0));
        let edits = "Content-Disposition: form-data; filename=\"a.png\"; name=\"image[]\"";
        let found = scan(form(&[(edits, "x"), (edits, "y"), (&named("n"), "2")]).as_bytes(), "b").unwrap();
        assert_eq!((found.prompt.images, found.choices, found.model), (2, Some(2), None));
    }

    #[test]
    fn boundaries_are_read_strictly() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=b", Some("b")),
            ("Multipart/Form-Data;charset=utf-8; BOUNDARY=\"a b\"", Some("a b")),
            ("multipart/form-data; boundary=b;", Some("b")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=\"\"", None),
            ("multipart/form-data; boundary=b; boundary=c", None),
            ("multipart/form-data; boundary=----=_Part_1.2", Some("----=_Part_1.2")),
            // What a reader of RFC 2231, or one that skips blanks, would take for another boundary.
            ("multipart/form-data; boundary=b; boundary*=utf-8''c", None),
            ("multipart/form-data; boundary*0=b; boundary*1=c", None),
            ("multipart/form-data; boundary\t=c; boundary=b", None),
            ("multipart/form-data; boundary= \"c\"; boundary=b", None),
            ("multipart/form-data; boundary=\"b", None),
            ("multipart/form-data; boundary=\"b\"c", None),
            ("multipart/form-data; boundary=a\u{e9}", None),
            ("multipart/mixed; boundary=b", None),
            ("application/json; boundary=b", None),
        ] {
            assert_eq!(boundary(content_type), expected, "{content_type}");
        }
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        assert_eq!(boundary(&long), None);
    }

    #[test]
    fn a_form_that_two_readers_could_read_differently_is_refused() {
        let model = named("model");
        let good = form(&[(&model, "a")]);
        assert!(scan(good.as_bytes(), "b").is_ok());
        for bad in [
            String::new(),
            "--b--\r\n".to_owned(),
            "--b\r\n".to_owned(),
            format!("preamble\r\n{good}"),
            format!("\r\n{good}"),
            format!("{good}epilogue"),
            good.replace("--b--", "--b"),
            good.replace("\r\n", "\n"),
            good.replace("a\r\n--b--", "a\n--b--"),
            good.replace("a\r\n--b--", "a--b--"),
            good.replace("a\r\n--b--", "--b--"),
            form(&[(&model, "a\r\n--b \r\nx")]),
            form(&[(&model, "a\r\n--bc")]),
            form(&[(&model, "a\n--b\r\nx")]),
            form(&[("", "a")]),
            form(&[("X: y", "a")]),
            form(&[("Content-Disposition: form-data", "a")]),
            form(&[("Content-Disposition: form-data; name=\"\"", "a")]),
            form(&[("Content-Disposition: attachment; name=\"model\"", "a")]),
            form(&[("Content-Disposition: form-data; name=\"mod\\el\"", "a")]),
            form(&[("Content-Disposition: form-data; name*=utf-8''model", "a")]),
            form(&[("Content-Disposition: form-data; name=\"x\"; name*0=\"model\"", "a")]),
            form(&[("Content-Disposition: form-data; name= \"model\"", "a"), (&model, "b")]),
            form(&[("Content-Disposition: form-data; x=\"\\\"; name=model; y=\"; name=\"x\"", "a")]),
            form(&[("Content-Disposition: form-data; name=\"x\"; name=\"model\"", "a")]),
            form(&[(&format!("{model}\r\n{}", named("x")), "a")]),
            form(&[(&format!("{model}\r\n folded: x"), "a")]),
            form(&[(&format!("{model}\nX: y"), "a")]),
            form(&[(&format!("{model}\r\nX: {}", "y".repeat(MAX_PART_HEAD_BYTES)), "a")]),
            form(&vec![(model.as_str(), "a"); MAX_PARTS + 1]),
        ] {
            let read = scan(bad.as_bytes(), "b");
            assert!(matches!(read, Err(Unreadable::Form(_))), "{bad:?}: {read:?}");
        }
    }

    #[test]
    fn a_known_field_must_be_plain_and_stand_once() {
        let model = named("model");
        let cases: [(&str, &[(&str, &str)]); 9] = [
            ("model", &[(&model, "a"), (&model, "b")]),
            ("model", &[("Content-Disposition: form-data; name=model; filename=x", "a")]),
            ("model", &[("Content-Disposition: form-data; name=model; filename*0=x", "a")]),
            ("model", &[(&format!("{model}\r\nContent-Transfer-Encoding: base64"), "YQ==")]),
            ("model", &[(&format!("{model}\r\nContent-Type: text/plain; charset=utf-16"), "a")]),
            ("model", &[(&model, "a\r\nb")]),
            ("model", &[(&model, "a\0")]),
            ("stream", &[(&named("stream"), "yes")]),
            ("n", &[(&named("n"), "-1")]),
        ];
        for (field, parts) in cases {
            match scan(form(parts).as_bytes(), "b") {
                Err(Unreadable::Field { name, .. }) => assert_eq!(name, field, "{parts:?}"),
                other => panic!("{parts:?}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body in "(--b|\r\n|\n|--|[a-z:;=\" ]|name|model){0,60}") {
            let _ = scan(body.as_bytes(), "b");
        }

        #[test]
        fn a_file_of_any_bytes_hides_no_model(file in prop::collection::vec(any::<u8>(), 0..300)) {
            let head = format!("--b\r\n{FILE}\r\n\r\n");
            let tail = format!("\r\n--b\r\n{}\r\n\r\nreal\r\n--b--\r\n", named("model"));
            let body = [head.as_bytes(), &file, tail.as_bytes()].concat();
            if let Ok(found) = scan(&body, "b") {
                prop_assert_eq!(found.model.as_deref(), Some("real"));
            }
        }
    }
}
