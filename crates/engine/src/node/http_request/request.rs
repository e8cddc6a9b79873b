//! A node's fields and a run's values to one request.

use std::fmt::Write;

use mainstay_base::Kind;
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::{Body, HttpRequest};
use crate::{
    node::Failed,
    pool::View,
    python, segment,
    template::{Segment, Template},
};

/// Separates the parts of a form. No value may hold it, which is checked.
const BOUNDARY_START: &str = "----MainstayFormBoundary";

/// A request that is ready to be sent.
pub(super) struct Prepared {
    pub(super) method: http::Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(String, String)>,
    /// The header that holds a secret.
    pub(super) secret: Option<String>,
    pub(super) body: String,
}

impl Prepared {
    pub(super) fn of(node: &HttpRequest, view: &View<'_>) -> Result<Prepared, Box<Failed>> {
        let url = url(node, view)?;
        let mut headers = headers(&view.text(&node.headers));
        let secret = match &node.authorization {
            None => None,
            Some(authorization) => {
                let api_key = view.text(&authorization.api_key);
                if api_key.trim().is_empty() {
                    let message = "API key is required for authorization but was empty. Please provide a valid API key.";
                    return Err(Failed::new(message, "AuthorizationConfigError", Kind::Caller));
                }
                set(&mut headers, &authorization.header, authorization.value(&api_key));
                Some(authorization.header.clone())
            }
        };
        let (body, content_type) = body(&node.body, view)?;
        match (content_type, &node.body) {
            // The boundary is ours, so is the type.
            (Some(content_type), Body::Multipart(_)) => set(&mut headers, "Content-Type", content_type),
            (Some(content_type), _) if !has(&headers, "content-type") => {
                headers.push(("Content-Type".to_owned(), content_type));
            }
            _ => {}
        }
        Ok(Prepared { method: node.method.clone(), url, headers, secret, body })
    }

    /// The request as text, for the node's record; secrets are stars.
    pub(super) fn log(&self) -> String {
        let mut text = format!("{} {}", self.method, self.url.path());
        if let Some(query) = self.url.query() {
            let _ = write!(text, "?{query}");
        }
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let _ = write!(text, " HTTP/1.1\r\nHost: {host}{port}\r\n");
        for (name, value) in &self.headers {
            let is_secret = self.secret.as_ref().is_some_and(|secret| secret.eq_ignore_ascii_case(name));
            match is_secret {
                true => {
                    let _ = write!(text, "{name}: {}\r\n", "*".repeat(value.chars().count()));
                }
                false => {
                    let _ = write!(text, "{name}: {value}\r\n");
                }
            }
        }
        if !self.body.is_empty() {
            let _ = write!(text, "Content-Length: {}\r\n", self.body.len());
        }
        text.push_str("\r\n");
        text.push_str(&self.body);
        text
    }
}

fn url(node: &HttpRequest, view: &View<'_>) -> Result<Url, Box<Failed>> {
    let text = view.text(&node.url);
    let text = text.trim();
    let wrong = |message: &str| Failed::new(message, "InvalidURLError", Kind::Caller);
    if text.is_empty() {
        return Err(wrong("url is required"));
    }
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err(wrong("url should start with http:// or https://"));
    }
    let mut url = Url::parse(text).map_err(|error| wrong(&format!("Invalid URL: {error}")))?;
    url.set_fragment(None);
    if !node.params.is_empty() {
        let mut query = url.query_pairs_mut();
        for (key, value) in &node.params {
            query.append_pair(&view.text(key), &view.text(value));
        }
    }
    Ok(url)
}

/// `name: value` lines.
fn headers(text: &str) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        set(&mut headers, name.trim(), value.trim().to_owned());
    }
    headers
}

fn has(headers: &[(String, String)], name: &str) -> bool {
    headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
}

fn set(headers: &mut Vec<(String, String)>, name: &str, value: String) {
    headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    headers.push((name.to_owned(), value));
}

fn body(body: &Body, view: &View<'_>) -> Result<(String, Option<String>), Box<Failed>> {
    Ok(match body {
        Body::None => (String::new(), None),
        Body::Text(template) => (view.text(template), Some("text/plain".to_owned())),
        Body::Json(template) => (json(template, view)?, Some("application/json".to_owned())),
        Body::Form(pairs) => {
            let mut form = form_urlencoded::Serializer::new(String::new());
            for (key, value) in pairs {
                form.append_pair(&view.text(key), &view.text(value));
            }
            (form.finish(), Some("application/x-www-form-urlencoded".to_owned()))
        }
        Body::Multipart(pairs) => multipart(pairs, view),
    })
}

/// A JSON body. Values put inside of quotes may hold quotes themselves, so what does not parse is written again with
/// its values escaped; Dify repairs such texts by guessing.
fn json(template: &Template, view: &View<'_>) -> Result<String, Box<Failed>> {
    let plain = view.text(template);
    let parsed = serde_json::from_str::<Value>(&plain)
        .or_else(|_| serde_json::from_str(&escaped(template, view)))
        .or_else(|_| serde_json::from_str(&without_controls(&plain)));
    match parsed {
        Ok(value) => Ok(value.to_string()),
        Err(_) => {
            Err(Failed::new(format!("Failed to parse JSON: {plain}"), "RequestBodyError", Kind::Caller))
        }
    }
}

fn escaped(template: &Template, view: &View<'_>) -> String {
    let mut text = String::new();
    let mut is_inside = false;
    for part in &template.segments {
        match part {
            Segment::Text(part) => {
                text.push_str(part);
                is_inside = ends_inside_string(part, is_inside);
            }
            Segment::Variable(selector) => {
                let value = match view.get(selector) {
                    Some(value) => segment::text(&value),
                    None => selector.parts.join("."),
                };
                match is_inside {
                    true => python::write_json_string_inside(&mut text, &value),
                    false => text.push_str(&value),
                }
            }
            Segment::Context | Segment::Histories => {}
        }
    }
    without_controls(&text)
}

fn ends_inside_string(text: &str, mut is_inside: bool) -> bool {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if is_inside => drop(characters.next()),
            '"' => is_inside = !is_inside,
            _ => {}
        }
    }
    is_inside
}

/// Line breaks and the like inside of strings, which Python's lenient reader allows.
fn without_controls(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut is_inside = false;
    let mut is_escaped = false;
    for character in text.chars() {
        if is_inside && character.is_ascii_control() {
            python::write_json_string_inside(&mut clean, character.encode_utf8(&mut [0; 4]));
        } else {
            clean.push(character);
        }
        match (is_inside, is_escaped, character) {
            (_, true, _) => is_escaped = false,
            (true, false, '\\') => is_escaped = true,
            (_, false, '"') => is_inside = !is_inside,
            _ => {}
        }
    }
    clean
}

fn multipart(pairs: &[(Template, Template)], view: &View<'_>) -> (String, Option<String>) {
    let values: Vec<(String, String)> =
        pairs.iter().map(|(key, value)| (view.text(key), view.text(value))).collect();
    let mut boundary = BOUNDARY_START.to_owned();
    while values.iter().any(|(key, value)| key.contains(&boundary) || value.contains(&boundary)) {
        boundary.push('x');
    }
    let mut text = String::new();
    for (key, value) in &values {
        let key = key.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
        let _ =
            write!(text, "--{boundary}\r\nContent-Disposition: form-data; name=\"{key}\"\r\n\r\n{value}\r\n");
    }
    let _ = write!(text, "--{boundary}--\r\n");
    (text, Some(format!("multipart/form-data; boundary={boundary}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn header_lines_are_read_leniently() {
        let read = headers("aa:bb\n cc : dd\nee\n\nAA: ff:gg");
        let expected = [("cc", "dd"), ("ee", ""), ("AA", "ff:gg")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn line_breaks_inside_strings_become_json() {
        assert_eq!(without_controls("{\"a\":\n\"x\ny\\\"\tz\"}"), "{\"a\":\n\"x\\ny\\\"\\tz\"}");
    }

    proptest! {
        #[test]
        fn any_text_is_cleaned_without_panic(text in ".*") {
            let _ = without_controls(&text);
            let _ = ends_inside_string(&text, false);
            let _ = headers(&text);
        }
    }
}
